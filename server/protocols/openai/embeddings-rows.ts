import { INFERENCE_TIMEOUT_MS } from '../../../proto/headers.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { type InferenceCaller, InferenceRequest, type RequestParameter } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { Model } from '../../repository/model.ts';
import type { HttpAbortListener, HttpExchange } from '../../transports/http-exchange.ts';
import type { ProtocolContext } from '../protocol.ts';
import { readTimeoutHeader } from '../request-timeout.ts';
import { type RoutedCall, RouteWait } from '../route-wait.ts';
import { splitVersion } from './split-version.ts';
import { respondError } from './status.ts';

/** A call whose answer has a row of FP32 numbers for each of its texts. */
export interface RowsJob {
  readonly modelName: string;
  readonly parameters: Readonly<Record<string, RequestParameter>>;
  /** The output that has the rows; `isScalar`: a row is one number. */
  readonly output: string;
  readonly isScalar: boolean;
  /** Texts. */
  readonly count: number;
  /** What the client calls the list of texts, and what the model does. */
  readonly listName: string;
  readonly inputName: string;
  /** How the texts go to this model. Throws INVALID_ARGUMENT where they cannot. */
  plan(model: Model): RowsPlan;
  /** Resolves when it has answered; looks at the exchange between its parts. */
  answer(exchange: HttpExchange, rows: Rows): void | Promise<void>;
}

export interface RowsPlan {
  /** Texts of one request to the model, 1 or more. */
  readonly perRequest: number;
  inputs(from: number, to: number): readonly Tensor[];
}

/** What the model gave: rows in the order of the texts, each of `width` numbers, in one piece or several. */
export interface Rows {
  readonly model: Model;
  readonly width: number;
  readonly values: Float32Array;
  /** Tokens of all texts; 0 where the model does not count them. */
  readonly tokens: number;
}

/** More than this does not go into one answer: 32 MiB, in JSON some 100. */
const MAX_NUMBERS = 8_388_608;
/** Swaps of the model that one call follows. */
const MAX_SWAPS = 3;

/** One call, from its decoded body to its answer: a request to the model after the other, so that a list does not take its queue. */
export class RowsCall implements InferenceCaller, HttpAbortListener, RoutedCall {
  readonly #exchange: HttpExchange;
  readonly #context: ProtocolContext;
  readonly #job: RowsJob;
  #name = '';
  #version = '';
  #swaps = 0;
  #deadlineNs = Number.POSITIVE_INFINITY;
  #wait: RouteWait | null = null;
  #model: Model | null = null;
  #plan: RowsPlan | null = null;
  #request: InferenceRequest | null = null;
  /** First text of the request that runs, and the one behind its last. */
  #from = 0;
  #to = 0;
  #values: Float32Array | null = null;
  #width = 0;
  #rows = 0;
  #tokens = 0;
  #isDone = false;

  constructor(exchange: HttpExchange, context: ProtocolContext, job: RowsJob) {
    this.#exchange = exchange;
    this.#context = context;
    this.#job = job;
  }

