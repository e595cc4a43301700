import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { HostPoolOptions } from '../execution/host-pool.ts';
import { CONFIG_FILE_FORMATS } from '../model-config/parse-model-config.ts';
import { isModelFileName, modelNameOf } from '../options/model-file-name.ts';
import { describeModelFile, listModelDirectories } from '../repository/model-directory.ts';
import { isTemporaryName } from '../repository/model-tree.ts';
import { parseVersionName } from '../repository/version-policy.ts';
import { checkEnsemble } from './check-ensemble.ts';
import { CheckFindings } from './check-findings.ts';
import { checkLabelCounts } from './check-labels.ts';
import { type CheckedModel, checkModelDirectory } from './check-model-directory.ts';
import { ModelLoads } from './check-model-loads.ts';

export interface CheckOptions {
  /** Names; empty: every model. */
  readonly models: readonly string[];
  readonly loads: boolean;
  /** As `--model-config-name`; '' for none. */
  readonly configName: string;
  /** How the models are loaded. */
  readonly hosts?: Partial<HostPoolOptions>;
  readonly onProgress: (name: string, index: number, count: number) => void;
}

/** A model's place: its directory is `<repository>/<name>`, or it is the file. */
interface Place {
  readonly name: string;
  readonly repository: string;
  readonly modelFile: string | null;
}

/**
 * Checks the models below `paths`, each a repository, one model's directory or a model file. Throws InferenceError when a path is none of these or a name in
 * `options.models` is not there; everything else is a finding.
 */
export async function checkRepository(paths: readonly string[], options: CheckOptions): Promise<CheckedModel[]> {
  const places: Place[] = [];
  for (const path of paths) places.push(...(await findPlaces(resolve(path))));
  const names = new Set(places.map(({ name }) => name));
  for (const name of options.models) {
    if (!names.has(name)) throw invalidArgument(`no model '${name}' there${didYouMean(name, names)}`);
  }
  const wanted = options.models.length === 0 ? places : places.filter(({ name }) => options.models.includes(name));
  const models: CheckedModel[] = [];
  const loads = options.loads ? new ModelLoads(options.hosts) : null;
  try {
    for (const [index, place] of wanted.entries()) {
      options.onProgress(place.name, index, wanted.length);
      const model = await checkPlace(place, options.configName);
      models.push(model);
      if (loads !== null) await loads.check(model);
      else if (model.config !== null) checkLabelCounts(model, model.config, null);
      const others = places.filter(({ name }) => name === place.name).map(({ repository }) => repository);
      if (others.length > 1)
        model.findings.add('error', place.name, `the name is not unique: ${others.join(', ')} have it; rename or remove all but one`);
    }
    await checkEnsembles(models, places, options, loads);
  } finally {
    await loads?.stop();
  }
  return models;
}

async function checkEnsembles(
  models: readonly CheckedModel[],
  places: readonly Place[],
  options: CheckOptions,
  loads: ModelLoads | null,
): Promise<void> {
  const ensembles = models.filter(({ written }) => written !== null && written.ensembleScheduling !== null);
  if (ensembles.length === 0) return;
  const byName = new Map(models.map((model) => [model.name, model]));
  // With --model, the models of the steps may not be among those that were asked for; their findings are not shown.
  for (const place of places) if (!byName.has(place.name)) byName.set(place.name, await checkPlace(place, options.configName));
  const tensorsOf = (name: string): ModelConfig | null => loads?.completed.get(name) ?? byName.get(name)?.config ?? null;
  for (const ensemble of ensembles) checkEnsemble(ensemble, byName, tensorsOf);
}

async function checkPlace({ name, repository, modelFile }: Place, configName: string): Promise<CheckedModel> {
  if (modelFile !== null) return modelOfFile(modelFile);
  try {
    return await checkModelDirectory(repository, name, configName);
  } catch (error) {
    const findings = new CheckFindings();
    findings.addThrown(error, name);
    const source = { name, kind: 'directory', path: join(repository, name), root: repository, config: null } as const;
    return { name, source, findings, written: null, config: null, versions: [], labels: new Map(), configFile: name, lineOf: () => null };
  }
}

function modelOfFile(path: string): CheckedModel {
  const { name, source, config, versions, labels } = describeModelFile(path);
  return {
    name,
    source,
    findings: new CheckFindings(),
    written: config,
    config,
    versions,
    labels,
    configFile: basename(path),
    lineOf: () => null,
  };
}

async function findPlaces(path: string): Promise<Place[]> {
  const found = await stat(path).catch(() => null);
  if (found === null) throw new InferenceError('NOT_FOUND', `no file or directory '${path}'`);
  if (found.isFile()) {
    if (!isModelFileName(path))
      throw invalidArgument(`expected a repository, a model's directory or an .onnx or .gguf file, got '${path}'`);
    return [{ name: modelNameOf(path), repository: dirname(path), modelFile: path }];
  }
  if (await isModelDirectory(path)) return [{ name: basename(path), repository: dirname(path), modelFile: null }];
  const names = (await listModelDirectories(path)).filter((name) => !isTemporaryName(name));
  if (names.length === 0) {
    const file = (await readdir(path)).find(isModelFileName);
    const advice = file === undefined ? '' : `; to check the file by itself, name it: ${join(path, file)}`;
    throw invalidArgument(`no models in '${path}': expected a directory for each, such as NAME/1/model.onnx${advice}`);
  }
  return names.map((name) => ({ name, repository: path, modelFile: null }));
}

/** A configuration of its own, or a version directory, which has neither a configuration nor versions. */
async function isModelDirectory(path: string): Promise<boolean> {
  const names = await readdir(path);
  if (names.some((name) => Object.hasOwn(CONFIG_FILE_FORMATS, name))) return true;
  for (const name of names) {
    if (parseVersionName(name) === null) continue;
    const inside = await readdir(join(path, name)).catch(() => null);
    if (inside === null) continue;
    const isModel = inside.some((one) => Object.hasOwn(CONFIG_FILE_FORMATS, one) || parseVersionName(one) !== null);
    if (!isModel) return true;
  }
  return false;
}
