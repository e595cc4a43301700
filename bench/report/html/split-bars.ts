import type { BenchPoint, LatencySplit } from '../bench-report.ts';
import { formatDuration, formatShare } from '../quantity.ts';
import { type Html, NOTHING } from './html-text.ts';
import { type BarPart, stackedBars } from './stacked-bars.ts';

const PARTS: readonly (BarPart & { readonly field: Exclude<keyof LatencySplit, 'batchSize'> })[] = [
  { name: 'queue', colour: 4, field: 'queue' },
  { name: 'compute input', colour: 5, field: 'computeInput' },
  { name: 'compute infer', colour: 0, field: 'computeInfer' },
  { name: 'compute output', colour: 6, field: 'computeOutput' },
  { name: 'overhead in the server', colour: 3, field: 'overhead' },
  { name: 'network and client', colour: 7, field: 'network' },
];

/** Where a request's time went, a bar for each load. NOTHING where the server does not say. */
export function splitBars(points: readonly BenchPoint[]): Html {
  const bars = points.flatMap(({ name, split }) => {
    if (split === null) return [];
    const values = PARTS.map(({ field }) => split[field]);
    const sum = values.reduce((all, value) => all + value, 0);
    const labels = PARTS.map(
      ({ name: part }, i) => `${name}\n${part}: ${formatDuration(values[i]!)} (${formatShare(sum === 0 ? 0 : values[i]! / sum)})`,
    );
    return [{ name, total: `${formatDuration(sum)} in the mean`, values, labels }];
  });
  if (bars.length === 0) return NOTHING;
  return stackedBars({
    title: 'Where the time goes',
    description: 'Mean of a request, by what the server reports of itself; the rest of what the client waited is network and client.',
    parts: PARTS,
    bars,
  });
}
