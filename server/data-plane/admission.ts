/** @hotpath one permit per inference request (measured by infer.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';

/**
 * The server's bounds on work in flight, over all models and protocols. A permit is taken before anything else is done for a request; when there is none
 * the answer is an immediate refusal, not a wait.
 */
export class Admission {
  readonly maxRequests: number;
  /** Bytes of decoded input tensors that requests in flight may hold together. */
  readonly maxBytes: number;
  #requests = 0;
  #bytes = 0;
  #isDraining = false;

  constructor(maxRequests: number, maxBytes: number) {
    this.maxRequests = maxRequests;
    this.maxBytes = maxBytes;
  }

  get requestsInFlight(): number {
    return this.#requests;
  }

  /** Takes a permit, or throws UNAVAILABLE. */
  admit(bytes: number): void {
    if (this.#isDraining) {
      throw new InferenceError('UNAVAILABLE', 'the server is shutting down and takes no new inference requests; send it to another one', {
        retryAfterSeconds: 1,
      });
    }
    if (this.#requests >= this.maxRequests) {
      throw new InferenceError(
        'UNAVAILABLE',
        `the server is busy with ${this.#requests} requests, as many as it may hold (--max-inflight-requests); retry later`,
        { failureReason: 'REJECTED', retryAfterSeconds: 1 },
      );
    }
    // One request alone is always let in: its size has its own bound, at the transport.
    if (this.#requests > 0 && this.#bytes + bytes > this.maxBytes) {
      throw new InferenceError(
        'UNAVAILABLE',
        `the server holds ${this.#bytes} bytes of input tensors, this request's ${bytes} would pass what it may hold (${this.maxBytes}); retry later`,
        { failureReason: 'REJECTED', retryAfterSeconds: 1 },
      );
    }
    this.#requests++;
    this.#bytes += bytes;
  }

  release(bytes: number): void {
    this.#requests--;
    this.#bytes -= bytes;
  }

  /** From now on nothing new is admitted. */
  drain(): void {
    this.#isDraining = true;
  }
}
