import type { BenchReport } from './bench-report.ts';
import { failuresOf, goodputLimits, hasGoodputLimit, machineOf, serverOf, subjectOf } from './describe-report.ts';
import { pointColumns } from './point-columns.ts';
import { formatCount } from './quantity.ts';
import { paint, printable } from './terminal-text.ts';
import { textTable } from './text-table.ts';

/** The result for a terminal: what was measured, a row for each point, and below it what must not be trusted and what went wrong. Ends with a line break. */
export function consoleTable(report: BenchReport, hasColours: boolean): string {
  const { points } = report;
  const lines = [...headLines(report), ''];
  if (points.length === 0) lines.push('no point was measured');
  else {
    const columns = pointColumns(points, { hasGoodput: hasGoodputLimit(report) });
    const rows = points.map((point) => columns.map(({ cell }) => cell(point)));
    lines.push(...textTable(columns, rows, hasColours));
  }
  const warnings = points.flatMap((point) => point.warnings.map((warning) => `  ${point.name}: ${printable(warning)}`));
  if (warnings.length > 0) lines.push('', paint('Warnings', 'yellow', hasColours), ...warnings);
  const errors = points.flatMap((point) => {
    const failures = failuresOf(point);
    if (failures === '') return [];
    const kinds = point.errors.map(({ status, message, count }) => {
      const words = [printable(status), printable(message)].filter((word) => word !== '').join(': ');
      return `    ${formatCount(count).padStart(9)}  ${words}`;
    });
    return [`  ${point.name}: ${failures}`, ...kinds];
  });
  if (errors.length > 0) lines.push('', paint('Errors', 'red', hasColours), ...errors);
  return `${lines.join('\n')}\n`;
}

function headLines(report: BenchReport): string[] {
  const limits = goodputLimits(report);
  return [
    `${subjectOf(report)}, ${serverOf(report)}`,
    `input: ${printable(report.input)}${limits === '' ? '' : `; goodput: ${limits}`}`,
    `${machineOf(report)}, ${report.machine.isShared ? 'server and generator on it together' : 'generator alone'}`,
  ];
}
