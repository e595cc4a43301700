import type { HistogramData } from '../load/load-window.ts';

/**
 * Latencies of several windows, put together, to be read and not added to: sparse, where the load's own LatencyHistogram has room for all buckets. Values are microseconds; a bucket
 * stands for its middle, so a value is known to 0.05 %.
 */
export class MergedHistogram {
  readonly count: number;
  readonly sumUs: number;
  /** Infinity of an empty one. */
  readonly minUs: number;
  readonly maxUs: number;
  /** Of the buckets that hold any, ascending. */
  readonly values: Float64Array;
  /** How many lie in that bucket or below. */
  readonly cumulative: Float64Array;

  constructor(parts: readonly HistogramData[]) {
    const counts = new Map<number, number>();
    let sumUs = 0;
    let minUs = Number.POSITIVE_INFINITY;
    let maxUs = 0;
    for (const { buckets, counts: partCounts, ...part } of parts) {
      if (partCounts.length === 0) continue;
      for (let i = 0; i < buckets.length; i++) counts.set(buckets[i]!, (counts.get(buckets[i]!) ?? 0) + partCounts[i]!);
      sumUs += part.sumUs;
      minUs = Math.min(minUs, part.minUs);
      maxUs = Math.max(maxUs, part.maxUs);
    }
    const buckets = Uint32Array.from(counts.keys()).sort();
    this.values = Float64Array.from(buckets, bucketMiddle);
    this.cumulative = new Float64Array(buckets.length);
    let count = 0;
    for (const [i, bucket] of buckets.entries()) {
      count += counts.get(bucket)!;
      this.cumulative[i] = count;
    }
    this.count = count;
    this.sumUs = sumUs;
    this.minUs = minUs;
    this.maxUs = maxUs;
  }

  /** The smallest value that at least this share of all lies at or below; NaN of an empty one. */
  quantile(percentile: number): number {
    // 99.9 % of 1,000 is 999.0000000000001 in binary.
    return this.ofRank(Math.ceil((percentile / 100) * this.count - 1e-6));
  }

  /** The value of the sample with this rank, from 1; what lies outside is the first or the last. */
  ofRank(rank: number): number {
    if (this.count === 0) return Number.NaN;
    if (rank >= this.count) return this.maxUs;
    let low = 0;
    let high = this.cumulative.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.cumulative[middle]! >= rank) high = middle;
      else low = middle + 1;
    }
    return Math.min(Math.max(this.values[low]!, this.minUs), this.maxUs);
  }
}

/** The middle of what bucket `bucket` of a HistogramData holds, microseconds: one value each below 2,048, then 1,024 buckets to a power of two. */
function bucketMiddle(bucket: number): number {
  if (bucket < 2048) return bucket;
  const width = 2 ** (Math.floor(bucket / 1024) - 1);
  return ((bucket % 1024) + 1024) * width + (width - 1) / 2;
}
