import type { PointComparison } from './compare-points.ts';
import type { RunComparison } from './compare-reports.ts';

/** For programs. Durations are microseconds; `regressions` is empty where no limit was given. */
export function compareJson(comparisons: readonly RunComparison[], regressions: readonly string[]): string {
  const listed = comparisons.map(({ base, other, points, warnings }) => ({
    base: base.name,
    other: other.name,
    points: points.map(pointJson),
    warnings,
  }));
  return `${JSON.stringify({ comparisons: listed, regressions }, null, 2)}\n`;
}

function pointJson({ base, measures, baseErrors, otherErrors }: PointComparison): object {
  return {
    name: base.name,
    load: base.load,
    measures: measures.map(({ measure, base: before, other, ratio, verdict }) => ({
      name: measure.name,
      base: before,
      other,
      ratio: other / before,
      interval: ratio === null ? null : { low: ratio.low, high: ratio.high },
      verdict,
    })),
    baseErrors,
    otherErrors,
  };
}
