import type { Estimate } from '../report/bench-report.ts';
import { NORMAL_95, studentT95 } from './student-t.ts';

/**
 * The mean of what a few windows measured, with Student's 95 % interval. It takes the windows as independent draws: a drift over the whole run is not in it.
 * Of a single value nothing is known but the value: low and high are it as well, and whoever shows it says that there is no interval.
 */
export function estimateMean(values: readonly number[]): Estimate {
  const value = meanOf(values);
  if (values.length === 1) return { value, low: value, high: value };
  const reach = studentT95(values.length - 1) * Math.sqrt(varianceOf(values) / values.length);
  return { value, low: value - reach, high: value + reach };
}

/**
 * The median, between the two order statistics that hold the true one with 95 % or more, whatever the distribution (binomial, p = 1/2). Below six values there are no such two: it
 * is the smallest and the largest then, which hold it with 1 - 2^(1 - n): 94 % for five, 75 % for three.
 */
export function estimateMedian(values: readonly number[]): Estimate {
  const sorted = Float64Array.from(values).sort();
  const value = medianOf(sorted);
  const rank = lowRankOf(sorted.length);
  return { value, low: sorted[rank]!, high: sorted[sorted.length - 1 - rank]! };
}

/** The highest rank, from 0, whose order statistic lies above the true median with at most 2.5 %; 0 where there is none. */
function lowRankOf(n: number): number {
  // Far from the ends the binomial is normal to within one rank, and 0.5^n would be 0.
  if (n > 200) return Math.floor((n - NORMAL_95 * Math.sqrt(n)) / 2) - 1;
  let term = 0.5 ** n;
  let above = term;
  let rank = 0;
  while (2 * rank + 2 < n) {
    term = (term * (n - rank)) / (rank + 1);
    if (above + term > 0.025) break;
    above += term;
    rank++;
  }
  return rank;
}

/** Throws a RangeError of no values. */
export function meanOf(values: readonly number[] | Float64Array): number {
  if (values.length === 0) throw new RangeError('mean: expected at least one value, got none');
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

/** Of a sample: divided by n - 1; 0 of a single value. */
export function varianceOf(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const mean = meanOf(values);
  let sum = 0;
  for (const value of values) sum += (value - mean) ** 2;
  return sum / (values.length - 1);
}

/** `sorted`: ascending. Throws a RangeError of no values. */
export function medianOf(sorted: Float64Array): number {
  if (sorted.length === 0) throw new RangeError('median: expected at least one value, got none');
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
