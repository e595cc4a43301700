import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InferenceError } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { EXIT_FAILED, EXIT_OK } from '../../server/commands/run-command.ts';
import { machineFacts } from '../command/machine-facts.ts';
import type { LiveStream } from '../report/live-view.ts';
import { checkOutputFiles, outputFiles, writeOutputFiles } from '../report/output-files.ts';
import { wantsColours } from '../report/terminal-text.ts';
import { compareFinalists } from './compare-finalists.ts';
import { type ConfigFile, readConfigFile } from './config-file.ts';
import { knobEdits } from './knob-edits.ts';
import { type KnobSpace, knobSpace } from './knob-space.ts';
import { type ConfigDocument, type Knobs, knobsOf, type ThreadParameter, threadParameterOf } from './knobs.ts';
import { MeteredTrial } from './metered-trial.ts';
import { type SearchResult, searchKnobs } from './search-knobs.ts';
import { ServedTrial } from './served-trial.ts';
import { TimeBudget } from './time-budget.ts';
import { TuneProgress } from './tune-progress.ts';
import { isTrustworthy, type TuneReport, tuneReport } from './tune-report.ts';
import { TuneServer } from './tune-server.ts';
import type { TuneSettings } from './tune-settings.ts';
import { tuneText } from './tune-text.ts';
import { type Terminal, writeChoice } from './write-choice.ts';

export interface TuneTerminal extends Terminal {
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly stderr: LiveStream;
}

/** As a process that a signal has ended: 128 + SIGINT. */
export const EXIT_INTERRUPTED = 130;
/** Of the time, what the comparison of the best gets at the least. */
const FINAL_SHARE = 0.4;

/** Measures, prints, writes. Returns the exit status. Throws InferenceError for what cannot be measured. */
export async function runTune(
  settings: TuneSettings,
  argv: readonly string[],
  terminal: TuneTerminal,
  signal: AbortSignal,
): Promise<number> {
  const startedAt = new Date().toISOString();
  const { bench, repository } = settings;
  const files = outputFiles({ '--json': settings.jsonFile, '--html': settings.htmlFile });
  checkOutputFiles(files);
  await checkModel(repository, bench.model);
  const file = await readConfigFile(join(repository, bench.model));
  const report = await measure(settings, { startedAt, command: argv, file }, terminal, signal);
  const writeJson = (path: string): Promise<void> => writeFile(path, `${JSON.stringify(report, null, 2)}\n`);
  const writePage = async (path: string): Promise<void> => {
    const { tunePage } = await import('./tune-page.ts');
    await writeFile(path, tunePage(report));
  };
  terminal.stdout.write(tuneText(report, wantsColours(terminal.stdout)));
  await writeOutputFiles(files.map((one) => ({ ...one, write: one.flag === '--json' ? writeJson : writePage })));
  const isDone = await writeChoice(file, report.edits, {
    isWriting: settings.isWriting && !signal.aborted,
    isAsking: settings.isAsking,
    terminal,
  });
  if (signal.aborted) return EXIT_INTERRUPTED;
  return isDone && isTrustworthy(report) ? EXIT_OK : EXIT_FAILED;
}

async function measure(
  settings: TuneSettings,
  facts: Pick<TuneReport, 'startedAt' | 'command'> & { readonly file: ConfigFile },
  terminal: TuneTerminal,
  signal: AbortSignal,
): Promise<TuneReport> {
  const { bench, cores, repository, lists } = settings;
  // What the budget is for begins with the first server.
  const budget = new TimeBudget(settings.budgetMs, () => performance.now());
  const host = lists.hosts[0]!;
  const server = await TuneServer.start({ repository, host });
  let trial: ServedTrial | null = null;
  try {
    const config = await loadPresent(server, bench.model);
    const threads = threadParameterOf(config, cores);
    const present = knobsOf(config, threads, host);
    const space = spaceOf(settings, config, present, threads);
    const goal = {
      objective: settings.objective,
      percentile: settings.percentile,
      memoryLimitMiB: settings.memoryLimitMiB,
      ratePerSecond: settings.ratePerSecond,
    };
    const progress = new TuneProgress(terminal.stderr, wantsColours(terminal.stderr), present, goal);
    trial = new ServedTrial({ settings, present, config, threads, server, signal, onProgress: (one) => progress.window(one) });
    let found: SearchResult | null = null;
    const metered = new MeteredTrial({ trial, budget, signal, onTrial: (one) => progress.trial(one, found?.goal ?? null) });
    const levels = settings.levels;
    found = await searchKnobs({
      space,
      latencyLimitUs: settings.latencyLimitUs,
      goal,
      levels,
      trial: metered,
      keepMs: settings.budgetMs * FINAL_SHARE,
    });
    const [first, ...candidates] = found.candidates;
    const final = await compareFinalists({ goal: found.goal, levels, present: first!, candidates, trial: metered });
    progress.close();
    const { file, ...about } = facts;
    return tuneReport({
      ...about,
      machine: machineFacts(true),
      model: bench.model,
      protocol: bench.protocol,
      input: trial.inputWords,
      goal: found.goal,
      isLimitDefault: settings.latencyLimitUs === null && Number.isFinite(found.goal.latencyLimitUs),
      present,
      fixed: space.fixed,
      isCutShort: signal.aborted,
      candidates: found.candidates,
      final,
      editsFor: (knobs) => knobEdits(file.document, present, knobs, threads),
    });
  } finally {
    await (trial ?? server).close();
  }
}

async function loadPresent(server: TuneServer, model: string): Promise<ConfigDocument> {
  try {
    await server.load(model, null);
  } catch (error) {
    if (!(error instanceof InferenceError)) throw error;
    throw new InferenceError(error.code, `the model cannot be loaded as it is: ${error.message}; 'nereid check' says more`, {
      cause: error,
    });
  }
  return server.config(model);
}

function spaceOf(settings: TuneSettings, config: ConfigDocument, present: Knobs, threads: ThreadParameter | null): KnobSpace {
  const { bench, cores, lists, levels, latencyLimitUs, ratePerSecond } = settings;
  const rowsOfRequest = bench.input.batchSize;
  const rowsInFlight = ratePerSecond === null ? Math.max(...levels) * rowsOfRequest : Number.POSITIVE_INFINITY;
  return knobSpace({
    config,
    present,
    threads,
    lists,
    cores,
    rowsInFlight,
    rowsOfRequest,
    latencyLimitUs: latencyLimitUs ?? Number.POSITIVE_INFINITY,
  });
}

async function checkModel(repository: string, model: string): Promise<void> {
  const entries = await readdir(repository, { withFileTypes: true });
  const names = entries.filter((entry) => !entry.isFile() && !entry.name.startsWith('.')).map((entry) => entry.name);
  if (names.includes(model)) return;
  const hint = didYouMean(model, names) || `; it has: ${names.slice(0, 20).join(', ') || 'none'}`;
  throw new InferenceError('NOT_FOUND', `no model '${model}' in ${repository}${hint}`);
}
