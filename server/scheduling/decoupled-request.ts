/** @hotpath one object per request of a decoupled model, from its start to its end (measured by decoupled-scheduler.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { DecoupledExecution, DecoupledRun } from '../execution/decoupled-execution.ts';
import type { BatchInput } from '../execution/execution-host.ts';
import type { Clock } from '../inference/clock.ts';
import type { InferenceRequest, RequestHolder } from '../inference/inference-request.ts';
import { InferenceResponse } from '../inference/inference-response.ts';
import { type ModelSignature, reshaped } from '../inference/model-signature.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import { isWanted } from './batch.ts';

/** A deadline that is so near counts as passed: callers' clocks are not this one. */
const EARLY_NS = 5e6;

/** Of the length of a BYTES element: an empty text has nothing else. */
const BYTES_PREFIX = 4;

/** What all requests of a scheduler share. */
export interface DecoupledContext {
  readonly signature: ModelSignature;
  /** Responses reach callers as the host gives them: the signature has all outputs, and no reshape. */
  readonly isPlain: boolean;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  /** Position of the input that says whether each response is a token of a text; -1: the model generates none. */
  readonly streamInput: number;
  /** The request has left the model, or nobody waits for it any more. */
  onLeft(running: DecoupledRequest): void;
  /** A caller threw on its answer: a fault of the server's. */
  onFault(error: unknown): void;
}

/** Nanoseconds, as in ResponseTiming; computeInferNs goes on until the end. */
interface RunningTiming {
  queueNs: number;
  computeInputNs: number;
  computeInferNs: number;
  computeOutputNs: number;
}

/**
 * A request that runs. Times: compute_input is the handing over, compute_output the time in which callers took responses, compute_infer all the
 * rest from the start to the end, what a paused caller makes the model wait included.
 */
export class DecoupledRequest implements DecoupledExecution, RequestHolder {
  readonly request: InferenceRequest;
  readonly inputs: readonly BatchInput[];
  readonly #context: DecoupledContext;
  /** For each of `inputs`, its position in the model's inputs. */
  readonly #inputIndexes: readonly number[];
  readonly #timing: RunningTiming = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
  /** When the model got it, and when it was last waited for. */
  #startedNs = 0;
  #waitedSinceNs = 0;
  #run: DecoupledRun | null = null;
  #isOver = false;
  readonly #isTokenStream: boolean;
  /** When the last token of a stream came; -1: none yet. */
  #tokenNs = -1;
  /** Its caller went away, or its deadline passed, while the model worked on it. */
  #isAbandoned = false;

  constructor(request: InferenceRequest, context: DecoupledContext) {
    this.request = request;
    this.#context = context;
    const { signature } = context;
    const batchDims = signature.maxBatchSize > 0 ? 1 : 0;
    const inputs: BatchInput[] = [];
    const indexes: number[] = [];
    for (let i = 0; i < signature.inputs.length; i++) {
      const tensor = request.boundInputs[i];
      if (tensor === null || tensor === undefined) continue;
      const { name, datatype, dims, reshape } = signature.inputs[i]!;
      const shape = reshape === null ? tensor.shape : reshaped(tensor.shape, batchDims, dims, reshape);
      inputs.push({ name, datatype, shape, byteLength: tensor.data.length });
      indexes.push(i);
    }
    this.inputs = inputs;
    this.#inputIndexes = indexes;
    this.#isTokenStream = context.streamInput >= 0 && request.boundInputs[context.streamInput]?.data[0] === 1;
  }

  get parameters(): InferenceRequest['parameters'] {
    return this.request.parameters;
  }

  get isPaused(): boolean {
    return this.request.isPaused;
  }

  /** `startedNs`: when it was about to be started. */
  started(run: DecoupledRun, startedNs: number): void {
    const nowNs = this.#context.clock.nowNs();
    this.#run = run;
    this.#startedNs = startedNs;
    this.#waitedSinceNs = nowNs;
    this.#timing.queueNs = startedNs - this.request.queuedNs;
    this.#timing.computeInputNs = nowNs - startedNs;
    this.request.holder = this;
  }