  /** Throws what refuses the call at once. */
  start(): void {
    const { door } = this.#context;
    this.#deadlineNs = door.deadlineAfter(readTimeoutHeader(this.#exchange.header(INFERENCE_TIMEOUT_MS)));
    const { name, version } = splitVersion(this.#job.modelName, this.#context.repository);
    this.#name = name;
    this.#version = version;
    const routed = door.route(name, version);
    this.#exchange.abortListener = this;
    if (routed instanceof Promise) this.#wait = RouteWait.start(this.#context, routed, this.#exchange.body.length, this, this.#deadlineNs);
    else this.onRouted(routed);
  }

  onRouted(model: Model): void {
    this.#wait = null;
    if (this.#exchange.isAborted) return;
    this.#model = model;
    this.#plan = this.#job.plan(model);
    this.#next();
  }

  onRouteFailed(error: unknown): void {
    this.#fail(error);
  }

  onExchangeAborted(): void {
    this.#isDone = true;
    this.#wait?.cancel();
    this.#request?.cancel();
  }

  onResponse(_request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void {
    if (this.#isDone) return;
    try {
      this.#take(response);
    } catch (error) {
      this.#fail(error);
      if (!isFinal) this.#request?.cancel();
      return;
    }
    if (isFinal) this.#requestEnded();
  }

  onComplete(): void {
    if (!this.#isDone) this.#requestEnded();
  }

  onError(_request: InferenceRequest, error: InferenceError): void {
    if (!this.#isDone) this.#fail(error);
  }

  /** Begins again where the model has been swapped: rows of two versions don't go together, and the old one takes no more requests. */
  #followSwap(): void {
    const routed = this.#context.door.route(this.#name, this.#version);
    if (routed instanceof Promise) {
      routed.catch(() => {});
      routed.cancel();
    } else if (routed !== this.#model && ++this.#swaps <= MAX_SWAPS) {
      this.#plan = this.#job.plan(routed);
      this.#model = routed;
      this.#values = null;
      this.#to = 0;
      this.#rows = 0;
      this.#tokens = 0;
    }
  }

  #next(): void {
    const { count, parameters } = this.#job;
    if (this.#to > 0) this.#followSwap();
    this.#from = this.#to;
    this.#to = Math.min(count, this.#from + this.#plan!.perRequest);
    const request = new InferenceRequest({
      modelName: this.#model!.name,
      modelVersion: this.#version,
      id: '',
      inputs: this.#plan!.inputs(this.#from, this.#to),
      outputs: [],
      parameters,
      priority: 0,
      timeoutUs: 0,
      caller: this,
    });
    request.deadlineNs = this.#deadlineNs;
    this.#request = null;
    this.#context.door.infer(request, this.#model!);
    this.#request = request;
  }

  /** Copies the rows of one response, whose bytes are borrowed. */
  #take({ outputs }: InferenceResponse): void {
    const { output, isScalar, count } = this.#job;
    const tensor = outputs.find(({ name }) => name === output);
    if (tensor === undefined) throw this.#wrongModel(`no output '${output}'`);
    const numbers = tensor.data.length / 4;
    const width = isScalar ? 1 : (tensor.shape.at(-1) ?? 1);
    const rows = width === 0 ? 0 : numbers / width;
    if (this.#values === null) {
      if (width * count > MAX_NUMBERS) throw this.#wrongModel(`${count} rows of ${width} numbers, more than one answer may have`);
      this.#width = width;
      this.#values = new Float32Array(width * count);
    }
    if (width !== this.#width) throw this.#wrongModel(`a row of ${width} numbers behind one of ${this.#width}`);
    if (this.#rows + rows > this.#to) throw this.#wrongModel(`${this.#rows + rows - this.#from} rows for ${this.#to - this.#from} texts`);
    new Uint8Array(this.#values.buffer).set(tensor.data, this.#rows * width * 4);
    this.#rows += rows;
    const counts = outputs.find(({ name }) => name === 'num_input_tokens');
    if (counts !== undefined) this.#tokens += sumOf(counts);
  }

  #requestEnded(): void {
    if (this.#rows !== this.#to) {
      this.#fail(this.#wrongModel(`${this.#rows - this.#from} rows for ${this.#to - this.#from} texts`));
      return;
    }
    // Not here: whoever tells of the end may be walking over a batch.
    setImmediate(() => this.#goOn());
  }

  #goOn(): void {
    if (this.#isDone) return;
    try {
      if (this.#to < this.#job.count) {
        this.#next();
        return;
      }
      this.#request = null;
      const rows: Rows = { model: this.#model!, width: this.#width, values: this.#values!, tokens: this.#tokens };
      this.#job.answer(this.#exchange, rows)?.catch((error: unknown) => this.#fail(error));
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#isDone) return;
    this.#isDone = true;
    refuseCall(this.#exchange, this.#context, this.#job.modelName, this.#named(InferenceError.from(error)), this.#request !== null);
  }

  /** In the client's words: which element of its list. */
  #named(error: InferenceError): InferenceError {
    const { inputName, listName, count } = this.#job;
    if (error.code !== 'INVALID_ARGUMENT') return error;
    const found = /^([a-z_]+)(?:\[(\d+)\])?: /.exec(error.message);
    if (found === null || (found[1] !== inputName && found[1] !== 'input_ids')) return error;
    const label =
      count === 1
        ? listName
        : found[2] === undefined && this.#to - this.#from > 1
          ? listName
          : `${listName}[${this.#from + Number(found[2] ?? 0)}]`;
    return new InferenceError(error.code, `${label}: ${error.message.slice(found[0].length)}`);
  }

  #wrongModel(what: string): InferenceError {
    return new InferenceError('INTERNAL', `model '${this.#job.modelName}' gave ${what}`);
  }
}

/** Answers a call that failed; `wasQueued`: the door has noted its end already. */
export function refuseCall(
  exchange: HttpExchange,
  context: ProtocolContext,
  modelName: string,
  error: InferenceError,
  wasQueued: boolean,
): void {
  context.reportFault(error);
  if (!wasQueued) context.door.refused(modelName, error);
  respondError(exchange, error);
}

/** Of whole numbers of 32 or 64 bits. */
function sumOf({ datatype, data }: Tensor): number {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const size = datatype.endsWith('64') ? 8 : 4;
  let sum = 0;
  for (let at = 0; at + size <= data.length; at += size) sum += size === 8 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true);
  return sum;
}
