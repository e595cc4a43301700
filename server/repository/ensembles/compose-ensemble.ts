import type { ModelConfig } from '../../../backends/api/model-config.ts';
import { DATATYPES } from '../../../proto/datatype.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import type { CallableModel, NestedCalls } from '../../inference/nested-calls.ts';
import { findStepMistakes, type StepModel } from '../../model-config/find-step-mistakes.ts';
import { compileEnsemble, type EnsemblePlan, versionText } from '../../scheduling/ensemble/ensemble-plan.ts';

export interface ComposedEnsemble {
  /** Its transaction policy is what its steps make of it. */
  readonly config: ModelConfig;
  /** By output: its own, else those of the model that makes it. */
  readonly labels: ReadonlyMap<string, readonly string[]>;
  readonly plan: EnsemblePlan;
}

/**
 * Puts an ensemble together with the models that serve now. Throws INVALID_ARGUMENT, with everything that is wrong, when one of them does not serve or they do not fit.
 */
export function composeEnsemble(
  config: ModelConfig,
  ownLabels: ReadonlyMap<string, readonly string[]>,
  calls: NestedCalls,
): ComposedEnsemble {
  requireModels(config, calls);
  const mistakes: string[] = [];
  const find = (name: string, version: number): StepModel | null => {
    const model = calls.find(name, versionText(version));
    return model === null ? null : stepModel(model);
  };
  findStepMistakes(config, find, (field, message) => mistakes.push(`${field}: ${message}`));
  if (mistakes.length > 0) throw invalidArgument(mistakes.map((mistake) => `ensemble '${config.name}': ${mistake}`).join('\n'));
  const plan = compileEnsemble(config, (name, version) => calls.find(name, version));
  if (plan.isDecoupled && config.responseCache?.enable) {
    throw invalidArgument(
      `ensemble '${config.name}': response_cache.enable: expected false, as a step is decoupled and the ensemble with it`,
    );
  }
  return {
    config: {
      ...config,
      modelTransactionPolicy: plan.isDecoupled ? { decoupled: true } : config.modelTransactionPolicy && { decoupled: false },
    },
    labels: labelsOf(config, ownLabels, calls),
    plan,
  };
}

/** The models of an ensemble, fallbacks among them, each once; none for any other model. */
export function modelsOfSteps(config: ModelConfig): string[] {
  const names = new Set<string>();
  for (const { modelName, fallback } of config.ensembleScheduling?.step ?? []) {
    names.add(modelName);
    if (fallback !== null) names.add(fallback.modelName);
  }
  return [...names];
}

/** Whether the models that serve now are, to the ensemble, those that the plan was made of. */
export function isUpToDate(config: ModelConfig, plan: EnsemblePlan, calls: NestedCalls): boolean {
  return isComplete(config, calls) && compileEnsemble(config, (name, version) => calls.find(name, version)).madeOf === plan.madeOf;
}

/** Every model of it serves, in the version that it asks for. */
export function isComplete(config: ModelConfig, calls: NestedCalls): boolean {
  for (const { modelName, modelVersion, fallback } of config.ensembleScheduling!.step) {
    if (calls.find(modelName, versionText(modelVersion)) === null) return false;
    if (fallback !== null && calls.find(fallback.modelName, versionText(fallback.modelVersion)) === null) return false;
  }
  return true;
}

function requireModels(config: ModelConfig, calls: NestedCalls): void {
  for (const [index, step] of config.ensembleScheduling!.step.entries()) {
    const path = `ensemble_scheduling.step[${index}]`;
    requireModel(config.name, path, step.modelName, step.modelVersion, calls);
    if (step.fallback !== null) requireModel(config.name, `${path}.fallback`, step.fallback.modelName, step.fallback.modelVersion, calls);
  }
}

function requireModel(ensemble: string, path: string, name: string, modelVersion: number, calls: NestedCalls): void {
  const version = versionText(modelVersion);
  if (calls.find(name, version) !== null) return;
  if (version === '' || calls.find(name, '') === null)
    throw invalidArgument(`ensemble '${ensemble}' depends on '${name}' which has no loaded version (${path}); load '${name}'`);
  throw invalidArgument(
    `ensemble '${ensemble}' depends on '${name}' whose required version ${version} is not loaded (${path}); load it, or give model_version -1 for the latest`,
  );
}

function stepModel({ signature, isDecoupled }: CallableModel): StepModel {
  return {
    maxBatchSize: signature.maxBatchSize,
    inputs: signature.inputs.map(({ name, datatype, dims, optional }) => ({
      name,
      dataType: DATATYPES[datatype].configName,
      dims,
      optional,
    })),
    outputs: signature.outputs.map(({ name, datatype, dims }) => ({
      name,
      dataType: DATATYPES[datatype].configName,
      dims,
      optional: false,
    })),
    isDecoupled,
  };
}

function labelsOf(
  config: ModelConfig,
  own: ReadonlyMap<string, readonly string[]>,
  calls: NestedCalls,
): ReadonlyMap<string, readonly string[]> {
  const labels = new Map<string, readonly string[]>();
  for (const { modelName, modelVersion, outputMap } of config.ensembleScheduling!.step) {
    for (const { name, labels: theirs } of calls.find(modelName, versionText(modelVersion))!.signature.outputs) {
      const tensor = outputMap[name];
      if (tensor !== undefined && theirs !== null && !labels.has(tensor)) labels.set(tensor, theirs);
    }
  }
  for (const [name, lines] of own) labels.set(name, lines);
  return labels;
}
