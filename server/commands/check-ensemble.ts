import type { ModelConfig } from '../../backends/api/model-config.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { findStepMistakes, type StepModel } from '../model-config/find-step-mistakes.ts';
import { isDecoupled } from '../repository/create-scheduler.ts';
import { modelsOfSteps } from '../repository/ensembles/compose-ensemble.ts';
import type { CheckedModel } from './check-model-directory.ts';

/**
 * An ensemble and the models of its steps: whether they are there, and fit, as the server sees it when it loads the ensemble. A model's own tensors are looked at where its configuration lists
 * them (`tensorsOf`, which gives what loading it found out).
 */
export function checkEnsemble(
  ensemble: CheckedModel,
  models: ReadonlyMap<string, CheckedModel>,
  tensorsOf: (name: string) => ModelConfig | null,
): void {
  const { written, findings, configFile, lineOf, name } = ensemble;
  if (written === null || written.ensembleScheduling === null) return;
  const mistake = (field: string, message: string): void => findings.add('error', configFile, message, field, lineOf(field));
  for (const [index, { modelName, modelVersion, fallback }] of written.ensembleScheduling.step.entries()) {
    const path = `ensemble_scheduling.step[${index}]`;
    checkStepModel(path, modelName, modelVersion, models, mistake);
    if (fallback !== null) checkStepModel(`${path}.fallback`, fallback.modelName, fallback.modelVersion, models, mistake);
  }
  const circle = findCircle([name], tensorsOf);
  if (circle !== null) mistake('ensemble_scheduling', `circular dependency between ensembles: ${circle.join(' -> ')}; break the circle`);
  findStepMistakes(written, (model) => stepModel(model, tensorsOf), mistake);
}

function checkStepModel(
  path: string,
  modelName: string,
  modelVersion: number,
  models: ReadonlyMap<string, CheckedModel>,
  mistake: (field: string, message: string) => void,
): void {
  // The lack of a name is the configuration's own mistake.
  if (modelName === '') return;
  const model = models.get(modelName);
  if (model === undefined) {
    const hint = didYouMean(modelName, models.keys()) || '; add it, or correct the name';
    mistake(`${path}.model_name`, `no model '${modelName}' in the repository${hint}`);
    return;
  }
  const served = model.versions.map(({ version }) => version);
  if (modelVersion > 0 && served.length > 0 && !served.includes(modelVersion)) {
    mistake(
      `${path}.model_version`,
      `version ${modelVersion} of '${modelName}' is not served (${served.join(', ')}); use -1 for the latest`,
    );
  }
}

function stepModel(name: string, tensorsOf: (name: string) => ModelConfig | null): StepModel | null {
  const config = tensorsOf(name);
  if (config === null) return null;
  const { maxBatchSize, input, output } = config;
  return {
    maxBatchSize,
    inputs: input,
    outputs: output.map((one) => ({ ...one, optional: false })),
    isDecoupled: isAnyDecoupled(config, tensorsOf, new Set()),
  };
}

function isAnyDecoupled(config: ModelConfig, tensorsOf: (name: string) => ModelConfig | null, seen: Set<string>): boolean {
  if (config.ensembleScheduling === null) return isDecoupled(config);
  for (const { modelName } of config.ensembleScheduling.step) {
    if (seen.has(modelName)) continue;
    seen.add(modelName);
    const inner = tensorsOf(modelName);
    if (inner !== null && isAnyDecoupled(inner, tensorsOf, seen)) return true;
  }
  return false;
}

/** The way from the first name of `path` back to it; null: there is none. */
function findCircle(path: readonly string[], tensorsOf: (name: string) => ModelConfig | null): string[] | null {
  const config = tensorsOf(path.at(-1)!);
  for (const model of config === null ? [] : modelsOfSteps(config)) {
    if (model === path[0]) return [...path, model];
    // A circle that this ensemble is no part of is that of others.
    if (path.includes(model)) continue;
    const circle = findCircle([...path, model], tensorsOf);
    if (circle !== null) return circle;
  }
  return null;
}
