import type { Dirent } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { nearestName } from '../../proto/nearest-name.ts';
import { findUnsupportedConfig } from '../model-config/config-support.ts';
import { lintConfigText } from '../model-config/lint-config-text.ts';
import type { LineOfField } from '../model-config/locate-config-fields.ts';
import { normaliseModelConfig } from '../model-config/normalise-model-config.ts';
import { CONFIG_FILE_FORMATS, type ConfigFormat, emptyModelConfig } from '../model-config/parse-model-config.ts';
import { validateModelConfig } from '../model-config/validate-model-config.ts';
import { isModelFileName } from '../options/model-file-name.ts';
import { inspectModelFile } from '../repository/files/inspect-model-file.ts';
import { whyIncomplete } from '../repository/files/model-files.ts';
import { readLabels } from '../repository/files/read-labels.ts';
import {
  configFileOf,
  directorySource,
  type ModelVersionFile,
  readConfigText,
  readFailure,
  readModelDirectory,
} from '../repository/model-directory.ts';
import type { ModelSource } from '../repository/model-source.ts';
import { isTemporaryName, readModelTree, TooManyFiles } from '../repository/model-tree.ts';
import { chooseVersions, parseVersionName } from '../repository/version-policy.ts';
import { CheckFindings } from './check-findings.ts';

/** What is known of a model once its directory is checked. */
export interface CheckedModel {
  readonly name: string;
  readonly source: ModelSource;
  readonly findings: CheckFindings;
  /** As its author wrote it; null: it cannot be read. */
  readonly written: ModelConfig | null;
  /** Normalised; null: it cannot be told what would be served. */
  readonly config: ModelConfig | null;
  /** Those that are served and have their file. */
  readonly versions: readonly ModelVersionFile[];
  /** Lines of the label files there are, by output name. */
  readonly labels: ReadonlyMap<string, readonly string[]>;
  /** Configuration file below the repository, or the model's directory when there is none. */
  readonly configFile: string;
  readonly lineOf: LineOfField;
}

/** Directories of a model that hold no version. */
const otherDirectories: ReadonlySet<string> = new Set(['configs', 'warmup', 'initial_state', 'golden']);
/** Files that people leave in a model's directory for each other, and the manifest. */
const companions = /^(readme|license|notice|changelog)|\.md$|^SHA256SUMS$/i;

/** Listed one by one. */
const MAX_STRAY_FILES = 20;

/** Everything about a model's directory that shows without opening a model file. */
export async function checkModelDirectory(repository: string, name: string, configName: string): Promise<CheckedModel> {
  const findings = new CheckFindings();
  const source = directorySource(repository, name);
  const entries = await readdir(source.path, { withFileTypes: true });
  const directories = await directoriesAmong(source.path, entries);
  const names = entries.map((entry) => entry.name);
  const files = names.filter((entry) => !directories.includes(entry));
  const { written, configFile, lineOf } = await checkConfigFile(source, names, configName, findings);
  const at = (field: string): [string, number | null] => [field, lineOf(field)];
  const base = { name, source, findings, written, configFile, lineOf };
  const nothing: CheckedModel = { ...base, config: null, versions: [], labels: new Map() };

  for (const directory of directories) {
    if (parseVersionName(directory) !== null || otherDirectories.has(directory) || isTemporaryName(directory)) continue;
    findings.add(
      'warning',
      `${name}/${directory}`,
      'is no version (expected a number without leading zeros, such as 1) and is ignored; rename or remove it',
    );
  }
  const present = directories.map(parseVersionName).filter((version) => version !== null);
  if (present.length === 0) {
    const stray = files.find(isModelFileName);
    const move = stray === undefined ? '' : `; move ${name}/${stray} there`;
    const content =
      (written?.ensembleScheduling ?? null) === null
        ? `with the model in it, such as ${name}/1/model.onnx or model.gguf`
        : 'which may be empty';
    findings.add('error', name, `no version directory: expected one whose name is a number, ${content}${move}`);
  }
  if (written === null) return nothing;
  for (const [index, version] of (written.versionPolicy?.specific?.versions ?? []).entries()) {
    if (present.includes(version)) continue;
    const field = `version_policy.specific.versions[${index}]`;
    findings.add(
      'warning',
      configFile,
      `version ${version} has no directory; add ${name}/${version}, or take it off the list`,
      ...at(field),
    );
  }
  reportStrayFiles(files, written, name, findings);
  const labels = await checkLabelFiles(written, source, configFile, lineOf, findings);
  if (present.length === 0) return { ...nothing, labels };
  const config = normalise(written, source, await firstVersionEntries(source.path, present), configFile, findings);
  if (config === null) return { ...nothing, labels };
  let served: readonly number[] = [];
  try {
    served = chooseVersions(config.versionPolicy, directories, name).versions;
  } catch (error) {
    findings.addThrown(error, configFile, ...at('version_policy'));
  }
  for (const [label, version] of Object.entries(written.versionLabels)) {
    if (served.includes(version)) continue;
    const field = `version_labels[${JSON.stringify(label)}]`;
    const message = `version ${version} is not served (${served.join(', ') || 'none is'}); give another version, or let version_policy serve it`;
    findings.add('error', configFile, message, ...at(field));
  }
  await checkNamedFiles(written, source, configFile, lineOf, findings);
  await checkParameters(config, configFile, lineOf, findings);
  const versions = config.ensembleScheduling === null ? await checkVersionFiles(source, served, config, findings) : [];
  await checkFileCount(source, findings);
  if (findings.count('error') === 0) {
    // Whatever else a server would say of the directory: what it reads is what counts.
    await readModelDirectory(source, { configName }).catch((error: unknown) => findings.addThrown(error, configFile));
  }
  return { ...base, config, versions, labels };
}

