import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, relative } from 'node:path';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { throwOnConfigErrors } from '../model-config/config-finding.ts';
import { findDecoupledBatching, findUnsupportedConfig } from '../model-config/config-support.ts';
import { normaliseModelConfig } from '../model-config/normalise-model-config.ts';
import { CONFIG_FILE_FORMATS, emptyModelConfig, MAX_CONFIG_BYTES, parseModelConfig } from '../model-config/parse-model-config.ts';
import { validateModelConfig } from '../model-config/validate-model-config.ts';
import { readLabels } from './files/read-labels.ts';
import { readTextFile } from './files/read-text-file.ts';
import type { ModelSource } from './model-source.ts';
import { isTemporaryName } from './model-tree.ts';
import { chooseVersions, listVersions, parseVersionName } from './version-policy.ts';

/** What a model's directory on disk says, before any model file is opened. */
export interface ModelDescription {
  readonly name: string;
  readonly source: ModelSource;
  /** Normalised; inputs and outputs may still be missing. */
  readonly config: ModelConfig;
  /** The versions that the policy serves, ascending. */
  readonly versions: readonly ModelVersionFile[];
  /** By output name. */
  readonly labels: ReadonlyMap<string, readonly string[]>;
  /** Versions that are passed over because they are still being written, and what they lack. */
  readonly notWhole: ReadonlyMap<number, string>;
  /** Sentences for the log. */
  readonly warnings: readonly string[];
}

export interface ReadDirectoryOptions {
  /** `--model-config-name`: `configs/<name>.pbtxt` is read where there is one; '' for none. */
  readonly configName: string;
  /** Why a version is not whole yet, null when it is: passed over until then. Null: every version is taken as it is. */
  readonly whyIncomplete: ((file: ModelVersionFile, config: ModelConfig) => Promise<string | null>) | null;
  /** Versions that are left out: a rollback took them out of service. */
  readonly passedOver: ReadonlySet<number>;
  /** Configuration and label files may be links that lead out of the repository. */
  readonly allowOutsideLinks: boolean;
}

export interface ModelVersionFile {
  readonly version: number;
  /** Absolute. */
  readonly modelPath: string;
}

/** Names of the model directories in a repository: every sub-directory that is not hidden, in order of name. */
export async function listModelDirectories(repository: string): Promise<string[]> {
  const entries = await readdir(repository, { withFileTypes: true });
  const names: string[] = [];
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    if (entry.isDirectory() || (entry.isSymbolicLink() && (await isDirectory(join(repository, entry.name))))) names.push(entry.name);
  }
  return names.sort();
}

/**
 * Reads a model's directory: `<repository>/<name>/config.*`, `<repository>/<name>/<version>/...`, label files. Throws INVALID_ARGUMENT with everything
 * that is wrong with the configuration, or when the version policy leaves no version; {@link NotWholeYet} when every version is still on its way.
 */
export async function readModelDirectory(source: ModelSource, options: Partial<ReadDirectoryOptions> = {}): Promise<ModelDescription> {
  try {
    return await describeModelDirectory(source, {
      configName: '',
      whyIncomplete: null,
      passedOver: new Set(),
      allowOutsideLinks: false,
      ...options,
    });
  } catch (error) {
    throw readFailure(error, source.root);
  }
}

/** The directory is being written, as far as can be seen from outside. */
export class NotWholeYet extends InferenceError {
  constructor(message: string) {
    super('UNAVAILABLE', message);
  }
}

/** `<repository>/<name>` as it is on disk. */
export function directorySource(repository: string, name: string): ModelSource {
  return { name, kind: 'directory', path: join(repository, name), root: repository, config: null };
}

/** A file system's error as the operator's to mend, naming the file by its path below `directory`; any other error as it is. */
export function readFailure(error: unknown, directory: string): unknown {
  const { code, path } = error as NodeJS.ErrnoException;
  if (code === undefined || path === undefined) return error;
  const reasons: Readonly<Record<string, string>> = {
    EACCES: "the server's user may not read it",
    EPERM: "the server's user may not read it",
    ENOENT: 'it is not there',
    ELOOP: 'its links lead in a circle',
  };
  const below = relative(directory, path);
  // A link may have led elsewhere; where that is, is nobody's business.
  return invalidArgument(`cannot read '${below.startsWith('..') ? basename(path) : below}': ${reasons[code] ?? code}`);
}

