import { formatPrecision } from '../report/describe-report.ts';
import { formatNumber, NOT_KNOWN } from '../report/quantity.ts';
import { printable } from '../report/terminal-text.ts';
import type { TextColumn } from '../report/text-table.ts';
import { milliseconds } from './tune-goal.ts';
import type { TuneCandidate, TuneReport } from './tune-report.ts';

export interface TuneColumn extends TextColumn {
  readonly cell: (candidate: TuneCandidate) => string;
}

/** The present one, then those that may be chosen, the best first, then the others. */
export function candidateRows({ candidates, goal }: TuneReport): TuneCandidate[] {
  const [present, ...others] = candidates;
  const worth = ({ best, objection }: TuneCandidate): number => {
    if (best === null) return Number.NEGATIVE_INFINITY;
    const value = goal.objective === 'throughput' ? best.point.throughput.value : 1e6 / best.point.latencyUs;
    return objection === '' || best.rounds > 0 ? value : value - 1e12;
  };
  const sorted = others.toSorted((a, b) => worth(b) - worth(a));
  return present === undefined ? [] : [present, ...sorted];
}

export function tuneColumns({ goal }: TuneReport): TuneColumn[] {
  const right = (title: string, unit: string, cell: (candidate: TuneCandidate) => string): TuneColumn => ({
    title,
    unit,
    align: 'right',
    cell,
  });
  const ofPoint = (of: (point: NonNullable<TuneCandidate['best']>['point']) => string) => (candidate: TuneCandidate) =>
    candidate.best === null ? NOT_KNOWN : of(candidate.best.point);
  const columns: TuneColumn[] = [
    { title: 'configuration', unit: '', align: 'left', cell: ({ words }) => words },
    right(goal.ratePerSecond === null ? 'at once' : 'rate', goal.ratePerSecond === null ? '' : '/s', ({ best }) =>
      formatNumber(best?.level ?? Number.NaN),
    ),
    right(
      'throughput',
      '/s',
      ofPoint(({ throughput }) => formatNumber(throughput.value)),
    ),
    right(
      '+-',
      '',
      ofPoint(({ throughput }) => formatPrecision(throughput)),
    ),
    right(
      'p50',
      'ms',
      ofPoint(({ p50Us }) => milliseconds(p50Us)),
    ),
    right(
      'p99',
      'ms',
      ofPoint(({ p99Us }) => milliseconds(p99Us)),
    ),
  ];
  if (goal.percentile !== '99' && goal.percentile !== '50')
    columns.push(
      right(
        `p${goal.percentile}`,
        'ms',
        ofPoint(({ latencyUs }) => milliseconds(latencyUs)),
      ),
    );
  return [
    ...columns,
    right(
      'batch',
      '',
      ofPoint(({ batchSize }) => formatNumber(batchSize ?? Number.NaN)),
    ),
    right(
      'CPU',
      'us/request',
      ofPoint(({ cpuUsPerRequest }) => formatNumber(cpuUsPerRequest ?? Number.NaN)),
    ),
    right(
      'memory',
      'MiB',
      ofPoint(({ memoryMiB }) => formatNumber(Math.round(memoryMiB ?? Number.NaN))),
    ),
    right('rounds', '', ({ best }) => (best === null || best.rounds === 0 ? '' : String(best.rounds))),
    right('to present', '', ({ ratio }) =>
      ratio === null ? '' : `${ratio.value.toFixed(2)} (${ratio.low.toFixed(2)}-${ratio.high.toFixed(2)})`,
    ),
    { title: '', unit: '', align: 'left', cell: (candidate) => remarkOf(candidate) },
  ];
}

function remarkOf({ failure, objection }: TuneCandidate): string {
  if (failure !== '') return printable(`not loaded: ${failure}`);
  return printable(objection);
}
