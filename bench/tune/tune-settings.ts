import { availableParallelism } from 'node:os';
import { CommandLineError } from '../../server/commands/run-command.ts';
import { type BenchFlagValues, type BenchSettings, readBenchSettings } from '../command/bench-settings.ts';
import { choiceFlag, numberFlag, wholeFlag } from '../command/flag-values.ts';
import type { Pace } from '../load/load-plan.ts';
import type { KnobLists } from './knob-space.ts';
import type { HostKind } from './knobs.ts';
import { sharedFlags } from './tune-options.ts';

/** What the flags ask for, checked; all that can be without asking the server. */
export interface TuneSettings {
  /** What is sent, and how; its address and rules are not used. */
  readonly bench: BenchSettings;
  readonly repository: string;
  readonly objective: 'throughput' | 'latency';
  /** null: not given. Infinity: none. */
  readonly latencyLimitUs: number | null;
  readonly percentile: string;
  readonly memoryLimitMiB: number;
  readonly budgetMs: number;
  /** Ascending. */
  readonly levels: readonly number[];
  /** null: a closed loop. */
  readonly ratePerSecond: number | null;
  readonly lists: KnobLists;
  readonly cores: number;
  readonly windowMs: number;
  readonly jsonFile: string | null;
  readonly htmlFile: string | null;
  readonly isWriting: boolean;
  readonly isAsking: boolean;
}

const MAX_LIST = 16;
const HOSTS: readonly HostKind[] = ['process', 'inline'];

/** Throws CommandLineError. */
export function readTuneSettings(values: BenchFlagValues, positionals: readonly string[], isTerminal: boolean): TuneSettings {
  const text = (name: string): string | undefined => values[name] as string | undefined;
  const hasRate = text('rate') !== undefined;
  const objective = choiceFlag('--objective', text('objective'), hasRate ? 'latency' : 'throughput', ['throughput', 'latency'] as const);
  if (hasRate && objective === 'throughput') {
    throw new CommandLineError('--objective throughput: --rate says what the throughput is; leave one of them out');
  }
  const shared: Record<string, BenchFlagValues[string]> = {};
  for (const name of Object.keys(sharedFlags)) shared[name] = values[name];
  if (!hasRate) shared['concurrency'] ??= objective === 'latency' ? '16' : '1,4,16,64';
  const bench = readBenchSettings(shared, positionals);
  const cores = wholeFlag('--cores', text('cores'), availableParallelism(), 1, 4096);
  const isWriting = values['write'] === true;
  const isAsking = values['yes'] !== true;
  if (isWriting && isAsking && !isTerminal)
    throw new CommandLineError('--write: there is no terminal to ask at; --yes writes without asking');
  return {
    bench,
    repository: text('model-repository') ?? 'model-repository',
    objective,
    latencyLimitUs: latencyLimit(text('latency'), objective),
    percentile: bench.rules.quantile,
    memoryLimitMiB: numberFlag('--memory-max', text('memory-max'), Number.POSITIVE_INFINITY, 1, 2 ** 30),
    budgetMs: numberFlag('--budget', text('budget'), 5, 0.01, 24 * 60) * 60_000,
    ...levelsOf(bench.paces, objective),
    lists: {
      maxBatch: listFlag('--max-batch', text('max-batch'), 1, 2 ** 20),
      delaysUs: listFlag('--delay', text('delay'), 0, 60_000_000),
      instances: listFlag('--instances', text('instances'), 1, cores),
      threads: listFlag('--threads', text('threads'), 1, cores),
      hosts: hostsFlag(text('hosts')),
    },
    cores,
    windowMs: wholeFlag('--window', text('window'), 400, 50, 60_000),
    jsonFile: text('json') ?? null,
    htmlFile: text('html') ?? null,
    isWriting,
    isAsking,
  };
}

/** Of a rate there is one; the lowest latency is looked for under the highest concurrency alone. */
function levelsOf(paces: readonly Pace[], objective: 'throughput' | 'latency'): Pick<TuneSettings, 'levels' | 'ratePerSecond'> {
  const levels = [...new Set(paces.map((pace) => (pace.kind === 'closed' ? pace.concurrency : pace.perSecond)))].sort((a, b) => a - b);
  if (paces[0]?.kind === 'open') {
    if (levels.length > 1) throw new CommandLineError(`--rate: expected one rate, got ${levels.length}`);
    return { levels, ratePerSecond: levels[0]! };
  }
  return { levels: objective === 'latency' ? levels.slice(-1) : levels, ratePerSecond: null };
}

function latencyLimit(text: string | undefined, objective: 'throughput' | 'latency'): number | null {
  if (text === undefined) return objective === 'latency' ? Number.POSITIVE_INFINITY : null;
  const ms = numberFlag('--latency', text, 0, 0, 86_400_000);
  return ms === 0 ? Number.POSITIVE_INFINITY : ms * 1000;
}

function listFlag(flag: string, text: string | undefined, min: number, max: number): number[] | null {
  if (text === undefined) return null;
  const values = text.split(',').map((part) => wholeFlag(flag, part.trim(), 0, min, max));
  if (values.length > MAX_LIST) throw new CommandLineError(`${flag}: expected at most ${MAX_LIST} values, got ${values.length}`);
  return values;
}

function hostsFlag(text: string | undefined): HostKind[] {
  return (text ?? 'process').split(',').map((part) => choiceFlag('--hosts', part.trim(), 'process', HOSTS));
}
