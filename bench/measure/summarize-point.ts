import type { LoadProcess } from '../load/load-client.ts';
import type { Pace } from '../load/load-plan.ts';
import { type ErrorCount, type HistogramData, type LoadWindow, OUTCOMES, type Outcome } from '../load/load-window.ts';
import type { BenchPoint, Estimate, LatencySummary, ServerUse, TextSummary, WindowSummary } from '../report/bench-report.ts';
import { formatDuration } from '../report/quantity.ts';
import { estimateMean } from '../statistics/estimate.ts';
import { summarizeHistograms } from '../statistics/summarize-histogram.ts';
import { splitOf } from '../target/statistics.ts';
import type { StatisticsSample, UseSample } from '../target/target.ts';
import type { PointOptions } from './measure-rules.ts';
import { perSecond, quantileUs } from './when-to-stop.ts';

export interface MeasuredWindow {
  readonly window: LoadWindow;
  /** At its end. */
  use: UseSample | null;
}

export interface MeasuredPoint {
  readonly options: PointOptions;
  readonly load: Pick<LoadProcess, 'sockets'> & { readonly processes?: number };
  readonly windows: readonly MeasuredWindow[];
  /** Before them: thrown away, but for answers that were wrong. */
  readonly warmUp: readonly LoadWindow[];
  /** What ended after the last measured window; null: nobody waited for it. */
  readonly rest: LoadWindow | null;
  readonly warmUpMs: number;
  readonly isWarm: boolean;
  /** Whose interval is still wide; null: none. */
  readonly wide: string | null;
  readonly isCutShort: boolean;
  readonly useBefore: UseSample | null;
  readonly statisticsBefore: StatisticsSample | null;
  readonly statisticsAfter: StatisticsSample | null;
}

/** A generator that has no time to spare bounds what it measures. */
const SATURATED = 0.95;
const NEARLY_SATURATED = 0.85;
/** An open loop that sends later than this, at p99, has not kept its times; and later than a tenth of what it measures. */
const LATE_US = 1_000;
const MAX_ERRORS = 50;
/** Different messages of one status. */
const MAX_MESSAGES = 3;
/** As the load process names them. */
const TIMEOUT_STATUS = 'timeout';
const WRONG_STATUS = 'wrong answer';

export function summarizePoint(measured: MeasuredPoint): BenchPoint {
  const { options, load } = measured;
  const windows = measured.windows.map(({ window }) => window);
  const latency = summary(windows.map((window) => window.latency));
  const lag = summary(windows.map((window) => window.lag));
  const busy = mean(windows.map((window) => window.generator.busy));
  const lagUs = tailOf(lag);
  const isLate = lagUs > Math.max(LATE_US, tailOf(latency) / 10);
  const isSaturated = busy >= SATURATED || (isLate && busy >= NEARLY_SATURATED);
  const counted = sumOutcomes(windows);
  // Few answers are looked at, of a slow server perhaps the first one alone: that it was wrong counts, whenever it came.
  const wrongBefore = measured.warmUp.reduce((total, window) => total + window.outcomes.wrong, 0);
  const outcomes = { ...counted, wrong: counted.wrong + wrongBefore };
  return {
    name: nameOf(options.pace),
    load: loadOf(options.pace),
    warnings: warningsOf(measured, { busy, isSaturated, isLate, outcomes, lagUs, wrongBefore }),
    isSaturated,
    warmUpMs: measured.warmUpMs,
    measuredMs: windows.reduce((sum, window) => sum + window.toMs - window.fromMs, 0),
    throughput: estimate(windows.map(perSecond)),
    goodput: estimate(windows.map((window) => rate(window, window.good))),
    sent: sum(windows, 'sent'),
    outcomes,
    unsent: sum(windows, 'unsent'),
    validated: sum(windows, 'validated') + wrongBefore,
    errors: mergeErrors([...windows, ...measured.warmUp.map(wrongAlone)]),
    bytesSent: sum(windows, 'bytesSent'),
    bytesReceived: sum(windows, 'bytesReceived'),
    latency,
    refusal: summary(windows.map((window) => window.refusal)),
    lag,
    text: textOf(windows),
    split: splitBetween(measured, latency),
    serverUse: useOf(measured, outcomes.ok),
    generator: { busy, cpu: mean(windows.map((window) => window.generator.cpu)), sockets: load.sockets, processes: load.processes ?? 1 },
    windows: measured.windows.map((one, i) => windowSummary(one, i === 0 ? measured.useBefore : measured.windows[i - 1]!.use)),
  };
}

