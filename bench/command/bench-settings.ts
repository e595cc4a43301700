import { readFileSync } from 'node:fs';
import { CommandLineError } from '../../server/commands/run-command.ts';
import type { LoadTls, Pace, SequencePlan, WireProtocol } from '../load/load-plan.ts';
import { WIRE_PROTOCOLS } from '../load/load-plan.ts';
import type { MeasureRules } from '../measure/measure-point.ts';
import { choiceFlag, numberFlag, pairFlags, wholeFlag } from './flag-values.ts';
import { parseLoadLevels } from './parse-load-levels.ts';

/** What the flags ask for, checked; all that can be without asking the server. */
export interface BenchSettings {
  readonly model: string;
  readonly modelVersion: string;
  readonly url: string;
  readonly protocol: WireProtocol;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: LoadTls | null;
  readonly serverPid: number | null;
  readonly metricsUrl: string | null;
  readonly paces: readonly Pace[];
  readonly deadlineMs: number;
  readonly timeoutMs: number;
  readonly sequence: SequencePlan | null;
  readonly connections: number | null;
  readonly processes: number;
  readonly sockets: 'auto' | 'native' | 'node';
  readonly input: InputSettings;
  readonly text: TextSettings;
  readonly rules: MeasureRules;
  readonly validateEvery: number;
  readonly isDeterministic: boolean;
  readonly isQuick: boolean;
  readonly jsonFile: string | null;
  readonly csvFile: string | null;
  readonly htmlFile: string | null;
  readonly isQuiet: boolean;
  readonly seed: number;
}

export interface InputSettings {
  /** 'random', 'zero', or a path. */
  readonly what: string;
  readonly batchSize: number;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly distinct: number;
  readonly stringLength: number;
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  readonly outputs: readonly string[];
}

export interface TextSettings {
  readonly endpoint: 'chat' | 'completions' | 'embeddings';
  readonly promptTokens: number;
  readonly promptSpread: number;
  readonly sharedPrefix: number;
  /** null: made. */
  readonly promptsFile: string | null;
  readonly maxTokens: number;
  readonly stream: boolean;
  readonly firstTokenMs: number;
  readonly perTokenMs: number;
}

export type BenchFlagValues = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;

const DAY_MS = 86_400_000;
/** Ten digits, and room above for as many sequences as a run can have. */
const FIRST_SEQUENCE_ID = 1_000_000_000;

/** Throws CommandLineError. */
export function readBenchSettings(values: BenchFlagValues, positionals: readonly string[]): BenchSettings {
  if (positionals.length !== 1)
    throw new CommandLineError(`expected one MODEL, got ${positionals.length === 0 ? 'none' : positionals.join(' ')}`);
  const text = (name: string): string | undefined => values[name] as string | undefined;
  const list = (name: string): readonly string[] | undefined => values[name] as readonly string[] | undefined;
  const whole = (name: string, fallback: number, min: number, max: number): number =>
    wholeFlag(`--${name}`, text(name), fallback, min, max);
  const number = (name: string, fallback: number, min: number, max: number): number =>
    numberFlag(`--${name}`, text(name), fallback, min, max);

  const url = text('url') ?? '';
  const protocol = choiceFlag('--protocol', text('protocol'), protocolOf(url), WIRE_PROTOCOLS);
  const endpoint = choiceFlag('--endpoint', text('endpoint'), 'chat', ['chat', 'completions', 'embeddings'] as const);
  const deadlineMs = number('deadline', 0, 0, DAY_MS);
  const seed = whole('seed', 1, 0, 2 ** 32 - 1);
  const isQuick = values['quick'] === true;
  if (isQuick && (!protocol.startsWith('http') || text('rate') !== undefined)) {
    throw new CommandLineError('--quick: goes with --protocol http-json or http-binary, and with --concurrency');
  }
  return {
    model: positionals[0]!,
    modelVersion: text('model-version') ?? '',
    url: url === '' ? defaultUrl(protocol) : url,
    protocol,
    headers: Object.fromEntries(pairFlags('--header', list('header'), ':').map(([name, value]) => [name.toLowerCase(), value])),
    tls: tlsOf(values, url),
    serverPid: text('server-pid') === undefined ? null : whole('server-pid', 0, 1, 2 ** 31 - 1),
    metricsUrl: text('metrics-url') ?? null,
    paces: pacesOf(values, whole('max-in-flight', 4096, 1, 100_000)),
    deadlineMs,
    timeoutMs: number('timeout', 30_000, 1, DAY_MS),
    sequence: sequenceOf(text('sequence-length')),
    connections: text('connections') === undefined ? null : whole('connections', 0, 1, 10_000),
    processes: whole('processes', 1, 1, 64),
    sockets: choiceFlag('--sockets', text('sockets'), 'auto', ['auto', 'native', 'node'] as const),
    input: {
      what: text('input') ?? 'random',
      batchSize: whole('batch-size', 1, 1, 1_000_000),
      shapes: new Map(pairFlags('--shape', list('shape'), ':').map(([name, dims]) => [name, dimensions(name, dims)])),
      distinct: whole('requests-distinct', 16, 1, 10_000),
      stringLength: whole('string-length', 16, 0, 1_000_000),
      parameters: Object.fromEntries(
        pairFlags('--parameter', list('parameter'), ':').map(([name, value]) => [name, parameterValue(value)]),
      ),
      outputs: list('output') ?? [],
    },
    text: {
      endpoint,
      promptTokens: whole('prompt-tokens', 128, 1, 1_000_000),
      promptSpread: number('prompt-spread', 0, 0, 1_000_000),
      sharedPrefix: whole('shared-prefix', 0, 0, 1_000_000),
      promptsFile: text('prompts') ?? null,
      maxTokens: whole('max-tokens', 64, 1, 1_000_000),
      stream: values['no-stream'] !== true && protocol !== 'generate' && endpoint !== 'embeddings',
      firstTokenMs: number('first-token-limit', 0, 0, DAY_MS),
      perTokenMs: number('per-token-limit', 0, 0, DAY_MS),
    },
    rules: {
      windowMs: whole('window', 1000, 50, 60_000),
      stableWindows: 3,
      stableWithin: 0.05,
      maxWarmUpMs: number('warm-up-max', 15, 0, 86_400) * 1000,
      minWindows: whole('min-windows', 5, 2, 10_000),
      precision: number('precision', 5, 0.1, 100) / 100,
      quantile: choiceFlag('--percentile', text('percentile'), '99', ['50', '90', '95', '99', '99.9'] as const),
      maxMs: number('time-max', 30, 0.1, 86_400) * 1000,
    },
    validateEvery: whole('validate', 100, 0, 1_000_000_000),
    isDeterministic: values['deterministic'] === true,
    isQuick,
    jsonFile: text('json') ?? null,
    csvFile: text('csv') ?? null,
    htmlFile: text('html') ?? null,
    isQuiet: values['quiet'] === true,
    seed,
  };
}

