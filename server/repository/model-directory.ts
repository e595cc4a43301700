import type { Dirent, Stats } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, extname, join, relative, sep } from 'node:path';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { type InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { throwOnConfigErrors } from '../model-config/config-finding.ts';
import { findUnsupportedConfig } from '../model-config/config-support.ts';
import { normaliseModelConfig } from '../model-config/normalise-model-config.ts';
import { CONFIG_FILE_FORMATS, emptyModelConfig, MAX_CONFIG_BYTES, parseModelConfig } from '../model-config/parse-model-config.ts';
import { validateModelConfig } from '../model-config/validate-model-config.ts';
import { chooseVersions, listVersions } from './version-policy.ts';

/** What a model's directory on disk says, before any model file is opened. */
export interface ModelDescription {
  readonly name: string;
  /** Normalised; inputs and outputs may still be missing. */
  readonly config: ModelConfig;
  /** The versions that the policy serves, ascending. */
  readonly versions: readonly ModelVersionFile[];
  /** By output name. */
  readonly labels: ReadonlyMap<string, readonly string[]>;
  /** Sentences for the log. */
  readonly warnings: readonly string[];
}

export interface ModelVersionFile {
  readonly version: number;
  /** Absolute. */
  readonly modelPath: string;
}

/** Bytes of a label file. A million classes of ten letters fit. */
const MAX_LABEL_FILE_BYTES = 16 * 1024 * 1024;

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
 * that is wrong with the configuration, or when the version policy leaves no version.
 */
export async function readModelDirectory(repository: string, name: string): Promise<ModelDescription> {
  try {
    return await describeModelDirectory(repository, name);
  } catch (error) {
    throw readFailure(error, repository);
  }
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

async function describeModelDirectory(repository: string, name: string): Promise<ModelDescription> {
  const path = join(repository, name);
  const entries = await readdir(path, { withFileTypes: true });
  const directories: string[] = [];
  for (const entry of entries) {
    if (entry.isDirectory() || (entry.isSymbolicLink() && (await isDirectory(join(path, entry.name))))) directories.push(entry.name);
  }
  const { config: written, source } = await readConfig(
    path,
    entries.map((entry) => entry.name),
  );
  const findings = [...validateModelConfig(written), ...findUnsupportedConfig(written)];
  throwOnConfigErrors(findings, source);
  const warnings = findings.filter((finding) => finding.severity === 'warning').map((finding) => `${finding.field}: ${finding.message}`);

  const firstVersion = listVersions(directories).versions[0];
  if (firstVersion === undefined && written.backend === '' && written.platform === '') {
    throw noVersionDirectory(
      name,
      entries.map((entry) => entry.name),
    );
  }
  const firstVersionEntries = firstVersion === undefined ? [] : await readdir(join(path, String(firstVersion)));
  const config = normaliseModelConfig(written, { name, firstVersionEntries });
  const choice = chooseVersions(config.versionPolicy, directories, name);
  return {
    name,
    config,
    versions: choice.versions.map((version) => ({ version, modelPath: join(path, String(version), config.defaultModelFilename) })),
    labels: await readLabels(path, config),
    warnings: [...warnings, ...choice.warnings],
  };
}

/** Entries below a model's directory that are looked at; a model with more is taken to have changed. */
const MAX_TREE_ENTRIES = 10_000;

/** When anything below a model's directory, its files and directories, changed last; ms since 1970. Infinity: more than can be looked at. */
export async function newestChangeMs(path: string): Promise<number> {
  let newest = (await stat(path)).mtimeMs;
  let seen = 0;
  const open = [path];
  for (let directory = open.pop(); directory !== undefined; directory = open.pop()) {
    const entries: Dirent[] = await readdir(directory, { withFileTypes: true });
    seen += entries.length;
    if (seen > MAX_TREE_ENTRIES) return Number.POSITIVE_INFINITY;
    for (const entry of entries) {
      const below = join(directory, entry.name);
      const found = await stat(below).catch(() => null);
      if (found === null) continue;
      newest = Math.max(newest, found.mtimeMs);
      // A link to a directory is looked at, and not followed further: it may lead in a circle.
      if (entry.isDirectory()) open.push(below);
    }
  }
  return newest;
}

/** The repositories that have a directory of this name. */
export async function findModelDirectory(repositories: readonly string[], name: string): Promise<string[]> {
  const found: string[] = [];
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
  const stray = entries.find((entry) => entry.toLowerCase().endsWith('.onnx'));
  if (stray !== undefined && /^[0-9]+$/.test(name)) {
    return invalidArgument(
      `model '${name}': no version directory, and its name is one: the repository looks like a model's own directory; give the directory above it`,
    );
  }
  return invalidArgument(
    `model '${name}': no version directory: expected one whose name is a number, with the model in it: ${name}/1/model.onnx` +
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
    config: { ...config, defaultModelFilename: file },
    versions: [{ version: 1, modelPath }],
    labels: new Map(),
    warnings: [],
  };
}

async function readConfig(path: string, entries: readonly string[]): Promise<{ config: ModelConfig; source: string }> {
  const found = entries.filter((entry) => Object.hasOwn(CONFIG_FILE_FORMATS, entry));
  if (found.length === 0) return { config: emptyModelConfig(), source: 'configuration' };
  if (found.length > 1) {
    throw invalidArgument(`expected one configuration file, found ${found.join(' and ')}: they mean the same, keep one`);
  }
  const source = found[0]!;
  const text = await readBounded(join(path, source), MAX_CONFIG_BYTES, source);
  return { config: parseModelConfig(text, CONFIG_FILE_FORMATS[source]!, source), source };
}

async function readLabels(path: string, config: ModelConfig): Promise<Map<string, readonly string[]>> {
  const labels = new Map<string, readonly string[]>();
  for (const [index, output] of config.output.entries()) {
    if (output.labelFilename === '') continue;
    const field = `output[${index}].label_filename`;
    const file = join(path, output.labelFilename);
    let resolved: string;
    try {
      resolved = await realpath(file);
    } catch {
      throw invalidArgument(`${field}: no file '${output.labelFilename}' in the model's directory`);
    }
    if (!resolved.startsWith((await realpath(path)) + sep)) {
      throw invalidArgument(`${field}: '${output.labelFilename}' leads out of the model's directory; put the file inside it`);
    }
    const lines = (await readBounded(resolved, MAX_LABEL_FILE_BYTES, field)).split(/\r?\n/);
    if (lines.at(-1) === '') lines.pop();
    labels.set(output.name, lines);
  }
  return labels;
}

async function readBounded(file: string, maxBytes: number, what: string): Promise<string> {
  const found = await stat(file);
  // Reading a pipe or a device may never end.
  if (!found.isFile()) throw invalidArgument(`${what}: expected a file, found ${describeEntry(found)}`);
  const { size } = found;
  if (size > maxBytes) throw invalidArgument(`${what}: the file has ${size} bytes, expected at most ${maxBytes}`);
  return readFile(file, 'utf8');
}

/** What stands where a file should, in words. */
export function describeEntry(entry: Stats): string {
  if (entry.isDirectory()) return 'a directory';
  if (entry.isFIFO()) return 'a pipe';
  if (entry.isSocket()) return 'a socket';
  return 'a device';
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    // A link that leads nowhere is no model.
    return false;
  }
}