/** The 99th percentile, or of few samples the highest there is; 0 of none. */
function tailOf(latency: LatencySummary | null): number {
  const { quantiles = {} } = latency ?? {};
  return (quantiles['99'] ?? quantiles['95'] ?? quantiles['90'] ?? quantiles['50'])?.value ?? 0;
}

function nameOf(pace: Pace): string {
  if (pace.kind === 'closed') return `concurrency ${pace.concurrency}`;
  return `rate ${pace.perSecond}/s${pace.schedule === 'poisson' ? ' Poisson' : ''}`;
}

function loadOf(pace: Pace): BenchPoint['load'] {
  return pace.kind === 'closed'
    ? { kind: 'concurrency', value: pace.concurrency, schedule: null }
    : { kind: 'rate', value: pace.perSecond, schedule: pace.schedule };
}

interface Findings {
  readonly busy: number;
  readonly isSaturated: boolean;
  readonly isLate: boolean;
  readonly outcomes: Readonly<Record<Outcome, number>>;
  readonly lagUs: number;
  readonly wrongBefore: number;
}

function warningsOf({ options, windows, rest, ...state }: MeasuredPoint, found: Findings): string[] {
  const { rules } = options;
  const warnings: string[] = [];
  const percent = Math.round(found.busy * 100);
  if (windows.length === 0) warnings.push('nothing was measured: it ended before it was warm');
  if (found.isSaturated) {
    warnings.push(
      `the generator was busy ${percent} % of the time: it bounds the figures, not the server; give it --processes or a machine of its own`,
    );
  } else if (found.busy >= NEARLY_SATURATED) warnings.push(`the generator was busy ${percent} % of the time: it may bound the figures`);
  if (found.isLate) {
    warnings.push(
      `requests were sent up to ${formatDuration(found.lagUs)} late (p99): the generator, or too few connections, did not keep the rate`,
    );
  }
  if (!state.isWarm && windows.length > 0)
    warnings.push(`not stable after ${Math.round(state.warmUpMs / 1000)} s of warm-up; --warm-up-max gives it longer`);
  if (state.isCutShort) warnings.push('cut short');
  else if (state.wide !== null && windows.length > 0) {
    const after = `after ${Math.round(rules.maxMs / 1000)} s`;
    const what =
      state.wide === 'windows' ? 'there were fewer windows than asked for' : `${state.wide} was not known to ±${rules.precision * 100} %`;
    warnings.push(`${after} ${what}; --time-max gives it longer`);
  }
  if (found.wrongBefore > 0) warnings.push(`${found.wrongBefore} of the wrong answers came during the warm-up`);
  if (rest !== null && !state.isCutShort) warnings.push(...endingOf(rest, found.outcomes));
  if (found.outcomes.ok === 0 && windows.length > 0) warnings.push('no request succeeded');
  return warnings;
}

/** What the last window does not show: requests that have no answer, and a server that fails only at the end. */
function endingOf({ outcomes, errors }: LoadWindow, measured: Readonly<Record<Outcome, number>>): string[] {
  const lines: string[] = [];
  const late = errors.find(({ status }) => status === TIMEOUT_STATUS);
  if (late !== undefined) lines.push(`${late.count} of the requests in flight at the end had ${late.message}`);
  const first = errors.find(({ status }) => status !== TIMEOUT_STATUS);
  if (outcomes.failed > 0 && measured.failed === 0 && first !== undefined) {
    lines.push(`${outcomes.failed} requests failed after the last window: ${first.status}: ${first.message}`);
  }
  return lines;
}

/** The errors of a window's wrong answers. */
function wrongAlone({ errors }: LoadWindow): Pick<LoadWindow, 'errors'> {
  return { errors: errors.filter(({ status }) => status === WRONG_STATUS) };
}

