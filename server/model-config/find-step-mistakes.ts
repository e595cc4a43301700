import type { ModelConfig, ModelEnsemblingStep } from '../../backends/api/model-config.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { fallbackMaps } from './find-ensemble-mistakes.ts';

/** A model that a step calls, as far as it is known: of a loaded model all, of one on disk what its configuration lists. */
export interface StepModel {
  readonly maxBatchSize: number;
  /** Empty: not known. */
  readonly inputs: readonly StepTensor[];
  readonly outputs: readonly StepTensor[];
  readonly isDecoupled: boolean;
}

export interface StepTensor {
  readonly name: string;
  /** `TYPE_FP32`. */
  readonly dataType: string;
  /** Without the batch dimension; -1: any. */
  readonly dims: readonly number[];
  readonly optional: boolean;
}

/** Of one call; each is compared with all names there are. */
const MAX_UNKNOWN_NAMES = 16;

type Mistake = (field: string, message: string) => void;

/** Where a tensor of the ensemble comes from, or goes to. */
interface End {
  readonly what: string;
  readonly tensor: StepTensor;
  readonly maxBatchSize: number;
}

/** A model of the ensemble at its place: a step's, or the fallback's of one. */
interface Call {
  readonly step: number;
  readonly path: string;
  readonly modelName: string;
  readonly model: StepModel | null;
  readonly inputMap: Readonly<Record<string, string>>;
  readonly outputMap: Readonly<Record<string, string>>;
}

/**
 * Where an ensemble and the models of its steps do not fit each other (reference section 7.5): inputs and outputs that a model does not have, datatypes, shapes, batch sizes, and responses of different
 * decoupled steps that would have to meet. `find` gives null for a model that is not known: that is for its caller to say.
 */
export function findStepMistakes(
  config: ModelConfig,
  find: (modelName: string, version: number) => StepModel | null,
  mistake: Mistake,
): void {
  const steps = config.ensembleScheduling?.step ?? [];
  const calls = steps.flatMap((step, index) => callsOf(step, index, find));
  for (const call of calls) if (call.model !== null) checkCall(call, call.model, config.maxBatchSize, mistake);
  checkTensors(config, calls, mistake);
  checkDecoupled(config, calls, mistake);
}

function callsOf(step: ModelEnsemblingStep, index: number, find: (modelName: string, version: number) => StepModel | null): Call[] {
  const path = `ensemble_scheduling.step[${index}]`;
  const { modelName, modelVersion, inputMap, outputMap, fallback } = step;
  const calls: Call[] = [{ step: index, path, modelName, model: find(modelName, modelVersion), inputMap, outputMap }];
  if (fallback !== null) {
    const model = find(fallback.modelName, fallback.modelVersion);
    calls.push({ step: index, path: `${path}.fallback`, modelName: fallback.modelName, model, ...fallbackMaps(step) });
  }
  return calls;
}

function checkCall({ path, modelName, inputMap, outputMap }: Call, model: StepModel, maxBatchSize: number, mistake: Mistake): void {
  const inputs = model.inputs.map(({ name }) => name);
  const outputs = model.outputs.map(({ name }) => name);
  let left = MAX_UNKNOWN_NAMES;
  if (inputs.length > 0) {
    for (const input of Object.keys(inputMap)) {
      if (!inputs.includes(input) && --left >= 0) {
        mistake(`${path}.input_map[${JSON.stringify(input)}]`, `'${modelName}' has no input '${input}'${among(input, inputs)}`);
      }
    }
    const missing = model.inputs.filter(({ name, optional }) => !optional && !Object.hasOwn(inputMap, name)).map(({ name }) => name);
    if (missing.length > 0) mistake(`${path}.input_map`, `expected every input of '${modelName}', missing ${missing.join(', ')}`);
  }
  for (const output of outputs.length > 0 ? Object.keys(outputMap) : []) {
    if (!outputs.includes(output) && --left >= 0) {
      mistake(`${path}.output_map[${JSON.stringify(output)}]`, `'${modelName}' has no output '${output}'${among(output, outputs)}`);
    }
  }
  if (model.maxBatchSize > 0 && maxBatchSize > model.maxBatchSize) {
    const text = `expected at most ${model.maxBatchSize}, the max_batch_size of '${modelName}' (${path}), got ${maxBatchSize}; lower it, or raise that of '${modelName}'`;
    mistake('max_batch_size', text);
  }
}

