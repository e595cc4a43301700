import type { ModelConfig, ModelEnsemblingStep } from '../../../backends/api/model-config.ts';
import type { RequestedOutput } from '../../inference/inference-request.ts';
import type { CallableModel } from '../../inference/nested-calls.ts';
import { EnsembleView } from './ensemble-view.ts';
import { StepCondition } from './step-condition.ts';

/** The level of what there is once for a request. Any other is the index of a decoupled step: there is one of it for each of that step's responses. */
export const ROOT = -1;

/** A model at its place in the ensemble: a step's, or its fallback's. Tensors of the ensemble are slots, by number. */
export interface CallPlan {
  readonly modelName: string;
  /** '' for the latest. */
  readonly modelVersion: string;
  /** In the model's own order. */
  readonly inputNames: readonly string[];
  readonly inputSlots: readonly number[];
  readonly isOptional: readonly boolean[];
  readonly outputNames: readonly string[];
  readonly outputSlots: readonly number[];
  /** What is asked of the model; none: all that it has. */
  readonly outputs: readonly RequestedOutput[];
}

export interface StepPlan {
  readonly index: number;
  readonly call: CallPlan;
  readonly fallback: CallPlan | null;
  readonly conditions: readonly StepCondition[];
  /** 0: none. */
  readonly timeoutNs: number;
  /** Slots of inputs and conditions, each once. */
  readonly needs: readonly number[];
  /** Slots that it may make, each once. */
  readonly gives: readonly number[];
  /** Where it runs. */
  readonly level: number;
  readonly isDecoupled: boolean;
}

/** An ensemble made ready: what each request of it looks up is an index. Made anew when one of its models takes or gives something else. */
export interface EnsemblePlan {
  readonly ensembleName: string;
  readonly steps: readonly StepPlan[];
  readonly slotNames: readonly string[];
  readonly slotLevels: readonly number[];
  /** The slots of the ensemble's inputs are the first ones, in the order of its signature. */
  readonly inputCount: number;
  readonly outputNames: readonly string[];
  readonly outputSlots: readonly number[];
  /** 0: no limit. */
  readonly maxInflight: number;
  readonly isDecoupled: boolean;
  /** What its models take and give, as text: another one calls for another plan. */
  readonly madeOf: string;
  /** The request wants every output. */
  readonly whole: EnsembleView;
}

/**
 * `config`: normalised, and free of what `findEnsembleMistakes` and `findStepMistakes` find. `find`: every model of it is there.
 */
export function compileEnsemble(
  config: ModelConfig,
  find: (modelName: string, modelVersion: string) => CallableModel | null,
): EnsemblePlan {
  const { step: steps, maxInflightRequests } = config.ensembleScheduling!;
  const slots = new Map<string, number>(config.input.map(({ name }, index) => [name, index]));
  const slotOf = (name: string): number => {
    const known = slots.get(name);
    if (known !== undefined) return known;
    slots.set(name, slots.size);
    return slots.size - 1;
  };
  const drafts = steps.map((step, index) => draftStep(step, index, slotOf, find));
  const { stepLevels, slotLevels } = levelsOf(drafts, config.input.length, slots.size);
  const outputSlots = config.output.map(({ name }) => slotOf(name));
  const base = {
    ensembleName: config.name,
    steps: drafts.map((draft, index): StepPlan => ({ ...draft, level: stepLevels[index]! })),
    slotNames: [...slots.keys()],
    slotLevels,
    inputCount: config.input.length,
    outputNames: config.output.map(({ name }) => name),
    outputSlots,
    maxInflight: maxInflightRequests,
    isDecoupled: outputSlots.some((slot) => slotLevels[slot] !== ROOT) || drafts.some(({ isDecoupled }) => isDecoupled),
    madeOf: describeModels(steps, find),
  };
  return { ...base, whole: new EnsembleView(base, outputSlots) };
}

/** What `model_version` asks for; 0 is what an unset one reads as. */
export function versionText(modelVersion: number): string {
  return modelVersion > 0 ? String(modelVersion) : '';
}

