/** @hotpath once per execution (measured by learned-batching.bench.ts) */

import type { LatencyModel } from './latency-model.ts';

const MEMORY = 0.9;
const KNOWN_AFTER = 8;
/** While no full queue can be looked at, what was seen of the last one fades by this with each execution. */
const FADING = 0.02;

/**
 * How many rows an instance gets through when there is always one waiting. That is its best rate, by what is learned of its times, times a share of that which it was seen to reach with a full queue: batches
 * stay small for many reasons (shapes that differ, deadlines, requests that run alone).
 */
export class DrainRate {
  readonly #runsAlone: boolean;
  #count = 0;
  /** Rows, and what they would have taken at best, each fading. */
  #rows = 0;
  #bestNs = 0;
  /** The same of executions with a full queue. */
  #fullBestNs = 0;
  #fullNs = 0;
  #share = 1;

  /** `runsAlone`: requests are never put together, so each execution is as good as any with a full queue. */
  constructor(runsAlone: boolean) {
    this.#runsAlone = runsAlone;
  }

  get isKnown(): boolean {
    return this.#count >= KNOWN_AFTER;
  }

  /** Of one instance; of the mixture of shapes that ran lately. Not 0. */
  get rowsPerNs(): number {
    return (this.#rows / this.#bestNs) * this.#share;
  }

  /** `hasFullQueue`: another full batch was waiting. */
  executed(model: LatencyModel, rows: number, durationNs: number, hasFullQueue: boolean): void {
    this.#count++;
    const bestNs = rows / model.bestRowsPerNs;
    this.#rows = this.#rows * MEMORY + rows;
    this.#bestNs = this.#bestNs * MEMORY + bestNs;
    if (hasFullQueue || this.#runsAlone) {
      this.#fullBestNs = this.#fullBestNs * MEMORY + bestNs;
      this.#fullNs = this.#fullNs * MEMORY + durationNs;
      this.#share = Math.min(1, this.#fullBestNs / this.#fullNs);
    } else {
      this.#share += FADING * (1 - this.#share);
    }
  }
}