/** Where a tensor is made and where it is taken must agree; the ensemble's own inputs and outputs count as both. */
function checkTensors(config: ModelConfig, calls: readonly Call[], mistake: Mistake): void {
  const made = new Map<string, End>();
  const { maxBatchSize } = config;
  for (const { name, dataType, dims, optional } of config.input) {
    made.set(name, { what: `the ensemble's input '${name}'`, tensor: { name, dataType, dims, optional }, maxBatchSize });
  }
  const meet = (tensor: string | undefined, taker: End, field: string, isMade: boolean): void => {
    const maker = tensor === undefined ? undefined : made.get(tensor);
    if (maker !== undefined) compare(tensor!, maker, taker, field, mistake);
    else if (tensor !== undefined && isMade) made.set(tensor, taker);
  };
  const endOf = (kind: string, { modelName, model }: Call, tensor: StepTensor): End => {
    return { what: `the ${kind} '${tensor.name}' of '${modelName}'`, tensor, maxBatchSize: model!.maxBatchSize };
  };
  for (const call of calls) {
    for (const output of call.model?.outputs ?? []) {
      const field = `${call.path}.output_map[${JSON.stringify(output.name)}]`;
      meet(call.outputMap[output.name], endOf('output', call, output), field, true);
    }
  }
  for (const call of calls) {
    for (const input of call.model?.inputs ?? []) {
      const field = `${call.path}.input_map[${JSON.stringify(input.name)}]`;
      meet(call.inputMap[input.name], endOf('input', call, input), field, false);
    }
  }
  for (const [index, { name, dataType, dims }] of config.output.entries()) {
    const tensor = { name, dataType, dims, optional: false };
    meet(name, { what: `the ensemble's output '${name}'`, tensor, maxBatchSize }, `output[${index}]`, false);
  }
}

function compare(name: string, maker: End, taker: End, field: string, mistake: Mistake): void {
  const [given, taken] = [maker.tensor, taker.tensor];
  const isOpen = given.dataType === 'TYPE_INVALID' || taken.dataType === 'TYPE_INVALID';
  const isOutput = field.startsWith('output[');
  if (given.dataType !== taken.dataType && !isOpen) {
    mistake(isOutput ? `${field}.data_type` : field, `expected ${given.dataType}, which ${maker.what} gives, got ${taken.dataType}`);
    return;
  }
  // With the batch dimension where the bare ones differ: one of the two may list it among its own.
  if (fits(given.dims, taken.dims) || fits(fullShape(maker), fullShape(taker))) return;
  const text = `tensor '${name}': ${maker.what} has the shape ${shapeText(maker)}, ${taker.what} ${shapeText(taker)}; expected the same, or -1`;
  mistake(isOutput ? `${field}.dims` : field, text);
}

function fits(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((dim, at) => dim === -1 || other[at] === -1 || dim === other[at]);
}

function fullShape({ maxBatchSize, tensor }: End): readonly number[] {
  return maxBatchSize > 0 ? [-1, ...tensor.dims] : tensor.dims;
}

function shapeText(end: End): string {
  return `[${fullShape(end).join(',')}]`;
}

/** Every tensor is one for the request, or one for each response of a decoupled step; of two decoupled steps, one must run for each response of the other. */
function checkDecoupled(config: ModelConfig, calls: readonly Call[], mistake: Mistake): void {
  if (!calls.some(({ model }) => model?.isDecoupled)) return;
  const chains = new Map<string, readonly number[]>(config.input.map(({ name }) => [name, []]));
  const left = new Set(calls.filter(({ path }) => !path.endsWith('.fallback')));
  const steps = config.ensembleScheduling!.step;
  for (let progress = true; progress; ) {
    progress = false;
    for (const call of left) {
      const needs = [...Object.values(call.inputMap), ...steps[call.step]!.when.map(({ tensor }) => tensor)];
      if (needs.some((tensor) => !chains.has(tensor))) continue;
      left.delete(call);
      progress = true;
      const chain = longestOf(needs, chains, `${call.path}.input_map`, `'${call.modelName}' takes`, mistake);
      if (chain === null) return;
      const own = call.model?.isDecoupled ? [...chain, call.step] : chain;
      for (const tensor of Object.values(call.outputMap)) {
        const other = chains.get(tensor);
        if (other !== undefined && other.join() !== own.join()) {
          mistake(
            `${call.path}.output_map`,
            `the tensor '${tensor}' is made once by one step, and once for each response of a decoupled step by another`,
          );
        }
        chains.set(tensor, own);
      }
    }
  }
  for (const { path, step, modelName, model } of calls) {
    const main = calls.find((one) => one.step === step)!;
    if (path !== main.path && model?.isDecoupled && main.model !== null && !main.model.isDecoupled) {
      const text = `'${modelName}' is decoupled and '${main.modelName}', in whose place it runs, is not; take another model`;
      mistake(`${path}.model_name`, text);
    }
  }
  longestOf(
    config.output.map(({ name }) => name),
    chains,
    'output',
    'one response has',
    mistake,
  );
}

function longestOf(
  tensors: readonly string[],
  chains: ReadonlyMap<string, readonly number[]>,
  field: string,
  who: string,
  mistake: Mistake,
): readonly number[] | null {
  let longest: readonly number[] = [];
  for (const tensor of tensors) {
    const chain = chains.get(tensor) ?? [];
    const common = Math.min(chain.length, longest.length);
    if (chain.slice(0, common).some((step, at) => step !== longest[at])) {
      mistake(
        field,
        `${who} tensors that come from different decoupled steps (${longest.at(-1)} and ${chain.at(-1)}), and which belong together cannot be told`,
      );
      return null;
    }
    if (chain.length > longest.length) longest = chain;
  }
  return longest;
}

function among(name: string, names: readonly string[]): string {
  return didYouMean(name, names) || `; it has ${names.join(', ')}`;
}
