import type { ModelConfig } from '../../backends/api/model-config.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { CheckedModel } from './check-model-directory.ts';

/** A tensor of the ensemble, as the steps pass it on. */
interface Produced {
  /** Index of the step; -1: an input of the ensemble. */
  readonly step: number;
  /** `output_map["Y"]` of the step. */
  readonly field: string;
}

/**
 * The graph of an ensemble: which model makes which tensor from which. A model's own tensors are looked at where its configuration lists them (`tensorsOf`, which
 * gives what loading it found out).
 */
export function checkEnsemble(
  ensemble: CheckedModel,
  models: ReadonlyMap<string, CheckedModel>,
  tensorsOf: (name: string) => ModelConfig | null,
): void {
  const { written, findings, configFile, lineOf } = ensemble;
  const steps = written?.ensembleScheduling?.step ?? [];
  if (written === null || written.ensembleScheduling === null) return;
  const mistake = (field: string, message: string): void => findings.add('error', configFile, message, field, lineOf(field));
  if (steps.length === 0) mistake('ensemble_scheduling.step', 'expected at least one step, got none');
  for (const list of ['input', 'output'] as const) {
    if (written[list].length === 0) mistake(list, `expected the ensemble's ${list}s: no model file tells them`);
  }

  const produced = new Map<string, Produced>(written.input.map(({ name }, index) => [name, { step: -1, field: `input[${index}]` }]));
  for (const [index, { outputMap }] of steps.entries()) {
    for (const [output, tensor] of Object.entries(outputMap)) {
      const field = `ensemble_scheduling.step[${index}].output_map[${JSON.stringify(output)}]`;
      const first = produced.get(tensor);
      if (first === undefined) produced.set(tensor, { step: index, field });
      else mistake(field, `the tensor '${tensor}' is made by ${first.field} too; give one of them another name`);
    }
  }
  const used = new Set<string>(written.output.map(({ name }) => name));
  for (const [index, step] of steps.entries()) {
    const path = `ensemble_scheduling.step[${index}]`;
    checkComposingModel(ensemble, path, step, models, tensorsOf, mistake);
    for (const [input, tensor] of Object.entries(step.inputMap)) {
      used.add(tensor);
      if (!produced.has(tensor)) mistake(`${path}.input_map[${JSON.stringify(input)}]`, noSuchTensor(tensor, produced));
    }
  }
  for (const [index, { name }] of written.output.entries()) {
    if (!produced.has(name)) mistake(`output[${index}].name`, `no step makes the output '${name}'${didYouMean(name, produced.keys())}`);
  }
  checkDatatypes(written, steps, tensorsOf, mistake);
  const cycle = findCycle(steps, produced);
  if (cycle !== null) mistake('ensemble_scheduling.step', `the steps wait for each other: ${cycle.join(' -> ')}; break the circle`);
  for (const [tensor, { field }] of produced) {
    if (used.has(tensor)) continue;
    findings.add('warning', configFile, `the tensor '${tensor}' is used by no step and is no output; remove it`, field, lineOf(field));
  }
}

type Step = NonNullable<ModelConfig['ensembleScheduling']>['step'][number];

function checkComposingModel(
  ensemble: CheckedModel,
  path: string,
  step: Step,
  models: ReadonlyMap<string, CheckedModel>,
  tensorsOf: (name: string) => ModelConfig | null,
  mistake: (field: string, message: string) => void,
): void {
  const { modelName, modelVersion } = step;
  const model = models.get(modelName);
  if (modelName === '' || model === undefined) {
    const hint = didYouMean(modelName, models.keys()) || '; add it, or correct the name';
    mistake(
      `${path}.model_name`,
      modelName === '' ? 'expected the name of a model, got none' : `no model '${modelName}' in the repository${hint}`,
    );
    return;
  }
  if (model === ensemble) {
    mistake(`${path}.model_name`, 'an ensemble cannot be a step of itself');
    return;
  }
  const served = model.versions.map(({ version }) => version);
  if (modelVersion > 0 && model.versions.length > 0 && !served.includes(modelVersion)) {
    mistake(
      `${path}.model_version`,
      `version ${modelVersion} of '${modelName}' is not served (${served.join(', ')}); use -1 for the latest`,
    );
  }
  const config = tensorsOf(modelName);
  if (config === null) return;
  const inputs = config.input.map(({ name }) => name);
  const outputs = config.output.map(({ name }) => name);
  if (inputs.length > 0) {
    for (const input of Object.keys(step.inputMap)) {
      if (!inputs.includes(input)) {
        mistake(`${path}.input_map[${JSON.stringify(input)}]`, `'${modelName}' has no input '${input}'${among(input, inputs)}`);
      }
    }
    const missing = config.input.filter(({ name, optional }) => !optional && !Object.hasOwn(step.inputMap, name)).map(({ name }) => name);
    if (missing.length > 0) mistake(`${path}.input_map`, `expected every input of '${modelName}', missing ${missing.join(', ')}`);
  }
  for (const output of outputs.length > 0 ? Object.keys(step.outputMap) : []) {
    if (!outputs.includes(output)) {
      mistake(`${path}.output_map[${JSON.stringify(output)}]`, `'${modelName}' has no output '${output}'${among(output, outputs)}`);
    }
  }
}

