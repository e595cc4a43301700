import { paint, printable } from '../report/terminal-text.ts';
import { type TextCell, textTable } from '../report/text-table.ts';
import { describeGoal } from './tune-goal.ts';
import type { TuneCandidate, TuneReport } from './tune-report.ts';
import { candidateRows, type TuneColumn, tuneColumns } from './tune-table.ts';

/** Rows of the table; the JSON has all. */
const MAX_ROWS = 40;

/** What `nereid tune` prints at its end; lines end in a newline. */
export function tuneText(report: TuneReport, hasColours: boolean): string {
  const { candidates, chosen } = report;
  const rows = candidateRows(report).slice(0, MAX_ROWS);
  const columns = tuneColumns(report);
  const lines = [
    paint(`nereid tune ${printable(report.model)}: ${describeGoal(report.goal)}`, 'bold', hasColours),
    `${report.protocol}, ${printable(report.input)}${report.isLimitDefault ? '; the limit is 4 times what the model takes now under the lowest load (--latency sets another)' : ''}`,
    '',
    ...textTable(
      columns,
      rows.map((candidate) => cellsOf(columns, candidate, candidate === candidates[chosen])),
      hasColours,
    ),
    ...(rows.length < candidates.length ? [`... and ${candidates.length - rows.length} more (--json has them)`] : []),
    '',
    ...report.fixed.map((line) => `left as it is: ${line}`),
    ...report.warnings.map((warning) => paint(`warning: ${printable(warning)}`, 'yellow', hasColours)),
    paint(printable(report.verdict), 'bold', hasColours),
  ];
  return `${lines.join('\n')}\n`;
}

function cellsOf(columns: readonly TuneColumn[], candidate: TuneCandidate, isChosen: boolean): TextCell[] {
  return columns.map(({ cell, title }) => {
    const text = cell(candidate);
    const colour = isChosen ? 'green' : candidate.failure !== '' ? 'red' : candidate.objection !== '' && title === '' ? 'dim' : null;
    return { text, colour };
  });
}
