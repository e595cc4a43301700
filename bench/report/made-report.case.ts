import type { Pace } from '../load/load-plan.ts';
import type { ErrorCount, LoadWindow, Outcome } from '../load/load-window.ts';
import type { MeasureRules } from '../measure/measure-rules.ts';
import { type MeasuredWindow, summarizePoint } from '../measure/summarize-point.ts';
import { histogramOf, SimulatedSamples } from '../statistics/simulated-samples.case.ts';
import type { StatisticsSample } from '../target/target.ts';
import { type BenchPoint, type BenchReport, REPORT_FORMAT } from './bench-report.ts';

/** A point of load as a server could have given it; what a test does not name is ordinary. */
export interface MadePoint {
  readonly pace: Pace;
  readonly windows: number;
  readonly windowMs: number;
  /** ok answers a second, and how far windows lie apart, as a share. */
  readonly perSecond: number;
  readonly noise: number;
  readonly medianUs: number;
  /** Standard deviation of the logarithm of latencies. */
  readonly spread: number;
  /** Of all windows together. */
  readonly errors: readonly (ErrorCount & { readonly outcome: Exclude<Outcome, 'ok'> })[];
  readonly unsent: number;
  readonly busy: number;
  /** null: the server says nothing of itself. */
  readonly cpuUsPerRequest: number | null;
  readonly tellsSplit: boolean;
  /** Tokens of an answer; 0: it is no text. */
  readonly tokens: number;
  readonly isWarm: boolean;
  readonly seed: number;
}

const ORDINARY: MadePoint = {
  pace: { kind: 'closed', concurrency: 4 },
  windows: 8,
  windowMs: 500,
  perSecond: 4_000,
  noise: 0.02,
  medianUs: 900,
  spread: 0.3,
  errors: [],
  unsent: 0,
  busy: 0.4,
  cpuUsPerRequest: 120,
  tellsSplit: true,
  tokens: 0,
  isWarm: true,
  seed: 1,
};

const RULES: MeasureRules = {
  windowMs: 500,
  stableWindows: 3,
  stableWithin: 0.05,
  maxWarmUpMs: 10_000,
  minWindows: 5,
  precision: 0.05,
  quantile: '99',
  maxMs: 30_000,
};

/** Windows of simulated samples, put together by the code that does it for a real run. */
export function madePoint(given: Partial<MadePoint> = {}): BenchPoint {
  const made: MadePoint = { ...ORDINARY, ...given };
  const samples = new SimulatedSamples(made.seed);
  let cpuSeconds = 7;
  let answered = 0;
  const windows: MeasuredWindow[] = Array.from({ length: made.windows }, (_, i) => {
    const window = madeWindow(made, i, samples);
    answered += window.outcomes.ok;
    cpuSeconds += (window.outcomes.ok * (made.cpuUsPerRequest ?? 0) * (1 + made.noise * samples.normal())) / 1e6;
    return { window, use: made.cpuUsPerRequest === null ? null : { cpuSeconds, memoryMiB: 210 + i, source: 'process' } };
  });
  return summarizePoint({
    options: { pace: made.pace, rules: RULES, target: null, onProgress: () => {}, signal: null },
    load: { sockets: 'native', processes: 1 },
    windows,
    warmUp: [],
    rest: madeWindow({ ...made, perSecond: 0, errors: [], unsent: 0 }, made.windows, samples),
    warmUpMs: 1500,
    isWarm: made.isWarm,
    wide: null,
    isCutShort: false,
    useBefore: made.cpuUsPerRequest === null ? null : { cpuSeconds: 7, memoryMiB: 200, source: 'process' },
    statisticsBefore: made.tellsSplit ? statistics(100, made.medianUs) : null,
    statisticsAfter: made.tellsSplit ? statistics(100 + answered, made.medianUs) : null,
  });
}

export function madeReport(points: readonly BenchPoint[], given: Partial<BenchReport> = {}): BenchReport {
  return {
    format: REPORT_FORMAT,
    startedAt: '2026-03-01T10:00:00.000Z',
    command: ['nereid', 'bench', 'simple', '--concurrency', '1,4'],
    machine: { cpu: 'Example CPU', cores: 2, memoryMiB: 8192, system: 'Linux 6.1', node: 'v20.20.2', isShared: true },
    server: { url: 'http://127.0.0.1:8000', name: 'nereid', version: '0.1.0' },
    model: 'simple',
    modelVersion: '',
    protocol: 'http-binary',
    input: 'random, 16 requests of 1x16 INT32, 1x16 INT32 (128 bytes)',
    deadlineMs: 0,
    firstTokenMs: 0,
    perTokenMs: 0,
    points,
    ...given,
  };
}

function madeWindow(made: MadePoint, index: number, samples: SimulatedSamples): LoadWindow {
  const share = 1 / made.windows;
  const pace = 1 + made.noise * samples.normal();
  const ok = Math.round((made.perSecond * pace * made.windowMs) / 1000);
  const outcomes: Record<Outcome, number> = { ok, refused: 0, expired: 0, failed: 0, wrong: 0 };
  const errors = made.errors.map(({ outcome, status, message, count }) => {
    outcomes[outcome] += Math.round(count * share);
    return { status, message, count: Math.round(count * share) };
  });
  const latency = samples.logNormal(made.medianUs / pace, made.spread, ok);
  const isOpen = made.pace.kind === 'open';
  return {
    fromMs: 1500 + index * made.windowMs,
    toMs: 1500 + (index + 1) * made.windowMs,
    sent: ok,
    outcomes,
    good: Math.round(ok * 0.98),
    unsent: Math.round(made.unsent * share),
    validated: Math.round(ok / 100),
    bytesSent: ok * 300,
    bytesReceived: ok * 280,
    latency: histogramOf(latency),
    refusal: histogramOf(outcomes.refused > 0 ? samples.logNormal(200, 0.2, outcomes.refused) : []),
    lag: histogramOf(isOpen ? samples.logNormal(30, 0.5, ok) : []),
    firstPart: histogramOf(made.tokens > 0 ? samples.logNormal(made.medianUs / 5, made.spread, ok) : []),
    betweenParts: histogramOf(made.tokens > 0 ? samples.logNormal(made.medianUs / made.tokens, made.spread, ok * 4) : []),
    parts: ok * made.tokens,
    errors,
    generator: { busy: made.busy, cpu: made.busy * 0.9, involuntarySwitches: 3 },
  };
}

function statistics(requests: number, medianUs: number): StatisticsSample {
  const ns = requests * medianUs * 1000;
  return {
    requests,
    executions: Math.round(requests / 2),
    inferences: requests,
    successNs: ns * 0.8,
    queueNs: ns * 0.2,
    computeInputNs: ns * 0.05,
    computeInferNs: ns * 0.4,
    computeOutputNs: ns * 0.05,
  };
}