  writeInput(index: number, target: Uint8Array): void {
    target.set(this.request.boundInputs[this.#inputIndexes[index]!]!.data);
  }

  respond(outputs: readonly Tensor[]): void {
    if (this.#isOver) return;
    const { request } = this;
    const { clock, reporter, signature } = this.#context;
    const arrivedNs = clock.nowNs();
    const index = request.responseCount;
    if (index === 0) reporter.firstResponded(arrivedNs - request.receivedNs);
    if (this.#isTokenStream && hasText(outputs)) this.#countToken(arrivedNs);
    this.#timing.computeInferNs = arrivedNs - this.#startedNs - this.#timing.computeInputNs - this.#timing.computeOutputNs;
    const wanted = this.#context.isPlain && request.outputs.length === 0 ? outputs : this.#wanted(outputs);
    try {
      request.stream(new InferenceResponse(signature.modelName, signature.modelVersion, wanted, null, this.#timing));
    } catch (error) {
      this.#context.onFault(error);
      this.end(InferenceError.from(error));
      return;
    }
    const takenNs = clock.nowNs();
    this.#timing.computeOutputNs += takenNs - arrivedNs;
    reporter.responded(index, arrivedNs - this.#waitedSinceNs, takenNs - arrivedNs);
    this.#waitedSinceNs = takenNs;
  }

  used(inputTokens: number, outputTokens: number): void {
    const { text } = this.#context.reporter;
    if (this.#isOver || text === null) return;
    text.inputLength.observe(inputTokens);
    text.outputLength.observe(outputTokens);
  }

  complete(): void {
    if (this.#isOver) return;
    const { request } = this;
    const { clock, reporter } = this.#context;
    const endedNs = clock.nowNs();
    const timing = this.#timing;
    timing.computeInferNs = endedNs - this.#startedNs - timing.computeInputNs - timing.computeOutputNs;
    reporter.executed(request.batchSize, timing.computeInputNs, timing.computeInferNs, timing.computeOutputNs);
    reporter.endedWithoutResponse(request.responseCount, endedNs - this.#waitedSinceNs);
    request.timing = timing;
    this.#leave();
    try {
      request.complete();
    } catch (error) {
      this.#context.onFault(error);
    }
  }

  fail(error: InferenceError): void {
    if (this.#isOver) return;
    const { reporter, clock } = this.#context;
    reporter.responseFailed(this.request.responseCount, error.code === 'CANCELLED', clock.nowNs() - this.#waitedSinceNs);
    this.#leave();
    try {
      this.request.fail(error);
    } catch (fault) {
      this.#context.onFault(fault);
    }
  }

  /** The model is told to stop and is not waited for. */
  end(error: InferenceError): void {
    if (this.#isOver) return;
    this.#run!.cancel();
    this.fail(error);
  }

  onRequestCancelled(): void {
    if (this.#isOver) return;
    this.#run!.cancel();
    this.#isAbandoned = true;
    const { reporter, clock } = this.#context;
    const nowNs = clock.nowNs();
    const isLate = this.request.deadlineNs <= nowNs + EARLY_NS;
    reporter.responseFailed(this.request.responseCount, !isLate, nowNs - this.#waitedSinceNs);
    this.#leave();
  }

  /** What it gave since the response before is of no use to anyone; what it is paused for is its caller's time, and counts all the same. */
  stopped(): void {
    if (!this.#isAbandoned) return;
    this.#isAbandoned = false;
    const { reporter, clock } = this.#context;
    reporter.wasted(clock.nowNs() - this.#waitedSinceNs);
  }

  onRequestResumed(): void {
    this.#run!.resume();
  }

  #countToken(arrivedNs: number): void {
    const text = this.#context.reporter.text!;
    if (this.#tokenNs < 0) text.firstToken.observe(arrivedNs - this.request.receivedNs);
    else text.nextToken.observe(arrivedNs - this.#tokenNs);
    this.#tokenNs = arrivedNs;
  }

  #leave(): void {
    this.#isOver = true;
    this.request.holder = null;
    this.#context.onLeft(this);
  }

  #wanted(outputs: readonly Tensor[]): Tensor[] {
    const { signature } = this.#context;
    const batchDims = signature.maxBatchSize > 0 ? 1 : 0;
    const wanted: Tensor[] = [];
    for (let i = 0; i < outputs.length; i++) {
      const output = outputs[i]!;
      // One that the configuration does not list is not served.
      const spec = signature.outputs[signature.outputIndex.get(output.name) ?? -1];
      if (spec === undefined || !isWanted(this.request, output.name)) continue;
      wanted.push(spec.reshape === null ? output : { ...output, shape: reshaped(output.shape, batchDims, spec.reshape, spec.dims) });
    }
    return wanted;
  }
}

/** The last response of a text may say only why it ended. */
function hasText(outputs: readonly Tensor[]): boolean {
  for (let i = 0; i < outputs.length; i++) if (outputs[i]!.name === 'text_output') return outputs[i]!.data.length > BYTES_PREFIX;
  return false;
}
