import type { TrialPoint } from './trial.ts';

/** What is wanted of a configuration. */
export interface TuneGoal {
  readonly objective: 'throughput' | 'latency';
  /** '50', '90', '95', '99', '99.9'. */
  readonly percentile: string;
  /** Microseconds; Infinity: none. */
  readonly latencyLimitUs: number;
  /** Infinity: none. */
  readonly memoryLimitMiB: number;
  /** Requests a second that must be kept up with; null: a closed loop. */
  readonly ratePerSecond: number | null;
}

/** Of an open loop: less than this share of the rate answered, and the server does not keep up. */
const KEPT_UP = 0.98;
/** More wrong or missing answers than this, and a figure is not one of a server that works. */
const MAX_ERROR_SHARE = 0.01;

/** The larger the better: answers a second, or how often the latency fits into a second. */
export function worthOf(goal: TuneGoal, point: TrialPoint): number {
  return goal.objective === 'throughput' ? point.throughput.value : 1e6 / point.latencyUs;
}

/** Why a point cannot be chosen; '' when it can. */
export function objectionTo(goal: TuneGoal, point: TrialPoint): string {
  if (point.errorShare > MAX_ERROR_SHARE) {
    const what = point.firstError === '' ? '' : ` (${point.firstError})`;
    return `${Math.round(point.errorShare * 1000) / 10} % of the requests failed${what}`;
  }
  if (goal.ratePerSecond !== null && (point.unsent > 0 || point.throughput.value < goal.ratePerSecond * KEPT_UP)) {
    return `answers ${Math.round(point.throughput.value)} of ${goal.ratePerSecond} requests a second`;
  }
  if (point.latencyUs > goal.latencyLimitUs) return `p${goal.percentile} is ${milliseconds(point.latencyUs)} ms, over the limit`;
  if ((point.memoryMiB ?? 0) > goal.memoryLimitMiB) return `takes ${Math.round(point.memoryMiB!)} MiB, over the limit`;
  return '';
}

export function milliseconds(us: number): string {
  if (!Number.isFinite(us)) return '-';
  const ms = us / 1000;
  return ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2);
}

/** In words: 'the most answers a second with p99 of at most 12.0 ms'. */
export function describeGoal(goal: TuneGoal): string {
  const limits: string[] = [];
  if (Number.isFinite(goal.latencyLimitUs)) limits.push(`p${goal.percentile} of at most ${milliseconds(goal.latencyLimitUs)} ms`);
  if (Number.isFinite(goal.memoryLimitMiB)) limits.push(`at most ${goal.memoryLimitMiB} MiB`);
  const wish = goal.objective === 'throughput' ? 'the most answers a second' : `the lowest p${goal.percentile}`;
  const rate = goal.ratePerSecond === null ? '' : ` at ${goal.ratePerSecond} requests a second`;
  return `${wish}${rate}${limits.length > 0 ? ` with ${limits.join(' and ')}` : ''}`;
}
