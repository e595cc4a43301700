import type { Dirent } from 'node:fs';
import { constants, type FileHandle, lstat, open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, normalize, relative, sep } from 'node:path';
import type { ModelFileInspection } from '../../../backends/api/inspect.ts';
import type { ModelConfig } from '../../../backends/api/model-config.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import { runsCode } from '../../execution/runs-code.ts';
import { type ModelVersionFile, readFailure } from '../model-directory.ts';
import type { ModelSource } from '../model-source.ts';
import { isTemporaryName, MAX_TREE_ENTRIES } from '../model-tree.ts';
import { parseVersionName } from '../version-policy.ts';
import { MANIFEST_NAME, MAX_MANIFEST_BYTES, parseChecksumManifest } from './checksum-manifest.ts';
import { FileCheck } from './file-check.ts';
import { inspectModelFile, namedFiles } from './inspect-model-file.ts';
import { shownName, whyNotBelow } from './path-below.ts';
import { isInside, resolveLinks } from './resolve-links.ts';

export interface FileRules {
  /** Links out of the repository, soft and hard, are followed. */
  readonly allowOutsideLinks: boolean;
  /** Bytes of one version: its model, weights, warm-up and golden files together. */
  readonly maxModelBytes: number;
}

/** The files that a version is loaded from, as they were when they were checked. */
export interface CheckedFiles {
  /** Of all files together. */
  readonly byteLength: number;
  /** The model's file, or all of its directory, and its weights; of a model that is code, all of the version's directory. */
  readonly modelPaths: readonly string[];
  /** Call it once the model is loaded. Rejects with UNAVAILABLE when a file was replaced, rewritten or removed meanwhile: then nobody knows what was loaded. */
  assertUnchanged(): Promise<void>;
  /** As {@link assertUnchanged}, of the model's file and its weights alone, before they are opened again: names and rights may have changed meanwhile, contents not. */
  assertSameModel(): Promise<void>;
}

