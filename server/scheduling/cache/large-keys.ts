/** @hotpath once per request whose inputs are too large to be digested at once (measured by cached-scheduler.bench.ts) */

import type { Clock } from '../../inference/clock.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { CacheKeys } from './cache-keys.ts';

/** A millisecond or less of a core without instructions for SHA. */
const STEP_BYTES = 256 * 1024;
/** Inputs up to this size are digested where they arrive. */
export const DIGESTED_AT_ONCE_BYTES: number = STEP_BYTES;

/**
 * Digests large inputs a piece per turn of the event loop, one request after the other. It holds the requests in flight at most; one that ends meanwhile is dropped, as its bytes are gone.
 */
export class LargeKeys {
  readonly #keys: CacheKeys;
  readonly #clock: Clock;
  readonly #onKey: (request: InferenceRequest, key: string) => void;
  readonly #waiting: Set<InferenceRequest> = new Set();
  #steps: Generator<void, string> | null = null;
  #isScheduled = false;
  readonly #run: () => void;

  constructor(keys: CacheKeys, clock: Clock, onKey: (request: InferenceRequest, key: string) => void) {
    this.#keys = keys;
    this.#clock = clock;
    this.#onKey = onKey;
    this.#run = () => this.#step();
  }

  add(request: InferenceRequest): void {
    this.#waiting.add(request);
    this.#schedule();
  }

  /** False: it is not one of these. */
  remove(request: InferenceRequest): boolean {
    if (this.#first() === request) this.#steps = null;
    return this.#waiting.delete(request);
  }

  takeAll(): InferenceRequest[] {
    const all = [...this.#waiting];
    this.#waiting.clear();
    this.#steps = null;
    return all;
  }

  #first(): InferenceRequest | undefined {
    return this.#waiting.values().next().value;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#waiting.size === 0) return;
    this.#isScheduled = true;
    this.#clock.endOfTick(this.#run);
  }

  #step(): void {
    this.#isScheduled = false;
    const request = this.#first();
    if (request === undefined) return;
    this.#steps ??= this.#keys.stepsOf(request, STEP_BYTES);
    const step = this.#steps.next();
    if (step.done === true) {
      this.#steps = null;
      this.#waiting.delete(request);
      this.#onKey(request, step.value);
    }
    this.#schedule();
  }
}