function describeModels(
  steps: readonly ModelEnsemblingStep[],
  find: (modelName: string, modelVersion: string) => CallableModel | null,
): string {
  const models = steps.flatMap(({ modelName, modelVersion, fallback }) => [
    find(modelName, versionText(modelVersion)),
    fallback === null ? null : find(fallback.modelName, versionText(fallback.modelVersion)),
  ]);
  return JSON.stringify(
    models.map((model) => model && [model.isDecoupled, model.signature.maxBatchSize, model.signature.inputs, model.signature.outputs]),
  );
}

function draftStep(
  step: ModelEnsemblingStep,
  index: number,
  slotOf: (name: string) => number,
  find: (modelName: string, modelVersion: string) => CallableModel | null,
): Omit<StepPlan, 'level'> {
  const call = compileCall(step, step.inputMap, step.outputMap, slotOf, find);
  const { fallback: other, when, timeoutMicroseconds } = step;
  const orElse = (map: Readonly<Record<string, string>>, instead: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
    Object.keys(map).length > 0 ? map : instead;
  const fallback =
    other === null
      ? null
      : compileCall(other, orElse(other.inputMap, step.inputMap), orElse(other.outputMap, step.outputMap), slotOf, find);
  const conditions = when.map((condition) => new StepCondition(slotOf(condition.tensor), condition));
  return {
    index,
    call,
    fallback,
    conditions,
    timeoutNs: timeoutMicroseconds * 1000,
    needs: [...new Set([...call.inputSlots, ...(fallback?.inputSlots ?? []), ...conditions.map(({ slot }) => slot)])],
    gives: [...new Set([...call.outputSlots, ...(fallback?.outputSlots ?? [])])],
    isDecoupled: find(step.modelName, versionText(step.modelVersion))?.isDecoupled ?? false,
  };
}

function compileCall(
  { modelName, modelVersion: version }: Pick<ModelEnsemblingStep, 'modelName' | 'modelVersion'>,
  inputMap: Readonly<Record<string, string>>,
  outputMap: Readonly<Record<string, string>>,
  slotOf: (name: string) => number,
  find: (modelName: string, modelVersion: string) => CallableModel | null,
): CallPlan {
  const modelVersion = versionText(version);
  const signature = find(modelName, modelVersion)?.signature;
  const inputs = signature?.inputs.filter(({ name }) => Object.hasOwn(inputMap, name)) ?? [];
  const outputs = signature?.outputs.filter(({ name }) => Object.hasOwn(outputMap, name)) ?? [];
  const isAll = outputs.length === signature?.outputs.length;
  return {
    modelName,
    modelVersion,
    inputNames: inputs.map(({ name }) => name),
    inputSlots: inputs.map(({ name }) => slotOf(inputMap[name]!)),
    isOptional: inputs.map(({ optional }) => optional),
    outputNames: outputs.map(({ name }) => name),
    outputSlots: outputs.map(({ name }) => slotOf(outputMap[name]!)),
    outputs: isAll ? [] : outputs.map(({ name }) => ({ name, classification: 0, binaryData: true })),
  };
}

/** Each step runs where the innermost of its tensors is. */
function levelsOf(
  drafts: readonly Omit<StepPlan, 'level'>[],
  inputCount: number,
  slotCount: number,
): { stepLevels: number[]; slotLevels: number[] } {
  const stepLevels = new Array<number>(drafts.length).fill(ROOT);
  const slotLevels = new Array<number>(slotCount).fill(ROOT);
  const makers = new Array<number>(slotCount).fill(0);
  for (const { gives } of drafts) for (const slot of gives) makers[slot]!++;
  // How many decoupled steps are around a level.
  const depths = new Map<number, number>([[ROOT, 0]]);
  const left = new Set(drafts);
  for (let before = -1; before !== left.size; ) {
    before = left.size;
    for (const { index, needs, gives, isDecoupled } of left) {
      if (needs.some((slot) => slot >= inputCount && makers[slot]! > 0)) continue;
      left.delete(drafts[index]!);
      let level = ROOT;
      for (const slot of needs) if (depths.get(slotLevels[slot]!)! > depths.get(level)!) level = slotLevels[slot]!;
      stepLevels[index] = level;
      if (isDecoupled) depths.set(index, depths.get(level)! + 1);
      for (const slot of gives) {
        makers[slot]!--;
        slotLevels[slot] = isDecoupled ? index : level;
      }
    }
  }
  return { stepLevels, slotLevels };
}
