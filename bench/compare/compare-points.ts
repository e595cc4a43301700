import type { BenchPoint, Estimate, LatencySummary, WindowSummary } from '../report/bench-report.ts';
import { dueOf, errorsOf } from '../report/describe-report.ts';
import { bootstrapRatio } from '../statistics/bootstrap.ts';

export interface Measure {
  readonly name: string;
  readonly unit: 'a second' | 'duration' | 'us';
  readonly isHigherBetter: boolean;
  /** What is said when the whole interval lies on the better or on the worse side. */
  readonly words: readonly [better: string, worse: string];
}

export type Verdict = 'better' | 'worse' | 'unclear';

export interface MeasureComparison {
  readonly measure: Measure;
  /** Of the runs as a whole; durations in microseconds. */
  readonly base: number;
  readonly other: number;
  /** other / base, with its 95 % interval. null: too few windows for one. */
  readonly ratio: Estimate | null;
  readonly verdict: Verdict;
}

export interface PointComparison {
  readonly base: BenchPoint;
  readonly other: BenchPoint;
  readonly measures: readonly MeasureComparison[];
  /** Shares of the requests that were not answered as they should have been. */
  readonly baseErrors: number;
  readonly otherErrors: number;
}

const FASTER = ['faster', 'slower'] as const;
const THROUGHPUT: Measure = { name: 'answers/s', unit: 'a second', isHigherBetter: true, words: FASTER };
const CPU: Measure = { name: 'CPU/answer', unit: 'us', isHigherBetter: false, words: ['cheaper', 'dearer'] };

/** The same load in two runs. Measures that either run lacks are left out. */
export function comparePoints(base: BenchPoint, other: BenchPoint, seed: number): PointComparison {
  const measures = [
    throughput(base, other, seed),
    quantile(base, other, '50', ({ p50 }) => p50, seed),
    quantile(base, other, '99', ({ p99 }) => p99, seed),
    ...textQuantiles(base, other),
    cpu(base, other, seed),
  ];
  return {
    base,
    other,
    measures: measures.flatMap((measure) => measure ?? []),
    baseErrors: errorShareOf(base),
    otherErrors: errorShareOf(other),
  };
}

function throughput(base: BenchPoint, other: BenchPoint, seed: number): MeasureComparison | null {
  if (base.throughput.value === 0) return null;
  // A run without an answer is not a ratio with an interval, and must not pass for one that cannot be told.
  if (other.throughput.value === 0) return compared(THROUGHPUT, base.throughput.value, 0, { value: 0, low: 0, high: 0 });
  const ratio = fromWindows(base, other, ({ perSecond }) => perSecond, seed);
  return compared(THROUGHPUT, base.throughput.value, other.throughput.value, ratio);
}

function quantile(
  base: BenchPoint,
  other: BenchPoint,
  percentile: string,
  of: (window: WindowSummary) => number,
  seed: number,
): MeasureComparison | null {
  const baseValue = base.latency?.quantiles[percentile]?.value;
  const otherValue = other.latency?.quantiles[percentile]?.value;
  if (baseValue === undefined || otherValue === undefined) return null;
  return compared(durationMeasure(`p${percentile}`), baseValue, otherValue, fromWindows(base, other, of, seed));
}

function cpu(base: BenchPoint, other: BenchPoint, seed: number): MeasureComparison | null {
  if (base.serverUse === null || other.serverUse === null) return null;
  const perAnswer = ({ serverCpu, perSecond }: WindowSummary): number =>
    serverCpu === null || perSecond === 0 ? Number.NaN : serverCpu / perSecond;
  const ratio = fromWindows(base, other, perAnswer, seed);
  return compared(CPU, base.serverUse.cpuUsPerRequest, other.serverUse.cpuUsPerRequest, ratio);
}

/** Windows do not tell of tokens, so these intervals are put together from the two runs' own. */
function textQuantiles(base: BenchPoint, other: BenchPoint): MeasureComparison[] {
  const timed: readonly [string, (point: BenchPoint) => LatencySummary | null | undefined][] = [
    ['TTFT', ({ text }) => text?.firstToken],
    ['ITL', ({ text }) => text?.betweenTokens],
  ];
  return timed.flatMap(([name, of]) =>
    ['50', '99'].flatMap((percentile) => {
      const baseQuantile = of(base)?.quantiles[percentile];
      const otherQuantile = of(other)?.quantiles[percentile];
      if (baseQuantile === undefined || otherQuantile === undefined) return [];
      const ratio = fromIntervals(baseQuantile, otherQuantile);
      return compared(durationMeasure(`${name} p${percentile}`), baseQuantile.value, otherQuantile.value, ratio) ?? [];
    }),
  );
}

function durationMeasure(name: string): Measure {
  return { name, unit: 'duration', isHigherBetter: false, words: FASTER };
}

function fromWindows(base: BenchPoint, other: BenchPoint, of: (window: WindowSummary) => number, seed: number): Estimate | null {
  return bootstrapRatio(base.windows.map(of).filter(Number.isFinite), other.windows.map(of).filter(Number.isFinite), { seed });
}

/** Of two independent estimates: their distances on the logarithm add as squares. */
function fromIntervals(base: Estimate, other: Estimate): Estimate | null {
  if (!(base.low > 0 && other.low > 0)) return null;
  const value = other.value / base.value;
  const up = Math.hypot(Math.log(other.high / other.value), Math.log(base.value / base.low));
  const down = Math.hypot(Math.log(other.value / other.low), Math.log(base.high / base.value));
  return { value, low: value * Math.exp(-down), high: value * Math.exp(up) };
}

/** The ratio is that of the runs' own figures, which are what is shown; the windows tell how far it may be off. */
function compared(measure: Measure, base: number, other: number, fromWindow: Estimate | null): MeasureComparison | null {
  if (!(base > 0)) return null;
  const value = other / base;
  const scale = fromWindow === null || fromWindow.value === 0 ? 1 : value / fromWindow.value;
  const ratio = fromWindow === null ? null : { value, low: fromWindow.low * scale, high: fromWindow.high * scale };
  return { measure, base, other, ratio, verdict: verdictOf(measure, ratio) };
}

function verdictOf({ isHigherBetter }: Measure, ratio: Estimate | null): Verdict {
  if (ratio === null || (ratio.low <= 1 && ratio.high >= 1)) return 'unclear';
  return ratio.low > 1 === isHigherBetter ? 'better' : 'worse';
}

function errorShareOf(point: BenchPoint): number {
  const due = dueOf(point);
  return due === 0 ? 0 : errorsOf(point) / due;
}
