/** @hotpath one bucket search and three additions per stage of a request, where histograms are kept */

import type { StageHistogram } from './model-reporter.ts';

/** Upper bounds in nanoseconds, three to a decade, 25 us to 10 s. What lies above is in +Inf alone. */
export const stageBoundsNs: readonly number[] = [
  25e3, 50e3, 100e3, 250e3, 500e3, 1e6, 2.5e6, 5e6, 10e6, 25e6, 50e6, 100e6, 250e6, 500e6, 1e9, 2.5e9, 5e9, 10e9,
];

const MAX_US = 0x7fff_ffff;

/** Counts by fixed bounds. May pass each observation on to another observer (a summary, a histogram with other bounds). */
export class LatencyHistogram implements StageHistogram {
  readonly boundsNs: readonly number[];
  /** Per bucket, not cumulated; the last one is what lies above every bound. Doubles, so that no count wraps. */
  readonly counts: Float64Array;
  sumNs = 0;
  readonly #next: StageHistogram | null;
  /** By the position of the highest bit of the whole microseconds: the first bound that may hold. Leaves two or three bounds to compare. */
  readonly #firstBound: Uint8Array;

  constructor(boundsNs: readonly number[], next: StageHistogram | null) {
    this.boundsNs = boundsNs;
    this.counts = new Float64Array(boundsNs.length + 1);
    this.#next = next;
    this.#firstBound = firstBoundsOf(boundsNs);
  }

  observe(ns: number): void {
    const us = ns < MAX_US * 1000 ? (ns / 1000) | 0 : MAX_US;
    let index = this.#firstBound[31 - Math.clz32(us | 1)]!;
    const bounds = this.boundsNs;
    while (index < bounds.length && ns > bounds[index]!) index++;
    this.counts[index]!++;
    this.sumNs += ns;
    if (this.#next !== null) this.#next.observe(ns);
  }
}

function firstBoundsOf(boundsNs: readonly number[]): Uint8Array {
  const first = new Uint8Array(32);
  for (let bit = 0; bit < 32; bit++) {
    // Bit 0 also stands for less than a microsecond.
    const leastNs = bit === 0 ? 0 : 2 ** bit * 1000;
    const index = boundsNs.findIndex((bound) => bound >= leastNs);
    first[bit] = index < 0 ? boundsNs.length : index;
  }
  return first;
}
