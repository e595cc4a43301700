import type { BenchPoint } from '../report/bench-report.ts';
import { formatShare } from '../report/quantity.ts';
import { comparePoints, type PointComparison } from './compare-points.ts';
import { differencesOf, doubtsOf } from './doubts.ts';
import type { NamedReport } from './named-report.ts';

export interface RunComparison {
  readonly base: NamedReport;
  readonly other: NamedReport;
  /** Loads that both runs have, in the order of the base. */
  readonly points: readonly PointComparison[];
  /** What makes the ratios say less, or something else, than they seem to. */
  readonly warnings: readonly string[];
}

/** Two runs, load by load. The same seed has the same intervals. */
export function compareReports(base: NamedReport, other: NamedReport, seed = 1): RunComparison {
  const left = [...other.report.points];
  const points: PointComparison[] = [];
  const alone: BenchPoint[] = [];
  for (const point of base.report.points) {
    const at = left.findIndex((one) => loadKey(one) === loadKey(point));
    if (at < 0) alone.push(point);
    else points.push(comparePoints(point, left.splice(at, 1)[0]!, seed));
  }
  const warnings = [
    ...differencesOf(base, other),
    ...missing(base.name, other.name, alone),
    ...missing(other.name, base.name, left),
    ...points.flatMap((point) => doubtsOf(point, base.name, other.name)),
  ];
  return { base, other, points, warnings };
}

/** What has become worse by more than `percent`, the whole interval of it, in words. Errors: when that many more requests in a hundred are not answered as they should be. */
export function regressionsOf({ points, other }: RunComparison, percent: number): string[] {
  const limit = percent / 100;
  return points.flatMap((point) => {
    const where = `${other.name}, ${point.base.name}`;
    const worse = point.measures.flatMap(({ measure, ratio }) => {
      if (ratio === null) return [];
      const least = measure.isHigherBetter ? 1 - ratio.high : ratio.low - 1;
      return least > limit ? [`${where}: ${measure.name} is worse by ${formatShare(least)} at the least, more than ${percent} %`] : [];
    });
    const more = point.otherErrors - point.baseErrors;
    if (more > limit)
      worse.push(`${where}: ${formatShare(point.otherErrors)} of the requests failed, ${formatShare(point.baseErrors)} before`);
    return worse;
  });
}

function missing(has: string, lacks: string, points: readonly BenchPoint[]): string[] {
  return points.length === 0 ? [] : [`only in ${has}, not in ${lacks}: ${points.map(({ name }) => name).join(', ')}`];
}

function loadKey({ load }: BenchPoint): string {
  return `${load.kind} ${load.value} ${load.schedule}`;
}
