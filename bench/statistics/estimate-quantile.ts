import type { HistogramData } from '../load/load-window.ts';
import type { Estimate } from '../report/bench-report.ts';
import { varianceOf } from './estimate.ts';
import { MergedHistogram } from './merged-histogram.ts';
import { NORMAL_95, studentT95 } from './student-t.ts';

/** A quantile is told from no fewer samples beyond it than these. */
export const LEAST_BEYOND = 10;
/** Fewer blocks of windows than this say nothing of how they differ. */
const LEAST_BLOCKS = 3;
/** More do not make the interval any better. */
const MAX_BLOCKS = 100;

/**
 * The quantile of all samples (`all`: those of `windows` together). Its 95 % interval comes from how the windows' own quantiles differ (Student's t), since samples of one window are
 * not independent: a pause hits all that are in flight. Where a window has fewer than ten samples beyond the quantile, windows in a row are put together until each block has them, as they are where there are more than a hundred;
 * where fewer than three such blocks are left, the interval is the order statistics' (binomial), which takes samples for independent.
 */
export function estimateQuantile(all: MergedHistogram, windows: readonly HistogramData[], percentile: number): Estimate {
  const value = all.quantile(percentile);
  const blockCount = Math.min(windows.length, MAX_BLOCKS, Math.floor(samplesBeyond(all.count, percentile) / LEAST_BEYOND));
  const quantiles = blockCount < LEAST_BLOCKS ? [] : blockQuantiles(windows, blockCount, percentile);
  if (quantiles.length < LEAST_BLOCKS) return { value, ...orderStatistics(all, percentile) };
  const reach = studentT95(quantiles.length - 1) * Math.sqrt(varianceOf(quantiles) / quantiles.length);
  return { value, low: Math.max(0, value - reach), high: value + reach };
}

/** How many of `count` samples lie above the quantile. */
export function samplesBeyond(count: number, percentile: number): number {
  // 1,000 * (100 - 99.9) / 100 is 0.9999999999999432 in binary.
  return Math.round(count * (100 - percentile) * 1e4) / 1e6;
}

function blockQuantiles(windows: readonly HistogramData[], blockCount: number, percentile: number): number[] {
  const quantiles: number[] = [];
  for (let i = 0; i < blockCount; i++) {
    const from = Math.floor((i * windows.length) / blockCount);
    const to = Math.floor(((i + 1) * windows.length) / blockCount);
    const block = new MergedHistogram(windows.slice(from, to));
    // Windows are not equally full: a slow one may hold fewer samples than its share.
    if (samplesBeyond(block.count, percentile) >= LEAST_BEYOND / 2) quantiles.push(block.quantile(percentile));
  }
  return quantiles;
}

function orderStatistics(all: MergedHistogram, percentile: number): Omit<Estimate, 'value'> {
  const share = percentile / 100;
  const reach = NORMAL_95 * Math.sqrt(all.count * share * (1 - share));
  return { low: all.ofRank(Math.floor(all.count * share - reach)), high: all.ofRank(Math.ceil(all.count * share + reach) + 1) };
}
