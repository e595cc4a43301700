import type { Dirent } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { nearestName } from '../../proto/nearest-name.ts';
import { findUnsupportedConfig } from '../model-config/config-support.ts';
import { lintConfigText } from '../model-config/lint-config-text.ts';
import type { LineOfField } from '../model-config/locate-config-fields.ts';
import { normaliseModelConfig } from '../model-config/normalise-model-config.ts';
import { CONFIG_FILE_FORMATS, type ConfigFormat, emptyModelConfig, MAX_CONFIG_BYTES } from '../model-config/parse-model-config.ts';
import { validateModelConfig } from '../model-config/validate-model-config.ts';
import { whyIncomplete } from '../repository/files/model-files.ts';
import { directorySource, type ModelVersionFile, readModelDirectory } from '../repository/model-directory.ts';
import type { ModelSource } from '../repository/model-source.ts';
import { isTemporaryName } from '../repository/model-tree.ts';
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
const MAX_LABEL_FILE_BYTES = 16 * 1024 * 1024;

/** Everything about a model's directory that shows without opening a model file. */
export async function checkModelDirectory(repository: string, name: string, configName: string): Promise<CheckedModel> {
  const findings = new CheckFindings();
  const source = directorySource(repository, name);
  const entries = await readdir(source.path, { withFileTypes: true });
  const directories = await directoriesAmong(source.path, entries);
  const files = entries.map((entry) => entry.name).filter((entry) => !directories.includes(entry));
  const { written, configFile, lineOf } = await checkConfigFile(source, files, configName, findings);
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
    const stray = files.find((file) => file.endsWith('.onnx'));
    const move = stray === undefined ? '' : `; move ${name}/${stray} there`;
    const content =
      (written?.ensembleScheduling ?? null) === null ? `with the model in it, such as ${name}/1/model.onnx` : 'which may be empty';
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
  const versions = config.ensembleScheduling === null ? await checkVersionFiles(source, served, config, findings) : [];
  if (findings.count('error') === 0) {
    // Whatever else a server would say of the directory: what it reads is what counts.
    await readModelDirectory(source, { configName }).catch((error: unknown) => findings.addThrown(error, configFile));
  }
  return { ...base, config, versions, labels };
}

async function checkConfigFile(
  source: ModelSource,
  files: readonly string[],
  configName: string,
  findings: CheckFindings,
): Promise<{ written: ModelConfig | null; configFile: string; lineOf: LineOfField }> {
  const chosen = await chooseConfigFile(source, files, configName);
  if (chosen.length === 0) return { written: emptyModelConfig(), configFile: source.name, lineOf: () => null };
  const [file] = chosen;
  const configFile = `${source.name}/${file}`;
  const unreadable = { written: null, configFile, lineOf: () => null };
  if (chosen.length > 1) {
    findings.add('error', source.name, `expected one configuration file, found ${chosen.join(' and ')}: they mean the same, keep one`);
    return unreadable;
  }
  const path = join(source.path, file!);
  let text: string;
  try {
    const found = await stat(path);
    if (!found.isFile() || found.size > MAX_CONFIG_BYTES) {
      findings.add(
        'error',
        configFile,
        `expected a file of at most ${MAX_CONFIG_BYTES} bytes, got ${found.isFile() ? found.size : 'no file'}`,
      );
      return unreadable;
    }
    text = await readFile(path, 'utf8');
  } catch (error) {
    findings.addThrown(error, configFile);
    return unreadable;
  }
  const format: ConfigFormat = CONFIG_FILE_FORMATS[file!] ?? 'pbtxt';
  const linted = lintConfigText(text, format);
  for (const { severity, field, line, message } of linted.findings) findings.add(severity, configFile, message, field, line);
  if (linted.config !== null) {
    for (const { severity, field, message } of [...findUnsupportedConfig(linted.config), ...validateModelConfig(linted.config)]) {
      findings.add(severity, configFile, message, field, linted.lineOf(field));
    }
  }
  return { written: linted.config, configFile, lineOf: linted.lineOf };
}

async function chooseConfigFile({ path }: ModelSource, files: readonly string[], configName: string): Promise<string[]> {
  if (configName !== '') {
    const named = `configs/${configName}.pbtxt`;
    if (
      await stat(join(path, named)).then(
        (found) => found.isFile(),
        () => false,
      )
    )
      return [named];
  }
  return files.filter((file) => Object.hasOwn(CONFIG_FILE_FORMATS, file));
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
      const why = await whyIncomplete({ version, modelPath }, config);
      if (why === null) versions.push({ version, modelPath });
      else findings.add('error', `${source.name}/${version}/${wanted}`, `is not loaded: ${why}`);
      continue;
    }
    const there = await readdir(directory).catch(() => []);
    const near = nearestName(wanted, there) ?? there.find((file) => file.endsWith('.onnx'));
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

function reportStrayFiles(files: readonly string[], written: ModelConfig, name: string, findings: CheckFindings): void {
  const used = new Set([...Object.keys(CONFIG_FILE_FORMATS), ...written.output.map((output) => output.labelFilename)]);
  for (const file of files) {
    if (used.has(file) || companions.test(file)) continue;
    if (isTemporaryName(file)) {
      if (!file.startsWith('.')) findings.add('warning', `${name}/${file}`, 'looks like a temporary file; remove it');
    } else findings.add('warning', `${name}/${file}`, 'is used by nothing: model files belong into a version directory; move or remove it');
  }
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
    const found = await stat(path).catch(() => null);
    if (found === null || !found.isFile() || found.size > MAX_LABEL_FILE_BYTES) {
      const problem = found === null ? 'is not there' : found.isFile() ? `has more than ${MAX_LABEL_FILE_BYTES} bytes` : 'is no file';
      findings.add(
        'error',
        configFile,
        `'${labelFilename}' ${problem}; expected a file in the model's directory with one label a line`,
        field,
        lineOf(field),
      );
      continue;
    }
    const lines = (await readFile(path, 'utf8')).split(/\r?\n/);
    if (lines.at(-1) === '') lines.pop();
    labels.set(name, lines);
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
