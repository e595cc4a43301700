/** @hotpath every response of a model with preserve_ordering */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { InferenceRequest, RequestHolder } from '../inference/inference-request.ts';
import { InferenceResponse, type ResponseTiming } from '../inference/inference-response.ts';
import { KeptOutputs } from '../inference/kept-outputs.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import { type BatchResponder, isWanted } from './batch.ts';
import { PendingQueue } from './pending-queue.ts';

/** What a request is to be answered with when its turn comes. */
interface EarlyEnd {
  readonly outputs: KeptOutputs | null;
  readonly timing: ResponseTiming | null;
  readonly error: InferenceError | null;
}

/**
 * Answers requests in the order in which they were begun, whatever the order in which their batches end (`preserve_ordering`). A failed request keeps its place; one whose caller has gone leaves it.
 *
 * Ownership: it holds requests that ended before their turn, and their outputs, until those before them have ended.
 */
export class ResponseOrder implements BatchResponder, RequestHolder {
  readonly #signature: ModelSignature;
  readonly #onFault: (error: unknown) => void;
  /** Requests that may wait for an earlier one. */
  readonly #maxEarly: number;
  /** Begun and not answered yet, in order. */
  readonly #begun: PendingQueue = new PendingQueue(Number.POSITIVE_INFINITY);
  readonly #early: Map<InferenceRequest, EarlyEnd> = new Map();

  constructor(signature: ModelSignature, maxEarly: number, onFault: (error: unknown) => void) {
    this.#signature = signature;
    this.#maxEarly = maxEarly;
    this.#onFault = onFault;
  }

  /** So many wait for an earlier one that no more should be begun. */
  get isFull(): boolean {
    return this.#early.size >= this.#maxEarly;
  }

  begin(requests: readonly InferenceRequest[]): void {
    for (const request of requests) this.#begun.push(request);
  }

  /** The last `count` that were begun were not, after all. */
  takeBack(count: number): void {
    for (let i = 0; i < count; i++) this.#begun.pop();
  }

  respond(request: InferenceRequest, outputs: readonly Tensor[], timing: ResponseTiming): void {
    if (!request.isDone) {
      const { modelName, modelVersion } = this.#signature;
      const wanted = request.outputs.length === 0 ? outputs : outputs.filter((output) => isWanted(request, output.name));
      const response = new InferenceResponse(modelName, modelVersion, wanted, null, timing);
      this.settle();
      if (this.#begun.at(0) !== request) {
        this.#keep(request, { outputs: new KeptOutputs(response), timing, error: null });
        return;
      }
      this.#begun.shift();
      this.#answer(request, response, null);
    }
    this.settle();
  }

  fail(request: InferenceRequest, error: InferenceError): void {
    if (!request.isDone) {
      this.settle();
      if (this.#begun.at(0) !== request) {
        this.#keep(request, { outputs: null, timing: null, error });
        return;
      }
      this.#begun.shift();
      this.#answer(request, null, error);
    }
    this.settle();
  }

  /** Answers whoever's turn has come. To be called when requests have ended otherwise. */
  settle(): void {
    while (this.#begun.length > 0) {
      const request = this.#begun.at(0);
      if (request.isDone) {
        this.#begun.shift();
        continue;
      }
      const early = this.#early.get(request);
      if (early === undefined) return;
      this.#begun.shift();
      this.#early.delete(request);
      request.holder = null;
      const { modelName, modelVersion } = this.#signature;
      const { outputs, timing, error } = early;
      const response = outputs === null ? null : new InferenceResponse(modelName, modelVersion, outputs.tensors, null, timing!);
      try {
        this.#answer(request, response, error);
      } finally {
        outputs?.release();
      }
    }
  }

  onRequestCancelled(request: InferenceRequest): void {
    request.holder = null;
    this.#early.get(request)?.outputs?.release();
    this.#early.delete(request);
  }

  /** Its models answer once. */
  onRequestResumed(): void {}

  #keep(request: InferenceRequest, end: EarlyEnd): void {
    this.#early.set(request, end);
    request.holder = this;
  }

  /** A caller that throws must not keep the others from their turn. */
  #answer(request: InferenceRequest, response: InferenceResponse | null, error: InferenceError | null): void {
    try {
      if (response !== null) request.respond(response);
      else request.fail(error!);
    } catch (fault) {
      this.#onFault(fault);
    }
  }
}
