import { LatencyHistogram } from '../load/latency-histogram.ts';
import type { HistogramData, LoadWindow } from '../load/load-window.ts';
import { estimateMean } from '../statistics/estimate.ts';
import { isStable } from '../statistics/stability.ts';
import type { MeasureRules } from './measure-rules.ts';

export function perSecond(window: LoadWindow): number {
  return (window.outcomes.ok * 1000) / Math.max(1, window.toMs - window.fromMs);
}

/** Microseconds; NaN of an empty histogram. */
export function quantileUs(data: HistogramData, percentile: number): number {
  if (data.counts.length === 0) return Number.NaN;
  const histogram = new LatencyHistogram();
  histogram.add(data);
  return histogram.valueAt(percentile / 100);
}

/** Whether throughput and median latency have stopped moving. A server that answers nothing is as warm as it gets when its windows are all alike. */
export function isWarm(windows: readonly LoadWindow[], { stableWindows, stableWithin }: MeasureRules): boolean {
  if (windows.length < stableWindows) return false;
  const last = windows.slice(-stableWindows);
  if (last.every((window) => window.outcomes.ok === 0)) return true;
  const medians = last.map((window) => quantileUs(window.latency, 50));
  return isStable(last.map(perSecond), stableWindows, stableWithin) && isStable(medians, stableWindows, stableWithin);
}

/** What is not known well enough yet: 'windows', 'throughput', 'p99' or whatever quantile is watched; null: all is. */
export function whatIsWide(windows: readonly LoadWindow[], { minWindows, precision, quantile }: MeasureRules): string | null {
  if (windows.length < minWindows) return 'windows';
  if (windows.every((window) => window.outcomes.ok === 0)) return null;
  if (!isNarrow(windows.map(perSecond), precision)) return 'throughput';
  const watched = windows.map((window) => quantileUs(window.latency, Number(quantile)));
  return isNarrow(watched, precision) ? null : `p${quantile}`;
}

function isNarrow(values: readonly number[], precision: number): boolean {
  const known = values.filter((value) => !Number.isNaN(value));
  if (known.length < 2) return false;
  const { value, low, high } = estimateMean(known);
  return (high - low) / 2 <= precision * value;
}