async function describeModelDirectory(source: ModelSource, options: ReadDirectoryOptions): Promise<ModelDescription> {
  const { name, path } = source;
  const entries = await readdir(path, { withFileTypes: true });
  const directories: string[] = [];
  for (const entry of entries) {
    if (entry.isDirectory() || (entry.isSymbolicLink() && (await isDirectory(join(path, entry.name))))) directories.push(entry.name);
  }
  const names = entries.map((entry) => entry.name);
  const { config: written, source: configSource } = await readConfig(source, names, options);
  const findings = [...validateModelConfig(written), ...findUnsupportedConfig(written)];
  throwOnConfigErrors(findings, configSource);
  const warnings = findings.filter((finding) => finding.severity === 'warning').map((finding) => `${finding.field}: ${finding.message}`);

  const firstVersion = listVersions(directories).versions[0];
  if (firstVersion === undefined && written.backend === '' && written.platform === '') throw noVersionDirectory(name, names);
  const firstVersionEntries = firstVersion === undefined ? [] : await readdir(join(path, String(firstVersion)));
  const config = normaliseModelConfig(written, { name, firstVersionEntries });
  // What a backend makes decoupled, the configuration did not say when it was looked at.
  if (written.modelTransactionPolicy === null && config.modelTransactionPolicy?.decoupled) {
    for (const { field, message } of findDecoupledBatching(written.dynamicBatching)) warnings.push(`${field}: ${message}`);
  }
  const fileOf = (version: number): ModelVersionFile => ({ version, modelPath: join(path, String(version), config.defaultModelFilename) });
  const { whyIncomplete } = options;
  const notWhole = whyIncomplete === null ? new Map<number, string>() : await findIncomplete(directories, config, fileOf, whyIncomplete);
  const isOut = (version: number): boolean => notWhole.has(version) || options.passedOver.has(version);
  const whole = directories.filter((directory) => !isOut(parseVersionName(directory) ?? -1));
  const choice = chooseVersions(config.versionPolicy, whole, name);
  checkLabels(config, choice.versions);
  return {
    name,
    source,
    config,
    versions: choice.versions.map(fileOf),
    labels: await labelsOf(source, config, options.allowOutsideLinks),
    notWhole,
    warnings: [...warnings, ...[...notWhole.values()].map((why) => `waiting: ${why}`), ...choice.warnings],
  };
}

/** The versions that are still being written; throws when all are. */
async function findIncomplete(
  directories: readonly string[],
  config: ModelConfig,
  fileOf: (version: number) => ModelVersionFile,
  whyIncomplete: NonNullable<ReadDirectoryOptions['whyIncomplete']>,
): Promise<Map<number, string>> {
  const { versions } = listVersions(directories);
  const reasons = await Promise.all(versions.map((version) => whyIncomplete(fileOf(version), config)));
  const incomplete = new Map<number, string>();
  for (const [at, why] of reasons.entries()) if (why !== null) incomplete.set(versions[at]!, why);
  if (incomplete.size > 0 && incomplete.size === versions.length) throw new NotWholeYet([...incomplete.values()].join('; '));
  return incomplete;
}

/** A label leads to a version that is served, or the configuration is not what its author meant. */
function checkLabels(config: ModelConfig, versions: readonly number[]): void {
  for (const [label, version] of Object.entries(config.versionLabels)) {
    if (versions.includes(version)) continue;
    throw invalidArgument(
      `version_labels["${label}"]: version ${version} is not among those that are served (${versions.join(', ')}); change the label, or version_policy`,
    );
  }
}

/** The repositories that have a directory of this name; none for a name that listings leave out: what lies there is on its way to another name. */
export async function findModelDirectory(repositories: readonly string[], name: string): Promise<string[]> {
  const found: string[] = [];
  if (isTemporaryName(name)) return found;
  for (const repository of repositories) if (await isDirectory(join(repository, name))) found.push(repository);
  return found;
}

/** A model's name is one name of a directory. Throws INVALID_ARGUMENT. */
export function checkModelName(name: string): void {
  if (name.trim() === '') throw invalidArgument('Model name cannot be empty');
  if (name === '.' || name === '..' || /[/\\\0]/.test(name)) {
    throw invalidArgument(
      `model name '${name}' must not contain path traversal characters: it is the name of a directory in the repository`,
    );
  }
}

