import { expect, it } from 'vitest';
import { estimateQuantile } from './estimate-quantile.ts';
import { MergedHistogram } from './merged-histogram.ts';
import { histogramOf, SimulatedSamples, shareOf } from './simulated-samples.case.ts';

const NORMAL_QUANTILES: Readonly<Record<number, number>> = { 50: 0, 90: 1.2816, 99: 2.3263 };

it.each([
  [50, 6, 200],
  [90, 6, 200],
  // 25 windows with two samples each beyond it: five blocks.
  [99, 25, 200],
  // Too few for blocks: the order statistics.
  [99, 5, 300],
])('holds the true p%d 95 times in 100, of %d windows of %d samples', (percentile, count, size) => {
  const samples = new SimulatedSamples(percentile * count);
  const truth = 100_000 * Math.exp(0.4 * NORMAL_QUANTILES[percentile]!);
  const coverage = shareOf(600, () => {
    const windows = Array.from({ length: count }, () => histogramOf(samples.logNormal(100_000, 0.4, size)));
    const { low, high } = estimateQuantile(new MergedHistogram(windows), windows, percentile);
    return low <= truth && truth <= high;
  });
  expect(coverage).toBeGreaterThan(0.91);
  expect(coverage).toBeLessThan(0.985);
});
