/** @hotpath learns from each execution how long batches of a shape take (measured by learned-batching.bench.ts) */

import type { SizeGrid } from './size-grid.ts';

/** Executions before anything is decided by them. */
const KNOWN_AFTER = 8;
/** What the line keeps of its past with each execution: it looks back over some fifty. */
const LINE_MEMORY = 0.98;
/** Share of an average that a new time gets, once there are enough. */
const NEW_SHARE = 0.1;
/** A time this often what was expected is an accident (a pause, a busy machine), until as many in a row say otherwise. */
const OUTLIER = 3;
const OUTLIERS_IN_A_ROW = 4;
/** What one execution may count as, where its size is well known. */
const MOST_RISE = 1.5;
/** The same where the expectation is itself a guess: no batch of about that size ran yet. */
const OUTLIER_OF_A_GUESS = 10;
/** Executions of other sizes after which an average weighs half. */
const STALE_AFTER = 200;

/**
 * How long an execution of so many rows takes, for requests of one shape, learned as they run: `A + B * rows`, and an average of its own for each size that ran. Predictions are the averages where there
 * are some, straight between them, and the line elsewhere; never less for more rows. Times in nanoseconds. An execution costs no allocation.
 */
export class LatencyModel {
  /** For whoever keeps a bounded number of these. */
  lastUse = 0;
  readonly #grid: SizeGrid;
  readonly #means: Float64Array;
  readonly #counts: Float64Array;
  /** `#sequence` of the last execution of each size. */
  readonly #stamps: Float64Array;
  readonly #curve: Float64Array;
  #isCurveOld = true;
  #bestRowsPerNs = 0;
  #sequence = 0;
  #count = 0;
  #fixedNs = 0;
  #rowNs = 0;
  #isLineKnown = false;
  #deviation = 0;
  #highInARow = 0;
  #lowInARow = 0;
  // Sums of the least squares, each weighted by its age.
  #weight = 0;
  #sumX = 0;
  #sumY = 0;
  #sumXX = 0;
  #sumXY = 0;

  constructor(grid: SizeGrid) {
    const size = grid.sizes.length;
    this.#grid = grid;
    this.#means = new Float64Array(size);
    this.#counts = new Float64Array(size);
    this.#stamps = new Float64Array(size);
    this.#curve = new Float64Array(size);
  }

  /** Enough has run to decide by it. */
  get isKnown(): boolean {
    return this.#count >= KNOWN_AFTER;
  }

  /** A: what an execution costs whatever its size. The whole time while all were of one size. Never negative. */
  get fixedNs(): number {
    return this.#fixedNs;
  }

  /** B: what each row adds. Never negative. */
  get rowNs(): number {
    return this.#rowNs;
  }

  /** Different sizes have told A from B. */
  get isLineKnown(): boolean {
    return this.#isLineKnown;
  }

  /** How far times lie from what was expected of them, as a share of it; a moving average. */
  get deviation(): number {
    return this.#deviation;
  }

