import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { didYouMean } from '../../proto/nearest-name.ts';
import { UsageError } from '../usage-error.ts';
import { checkOptions } from './check-options.ts';
import { type ServerOptions, serverOptions } from './index.ts';
import { isModelFileName } from './model-file-name.ts';
import type { DerivedDefault, OptionDeclaration } from './option-declaration.ts';
import { isSwitchWord } from './option-kind.ts';
import { tritonserverFlags } from './tritonserver-flags.ts';

export interface ParsedOptions {
  readonly options: ServerOptions;
  /** What was accepted and deserves a line in the log. */
  readonly warnings: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/** An option's texts and where they are from, for messages: `--http-port`, `NEREID_HTTP_PORT`, `nereid.yaml: http-port`. */
interface Given {
  readonly source: string;
  readonly texts: string[];
}

const MAX_CONFIG_FILE_BYTES = 1024 * 1024;
const ENVIRONMENT_PREFIX = 'NEREID_';

const declarations: readonly (readonly [keyof ServerOptions, OptionDeclaration<unknown>])[] = Object.entries(serverOptions) as never;
const optionsByFlag: ReadonlyMap<string, keyof ServerOptions> = new Map(
  declarations.flatMap(([name, { flag, aliases = [] }]) => [flag, ...aliases].map((spelling) => [spelling, name] as const)),
);

export function environmentNameOf(flag: string): string {
  return ENVIRONMENT_PREFIX + flag.toUpperCase().replaceAll('-', '_');
}

/**
 * The options of `nereid serve`: flags win over the environment, the environment over the file, the file over defaults. A list is taken whole from the
 * first of these that has it. Throws UsageError.
 */
export function parseServeOptions(argv: readonly string[], env: Environment): ParsedOptions {
  const warnings: string[] = [];
  const flags = readFlags(argv, warnings);
  const environment = readEnvironment(env, warnings);
  const configFile = (flags.get('configFile') ?? environment.get('configFile'))?.texts.at(-1);
  const file = configFile === undefined ? new Map() : readConfigFile(configFile, warnings);
  const options: Record<string, unknown> = {};
  for (const [name, declaration] of declarations) {
    const given = flags.get(name) ?? environment.get(name) ?? file.get(name);
    options[name] = deepFreeze(given === undefined ? defaultOf(declaration, options) : parseGiven(declaration, given));
  }
  const complete = options as unknown as ServerOptions;
  const isDefaultBatchGiven = [flags, environment, file].some((given) => given.has('defaultMaxBatchSize'));
  if (!isDefaultBatchGiven) options['defaultMaxBatchSize'] = batchSizeFromBackendConfig(complete);
  checkOptions(complete, warnings);
  return { options: Object.freeze(complete), warnings };
}

function parseGiven(declaration: OptionDeclaration<unknown>, { source, texts }: Given): unknown {
  try {
    return declaration.kind.parse(texts);
  } catch (error) {
    throw new UsageError(`${source}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function defaultOf(declaration: OptionDeclaration<unknown>, earlier: Record<string, unknown>): unknown {
  return isDerived(declaration.default) ? declaration.default.from(earlier as unknown as ServerOptions) : declaration.default;
}

export function isDerived(value: unknown): value is DerivedDefault<unknown> {
  return typeof value === 'object' && value !== null && 'from' in value && typeof value.from === 'function';
}

function deepFreeze(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  for (const member of Object.values(value)) deepFreeze(member);
  return Object.freeze(value);
}

function readFlags(argv: readonly string[], warnings: string[]): Map<keyof ServerOptions, Given> {
  const given = new Map<keyof ServerOptions, Given>();
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i]!;
    if (!argument.startsWith('-') || argument === '-') {
      addPositional(given, argument);
      continue;
    }
    if (!argument.startsWith('--')) throw new UsageError(`'${argument}' is not a flag: flags have two dashes; see nereid serve --help`);
    const equals = argument.indexOf('=');
    const flag = argument.slice(2, equals < 0 ? undefined : equals);
    const name = optionsByFlag.get(flag);
    const foreign = Object.hasOwn(tritonserverFlags, flag) ? tritonserverFlags[flag] : undefined;
    if (name === undefined && foreign === undefined) throw unknownName(`--${flag}`, flag, '--');
    const isSwitch = name === undefined ? foreign?.isSwitch === true : serverOptions[name].kind.isSwitch;
    let text: string;
    if (equals >= 0) text = argument.slice(equals + 1);
    else if (isSwitch) text = isSwitchValue(argv[i + 1]) ? argv[++i]! : 'true';
    else if (argv[i + 1]?.startsWith('--') === false) text = argv[++i]!;
    else throw new UsageError(`--${flag} needs a value${name === undefined ? '' : `: ${serverOptions[name].kind.placeholder}`}`);
    if (name === undefined) noteForeign(`--${flag}`, flag, text, warnings);
    else add(given, name, `--${flag}`, text);
  }
  return given;
}

/** Digits too: `--log-verbose 2`. */
function isSwitchValue(text: string | undefined): boolean {
  return text !== undefined && (isSwitchWord(text) || /^\d+$/.test(text));
}

function add(given: Map<keyof ServerOptions, Given>, name: keyof ServerOptions, source: string, text: string): void {
  const same = given.get(name);
  if (same === undefined) given.set(name, { source, texts: [text] });
  else same.texts.push(text);
}

function addPositional(given: Map<keyof ServerOptions, Given>, argument: string): void {
  if (!isModelFileName(argument)) {
    const hint = isDirectory(argument) ? `; for a directory of models: --model-repository ${argument}` : '';
    throw new UsageError(`'${argument}' is neither a flag nor an .onnx or .gguf file${hint}`);
  }
  add(given, 'modelFiles', 'model file', argument);
}

function noteForeign(source: string, flag: string, text: string, warnings: string[]): void {
  const { effect, reason, neutral = [] } = tritonserverFlags[flag]!;
  if (neutral.some((value) => value.toLowerCase() === text.toLowerCase())) return;
  if (effect === 'refused') throw new UsageError(`${source} is not supported yet: ${reason}`);
  warnings.push(`${source} has no effect: ${reason}`);
}

function unknownName(shown: string, name: string, prefix: string): UsageError {
  const candidates = [...optionsByFlag.keys(), ...Object.keys(tritonserverFlags), 'help', 'version'];
  const near = didYouMean(name, candidates).replace("'", `'${prefix}`);
  return new UsageError(`unknown option '${shown}'${near}${near === '' ? '; see nereid serve --help' : ''}`);
}

function readEnvironment(env: Environment, warnings: string[]): Map<keyof ServerOptions, Given> {
  const given = new Map<keyof ServerOptions, Given>();
  const known = new Map(declarations.map(([name, { flag }]) => [environmentNameOf(flag), name]));
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith(ENVIRONMENT_PREFIX) || text === undefined || isServiceLink(variable, text)) continue;
    const name = known.get(variable);
    if (name === undefined) {
      warnings.push(`environment variable ${variable} is not known${didYouMean(variable, known.keys())}`);
      continue;
    }
    const isList = serverOptions[name].kind.isList;
    given.set(name, { source: variable, texts: isList ? text.split(';').filter((element) => element !== '') : [text] });
    if (given.get(name)!.texts.length === 0) given.delete(name);
  }
  return given;
}

/** Kubernetes describes a Service named `nereid` to every container beside it: NEREID_PORT=tcp://..., NEREID_SERVICE_HOST=... They are not ours. */
function isServiceLink(variable: string, text: string): boolean {
  return /^(tcp|udp|sctp):\/\//.test(text) || /_SERVICE_(HOST|PORT)(_|$)/.test(variable) || /_PORT_\d+_(TCP|UDP|SCTP)/.test(variable);
}

function readConfigFile(path: string, warnings: string[]): Map<keyof ServerOptions, Given> {
  const given = new Map<keyof ServerOptions, Given>();
  for (const [key, value] of Object.entries(readObject(path))) {
    const flag = key.replaceAll('_', '-');
    const source = `${path}: ${key}`;
    const texts = (Array.isArray(value) ? value : [value]).map((element: unknown) => {
      if (typeof element === 'string' || typeof element === 'number' || typeof element === 'boolean') return String(element);
      throw new UsageError(`${source}: expected text, a number, true, false or a list of these`);
    });
    const name = optionsByFlag.get(flag);
    if (name === 'configFile') throw new UsageError(`${source}: a configuration file cannot name another`);
    if (name === undefined) {
      if (!Object.hasOwn(tritonserverFlags, flag)) throw unknownName(source, flag, '');
      for (const text of texts) noteForeign(source, flag, text, warnings);
      continue;
    }
    if (Array.isArray(value) && !serverOptions[name].kind.isList) throw new UsageError(`${source}: expected one value, got a list`);
    if (texts.length > 0) given.set(name, { source, texts });
  }
  return given;
}

function readObject(path: string): object {
  let value: unknown;
  try {
    if (statSync(path).size > MAX_CONFIG_FILE_BYTES) throw new Error(`larger than ${MAX_CONFIG_FILE_BYTES} bytes`);
    const text = readFileSync(path, 'utf8');
    const yaml: typeof import('yaml') = createRequire(import.meta.url)('yaml');
    value = path.endsWith('.json') ? JSON.parse(text) : yaml.parse(text);
  } catch (error) {
    throw new UsageError(`--config-file ${path}: ${error instanceof Error ? error.message.split('\n', 1)[0] : String(error)}`);
  }
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw new UsageError(`--config-file ${path}: expected an object of option: value`);
  return value;
}

/** Triton's spelling of --default-max-batch-size: `--backend-config default-max-batch-size=8`. */
function batchSizeFromBackendConfig({ backendConfig, defaultMaxBatchSize }: ServerOptions): number {
  const setting = backendConfig.findLast(({ backend, setting }) => backend === '' && setting === 'default-max-batch-size');
  if (setting === undefined) return defaultMaxBatchSize;
  const source = '--backend-config default-max-batch-size';
  return parseGiven(serverOptions.defaultMaxBatchSize, { source, texts: [setting.value] }) as number;
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