async function checkConfigFile(
  source: ModelSource,
  names: readonly string[],
  configName: string,
  findings: CheckFindings,
): Promise<{ written: ModelConfig | null; configFile: string; lineOf: LineOfField }> {
  const none = { configFile: source.name, lineOf: () => null };
  let file: string | null;
  try {
    file = await configFileOf(source.path, names, configName);
  } catch (error) {
    findings.addThrown(error, source.name);
    return { ...none, written: null };
  }
  if (file === null) return { ...none, written: emptyModelConfig() };
  const configFile = `${source.name}/${file}`;
  let text: string;
  try {
    text = await readConfigText(source, file, false);
  } catch (error) {
    findings.addThrown(readFailure(error, source.root), configFile);
    return { written: null, configFile, lineOf: () => null };
  }
  const format: ConfigFormat = CONFIG_FILE_FORMATS[`config${extname(file)}`]!;
  const linted = lintConfigText(text, format);
  for (const { severity, field, line, message } of linted.findings) findings.add(severity, configFile, message, field, line);
  if (linted.config !== null) {
    for (const { severity, field, message } of [...findUnsupportedConfig(linted.config), ...validateModelConfig(linted.config)]) {
      findings.add(severity, configFile, message, field, linted.lineOf(field));
    }
  }
  return { written: linted.config, configFile, lineOf: linted.lineOf };
}

function normalise(
  written: ModelConfig,
  { name }: ModelSource,
  entries: readonly string[],
  configFile: string,
  findings: CheckFindings,
): ModelConfig | null {
  try {
    return normaliseModelConfig(written, { name, firstVersionEntries: entries });
  } catch (error) {
    findings.addThrown(error, configFile);
    return null;
  }
}

async function checkVersionFiles(
  source: ModelSource,
  served: readonly number[],
  config: ModelConfig,
  findings: CheckFindings,
): Promise<ModelVersionFile[]> {
  const versions: ModelVersionFile[] = [];
  const wanted = config.defaultModelFilename;
  for (const version of served) {
    const directory = join(source.path, String(version));
    const modelPath = join(directory, wanted);
    if (wanted === '' || (await stat(modelPath).catch(() => null)) !== null) {
      const why = (await whyIncomplete({ version, modelPath }, config)) ?? (await whyRefused(modelPath, config));
      if (why === null) versions.push({ version, modelPath });
      else findings.add('error', `${source.name}/${version}/${wanted}`, `is not loaded: ${why}`);
      continue;
    }
    const there = await readdir(directory).catch(() => []);
    const near = nearestName(wanted, there) ?? there.find(isModelFileName);
    const advice = near === undefined ? 'put the model there' : `rename '${near}'`;
    const found = there.length === 0 ? 'the directory is empty' : `the directory has ${there.slice(0, 5).join(', ')}`;
    findings.add(
      'error',
      `${source.name}/${version}/${wanted}`,
      `the model's file is missing: ${found}; ${advice}, or name its file in default_model_filename`,
    );
  }
  return versions;
}

/** What the backend's own look at the file refuses; null: nothing. */
async function whyRefused(modelPath: string, { backend }: ModelConfig): Promise<string | null> {
  const file = await open(modelPath, 'r').catch(() => null);
  if (file === null) return null;
  try {
    const found = await file.stat();
    const inspection = found.isFile() ? await inspectModelFile(backend, file, found.size) : null;
    return inspection?.fault === undefined ? null : `'${basename(modelPath)}' ${inspection.fault}`;
  } finally {
    await file.close();
  }
}

