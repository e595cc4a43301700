import type { BenchPoint, Estimate, LatencySummary } from '../report/bench-report.ts';
import { estimateMean } from '../statistics/estimate.ts';
import type { Knobs } from './knobs.ts';

/** brief: enough to see where it leads. final: enough to decide by. */
export type Effort = 'brief' | 'final';

/** Loads a configuration and measures it under a load. */
export interface Trial {
  /** `level`: requests in flight, or requests a second. A configuration that cannot be loaded is an outcome; what rejects ends the search. */
  measure(knobs: Knobs, level: number, effort: Effort): Promise<TrialOutcome>;
}

export type TrialOutcome = { readonly point: TrialPoint; readonly failure: null } | { readonly point: null; readonly failure: string };

/** What counts of a measured point. Microseconds. */
export interface TrialPoint {
  readonly throughput: Estimate;
  /** The percentile of the goal. */
  readonly latencyUs: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Of all that ended, those that were not right answers, 0 to 1. */
  readonly errorShare: number;
  /** The first kind of them; ''. */
  readonly firstError: string;
  /** Due and not sent, in an open loop. */
  readonly unsent: number;
  /** null: not known. */
  readonly cpuUsPerRequest: number | null;
  readonly memoryMiB: number | null;
  /** Requests in one execution, mean; null: not known. */
  readonly batchSize: number | null;
  readonly isSaturated: boolean;
}

/** `percentile`: '50', '90', '95', '99' or '99.9'. */
export function trialPoint(point: BenchPoint, percentile: string): TrialPoint {
  const quantile = (name: string): number => quantileOf(point.latency, name);
  const { ok, ...others } = point.outcomes;
  const failed = Object.values(others).reduce((sum, count) => sum + count, 0);
  const error = point.errors[0];
  return {
    throughput: point.throughput,
    latencyUs: quantile(percentile),
    p50Us: quantile('50'),
    p99Us: quantile('99'),
    // Nothing answered at all is as bad as it gets.
    errorShare: ok === 0 ? 1 : failed / (ok + failed),
    firstError: error === undefined ? '' : `${error.status}: ${error.message}`,
    unsent: point.unsent,
    cpuUsPerRequest: point.serverUse?.cpuUsPerRequest ?? null,
    memoryMiB: point.serverUse?.memoryMiB ?? null,
    batchSize: point.split?.batchSize ?? null,
    isSaturated: point.isSaturated,
  };
}

/** Several measurements of one configuration under one load as one, of means; at least one. */
export function meanPoint(points: readonly TrialPoint[]): TrialPoint {
  const mean = (of: (point: TrialPoint) => number): number => points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const meanOrNull = (of: (point: TrialPoint) => number | null): number | null =>
    points.some((point) => of(point) === null) ? null : mean((point) => of(point)!);
  return {
    throughput: points.length === 1 ? points[0]!.throughput : estimateMean(points.map((point) => point.throughput.value)),
    latencyUs: mean((point) => point.latencyUs),
    p50Us: mean((point) => point.p50Us),
    p99Us: mean((point) => point.p99Us),
    errorShare: mean((point) => point.errorShare),
    firstError: points.find((point) => point.firstError !== '')?.firstError ?? '',
    unsent: points.reduce((sum, point) => sum + point.unsent, 0),
    cpuUsPerRequest: meanOrNull((point) => point.cpuUsPerRequest),
    memoryMiB: meanOrNull((point) => point.memoryMiB),
    batchSize: meanOrNull((point) => point.batchSize),
    isSaturated: points.some((point) => point.isSaturated),
  };
}

/** Where a summary leaves a quantile out, since few samples lie beyond it, the nearest sample above it: rather too slow than too quick. */
function quantileOf(latency: LatencySummary | null, name: string): number {
  if (latency === null) return Number.POSITIVE_INFINITY;
  return latency.quantiles[name]?.value ?? latency.curve.find(([percentile]) => percentile >= Number(name))?.[1] ?? latency.max;
}