  /** Most rows in a nanosecond, at the best size there is. */
  get bestRowsPerNs(): number {
    if (this.#isCurveOld) this.#drawCurve();
    return this.#bestRowsPerNs;
  }

  /** Returns the duration as it was taken: an accident counts as no more than three times what was expected. */
  observe(rows: number, durationNs: number): number {
    const at = this.#grid.nearest(rows);
    const isSizeKnown = this.#counts[at]! > 0;
    let taken = Math.max(1, durationNs);
    let isAccident = false;
    this.#sequence++;
    if (this.#count > 0) {
      const expected = this.predict(rows);
      const outlier = isSizeKnown ? OUTLIER : OUTLIER_OF_A_GUESS;
      if (taken > expected * outlier) {
        this.#lowInARow = 0;
        if (++this.#highInARow >= OUTLIERS_IN_A_ROW) this.#startOver(taken / expected);
        else {
          isAccident = true;
          taken = expected * outlier;
        }
      } else if (taken * outlier < expected) {
        this.#highInARow = 0;
        // No accident makes an execution faster. First runs are slow ones.
        if (++this.#lowInARow >= OUTLIERS_IN_A_ROW || !this.isKnown) this.#startOver(taken / expected);
      } else {
        this.#highInARow = 0;
        this.#lowInARow = 0;
      }
      if (isSizeKnown) this.#deviation += NEW_SHARE * (Math.min(1, Math.abs(taken / expected - 1)) - this.#deviation);
    }
    // Stalls make a mean that few executions take: what is learned lies nearer to the usual time.
    const learned = this.#counts[at]! >= KNOWN_AFTER ? Math.min(taken, this.predict(rows) * MOST_RISE) : taken;
    this.#count++;
    this.#addToSize(at, rows, learned);
    if (!isAccident) this.#fitLine(rows, learned);
    this.#isCurveOld = true;
    return taken;
  }

  /** Expected time of an execution of so many rows; 0 before the first. */
  predict(rows: number): number {
    if (this.#isCurveOld) this.#drawCurve();
    const { sizes } = this.#grid;
    const curve = this.#curve;
    const at = this.#grid.below(rows);
    const last = sizes.length - 1;
    if (at === last) return curve[last]! + (rows - sizes[last]!) * this.#rowNs;
    const size = sizes[at]!;
    if (rows <= size) return curve[at]!;
    return curve[at]! + ((rows - size) / (sizes[at + 1]! - size)) * (curve[at + 1]! - curve[at]!);
  }

  /** Most rows that are expected to run in `ns`, up to the largest batch; 0: not even one. */
  rowsWithin(ns: number): number {
    if (this.#isCurveOld) this.#drawCurve();
    const { sizes } = this.#grid;
    const curve = this.#curve;
    if (curve[0]! > ns) return 0;
    let low = 0;
    let high = sizes.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (curve[middle]! <= ns) low = middle;
      else high = middle;
    }
    if (high === sizes.length) return sizes[low]!;
    const share = (ns - curve[low]!) / (curve[high]! - curve[low]!);
    return Math.min(sizes[high]! - 1, Math.floor(sizes[low]! + share * (sizes[high]! - sizes[low]!)));
  }

  #addToSize(at: number, rows: number, taken: number): void {
    // Between two sizes of the grid: as if it had been of the nearest.
    const moved = Math.max(taken / 2, taken + (this.#grid.sizes[at]! - rows) * (this.#isLineKnown ? this.#rowNs : 0));
    const count = ++this.#counts[at]!;
    this.#means[at]! += Math.max(1 / count, NEW_SHARE) * (moved - this.#means[at]!);
    this.#stamps[at] = this.#sequence;
  }

  #fitLine(x: number, y: number): void {
    this.#weight = this.#weight * LINE_MEMORY + 1;
    this.#sumX = this.#sumX * LINE_MEMORY + x;
    this.#sumY = this.#sumY * LINE_MEMORY + y;
    this.#sumXX = this.#sumXX * LINE_MEMORY + x * x;
    this.#sumXY = this.#sumXY * LINE_MEMORY + x * y;
    const meanX = this.#sumX / this.#weight;
    const meanY = this.#sumY / this.#weight;
    const varianceX = this.#sumXX / this.#weight - meanX * meanX;
    if (varianceX > (0.05 * meanX) ** 2 + 0.01) {
      const rowNs = Math.max(0, (this.#sumXY / this.#weight - meanX * meanY) / varianceX);
      const fixedNs = meanY - rowNs * meanX;
      this.#isLineKnown = true;
      // Through zero, where the best line would start below it.
      this.#rowNs = fixedNs < 0 ? this.#sumXY / this.#sumXX : rowNs;
      this.#fixedNs = Math.max(0, fixedNs);
      return;
    }
    if (this.#isLineKnown) {
      // All of one size lately: that says how fast the machine is now, and nothing of A against B.
      const scale = meanY / (this.#fixedNs + this.#rowNs * meanX);
      this.#fixedNs *= scale;
      this.#rowNs *= scale;
    } else {
      this.#fixedNs = meanY;
    }
  }

  /** The machine is faster or slower than it was: only how A stands to B is kept. */
  #startOver(scale: number): void {
    this.#counts.fill(0);
    this.#means.fill(0);
    this.#count = 0;
    this.#fixedNs *= scale;
    this.#rowNs *= scale;
    this.#weight = 0;
    this.#sumX = 0;
    this.#sumY = 0;
    this.#sumXX = 0;
    this.#sumXY = 0;
    this.#highInARow = 0;
    this.#lowInARow = 0;
  }

  #drawCurve(): void {
    this.#isCurveOld = false;
    const { sizes } = this.#grid;
    const curve = this.#curve;
    let known = -1;
    for (let i = 0; i < sizes.length; i++) {
      if (this.#counts[i]! === 0) continue;
      curve[i] = this.#valueOf(i);
      if (known < 0) this.#drawBelow(i);
      else this.#drawBetween(known, i);
      known = i;
    }
    if (known < 0) for (let i = 0; i < sizes.length; i++) curve[i] = this.#fixedNs + this.#rowNs * sizes[i]!;
    else this.#drawAbove(known);
    let best = 0;
    for (let i = 0; i < sizes.length; i++) {
      if (i > 0 && curve[i]! < curve[i - 1]!) curve[i] = curve[i - 1]!;
      best = Math.max(best, curve[i]! > 0 ? sizes[i]! / curve[i]! : 0);
    }
    this.#bestRowsPerNs = best;
  }

  /** The average of a size, and the more of the line the longer ago the size ran. */
  #valueOf(i: number): number {
    const mean = this.#means[i]!;
    if (!this.#isLineKnown) return mean;
    const weight = (Math.min(this.#counts[i]!, 1 / NEW_SHARE) * STALE_AFTER) / (STALE_AFTER + this.#sequence - this.#stamps[i]!);
    return (mean * weight + this.#fixedNs + this.#rowNs * this.#grid.sizes[i]!) / (weight + 1);
  }

  #drawBelow(first: number): void {
    const { sizes } = this.#grid;
    const value = this.#curve[first]!;
    const line = this.#fixedNs + this.#rowNs * sizes[first]!;
    // As the line falls, from what was measured.
    for (let i = 0; i < first; i++) {
      this.#curve[i] = this.#isLineKnown ? (value * (this.#fixedNs + this.#rowNs * sizes[i]!)) / line : value;
    }
  }

  #drawBetween(from: number, to: number): void {
    const { sizes } = this.#grid;
    const step = (this.#curve[to]! - this.#curve[from]!) / (sizes[to]! - sizes[from]!);
    for (let i = from + 1; i < to; i++) this.#curve[i] = this.#curve[from]! + (sizes[i]! - sizes[from]!) * step;
  }

  /** Beyond the largest that ran: by the line, or in proportion where nothing says what a row costs. */
  #drawAbove(last: number): void {
    const { sizes } = this.#grid;
    const value = this.#curve[last]!;
    const step = this.#isLineKnown ? this.#rowNs : value / sizes[last]!;
    for (let i = last + 1; i < sizes.length; i++) this.#curve[i] = value + (sizes[i]! - sizes[last]!) * step;
  }
}
