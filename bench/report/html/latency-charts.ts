import type { BenchPoint, LatencySummary } from '../bench-report.ts';
import { type DurationUnit, durationUnitOf, formatDuration, formatNumber } from '../quantity.ts';
import { between, fittingAxis, linearAxis } from './axis.ts';
import { formatTick } from './format-tick.ts';
import { type Html, NOTHING } from './html-text.ts';
import { type ChartAxis, type ChartPoint, type ChartSeries, svgChart } from './svg-chart.ts';

/** Colours that there are; more series than that cannot be told apart. */
export const COLOURS = 8;

/** The points of one run, for curves of several runs in one drawing. `name` is '' where there is one run. */
export interface RunPoints {
  readonly name: string;
  readonly points: readonly BenchPoint[];
}

const WATCHED = [
  { percentile: '50', isDashed: true },
  { percentile: '99', isDashed: false },
] as const;

/** Latency over throughput, a point for each load: what more load costs. NOTHING where no run has two points to join. */
export function latencyThroughputChart(runs: readonly RunPoints[]): Html {
  const series = runs
    .flatMap(({ name, points }, i): ChartSeries[] =>
      WATCHED.map(({ percentile, isDashed }, j) => ({
        name: `${name}${name === '' ? '' : ', '}p${percentile}`,
        // One run has a colour for each percentile, several have one for each run.
        colour: runs.length === 1 ? j : i % COLOURS,
        isDashed: runs.length > 1 && isDashed,
        points: inOrderOfLoad(points).flatMap((point) => curvePoint(name, point, percentile)),
      })),
    )
    .filter(({ points }) => points.length > 0);
  if (!series.some(({ points }) => points.length > 1)) return NOTHING;
  const latencies = series.flatMap(({ points }) => points.flatMap(({ y, high }) => [y, high ?? y]));
  return svgChart({
    title: 'Latency over throughput',
    description: 'Each point is a load; up is slower, right is more answers a second.',
    x: { axis: linearAxis(series.flatMap(({ points }) => points.map(({ x }) => x))), title: 'answers a second', format: formatTick },
    y: durationAxis(latencies),
    series,
  });
}

/**
 * Latency over percentile, the percentiles spread so that the tail has room: as much for 99 to 99.9 % as for 90 to 99 %. Of at most eight entries each has the colour of its place,
 * whichever of them have no summary.
 */
export function percentileChart(
  title: string,
  entries: readonly { readonly name: string; readonly summary: LatencySummary | null }[],
): Html {
  const known = entries.flatMap(({ name, summary }, i) => (summary === null ? [] : [{ name, summary, place: i }]));
  if (known.length === 0) return NOTHING;
  const shown = evenly(known, COLOURS);
  const series = shown.map(
    ({ name, summary, place }, i): ChartSeries => ({
      name,
      colour: entries.length <= COLOURS ? place : i,
      points: summary.curve.map(([percentile, us]) => ({
        x: rarity(percentile, summary.count),
        y: us,
        label: `${name}\n${percentile === 100 ? 'slowest of all' : `p${trimmed(percentile)}`}: ${formatDuration(us)}`,
      })),
    }),
  );
  const rarest = Math.max(10, ...series.flatMap(({ points }) => points.map(({ x }) => x)));
  const ticks = [1, 2, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9].filter((tick) => tick <= rarest);
  const left = known.length > shown.length ? ` ${shown.length} of ${known.length} loads are shown.` : '';
  return svgChart({
    title: `${title}${left === '' ? '' : ` (${shown.length} of ${known.length} loads)`}`,
    description: `The latency that a share of the requests stayed below; to the right are the few slowest.${left}`,
    x: { axis: between('log', 1, rarest, ticks), title: 'percentile', format: (tick) => trimmed(100 - 100 / tick) },
    y: durationAxis(series.flatMap(({ points }) => points.map(({ y }) => y))),
    series,
  });
}

/** In the unit that fits the values; it is the title. */
export function durationAxis(values: readonly number[]): ChartAxis {
  const axis = fittingAxis(values);
  const unit: DurationUnit = durationUnitOf(values);
  return { axis, title: unit.name, format: (us) => formatTick(us / unit.us) };
}

function curvePoint(name: string, point: BenchPoint, percentile: string): ChartPoint[] {
  const quantile = point.latency?.quantiles[percentile];
  if (quantile === undefined) return [];
  const { value, low, high } = quantile;
  const interval = low === high ? '' : ` (${formatDuration(low)} to ${formatDuration(high)})`;
  const label = `${name}${name === '' ? '' : ', '}${point.name}\n${formatNumber(point.throughput.value)}/s\np${percentile} ${formatDuration(value)}${interval}`;
  return [{ x: point.throughput.value, y: value, low, high, label }];
}

function inOrderOfLoad(points: readonly BenchPoint[]): BenchPoint[] {
  return points.toSorted((a, b) => a.load.value - b.load.value);
}

/** One in so many is slower. The slowest of all is one in `count`. */
function rarity(percentile: number, count: number): number {
  return percentile >= 100 ? Math.max(1, count) : 100 / (100 - percentile);
}

/** The first, the last, and as many between. */
export function evenly<T>(items: readonly T[], most: number): readonly T[] {
  if (items.length <= most) return items;
  return Array.from({ length: most }, (_, i) => items[Math.round((i * (items.length - 1)) / (most - 1))]!);
}

function trimmed(percentile: number): string {
  return String(Number(percentile.toFixed(7)));
}
