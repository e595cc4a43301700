/** @hotpath one object per inference request, on every protocol (measured by infer.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { InferenceResponse, ResponseTiming } from './inference-response.ts';

export type RequestParameter = string | number | boolean;

/** An output that the request names. When it names none, all outputs are meant. */
export interface RequestedOutput {
  readonly name: string;
  /** Answer the `classification` best entries as `value:index:label` strings instead of the tensor; 0: the tensor itself. */
  readonly classification: number;
  /** REST only: this output's bytes behind the JSON instead of numbers inside it. */
  readonly binaryData: boolean;
}

/**
 * Who waits for the answer: a protocol's per-call object. None of these is called before `infer` returned, and none after the end: a response that is final,
 * `onComplete`, or `onError`, exactly one of them, exactly once.
 */
export interface InferenceCaller {
  /**
   * The response's tensors are borrowed: their bytes are valid until this returns. Encode or copy them here. `isFinal` is false only for decoupled models, and there
   * for every response: their end is `onComplete`.
   */
  onResponse(request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void;
  /** A decoupled model has given all its responses to this request, which may have been none. */
  onComplete(request: InferenceRequest): void;
  onError(request: InferenceRequest, error: InferenceError): void;
}

/** Reserved parameters `sequence_id`, `sequence_start`, `sequence_end`. */
export interface RequestSequence {
  /** Correlation id: not 0, not ''. A number and the string of its digits are two sequences. */
  readonly id: bigint | string;
  readonly isStart: boolean;
  readonly isEnd: boolean;
}

export interface InferenceRequestInit {
  readonly modelName: string;
  /** As the caller wrote it; '' for the version that the policy chooses. */
  readonly modelVersion: string;
  readonly id: string;
  readonly inputs: readonly Tensor[];
  /** Empty: every output of the model. */
  readonly outputs: readonly RequestedOutput[];
  /** Request parameters that are not reserved words of the protocol; handed to the model. */
  readonly parameters: Readonly<Record<string, RequestParameter>>;
  /** Reserved parameter `priority`; 0: the model's default level. */
  readonly priority: number;
  /** Reserved parameter `timeout`, microseconds; 0: none given. A bound of the time in the queue, where the model's queue policy allows it. */
  readonly timeoutUs: number;
  /** Left out or null: the request stands alone. */
  readonly sequence?: RequestSequence | null;
  readonly caller: InferenceCaller;
}

/**
 * One shape for every protocol, all fields set here so that all requests share a hidden class.
 *
 * Ownership: the protocol builds it and hands it to `InferenceDoor.infer`; from then on the server holds it, and the protocol hears of it again
 * through its caller only. Input bytes must stay as they are until then.
 */
export class InferenceRequest {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly id: string;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly RequestedOutput[];
  readonly parameters: Readonly<Record<string, RequestParameter>>;
  readonly priority: number;
  readonly timeoutUs: number;
  readonly sequence: RequestSequence | null;
  readonly caller: InferenceCaller;

  /** Set by the door: the inputs in the model's own order, null where an optional one was left out. */
  boundInputs: readonly (Tensor | null)[] = [];
  /** First dimension of the inputs where the model batches, 1 elsewhere; set by the door. */
  batchSize = 1;
  /** Absolute, on the server's clock; Infinity: none. */
  deadlineNs: number = Number.POSITIVE_INFINITY;
  /** Of the watch that ends it then: its place there; -1: none. */
  watchIndex = -1;
  /** When the request arrived at the door. */
  receivedNs = 0;
  /** When a scheduler took it. */
  queuedNs = 0;
  /** Sum of the inputs' bytes; what admission holds for it. */
  inputBytes = 0;
  /** Nobody waits for it any more, as its caller went away or its deadline passed; it has ended. Whoever holds it drops it before it runs. */
  isCancelled = false;
  /** How many requests stand above it, each made by the one before on its way; 0: it came from outside. Set by whoever makes nested ones. */
  depth = 0;
  /** Who holds the request while it waits, and hears of a cancel; null when nobody does. */
  holder: RequestHolder | null = null;
  /** Set by the door: the model version that answers. The door alone knows its type. */
  model: object | null = null;
  /** Responses of a decoupled model that were handed to the caller. */
  responseCount = 0;
  /** Of a decoupled model's request: set before its end. The timing of any other is in its response. */
  timing: ResponseTiming | null = null;
  /** Set by the caller: see {@link pauseResponses}. */
  isPaused = false;
  /** Set when the request has been answered; guards "exactly once". */
  isDone = false;
  /** Hears of the end before the caller does; the door uses it to settle statistics and permits. */
  observer: RequestObserver | null = null;

  constructor(init: InferenceRequestInit) {
    this.modelName = init.modelName;
    this.modelVersion = init.modelVersion;
    this.id = init.id;
    this.inputs = init.inputs;
    this.outputs = init.outputs;
    this.parameters = init.parameters;
    this.priority = init.priority;
    this.timeoutUs = init.timeoutUs;
    this.sequence = init.sequence ?? null;
    this.caller = init.caller;
  }

  /** One response of a decoupled model; others may follow. Nothing happens after the end, and after a cancel. */
  stream(response: InferenceResponse): void {
    if (this.isDone || this.isCancelled) return;
    this.responseCount++;
    this.caller.onResponse(this, response, false);
  }

  /** All responses of a decoupled model are given. */
  complete(): void {
    if (this.isDone) return;
    this.isDone = true;
    this.observer?.onRequestEnd(this, null, null);
    this.caller.onComplete(this);
  }

  /** The caller cannot take more responses of a decoupled model at the moment; the model stops within a few, whose number is bounded. */
  pauseResponses(): void {
    this.isPaused = true;
  }

  resumeResponses(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    if (!this.isDone) this.holder?.onRequestResumed(this);
  }

  /** Answers the request. A second end (a host that answers late, a cancel that crosses) is dropped here and nowhere else. */
  respond(response: InferenceResponse): void {
    if (this.isDone) return;
    this.isDone = true;
    this.observer?.onRequestEnd(this, response, null);
    this.caller.onResponse(this, response, true);
  }

  /**
   * The caller is no longer there to hear an answer. Whoever holds the request hears of it first; then it ends, with CANCELLED, before this returns. A scheduler
   * may still have it in its queue, or an instance in a batch: what they do with it later has no effect.
   */
  cancel(): void {
    if (this.isDone) return;
    this.#abandon(new InferenceError('CANCELLED', 'the caller went away before the request had ended', { failureReason: 'CANCELED' }));
  }

  /** As {@link cancel}: its deadline has passed. */
  expire(): void {
    if (this.isDone) return;
    this.#abandon(
      new InferenceError('DEADLINE_EXCEEDED', 'Request timeout expired before the request had ended', { failureReason: 'REJECTED' }),
    );
  }

  #abandon(error: InferenceError): void {
    this.isCancelled = true;
    this.holder?.onRequestCancelled(this);
    this.fail(error);
  }

  fail(error: InferenceError): void {
    if (this.isDone) return;
    this.isDone = true;
    this.observer?.onRequestEnd(this, null, error);
    this.caller.onError(this, error);
  }
}

/** A scheduler, as a waiting request knows it; that of a decoupled model holds the request until its end. */
export interface RequestHolder {
  onRequestCancelled(request: InferenceRequest): void;
  onRequestResumed(request: InferenceRequest): void;
}

export interface RequestObserver {
  /** `response` and `error` both null: a decoupled model's request is complete. */
  onRequestEnd(request: InferenceRequest, response: InferenceResponse | null, error: InferenceError | null): void;
}
