import type { HistogramData } from './load-window.ts';

/** Below this every microsecond has a bucket of its own. */
const EXACT_BELOW_US = 2048;
/** log2 of the buckets to each power of two above it. */
const STEP_BITS = 10;
/** log2 of EXACT_BELOW_US. */
const EXACT_BITS = 11;
/** Some 71 minutes; what is longer counts as this. */
const MAX_US = 0xffff_ffff;
const BUCKETS = EXACT_BELOW_US + (32 - EXACT_BITS) * 2 ** STEP_BITS;

/**
 * Latencies in microseconds, in the buckets of `HistogramData`: exact to the microsecond below 2,048 us, then to 0.05 % (the middle of a bucket stands for it). Values are rounded to whole microseconds first, so the
 * merge of two histograms is, to the last digit, the histogram of all their values.
 */
export class LatencyHistogram {
  readonly #counts: Float64Array = new Float64Array(BUCKETS);
  #count = 0;
  #sumUs = 0;
  #minUs = MAX_US;
  #maxUs = 0;
  /** Buckets in use lie in [#first, #last]. */
  #first = BUCKETS;
  #last = -1;

  get count(): number {
    return this.#count;
  }

  /** Microseconds, fractions allowed. Negative values, which clocks of two processes can make, count as 0. */
  record(us: number): void {
    const value = us > 0 ? Math.min(MAX_US, Math.round(us)) : 0;
    const bucket = bucketOf(value);
    this.#counts[bucket]! += 1;
    this.#count++;
    this.#sumUs += value;
    if (value < this.#minUs) this.#minUs = value;
    if (value > this.#maxUs) this.#maxUs = value;
    if (bucket < this.#first) this.#first = bucket;
    if (bucket > this.#last) this.#last = bucket;
  }

  reset(): void {
    if (this.#last >= 0) this.#counts.fill(0, this.#first, this.#last + 1);
    this.#count = 0;
    this.#sumUs = 0;
    this.#minUs = MAX_US;
    this.#maxUs = 0;
    this.#first = BUCKETS;
    this.#last = -1;
  }

  /** A copy, sparse. */
  data(): HistogramData {
    let used = 0;
    for (let i = this.#first; i <= this.#last; i++) if (this.#counts[i]! > 0) used++;
    const buckets = new Uint32Array(used);
    const counts = new Uint32Array(used);
    let at = 0;
    for (let i = this.#first; i <= this.#last; i++) {
      const count = this.#counts[i]!;
      if (count === 0) continue;
      buckets[at] = i;
      counts[at++] = count;
    }
    return { buckets, counts, sumUs: this.#sumUs, minUs: this.#count === 0 ? 0 : this.#minUs, maxUs: this.#maxUs };
  }

  /** Merges. Throws a RangeError on a bucket that no histogram has. */
  add(data: HistogramData): void {
    if (data.buckets.length === 0) return;
    for (let i = 0; i < data.buckets.length; i++) {
      const bucket = data.buckets[i]!;
      if (bucket >= BUCKETS) throw new RangeError(`a histogram has buckets 0 to ${BUCKETS - 1}, not ${bucket}`);
      const count = data.counts[i]!;
      this.#counts[bucket]! += count;
      this.#count += count;
      if (bucket < this.#first) this.#first = bucket;
      if (bucket > this.#last) this.#last = bucket;
    }
    this.#sumUs += data.sumUs;
    this.#minUs = Math.min(this.#minUs, data.minUs);
    this.#maxUs = Math.max(this.#maxUs, data.maxUs);
  }

  /** The value that `quantile` (0 to 1) of all values do not exceed, by nearest rank, microseconds; NaN of nothing. */
  valueAt(quantile: number): number {
    if (this.#count === 0) return Number.NaN;
    // 0.07 * 100 is 7.000000000000001: the rank must be 7 all the same.
    const rank = Math.max(1, Math.ceil(quantile * this.#count - 1e-9));
    if (rank >= this.#count) return this.#maxUs;
    let seen = 0;
    for (let i = this.#first; i <= this.#last; i++) {
      seen += this.#counts[i]!;
      if (seen >= rank) return Math.min(this.#maxUs, Math.max(this.#minUs, middleOf(i)));
    }
    return this.#maxUs;
  }

  /** Microseconds; NaN of nothing. */
  mean(): number {
    return this.#sumUs / this.#count;
  }
}

function bucketOf(value: number): number {
  if (value < EXACT_BELOW_US) return value;
  const shift = 31 - Math.clz32(value) - STEP_BITS;
  return (shift << STEP_BITS) + (value >>> shift);
}

function middleOf(bucket: number): number {
  if (bucket < EXACT_BELOW_US) return bucket;
  const shift = (bucket >>> STEP_BITS) - 1;
  const width = 2 ** shift;
  return ((bucket & (2 ** STEP_BITS - 1)) + 2 ** STEP_BITS) * width + (width - 1) / 2;
}