/** What a new user runs into: a model file beside the configuration, or nothing at all. */
function noVersionDirectory(name: string, entries: readonly string[]): InferenceError {
  const stray = entries.find((entry) => /\.(?:onnx|gguf)$/i.test(entry));
  if (stray !== undefined && /^[0-9]+$/.test(name)) {
    return invalidArgument(
      `model '${name}': no version directory, and its name is one: the repository looks like a model's own directory; give the directory above it`,
    );
  }
  return invalidArgument(
    `model '${name}': no version directory: expected one whose name is a number, with the model in it: ${name}/1/model${stray === undefined ? '.onnx' : extname(stray).toLowerCase()}` +
      (stray === undefined ? '' : `; move ${name}/${stray} there`),
  );
}

/** A model that is one file and no repository: its name is the file's, its version 1, everything else comes from the file. */
export function describeModelFile(modelPath: string): ModelDescription {
  const file = basename(modelPath);
  const name = basename(file, extname(file));
  const config = normaliseModelConfig(
    { ...emptyModelConfig(), defaultModelFilename: file },
    { name, firstVersionEntries: [file, 'model.onnx'] },
  );
  return {
    name,
    source: { name, kind: 'file', path: modelPath, root: dirname(modelPath), config: null },
    config: { ...config, defaultModelFilename: file },
    versions: [{ version: 1, modelPath }],
    labels: new Map(),
    notWhole: new Map(),
    warnings: [],
  };
}

/** Formats by the ending of a file's name. */
const CONFIG_ENDINGS: readonly string[] = ['pbtxt', 'json', 'yaml', 'yml'];

async function readConfig(
  source: ModelSource,
  entries: readonly string[],
  options: ReadDirectoryOptions,
): Promise<{ config: ModelConfig; source: string }> {
  const { path } = source;
  if (source.config !== null)
    return { config: parseModelConfig(source.config, 'json', "parameter 'config'"), source: "parameter 'config'" };
  const file = await configFileOf(path, entries, options.configName);
  if (file === null) return { config: emptyModelConfig(), source: 'configuration' };
  const text = await readConfigText(source, file, options.allowOutsideLinks);
  return { config: parseModelConfig(text, CONFIG_FILE_FORMATS[`config${extname(file)}`]!, file), source: file };
}

/** `file`: below the model's directory. */
export async function readConfigText({ path, root }: ModelSource, file: string, allowOutsideLinks: boolean): Promise<string> {
  let text = '';
  const rules = { directory: path, root, allowOutsideLinks, maxBytes: MAX_CONFIG_BYTES, what: file };
  for await (const piece of readTextFile(join(path, file), rules)) text += piece;
  return text;
}

/** The one configuration file, by its path below the model's directory; null: there is none. */
export async function configFileOf(path: string, entries: readonly string[], configName: string): Promise<string | null> {
  let found: string[] = [];
  if (configName !== '' && entries.includes('configs')) {
    const wanted = CONFIG_ENDINGS.map((ending) => `${configName}.${ending}`);
    found = (await readdir(join(path, 'configs'))).filter((name) => wanted.includes(name)).map((name) => `configs/${name}`);
  }
  if (found.length === 0) found = entries.filter((entry) => Object.hasOwn(CONFIG_FILE_FORMATS, entry));
  if (found.length > 1) {
    throw invalidArgument(`expected one configuration file, found ${found.join(' and ')}: they mean the same, keep one`);
  }
  return found[0] ?? null;
}

async function labelsOf(
  { path, root }: ModelSource,
  config: ModelConfig,
  allowOutsideLinks: boolean,
): Promise<Map<string, readonly string[]>> {
  const labels = new Map<string, readonly string[]>();
  for (const [index, { name, labelFilename }] of config.output.entries()) {
    if (labelFilename === '') continue;
    const field = `output[${index}].label_filename`;
    const file = join(path, labelFilename);
    if ((await stat(file).catch(() => null)) === null)
      throw invalidArgument(`${field}: no file '${labelFilename}' in the model's directory`);
    const what = `${field}: '${labelFilename}'`;
    labels.set(name, await readLabels(file, { directory: path, root, allowOutsideLinks, what }));
  }
  return labels;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    // A link that leads nowhere is no model.
    return false;
  }
}
