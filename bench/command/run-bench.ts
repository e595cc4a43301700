import { EXIT_FAILED, EXIT_OK } from '../../server/commands/run-command.ts';
import type { LoadPlan } from '../load/load-plan.ts';
import { startLoadGroup } from '../measure/load-group.ts';
import { measurePoint } from '../measure/measure-point.ts';
import { measureQuick } from '../quick/quick-http.ts';
import { type BenchPoint, type BenchReport, REPORT_FORMAT } from '../report/bench-report.ts';
import { consoleTable } from '../report/console-table.ts';
import { writeHtml } from '../report/html/report-page.ts';
import { LiveView } from '../report/live-view.ts';
import { checkOutputFiles, outputFiles, writeOutputFiles } from '../report/output-files.ts';
import { wantsColours } from '../report/terminal-text.ts';
import { writeCsv } from '../report/write-csv.ts';
import { writeJson } from '../report/write-json.ts';
import { openTarget } from '../target/open-target.ts';
import type { Target } from '../target/target.ts';
import type { BenchSettings } from './bench-settings.ts';
import { machineFacts } from './machine-facts.ts';
import { makeLoadPlan } from './make-load-plan.ts';
import { withoutSecrets } from './without-secrets.ts';

/** Of a control call. */
const CONTROL_TIMEOUT_MS = 10_000;
/** Measured by --quick, seconds. */
const QUICK_SECONDS = 5;
const EXIT_INTERRUPTED = 130;

/** Measures all points of `settings`, tells of them while it goes on, and writes what was asked for. Returns the exit status. Throws InferenceError for what a person can mend. */
export async function runBench(settings: BenchSettings, argv: readonly string[]): Promise<number> {
  const { protocol, model: name, modelVersion: version, jsonFile, csvFile, htmlFile } = settings;
  checkOutputFiles(outputFiles({ '--json': jsonFile, '--csv': csvFile, '--html': htmlFile }));
  const { target, model } = await openTarget({ ...settings, model: name, version, timeoutMs: CONTROL_TIMEOUT_MS });
  const interrupt = new AbortController();
  const onSignal = (): void => {
    // The second one is not held up by what the first one lets finish.
    if (interrupt.signal.aborted) process.exit(EXIT_INTERRUPTED);
    interrupt.abort();
  };
  const startedAt = new Date().toISOString();
  const points: BenchPoint[] = [];
  try {
    const { plan, words } = await makeLoadPlan(settings, target, model);
    // Until there is something to keep, a signal ends the process as it ends any.
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
    const view = settings.isQuiet ? null : new LiveView(process.stderr, wantsColours(process.stderr));
    view?.note(`${name} at ${target.facts.url}, ${protocol}: ${words}`);
    const report = (): BenchReport => ({
      format: REPORT_FORMAT,
      startedAt,
      command: ['nereid', 'bench', ...withoutSecrets(argv)],
      machine: machineFacts(target.isLocal),
      server: target.facts,
      model: name,
      modelVersion: version,
      protocol,
      input: words,
      deadlineMs: settings.deadlineMs,
      firstTokenMs: settings.text.firstTokenMs,
      perTokenMs: settings.text.perTokenMs,
      points,
    });
    try {
      await measureAll(settings, plan, target, interrupt.signal, view, points);
    } catch (error) {
      // A load process that hears Ctrl-C before it is ready for it, a server that a person has ended by the same key: they wanted the end.
      if (!interrupt.signal.aborted) throw error;
    } finally {
      view?.close();
      // What was measured until something went wrong is worth as much as ever.
      if (points.length > 0) await writeResults(settings, report());
    }
    return interrupt.signal.aborted ? EXIT_INTERRUPTED : statusOf(points);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    await target.close();
  }
}

async function measureAll(
  settings: BenchSettings,
  plan: LoadPlan,
  target: Target,
  signal: AbortSignal,
  view: LiveView | null,
  points: BenchPoint[],
): Promise<void> {
  const { paces, rules, isQuick } = settings;
  const load = isQuick ? null : await startLoadGroup(plan, settings.processes);
  try {
    for (const [index, pace] of paces.entries()) {
      if (signal.aborted) return;
      const title = pace.kind === 'closed' ? `concurrency ${pace.concurrency}` : `rate ${pace.perSecond}/s`;
      view?.begin(title, index, paces.length);
      const point =
        load === null
          ? await measureQuick(plan, pace.kind === 'closed' ? pace.concurrency : 1, QUICK_SECONDS, target)
          : await measurePoint(load, {
              pace,
              rules,
              target,
              signal,
              onProgress: (progress) => view?.progress(progress),
              onStopping: () => view?.stopping(),
            });
      points.push(point);
      view?.finished(point);
    }
  } finally {
    await load?.close();
  }
}

async function writeResults({ jsonFile, csvFile, htmlFile }: BenchSettings, report: BenchReport): Promise<void> {
  process.stdout.write(`${consoleTable(report, wantsColours(process.stdout)).trimEnd()}\n`);
  const writers = { '--json': writeJson, '--csv': writeCsv, '--html': writeHtml };
  const files = outputFiles({ '--json': jsonFile, '--csv': csvFile, '--html': htmlFile });
  await writeOutputFiles(files.map((file) => ({ ...file, write: (path) => writers[file.flag as keyof typeof writers](path, report) })));
}

/** A server that refuses what it has no room for does what it should; one that fails, or answers wrongly, does not. */
function statusOf(points: readonly BenchPoint[]): number {
  const hasFailed = points.some(({ isSaturated, outcomes: { ok, failed, wrong } }) => isSaturated || ok === 0 || failed > 0 || wrong > 0);
  return hasFailed ? EXIT_FAILED : EXIT_OK;
}
