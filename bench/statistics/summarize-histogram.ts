import type { HistogramData } from '../load/load-window.ts';
import type { Estimate, LatencySummary } from '../report/bench-report.ts';
import { estimateQuantile, LEAST_BEYOND, samplesBeyond } from './estimate-quantile.ts';
import { encodeHdr } from './hdr-encoding.ts';
import { MergedHistogram } from './merged-histogram.ts';

export const SUMMARY_PERCENTILES = ['50', '90', '95', '99', '99.9', '99.99'] as const;
/** Points of the percentile curve to each factor of ten of 1 / (1 - p). */
const CURVE_STEPS = 20;
const MAX_CURVE_POINTS = 200;

/**
 * What the windows' latencies were, together; durations in microseconds. A quantile with fewer than ten samples beyond it is the luck of the few, and is left out; but the median is
 * told of any samples. Throws a RangeError when there are none.
 */
export function summarizeHistograms(windows: readonly HistogramData[]): LatencySummary {
  const all = new MergedHistogram(windows);
  if (all.count === 0) throw new RangeError('latency summary: expected at least one sample, got none');
  const quantiles: Record<string, Estimate> = {};
  for (const name of SUMMARY_PERCENTILES) {
    const percentile = Number(name);
    if (name !== '50' && samplesBeyond(all.count, percentile) < LEAST_BEYOND) continue;
    quantiles[name] = estimateQuantile(all, windows, percentile);
  }
  return {
    count: all.count,
    mean: all.sumUs / all.count,
    min: all.minUs,
    max: all.maxUs,
    quantiles,
    curve: percentileCurve(all),
    hdr: encodeHdr(all),
  };
}

/** From the smallest to the largest sample, evenly over the logarithm of 1 / (1 - p): as many points between 99 % and 99.9 % as between 90 % and 99 %. */
function percentileCurve(all: MergedHistogram): [percentile: number, us: number][] {
  const curve: [number, number][] = [[0, all.minUs]];
  for (let step = 1; curve.length < MAX_CURVE_POINTS - 1; step++) {
    const beyond = 10 ** (-step / CURVE_STEPS);
    if (beyond * all.count < 1) break;
    const percentile = 100 * (1 - beyond);
    curve.push([Number(percentile.toPrecision(10)), all.quantile(percentile)]);
  }
  curve.push([100, all.maxUs]);
  return curve;
}