/** Deeper than any model that is a directory. */
const MAX_DEPTH = 8;
/** Packages in packages in `node_modules`. */
const MAX_CODE_DEPTH = 32;
/** Left beside a file by editors and people; they say nothing of the file itself. */
const BESIDE = /~$|\.(?:swp|swx|bak|lock)$|^#.*#$/i;
/** rsync's names for what it is writing: `.model.onnx.Ab12Cd`. (One in two hundred has small letters only, and looks like a hidden file of any other kind.) */
const RSYNC = /^\..+\.(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{6}$/;

/**
 * Why the version is not all there yet: a sentence. Null: it looks whole, or what is wrong with it is no matter of time (checkModelFiles and the backend tell that). A file that
 * is still growing may end where it looks whole: that it does not change any more is for the caller to see.
 */
export async function whyIncomplete(file: ModelVersionFile, config: ModelConfig): Promise<string | null> {
  if (config.ensembleScheduling !== null) return null;
  const { modelPath, version } = file;
  const name = basename(modelPath);
  try {
    const directory = versionDirectory(file, config);
    // The folder around a model that is a single file is no version directory, and not ours.
    if (basename(directory) === String(version)) {
      const temporary = await findTemporary(directory, 0, { left: MAX_TREE_ENTRIES });
      if (temporary !== null)
        return `version ${version} is still being written: '${relative(directory, temporary)}' is a temporary file; it goes when the copy is done, or remove it`;
    }
    const found = await stat(modelPath);
    if (found.isDirectory())
      return (await readdir(modelPath)).length === 0 ? `'${name}' of version ${version} is an empty directory` : null;
    if (!found.isFile()) return null;
    if (found.size === 0) return `'${name}' of version ${version} is empty`;
    const inspection = await inspect(modelPath, config.backend);
    if (inspection === null) return null;
    if (inspection.isTruncated !== null) return `'${name}' of version ${version} ${inspection.isTruncated}`;
    for (const { location, byteLength } of inspection.externalFiles) {
      if (whyNotBelow(location) !== null) continue;
      const weights = await stat(join(dirname(modelPath), location)).catch(() => null);
      const shown = shownName(location);
      if (weights === null) return `'${shown}', which has weights of version ${version}, is not there`;
      if (weights.isFile() && weights.size < byteLength) {
        return `'${shown}', which has weights of version ${version}, has ${weights.size} bytes, expected at least ${byteLength}`;
      }
    }
    return null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      return `no file '${name}' in version directory ${version}; put the model there, or name its file in default_model_filename`;
    // What may not be read, or is a loop of links, is for the check to say; anything else is no file system's error.
    if (typeof code === 'string') return null;
    throw error;
  }
}

/**
 * Holds everything that the version would read to the rules: the model's file (or all files of its directory; of code, all beside it), its external weights, what the configuration names, and the
 * `SHA256SUMS` of the model and of the version, where there are any. Labels are read, and checked, with the configuration.
 *
 * @throws InferenceError INVALID_ARGUMENT: the file, what is wrong with it and what to do; UNAVAILABLE: it is being replaced.
 */
export async function checkModelFiles(
  source: ModelSource,
  file: ModelVersionFile,
  config: ModelConfig,
  rules: FileRules,
): Promise<CheckedFiles> {
  try {
    return await checkAll(source, file, config, rules);
  } catch (error) {
    throw readFailure(error, source.root);
  }
}

async function checkAll(source: ModelSource, file: ModelVersionFile, config: ModelConfig, rules: FileRules): Promise<CheckedFiles> {
  const realRoot = await realpath(source.root);
  const check = new FileCheck({
    realRoot,
    allowOutsideLinks: rules.allowOutsideLinks,
    maxBytes: rules.maxModelBytes,
    what: `model '${source.name}' version ${file.version}`,
    show: (path) => showBelow(source, path),
  });
  const listed = source.kind === 'file' ? [] : await takeManifests(check, source, file, versionDirectory(file, config));
  const manifests = new Set(check.paths);
  if (config.ensembleScheduling === null) await takeModel(check, source, file, config, rules.allowOutsideLinks ? null : realRoot);
  const modelPaths = check.paths.filter((path) => !manifests.has(path));
  if (source.kind !== 'file') await takeConfigured(check, source, config);
  for (const [path, manifest] of listed) await check.take(path, `'${manifest}' lists it: `);
  await check.requireLinksInside([await realpath(source.kind === 'file' ? dirname(file.modelPath) : source.path), realRoot]);
  return {
    byteLength: check.byteLength,
    modelPaths,
    assertUnchanged: () => check.assertUnchanged(),
    assertSameModel: () => check.assertSame(modelPaths),
  };
}

async function takeModel(
  check: FileCheck,
  source: ModelSource,
  file: ModelVersionFile,
  config: ModelConfig,
  within: string | null,
): Promise<void> {
  const { modelPath } = file;
  const found = await stat(modelPath).catch(() => null);
  if (found?.isDirectory()) {
    for (const path of await filesBelow(modelPath, within, showBelow(source, modelPath), MAX_DEPTH)) await check.take(path, '');
    return;
  }
  const shown = showBelow(source, modelPath);
  let inspection: ModelFileInspection | null = null;
  const look = async (opened: FileHandle, byteLength: number): Promise<void> => {
    inspection = await inspectModelFile(config.backend, opened, byteLength);
    if (inspection?.fault !== undefined) throw invalidArgument(`model file '${shown}' ${inspection.fault}`);
  };
  await check.take(modelPath, '', look, source.kind === 'file');
  // Code reads, and runs, what lies beside it.
  if (runsCode(config) && source.kind !== 'file') {
    const directory = versionDirectory(file, config);
    for (const path of await filesBelow(directory, within, showBelow(source, directory), MAX_CODE_DEPTH)) await check.take(path, '');
    return;
  }
  const { notSeen, externalFiles } = (inspection as ModelFileInspection | null) ?? { notSeen: null, externalFiles: [] };
  if (notSeen !== null) throw invalidArgument(`model file '${shown}' ${notSeen}: its weights in other files cannot be checked`);
  for (const { location } of externalFiles) {
    const fault = whyNotBelow(location);
    if (fault !== null) {
      const value = fault === 'is absolute' || location === '' ? '' : ` '${shownName(location)}'`;
      throw invalidArgument(
        `model file '${shown}': external_data: the location${value} ${fault}; expected a path below the model file's directory: save the model with relative locations`,
      );
    }
    await check.take(join(dirname(modelPath), location), `model file '${shown}' has weights in another file: `);
  }
  for (const { field, location } of await namedFiles(config)) {
    const fault = whyNotBelow(location);
    if (fault !== null)
      throw invalidArgument(`${field}: the path '${shownName(location)}' ${fault}; expected a file beside the model's, or below`);
    await check.take(join(dirname(modelPath), location), `${field}: `);
  }
}

/** Warm-up and golden files, initial states. What a configuration may name besides is refused before anything is loaded, or read with the configuration. */
async function takeConfigured(check: FileCheck, source: ModelSource, config: ModelConfig): Promise<void> {
  const take = async (field: string, folder: string, name: string): Promise<void> => {
    const fault = whyNotBelow(name);
    if (fault !== null)
      throw invalidArgument(`${field}: the path '${shownName(name)}' ${fault}; expected a file below the model's directory '${folder}'`);
    await check.take(join(source.path, folder, name), `${field}: `);
  };
  for (const [index, sample] of config.modelWarmup.entries()) {
    for (const [name, input] of Object.entries(sample.inputs)) {
      if (input.inputDataFile !== null)
        await take(`model_warmup[${index}].inputs['${shownName(name)}'].input_data_file`, 'warmup', input.inputDataFile);
    }
  }
  for (const [index, name] of config.warmupRequests.entries()) await take(`warmup_requests[${index}]`, 'warmup', name);
  for (const [index, { initialState }] of (config.sequenceBatching?.state ?? []).entries()) {
    for (const [at, { dataFile }] of initialState.entries()) {
      if (dataFile !== null) await take(`sequence_batching.state[${index}].initial_state[${at}].data_file`, 'initial_state', dataFile);
    }
  }
  for (const [index, golden] of config.goldenCheck.entries()) await take(`golden_check[${index}].file`, 'golden', golden.file);
}

/** What the manifests list, by path, with the manifest's name. The model's comes first: the version's is a file like any other to it. */
async function takeManifests(
  check: FileCheck,
  source: ModelSource,
  file: ModelVersionFile,
  directory: string,
): Promise<Map<string, string>> {
  const listed = new Map<string, string>();
  for (const base of [source.path, directory]) {
    const path = join(base, MANIFEST_NAME);
    const shown = showBelow(source, path);
    // A link that leads nowhere is a manifest that cannot be read, not none.
    if ((await lstat(path).catch((error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? null : error))) === null) continue;
    let text = '';
    await check.take(path, '', async (opened, byteLength) => {
      if (byteLength > MAX_MANIFEST_BYTES)
        throw invalidArgument(`'${shown}': the file has ${byteLength} bytes, expected at most ${MAX_MANIFEST_BYTES}`);
      text = await opened.readFile('utf8');
    });
    const checksums = new Map<string, string>();
    for (const [name, checksum] of parseChecksumManifest(text, shown)) {
      // `sha256sum * > SHA256SUMS` lists the manifest itself, as the empty file that it was then.
      if (name === MANIFEST_NAME || (base === source.path && isOfOtherVersion(name, file.version))) continue;
      checksums.set(join(base, name), checksum);
      listed.set(join(base, name), shown);
    }
    check.addManifest({ prefix: base + sep, shown, checksums });
  }
  return listed;
}

function isOfOtherVersion(name: string, version: number): boolean {
  const slash = name.indexOf('/');
  const other = slash < 0 ? null : parseVersionName(name.slice(0, slash));
  return other !== null && other !== version;
}

/** `default_model_filename` may lie some directories below. */
function versionDirectory(file: ModelVersionFile, config: ModelConfig): string {
  let directory = file.modelPath;
  for (const _ of normalize(config.defaultModelFilename || 'model').split(sep)) directory = dirname(directory);
  return directory;
}

async function inspect(path: string, backend: string): Promise<ModelFileInspection | null> {
  const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    const found = await file.stat();
    return found.isFile() ? await inspectModelFile(backend, file, found.size) : null;
  } finally {
    await file.close();
  }
}

