import { OUTCOMES } from '../load/load-window.ts';
import type { BenchPoint, BenchReport, Estimate } from './bench-report.ts';
import { countOf, formatCount, formatShare } from './quantity.ts';
import { printable } from './terminal-text.ts';

/** 'simple (version 2) over grpc'. */
export function subjectOf({ model, modelVersion, protocol }: BenchReport): string {
  return printable(`${model}${modelVersion === '' ? '' : ` (version ${modelVersion})`} over ${protocol}`);
}

/** 'Nereid 0.1.0 at http://127.0.0.1:8000'. */
export function serverOf({ server }: BenchReport): string {
  const name = `${server.name} ${server.version}`.trim();
  return printable(name === '' ? server.url : `${name} at ${server.url}`);
}

export function machineOf({ machine }: BenchReport): string {
  const { cpu, cores, memoryMiB, system, node } = machine;
  const facts = [cpu, countOf(cores, 'core'), `${formatCount(memoryMiB)} MiB`, system, `Node ${node.replace(/^v/, '')}`];
  return printable(facts.filter((fact) => fact !== '').join(', '));
}

/** Whether goodput is something else than throughput. */
export function hasGoodputLimit({ deadlineMs, firstTokenMs, perTokenMs }: BenchReport): boolean {
  return deadlineMs > 0 || firstTokenMs > 0 || perTokenMs > 0;
}

/** What goodput counts: 'within 20 ms', 'first token within 200 ms, 50 ms a token'; '' where there is no limit. */
export function goodputLimits({ deadlineMs, firstTokenMs, perTokenMs }: BenchReport): string {
  const limits: string[] = [];
  if (deadlineMs > 0) limits.push(`within ${deadlineMs} ms`);
  if (firstTokenMs > 0) limits.push(`first token within ${firstTokenMs} ms`);
  if (perTokenMs > 0) limits.push(`${perTokenMs} ms a token`);
  return limits.join(', ');
}

/** Requests that came to an end, well or not, and those that were due and could not be sent. */
export function dueOf({ outcomes, unsent }: BenchPoint): number {
  return OUTCOMES.reduce((sum, outcome) => sum + outcomes[outcome], unsent);
}

/** Of those, the ones that were not answered as they should have been. */
export function errorsOf(point: BenchPoint): number {
  return dueOf(point) - point.outcomes.ok;
}

/** '1,203 refused (2.4 %), 12 due and not sent (0.1 %) of 50,000'; '' when all was well. */
export function failuresOf(point: BenchPoint): string {
  const due = dueOf(point);
  const failures: [string, number][] = OUTCOMES.filter((outcome) => outcome !== 'ok').map((outcome) => [outcome, point.outcomes[outcome]]);
  failures.push(['due and not sent', point.unsent]);
  const told = failures
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${formatCount(count)} ${what} (${formatShare(count / due)})`);
  return told.length === 0 ? '' : `${told.join(', ')} of ${formatCount(due)}`;
}

/** Half the interval's width, as a share of the value: '1.2 %'. '' where there is no interval: one window alone, or a value of 0. */
export function formatPrecision({ value, low, high }: Estimate): string {
  return low === high || value === 0 ? '' : formatShare((high - low) / 2 / value);
}
