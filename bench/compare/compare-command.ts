import { writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { CommandLineError, EXIT_FAILED, EXIT_OK, runCommand } from '../../server/commands/run-command.ts';
import { numberFlag } from '../command/flag-values.ts';
import { checkOutputFiles } from '../report/output-files.ts';
import { readJson } from '../report/read-json.ts';
import { paint, printable, wantsColours } from '../report/terminal-text.ts';
import { compareJson } from './compare-json.ts';
import { comparePage } from './compare-page.ts';
import { compareReports, type RunComparison, regressionsOf } from './compare-reports.ts';
import { compareTable } from './compare-table.ts';
import type { NamedReport } from './named-report.ts';

const usage = `nereid bench compare A.json B.json [C.json...] [--fail-above PERCENT] [--html FILE] [--json]

Compares results of nereid bench --json with the first of them, load by load: throughput, latency and the server's processor time for an
answer, each as a ratio with its 95 % interval (bootstrap over the windows of the runs), and what speaks against the comparison.

  --fail-above PERCENT   end with 1 when anything is worse by more than PERCENT with its whole interval, or so many more requests failed
  --html FILE            one page with the curves of all runs
  --json                 the comparison as JSON

Ends with 0, with 1 when --fail-above found something or a file cannot be read, with 2 for wrong arguments.
`;

const options = {
  'fail-above': { type: 'string' },
  html: { type: 'string' },
  json: { type: 'boolean' },
} as const;

/** More runs than colours can tell apart are more than a table shows well, too. */
const MAX_RUNS = 8;

/** `argv`: what follows `nereid bench compare`. Returns the exit status. */
export function compareCommand(argv: readonly string[]): Promise<number> {
  return runCommand({ name: 'bench compare', usage, options }, argv, async ({ values, positionals }) => {
    if (positionals.length < 2 || positionals.length > MAX_RUNS) {
      throw new CommandLineError(`expected 2 to ${MAX_RUNS} files of nereid bench --json, got ${positionals.length}`);
    }
    if (values.html !== undefined) checkOutputFiles([{ flag: '--html', path: values.html }]);
    const limit = values['fail-above'] === undefined ? null : numberFlag('--fail-above', values['fail-above'], 0, 0, 1000);
    const [base, ...others] = await readRuns(positionals);
    const comparisons = others.map((other) => compareReports(base!, other));
    refuseNothingInCommon(comparisons);
    const regressions = limit === null ? [] : comparisons.flatMap((comparison) => regressionsOf(comparison, limit));
    if (values.html !== undefined) await writeFile(values.html, comparePage(comparisons));
    process.stdout.write(values.json === true ? compareJson(comparisons, regressions) : asText(comparisons, regressions));
    return regressions.length > 0 ? EXIT_FAILED : EXIT_OK;
  });
}

/** A gate that compares nothing must not pass. */
function refuseNothingInCommon(comparisons: readonly RunComparison[]): void {
  for (const { base, other, points } of comparisons) {
    if (points.length > 0) continue;
    const loads = [base, other].map(({ name, report }) => `${name} has ${report.points.map((point) => point.name).join(', ') || 'none'}`);
    throw new CommandLineError(
      `no load is in both ${base.name} and ${other.name}: ${loads.join('; ')}; run them with the same --concurrency or --rate`,
    );
  }
}

/** Called by the files' names, with their directories where the names alone are not different. */
async function readRuns(files: readonly string[]): Promise<NamedReport[]> {
  const reports = await Promise.all(files.map(readJson));
  const isUnique = new Set(files.map((file) => basename(file))).size === files.length;
  return reports.map((report, i) => ({ name: printable(isUnique ? basename(files[i]!) : files[i]!), report }));
}

function asText(comparisons: readonly RunComparison[], regressions: readonly string[]): string {
  const hasColours = wantsColours(process.stdout);
  const tables = comparisons.map((comparison) => compareTable(comparison, hasColours));
  const failed =
    regressions.length === 0
      ? []
      : [`${[paint('Worse than allowed', 'red', hasColours), ...regressions.map((line) => `  ${line}`)].join('\n')}\n`];
  return [...tables, ...failed].join('\n');
}
