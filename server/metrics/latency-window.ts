/** @hotpath one addition per stage of a request, where summaries are kept (measured by latency-histogram.bench.ts) */

import type { StageHistogram } from './model-reporter.ts';

/** 32 buckets to a power of two of microseconds: a value is known to within 1/64. */
const STEP_BITS = 5;
const STEPS = 1 << STEP_BITS;
const MAX_US = 0x7fff_ffff;
const BUCKETS = (31 - STEP_BITS) * STEPS + STEPS;
const SLICES = 5;
const SLICE_MS = 12_000;

/**
 * Quantiles over the last minute, in fixed memory: five slices of twelve seconds, the oldest of which is emptied as time goes on. Time comes from
 * {@link advance}, so that an observation reads no clock.
 */
export class LatencyWindow implements StageHistogram {
  /** Since the window was made, as a summary's `_count` and `_sum` are. */
  count = 0;
  sumNs = 0;
  readonly #slices: readonly Uint32Array[] = Array.from({ length: SLICES }, () => new Uint32Array(BUCKETS));
  #current: Uint32Array;
  #currentIndex = 0;
  #sliceStartMs: number;

  constructor(nowMs: number) {
    this.#sliceStartMs = nowMs;
    this.#current = this.#slices[0]!;
  }

  observe(ns: number): void {
    const us = ns < MAX_US * 1000 ? (ns / 1000) | 0 : MAX_US;
    this.#current[bucketOf(us)]!++;
    this.count++;
    this.sumNs += ns;
  }

  /** `nowMs` is monotonic. To be called at least once a slice. */
  advance(nowMs: number): void {
    const steps = Math.floor((nowMs - this.#sliceStartMs) / SLICE_MS);
    if (steps <= 0) return;
    this.#sliceStartMs += steps * SLICE_MS;
    for (let step = 0; step < Math.min(steps, SLICES); step++) {
      this.#currentIndex = (this.#currentIndex + 1) % SLICES;
      this.#current = this.#slices[this.#currentIndex]!;
      this.#current.fill(0);
    }
  }

  /** Microseconds for each of `quantiles` (ascending); NaN where the window is empty. */
  quantilesUs(quantiles: readonly number[]): number[] {
    const merged = new Float64Array(BUCKETS);
    let total = 0;
    for (const slice of this.#slices) {
      for (let i = 0; i < BUCKETS; i++) {
        const count = slice[i]!;
        merged[i]! += count;
        total += count;
      }
    }
    if (total === 0) return quantiles.map(() => Number.NaN);
    let index = 0;
    let seen = merged[0]!;
    return quantiles.map((quantile) => {
      const rank = Math.max(1, Math.ceil(quantile * total));
      while (seen < rank) seen += merged[++index]!;
      return middleOf(index);
    });
  }
}

function bucketOf(us: number): number {
  if (us < STEPS) return us;
  const shift = 31 - Math.clz32(us) - STEP_BITS;
  return shift * STEPS + (us >>> shift);
}

function middleOf(bucket: number): number {
  if (bucket < 2 * STEPS) return bucket;
  const shift = Math.floor(bucket / STEPS) - 1;
  const least = (bucket - shift * STEPS) * 2 ** shift;
  return Math.floor(least + 2 ** shift / 2);
}
