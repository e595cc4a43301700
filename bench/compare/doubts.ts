import type { BenchPoint, BenchReport } from '../report/bench-report.ts';
import { formatShare } from '../report/quantity.ts';
import { printable } from '../report/terminal-text.ts';
import type { PointComparison } from './compare-points.ts';
import type { NamedReport } from './named-report.ts';

/** What must be the same for a ratio to be the servers'. Name, version and address of the server are what one compares. */
const SAME: readonly (readonly [what: string, of: (report: BenchReport) => string | number | boolean])[] = [
  ['model', ({ model }) => model],
  ['model version', ({ modelVersion }) => modelVersion],
  ['protocol', ({ protocol }) => protocol],
  ['input', ({ input }) => input],
  ['deadline, ms', ({ deadlineMs }) => deadlineMs],
  ['limit of the first token, ms', ({ firstTokenMs }) => firstTokenMs],
  ['limit per token, ms', ({ perTokenMs }) => perTokenMs],
  ['machine: processor', ({ machine }) => machine.cpu],
  ['machine: cores', ({ machine }) => machine.cores],
  ['machine: memory, MiB', ({ machine }) => machine.memoryMiB],
  ['machine: system', ({ machine }) => machine.system],
  ['machine: Node', ({ machine }) => machine.node],
  ['server and generator on one machine', ({ machine }) => machine.isShared],
];

/** A share of failed requests that differs by more than this makes figures of the others something else. */
const ERRORS_DIFFER = 0.001;

/** Settings in which the runs differ, a line for each. */
export function differencesOf(base: NamedReport, other: NamedReport): string[] {
  return SAME.flatMap(([what, of]) => {
    const [a, b] = [of(base.report), of(other.report)];
    return a === b ? [] : [`${what} differs: ${shown(a)} in ${base.name}, ${shown(b)} in ${other.name}`];
  });
}

/** What speaks against a pair of points. */
export function doubtsOf({ base, other, baseErrors, otherErrors }: PointComparison, baseName: string, otherName: string): string[] {
  const doubts = [...ownDoubts(base, baseName), ...ownDoubts(other, otherName)];
  if (Math.abs(otherErrors - baseErrors) > ERRORS_DIFFER) {
    doubts.push(
      `${base.name}: ${formatShare(baseErrors)} of the requests failed in ${baseName}, ${formatShare(otherErrors)} in ${otherName}: the figures are of the rest`,
    );
  }
  for (const field of ['sockets', 'processes'] as const) {
    const [a, b] = [base.generator[field], other.generator[field]];
    if (a !== b) doubts.push(`${base.name}: the generator's ${field} differ: ${a} in ${baseName}, ${b} in ${otherName}`);
  }
  return doubts;
}

function ownDoubts({ name, isSaturated, warnings }: BenchPoint, run: string): string[] {
  const saturated = isSaturated ? [`${run}, ${name}: the generator was saturated: its ratio is not the servers'`] : [];
  return [...saturated, ...warnings.map((warning) => `${run}, ${name}: ${printable(warning)}`)];
}

function shown(value: string | number | boolean): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return value === '' ? 'not said' : printable(String(value));
}