function textOf(windows: readonly LoadWindow[]): TextSummary | null {
  const tokens = sum(windows, 'parts');
  if (tokens === 0) return null;
  return {
    firstToken: summary(windows.map((window) => window.firstPart)),
    betweenTokens: summary(windows.map((window) => window.betweenParts)),
    tokensPerSecond: estimate(windows.map((window) => rate(window, window.parts))),
    tokens,
  };
}

function splitBetween({ statisticsBefore, statisticsAfter }: MeasuredPoint, latency: LatencySummary | null): BenchPoint['split'] {
  if (statisticsBefore === null || statisticsAfter === null || latency === null) return null;
  return splitOf(statisticsBefore, statisticsAfter, latency.mean);
}

function useOf({ useBefore, windows }: MeasuredPoint, answered: number): ServerUse | null {
  const samples = [useBefore, ...windows.map(({ use }) => use)].filter((use) => use !== null);
  const last = windows.at(-1)?.use ?? null;
  if (useBefore === null || last === null) return null;
  const seconds = windows.reduce((total, { window }) => total + window.toMs - window.fromMs, 0) / 1000;
  const cpuSeconds = last.cpuSeconds - useBefore.cpuSeconds;
  // A server that was started again counts from zero.
  if (samples.some((use, i) => i > 0 && use.cpuSeconds < samples[i - 1]!.cpuSeconds)) return null;
  const cpuUsPerRequest = answered === 0 ? 0 : (cpuSeconds * 1e6) / answered;
  return { cpu: cpuSeconds / seconds, cpuUsPerRequest, memoryMiB: last.memoryMiB, source: last.source };
}

function windowSummary({ window, use }: MeasuredWindow, before: UseSample | null): WindowSummary {
  const seconds = (window.toMs - window.fromMs) / 1000;
  return {
    fromMs: window.fromMs,
    toMs: window.toMs,
    perSecond: perSecond(window),
    p50: quantileUs(window.latency, 50),
    p99: quantileUs(window.latency, 99),
    errors: OUTCOMES.reduce((count, outcome) => count + (outcome === 'ok' ? 0 : window.outcomes[outcome]), 0),
    serverCpu:
      use === null || before === null || use.cpuSeconds < before.cpuSeconds ? null : (use.cpuSeconds - before.cpuSeconds) / seconds,
    serverMemoryMiB: use?.memoryMiB ?? null,
  };
}

function summary(parts: readonly HistogramData[]): LatencySummary | null {
  return parts.some((part) => part.counts.length > 0) ? summarizeHistograms(parts) : null;
}

function rate(window: LoadWindow, count: number): number {
  return (count * 1000) / Math.max(1, window.toMs - window.fromMs);
}

function estimate(values: readonly number[]): Estimate {
  return values.length === 0 ? { value: 0, low: 0, high: 0 } : estimateMean(values);
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((total, value) => total + value, 0) / values.length;
}

type CountField = 'sent' | 'unsent' | 'validated' | 'bytesSent' | 'bytesReceived' | 'parts';

function sum(windows: readonly LoadWindow[], field: CountField): number {
  return windows.reduce((total, window) => total + window[field], 0);
}

function sumOutcomes(windows: readonly LoadWindow[]): Record<Outcome, number> {
  const total: Record<Outcome, number> = { ok: 0, refused: 0, expired: 0, failed: 0, wrong: 0 };
  for (const window of windows) for (const outcome of OUTCOMES) total[outcome] += window.outcomes[outcome];
  return total;
}

/** Of all windows, the most frequent first. A window has one message of each status; those that are all different, a request's number in each, do not become as many kinds. */
export function mergeErrors(windows: readonly Pick<LoadWindow, 'errors'>[]): ErrorCount[] {
  const byKind = new Map<string, ErrorCount>();
  const kindsOf = new Map<string, string[]>();
  for (const { errors } of windows) {
    for (const error of errors) {
      const kinds = kindsOf.get(error.status) ?? [];
      kindsOf.set(error.status, kinds);
      const own = `${error.status}\n${error.message}`;
      const kind = byKind.has(own) || kinds.length < MAX_MESSAGES ? own : kinds[0]!;
      const known = byKind.get(kind);
      if (known === undefined) kinds.push(kind);
      byKind.set(kind, known === undefined ? error : { ...known, count: known.count + error.count });
    }
  }
  return [...byKind.values()].sort((a, b) => b.count - a.count).slice(0, MAX_ERRORS);
}