/** Where a tensor is made and where it is taken must agree; the ensemble's own inputs and outputs count as both. */
function checkDatatypes(
  written: ModelConfig,
  steps: readonly Step[],
  tensorsOf: (name: string) => ModelConfig | null,
  mistake: (field: string, message: string) => void,
): void {
  const made = new Map<string, { dataType: string; by: string }>();
  for (const { name, dataType } of written.input) made.set(name, { dataType, by: `the ensemble's input '${name}'` });
  for (const { modelName, outputMap } of steps) {
    for (const { name, dataType } of tensorsOf(modelName)?.output ?? []) {
      const tensor = outputMap[name];
      if (tensor !== undefined && !made.has(tensor)) made.set(tensor, { dataType, by: `the output '${name}' of '${modelName}'` });
    }
  }
  const take = (tensor: string | undefined, dataType: string, field: string): void => {
    const source = tensor === undefined ? undefined : made.get(tensor);
    if (source === undefined || source.dataType === dataType || [source.dataType, dataType].includes('TYPE_INVALID')) return;
    mistake(field, `expected ${source.dataType}, which ${source.by} gives, got ${dataType}`);
  };
  for (const [index, { modelName, inputMap }] of steps.entries()) {
    for (const { name, dataType } of tensorsOf(modelName)?.input ?? []) {
      take(inputMap[name], dataType, `ensemble_scheduling.step[${index}].input_map[${JSON.stringify(name)}]`);
    }
  }
  for (const [index, { name, dataType }] of written.output.entries()) take(name, dataType, `output[${index}].data_type`);
}

function noSuchTensor(tensor: string, produced: ReadonlyMap<string, Produced>): string {
  const hint = didYouMean(tensor, produced.keys());
  return `nothing makes the tensor '${tensor}': it is no input of the ensemble and no step's output${hint}`;
}

function among(name: string, names: readonly string[]): string {
  return didYouMean(name, names) || `; it has ${names.join(', ')}`;
}

/** The tensors around a circle, the first one again at its end; null: every step can run after those it needs. */
function findCycle(steps: readonly Step[], produced: ReadonlyMap<string, Produced>): string[] | null {
  const done = new Set<number>();
  for (let progress = true; progress; ) {
    progress = false;
    for (const [index, step] of steps.entries()) {
      if (done.has(index)) continue;
      // A tensor that nothing makes is another mistake.
      const waits = Object.values(step.inputMap).some((tensor) => isPending(produced.get(tensor), done));
      if (waits) continue;
      done.add(index);
      progress = true;
    }
  }
  const stuck = steps.findIndex((_, index) => !done.has(index));
  if (stuck < 0) return null;
  // Every step that is left waits for another that is left, so going back comes round.
  const path: string[] = [];
  for (let at = stuck; ; ) {
    const tensor = Object.values(steps[at]!.inputMap).find((one) => isPending(produced.get(one), done))!;
    const seen = path.indexOf(tensor);
    path.push(tensor);
    if (seen >= 0) return path.slice(seen).reverse();
    at = produced.get(tensor)!.step;
  }
}

function isPending(made: Produced | undefined, done: ReadonlySet<number>): boolean {
  return made !== undefined && made.step >= 0 && !done.has(made.step);
}
