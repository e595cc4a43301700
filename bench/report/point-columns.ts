import type { BenchPoint, Estimate, LatencySummary } from './bench-report.ts';
import { dueOf, errorsOf, formatPrecision } from './describe-report.ts';
import { durationUnitOf, formatCount, formatNumber, formatShare, NOT_KNOWN } from './quantity.ts';
import type { TextCell, TextColumn } from './text-table.ts';

export interface PointColumn extends TextColumn {
  cell(point: BenchPoint): TextCell;
}

export interface PointColumnOptions {
  readonly hasGoodput: boolean;
}

/** The columns that these points have something for. Durations of a kind share a unit, so that they can be compared at sight. */
export function pointColumns(points: readonly BenchPoint[], { hasGoodput }: PointColumnOptions): PointColumn[] {
  const isText = points.some(({ text }) => text !== null);
  const isStreamed = points.some(({ text }) => text !== null && text.firstToken !== null);
  return [
    { title: 'load', unit: '', align: 'left', cell: ({ name, isSaturated }) => ({ text: name, colour: isSaturated ? 'red' : null }) },
    estimateColumn('answers/s', ({ throughput }) => throughput),
    ...(hasGoodput ? [estimateColumn('goodput/s', ({ goodput }) => goodput)] : []),
    ...(isStreamed ? streamColumns(points) : quantileColumns('', points, ({ latency }) => latency, ['50', '90', '99', '99.9'])),
    ...(isText ? [estimateColumn('tokens/s', ({ text }) => text?.tokensPerSecond ?? null)] : []),
    errorColumn(points),
    ...useColumns(points),
    ...(isText ? [] : splitColumns(points)),
  ];
}

function streamColumns(points: readonly BenchPoint[]): PointColumn[] {
  return [
    ...quantileColumns('TTFT ', points, ({ text }) => text?.firstToken ?? null, ['50', '99']),
    ...quantileColumns('ITL ', points, ({ text }) => text?.betweenTokens ?? null, ['50', '99']),
  ];
}

function estimateColumn(title: string, of: (point: BenchPoint) => Estimate | null): PointColumn {
  return {
    title,
    unit: '',
    align: 'right',
    cell: (point) => {
      const estimate = of(point);
      if (estimate === null) return plain(NOT_KNOWN);
      const precision = formatPrecision(estimate);
      return plain(`${formatNumber(estimate.value)}${precision === '' ? '' : ` ±${precision.padStart(5)}`}`);
    },
  };
}

function quantileColumns(
  prefix: string,
  points: readonly BenchPoint[],
  of: (point: BenchPoint) => LatencySummary | null,
  percentiles: readonly string[],
): PointColumn[] {
  const told = percentiles.filter((percentile) => points.some((point) => of(point)?.quantiles[percentile] !== undefined));
  const unit = durationUnitOf(points.flatMap((point) => told.map((percentile) => of(point)?.quantiles[percentile]?.value ?? 0)));
  return told.map((percentile) => ({
    title: `${prefix}p${percentile}`,
    unit: unit.name,
    align: 'right',
    cell: (point) => plain(formatNumber((of(point)?.quantiles[percentile]?.value ?? Number.NaN) / unit.us)),
  }));
}

function errorColumn(points: readonly BenchPoint[]): PointColumn {
  const hasAny = points.some((point) => errorsOf(point) > 0);
  return {
    title: 'errors',
    unit: '',
    align: 'right',
    cell: (point) => {
      const errors = errorsOf(point);
      if (errors === 0) return { text: '0', colour: hasAny ? null : 'green' };
      return { text: `${formatCount(errors)} (${formatShare(errors / dueOf(point))})`, colour: 'red' };
    },
  };
}

function useColumns(points: readonly BenchPoint[]): PointColumn[] {
  if (points.every(({ serverUse }) => serverUse === null)) return [];
  return [
    { title: 'server CPU', unit: 'cores', align: 'right', cell: ({ serverUse }) => plain(formatNumber(serverUse?.cpu ?? Number.NaN)) },
    {
      title: 'CPU/answer',
      unit: 'us',
      align: 'right',
      cell: ({ serverUse, outcomes }) => plain(formatNumber(outcomes.ok === 0 ? Number.NaN : (serverUse?.cpuUsPerRequest ?? Number.NaN))),
    },
  ];
}

const SPLIT_COLUMNS = [
  ['queue', ({ queue }: Split): number => queue],
  ['compute', ({ computeInput, computeInfer, computeOutput }: Split): number => computeInput + computeInfer + computeOutput],
  ['overhead', ({ overhead }: Split): number => overhead],
  ['network', ({ network }: Split): number => network],
] as const;
type Split = NonNullable<BenchPoint['split']>;

function splitColumns(points: readonly BenchPoint[]): PointColumn[] {
  const splits = points.flatMap(({ split }) => (split === null ? [] : [split]));
  if (splits.length === 0) return [];
  const unit = durationUnitOf(splits.flatMap((split) => SPLIT_COLUMNS.map(([, of]) => of(split))));
  return SPLIT_COLUMNS.map(([title, of]) => ({
    title,
    unit: unit.name,
    align: 'right',
    cell: ({ split }) => plain(formatNumber(split === null ? Number.NaN : of(split) / unit.us)),
  }));
}

function plain(text: string): TextCell {
  return { text, colour: null };
}
