import type { ModelConfig, ModelEnsemblingStep } from '../../backends/api/model-config.ts';
import { didYouMean } from '../../proto/nearest-name.ts';

type Mistake = (field: string, message: string) => void;

/** More than any graph that people draw, and few enough to be put together within milliseconds. */
const MAX_STEPS = 1024;
/** A hint compares a name with all others. */
const MAX_HINTS = 16;

/** A step, or the fallback of one, that makes a tensor. */
interface Producer {
  /** Index of the step; -1: an input of the ensemble. */
  readonly step: number;
  readonly isFallback: boolean;
  /** `output_map["Y"]` of the step. */
  readonly field: string;
}

/** What gives the tensors of a step's fallback: its own maps, or the step's where it has none. */
export function fallbackMaps(step: ModelEnsemblingStep): Pick<ModelEnsemblingStep, 'inputMap' | 'outputMap'> {
  const { fallback } = step;
  return {
    inputMap: fallback !== null && Object.keys(fallback.inputMap).length > 0 ? fallback.inputMap : step.inputMap,
    outputMap: fallback !== null && Object.keys(fallback.outputMap).length > 0 ? fallback.outputMap : step.outputMap,
  };
}

/**
 * The rules of an ensemble that its configuration alone can break (reference sections 5.8 and 7.5): every input used, every output made, every other tensor used, each made by one step or by
 * steps of which not all run, no step that waits for itself.
 */
export function findEnsembleMistakes(config: ModelConfig, mistake: Mistake): void {
  const steps = config.ensembleScheduling?.step ?? [];
  if (steps.length === 0) {
    mistake('ensemble_scheduling.step', 'expected at least one step, got none');
    return;
  }
  if (steps.length > MAX_STEPS) {
    mistake(
      'ensemble_scheduling.step',
      `expected at most ${MAX_STEPS} steps, got ${steps.length}; put some of them into an ensemble of their own`,
    );
    return;
  }
  for (const list of ['input', 'output'] as const) {
    if (config[list].length === 0) mistake(list, `expected the ensemble's ${list}s: no model file tells them`);
    for (const [index, { reshape }] of config[list].entries()) {
      if (reshape !== null) mistake(`${list}[${index}].reshape`, 'expected none in an ensemble; give it to the model of the step');
    }
  }
  for (const [index, step] of steps.entries()) checkStep(step, `ensemble_scheduling.step[${index}]`, mistake);

  const producers = producersOf(config, steps, mistake);
  const used = new Set(config.output.map(({ name }) => name));
  let hintsLeft = MAX_HINTS;
  const hintOf = (tensor: string): string => (hintsLeft-- > 0 ? didYouMean(tensor, producers.keys()) : '');
  for (const [index, step] of steps.entries()) {
    for (const [field, tensor] of neededBy(step, `ensemble_scheduling.step[${index}]`)) {
      used.add(tensor);
      if (producers.has(tensor)) continue;
      mistake(field, `nothing makes the tensor '${tensor}': it is no input of the ensemble and no step's output${hintOf(tensor)}`);
    }
  }
  for (const [index, { name }] of config.output.entries()) {
    if (!producers.has(name)) mistake(`output[${index}].name`, `no step makes the output '${name}'${hintOf(name)}`);
  }
  const cycle = findCycle(steps, producers);
  if (cycle !== null) mistake('ensemble_scheduling.step', `the steps wait for each other: ${cycle.join(' -> ')}; break the circle`);
  for (const [tensor, [first]] of producers) {
    if (!used.has(tensor)) mistake(first!.field, `the tensor '${tensor}' is used by no step and is no output; remove it`);
  }
}

function checkStep(step: ModelEnsemblingStep, path: string, mistake: Mistake): void {
  const { modelName, modelVersion, fallback, timeoutMicroseconds } = step;
  if (modelName === '') mistake(`${path}.model_name`, 'expected the name of a model, got none');
  checkVersion(`${path}.model_version`, modelVersion, mistake);
  if (Object.keys(step.inputMap).length === 0) mistake(`${path}.input_map`, 'expected at least one entry, got none');
  if (Object.keys(step.outputMap).length === 0) mistake(`${path}.output_map`, 'expected at least one entry, got none');
  if (timeoutMicroseconds < 0) mistake(`${path}.timeout_microseconds`, `expected 0 (none) or more, got ${timeoutMicroseconds}`);
  for (const [at, { tensor }] of step.when.entries()) {
    if (tensor === '') mistake(`${path}.when[${at}].tensor`, 'expected the name of a tensor of the ensemble, got none');
  }
  if (fallback === null) return;
  if (fallback.modelName === '') mistake(`${path}.fallback.model_name`, 'expected the name of a model, got none');
  checkVersion(`${path}.fallback.model_version`, fallback.modelVersion, mistake);
}