/** What only the backend knows of a model's parameters. */
async function checkParameters(config: ModelConfig, configFile: string, lineOf: LineOfField, findings: CheckFindings): Promise<void> {
  if (config.backend !== 'llamacpp') return;
  try {
    const { readLlamaOptions } = await import('../../backends/llamacpp/options/llama-options.ts');
    readLlamaOptions(config);
  } catch (error) {
    const name = error instanceof Error ? (/^parameters\['([^']*)'\]/.exec(error.message)?.[1] ?? '') : '';
    const field = name === '' ? '' : `parameters[${JSON.stringify(name)}]`;
    findings.addThrown(error, configFile, field, field === '' ? null : lineOf(field));
  }
}

/** Modes `poll` and `explicit` do not load what they could not see the changes of. */
async function checkFileCount({ name, path }: ModelSource, findings: CheckFindings): Promise<void> {
  const failure: unknown = await readModelTree(path).then(
    () => null,
    (error: unknown) => error,
  );
  if (failure instanceof TooManyFiles) findings.addThrown(failure, name);
}

function reportStrayFiles(files: readonly string[], written: ModelConfig, name: string, findings: CheckFindings): void {
  const used = new Set([...Object.keys(CONFIG_FILE_FORMATS), ...written.output.map((output) => output.labelFilename)]);
  const stray = files.filter((file) => !file.startsWith('.') && !used.has(file) && !companions.test(file));
  for (const file of stray.slice(0, MAX_STRAY_FILES)) {
    const message = isTemporaryName(file)
      ? 'looks like a temporary file; remove it'
      : 'is used by nothing: model files belong into a version directory; move or remove it';
    findings.add('warning', `${name}/${file}`, message);
  }
  const more = stray.length - MAX_STRAY_FILES;
  if (more > 0) findings.add('warning', name, `${more} more files are used by nothing; move or remove them`);
}

async function checkLabelFiles(
  written: ModelConfig,
  source: ModelSource,
  configFile: string,
  lineOf: LineOfField,
  findings: CheckFindings,
): Promise<Map<string, readonly string[]>> {
  const labels = new Map<string, readonly string[]>();
  for (const [index, { name, labelFilename }] of written.output.entries()) {
    const field = `output[${index}].label_filename`;
    if (labelFilename === '' || findings.hasErrorAt(field)) continue;
    const path = join(source.path, labelFilename);
    if ((await stat(path).catch(() => null)) === null) {
      const message = `'${labelFilename}' is not there; expected a file in the model's directory with one label a line`;
      findings.add('error', configFile, message, field, lineOf(field));
      continue;
    }
    try {
      const rules = { directory: source.path, root: source.root, allowOutsideLinks: false, what: `'${labelFilename}'` };
      labels.set(name, await readLabels(path, rules));
    } catch (error) {
      findings.addThrown(error, configFile, field, lineOf(field));
    }
  }
  return labels;
}

/** Warm-up data, recorded requests and golden files that the configuration names; whether they fit is seen when they are run. */
async function checkNamedFiles(
  written: ModelConfig,
  source: ModelSource,
  configFile: string,
  lineOf: LineOfField,
  findings: CheckFindings,
): Promise<void> {
  const named: [string, string, string][] = [
    ...written.goldenCheck.map(({ file }, index): [string, string, string] => [`golden_check[${index}].file`, 'golden', file]),
    ...written.warmupRequests.map((file, index): [string, string, string] => [`warmup_requests[${index}]`, 'warmup', file]),
    ...(written.sequenceBatching?.state ?? []).flatMap(({ initialState }, index) =>
      initialState.map(({ dataFile }, at): [string, string, string] => [
        `sequence_batching.state[${index}].initial_state[${at}].data_file`,
        'initial_state',
        dataFile ?? '',
      ]),
    ),
    ...written.modelWarmup.flatMap(({ inputs }, index) =>
      Object.entries(inputs).map(([input, { inputDataFile }]): [string, string, string] => [
        `model_warmup[${index}].inputs[${JSON.stringify(input)}].input_data_file`,
        'warmup',
        inputDataFile ?? '',
      ]),
    ),
  ];
  for (const [field, folder, file] of named) {
    if (file === '' || findings.hasErrorAt(field)) continue;
    if (
      await stat(join(source.path, folder, file)).then(
        (found) => found.isFile(),
        () => false,
      )
    )
      continue;
    findings.add(
      'error',
      configFile,
      `no file '${folder}/${file}' in the model's directory; put it there, or correct its name`,
      field,
      lineOf(field),
    );
  }
}

async function firstVersionEntries(path: string, present: readonly number[]): Promise<string[]> {
  return readdir(join(path, String(Math.min(...present)))).catch(() => []);
}

async function directoriesAmong(path: string, entries: readonly Dirent[]): Promise<string[]> {
  const directories: string[] = [];
  for (const entry of entries) {
    const isLink = entry.isSymbolicLink();
    if (
      entry.isDirectory() ||
      (isLink &&
        (await stat(join(path, entry.name)).then(
          (found) => found.isDirectory(),
          () => false,
        )))
    ) {
      directories.push(entry.name);
    }
  }
  return directories;
}