function protocolOf(url: string): WireProtocol {
  const scheme = /^([a-z]+):\/\//i.exec(url)?.[1]?.toLowerCase();
  if (scheme === 'grpc' || scheme === 'grpcs') return 'grpc';
  if (scheme === 'ws' || scheme === 'wss') return 'websocket-binary';
  return 'http-binary';
}

function defaultUrl(protocol: WireProtocol): string {
  return protocol.startsWith('grpc') ? 'grpc://127.0.0.1:8001' : 'http://127.0.0.1:8000';
}

function pacesOf(values: BenchFlagValues, maxInFlight: number): Pace[] {
  const concurrency = values['concurrency'] as string | undefined;
  const rate = values['rate'] as string | undefined;
  const schedule = choiceFlag('--distribution', values['distribution'] as string | undefined, 'fixed', ['fixed', 'poisson'] as const);
  if (rate === undefined) {
    if (values['distribution'] !== undefined) throw new CommandLineError('--distribution: goes with --rate, which was not given');
    return parseLoadLevels('--concurrency', concurrency ?? '1,4,16', true).map((level) => ({ kind: 'closed', concurrency: level }));
  }
  if (concurrency !== undefined) throw new CommandLineError('expected --concurrency or --rate, got both');
  return parseLoadLevels('--rate', rate, false).map((perSecond) => ({ kind: 'open', perSecond, schedule, maxInFlight }));
}

function sequenceOf(text: string | undefined): SequencePlan | null {
  if (text === undefined) return null;
  const [min, max = min, ...rest] = text.split(':').map(Number);
  if (rest.length > 0 || !Number.isInteger(min) || !Number.isInteger(max) || min! < 1 || max! < min!) {
    throw new CommandLineError(`--sequence-length: expected N or N:M, whole numbers above 0, got '${text}'`);
  }
  return { minLength: min!, maxLength: max!, firstId: FIRST_SEQUENCE_ID };
}

function tlsOf(values: BenchFlagValues, url: string): LoadTls | null {
  const given = ['ca', 'cert', 'key'].filter((name) => values[name] !== undefined);
  if (!/^(https|grpcs|wss):/i.test(url)) {
    const stray = values['insecure'] === true ? 'insecure' : given[0];
    if (stray !== undefined) throw new CommandLineError(`--${stray}: goes with an https, grpcs or wss --url`);
    return null;
  }
  const read = (name: string): string => readPem(`--${name}`, values[name] as string | undefined);
  return { ca: read('ca'), cert: read('cert'), key: read('key'), verify: values['insecure'] !== true };
}

function readPem(flag: string, path: string | undefined): string {
  if (path === undefined) return '';
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new CommandLineError(`${flag}: expected a PEM file that can be read: ${(error as Error).message}`);
  }
}

function dimensions(name: string, text: string): number[] {
  const dims = text.split(',').map(Number);
  if (text.trim() === '' || dims.some((dim) => !Number.isInteger(dim) || dim < 0)) {
    throw new CommandLineError(`--shape ${name}: expected whole numbers such as 3,224,224, got '${text}'`);
  }
  return dims;
}

/** As a person writes it: true and 5 are not text. */
function parameterValue(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  const value = Number(text);
  return text.trim() !== '' && Number.isFinite(value) ? value : text;
}