function checkVersion(field: string, version: number, mistake: Mistake): void {
  // 0 is what an unset version reads as.
  if (version < -1) mistake(field, `expected a version, or -1 for the latest, got ${version}`);
}

/** Every tensor that a step waits for, with the field that names it. */
function neededBy(step: ModelEnsemblingStep, path: string): [string, string][] {
  const needed: [string, string][] = [];
  for (const [input, tensor] of Object.entries(step.inputMap)) needed.push([`${path}.input_map[${JSON.stringify(input)}]`, tensor]);
  for (const [at, { tensor }] of step.when.entries()) if (tensor !== '') needed.push([`${path}.when[${at}].tensor`, tensor]);
  for (const [input, tensor] of Object.entries(step.fallback?.inputMap ?? {})) {
    needed.push([`${path}.fallback.input_map[${JSON.stringify(input)}]`, tensor]);
  }
  return needed;
}

function producersOf(config: ModelConfig, steps: readonly ModelEnsemblingStep[], mistake: Mistake): Map<string, Producer[]> {
  const producers = new Map<string, Producer[]>();
  for (const [index, { name }] of config.input.entries()) producers.set(name, [{ step: -1, isFallback: false, field: `input[${index}]` }]);
  const add = (tensor: string, producer: Producer): void => {
    const known = producers.get(tensor);
    if (known === undefined) {
      producers.set(tensor, [producer]);
      return;
    }
    const clash = known.find((one) => !mayShare(one, producer, steps));
    if (clash === undefined) known.push(producer);
    else mistake(producer.field, clashText(tensor, clash));
  };
  for (const [index, { outputMap, fallback }] of steps.entries()) {
    const path = `ensemble_scheduling.step[${index}]`;
    for (const [output, tensor] of Object.entries(outputMap)) {
      add(tensor, { step: index, isFallback: false, field: `${path}.output_map[${JSON.stringify(output)}]` });
    }
    for (const [output, tensor] of Object.entries(fallback?.outputMap ?? {})) {
      add(tensor, { step: index, isFallback: true, field: `${path}.fallback.output_map[${JSON.stringify(output)}]` });
    }
  }
  return producers;
}

/** A step and its fallback make the same tensor, as do steps that do not always run. */
function mayShare(one: Producer, other: Producer, steps: readonly ModelEnsemblingStep[]): boolean {
  if (one.step === other.step) return one.isFallback !== other.isFallback;
  return one.step >= 0 && steps[one.step]!.when.length > 0 && steps[other.step]!.when.length > 0;
}

function clashText(tensor: string, clash: Producer): string {
  const advice = clash.step < 0 ? 'give this one another name' : 'give one of them another name, or each of the steps a condition (when)';
  return `the tensor '${tensor}' is made by ${clash.field} too; ${advice}`;
}

/** The tensors around a circle, the first one again at its end; null: every step can run after those it needs. */
function findCycle(steps: readonly ModelEnsemblingStep[], producers: ReadonlyMap<string, readonly Producer[]>): string[] | null {
  const done = new Set<number>();
  // A tensor that nothing makes is another mistake.
  const waitsFor = (tensor: string): Producer | undefined => producers.get(tensor)?.find(({ step }) => step >= 0 && !done.has(step));
  const needs = steps.map((step) => neededBy(step, '').map(([, tensor]) => tensor));
  for (let progress = true; progress; ) {
    progress = false;
    for (const [index, tensors] of needs.entries()) {
      if (done.has(index) || tensors.some((tensor) => waitsFor(tensor) !== undefined)) continue;
      done.add(index);
      progress = true;
    }
  }
  const stuck = steps.findIndex((_, index) => !done.has(index));
  if (stuck < 0) return null;
  // Every step that is left waits for another that is left, so going back comes round.
  const path: string[] = [];
  for (let at = stuck; ; ) {
    const tensor = needs[at]!.find((one) => waitsFor(one) !== undefined)!;
    const seen = path.indexOf(tensor);
    path.push(tensor);
    if (seen >= 0) return path.slice(seen).reverse();
    at = waitsFor(tensor)!.step;
  }
}