/** All files of a model that is a directory, temporary ones left out. `within`: links to directories outside are refused; null: followed. */
async function filesBelow(directory: string, within: string | null, shown: string, maxDepth: number): Promise<string[]> {
  const files: string[] = [];
  let left = MAX_TREE_ENTRIES;
  const open: { path: string; depth: number }[] = [{ path: directory, depth: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (within !== null && !isInside((await resolveLinks(next.path, new Set())).real, within)) {
      throw invalidArgument(
        `'${join(shown, relative(directory, next.path))}' is a link that leads out of the repository; put a copy of the directory there`,
      );
    }
    for (const entry of await readdir(next.path, { withFileTypes: true })) {
      if (isTemporaryName(entry.name)) continue;
      const path = join(next.path, entry.name);
      if (--left < 0 || next.depth >= maxDepth) {
        throw invalidArgument(
          `'${shown}': expected at most ${MAX_TREE_ENTRIES} files, ${maxDepth} directories deep; remove what the model does not need`,
        );
      }
      if (await leadsToDirectory(entry, path)) open.push({ path, depth: next.depth + 1 });
      else files.push(path);
    }
  }
  return files.sort();
}

async function leadsToDirectory(entry: Dirent, path: string): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  return (await stat(path).catch(() => null))?.isDirectory() ?? false;
}

/** The first file below that is on its way to another name. */
async function findTemporary(directory: string, depth: number, budget: { left: number }): Promise<string | null> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (--budget.left < 0) return null;
    const { name } = entry;
    const path = join(directory, name);
    if (name.startsWith('.') ? RSYNC.test(name) : isTemporaryName(name) && !BESIDE.test(name)) return path;
    if (!entry.isDirectory() || name.startsWith('.') || depth >= MAX_DEPTH) continue;
    const below = await findTemporary(path, depth + 1, budget);
    if (below !== null) return below;
  }
  return null;
}

/** `<model>/<version>/<file>`; nothing of where that is. */
function showBelow(source: ModelSource, path: string): string {
  if (source.kind === 'file') return basename(path);
  const below = relative(source.path, path);
  return below.startsWith('..') ? basename(path) : shownName(`${source.name}/${below.replaceAll(sep, '/')}`);
}
