import type { ModelConfig, ModelInput, ModelWarmup, ModelWarmupInput } from '../../backends/api/model-config.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { isSequenceInput } from './check-sequence-tensors.ts';

type Mistake = (field: string, message: string) => void;

/** As the field of a path that leads out of the model's directory has it. */
export type FileNameCheck = (field: string, name: string, mistake: Mistake) => void;

/**
 * The rules of model_warmup, warmup_requests and golden_check (reference 5.9). Inputs are held to those that the configuration lists; where it
 * lists none, preparing the model does it. That an ensemble has none is findScheduleMistakes' to say.
 */
export function findWarmupMistakes(config: ModelConfig, checkFileName: FileNameCheck, mistake: Mistake): void {
  for (const [index, sample] of config.modelWarmup.entries()) {
    checkSample(`model_warmup[${index}]`, sample, config, checkFileName, mistake);
  }
  for (const [index, file] of config.warmupRequests.entries()) {
    checkFile(`warmup_requests[${index}]`, file, 'warmup', checkFileName, mistake);
  }
  for (const [index, check] of config.goldenCheck.entries()) {
    const path = `golden_check[${index}]`;
    checkFile(`${path}.file`, check.file, 'golden', checkFileName, mistake);
    checkTolerance(`${path}.absolute_tolerance`, check.absoluteTolerance, mistake);
    checkTolerance(`${path}.relative_tolerance`, check.relativeTolerance, mistake);
  }
  if (config.ensembleScheduling === null) return;
  if (config.warmupRequests.length > 0) mistake('warmup_requests', 'expected none in an ensemble; warm up the models of its steps');
  if (config.goldenCheck.length > 0) mistake('golden_check', 'expected none in an ensemble; check the models of its steps');
}

function checkSample(path: string, sample: ModelWarmup, config: ModelConfig, checkFileName: FileNameCheck, mistake: Mistake): void {
  const { maxBatchSize, input: inputs, output: outputs } = config;
  // Without inputs or outputs, max_batch_size 0 may mean "what the model's file says".
  const isBatchSizeOpen = maxBatchSize === 0 && (inputs.length === 0 || outputs.length === 0);
  if (!isBatchSizeOpen && sample.batchSize > Math.max(1, maxBatchSize)) {
    const why = maxBatchSize === 0 ? '1, as the model has no batch dimension (max_batch_size 0)' : `max_batch_size (${maxBatchSize})`;
    mistake(`${path}.batch_size`, `expected at most ${why}, got ${sample.batchSize}`);
  }
  if (Object.keys(sample.inputs).length === 0) {
    mistake(`${path}.inputs`, 'expected the inputs of the model, got none');
    return;
  }
  for (const [name, input] of Object.entries(sample.inputs)) {
    checkSampleInput(`${path}.inputs[${JSON.stringify(name)}]`, input, checkFileName, mistake);
    if (inputs.length > 0 && !isSequenceInput(config, name))
      compareInput(`${path}.inputs[${JSON.stringify(name)}]`, name, input, inputs, mistake);
  }
  if (sample.batchSize === 0) return;
  for (const { name, optional } of inputs) {
    if (!optional && name !== '' && !Object.hasOwn(sample.inputs, name))
      mistake(`${path}.inputs`, `expected the input '${name}' too, which is not optional`);
  }
}

function checkSampleInput(path: string, input: ModelWarmupInput, checkFileName: FileNameCheck, mistake: Mistake): void {
  if (input.dataType === 'TYPE_INVALID') mistake(`${path}.data_type`, 'expected a data type such as TYPE_FP32, got none');
  for (const [index, dim] of input.dims.entries()) {
    if (dim < 1) mistake(`${path}.dims[${index}]`, `expected 1 or more, as a sample has a size, got ${dim}`);
  }
  const sources = [input.zeroData, input.randomData, input.inputDataFile].filter((source) => source !== null).length;
  if (sources !== 1) mistake(path, `expected one of zero_data, random_data and input_data_file, got ${sources === 0 ? 'none' : sources}`);
  if (input.inputDataFile !== null) checkFile(`${path}.input_data_file`, input.inputDataFile, 'warmup', checkFileName, mistake);
}

function compareInput(path: string, name: string, input: ModelWarmupInput, inputs: readonly ModelInput[], mistake: Mistake): void {
  const listed = inputs.find((one) => one.name === name);
  if (listed === undefined) {
    const names = inputs.map((one) => one.name);
    mistake(
      path,
      `the model has no input '${name}'${didYouMean(name, names) || '.'} Its inputs are ${names.map((one) => `'${one}'`).join(', ')}`,
    );
    return;
  }
  if (input.dataType !== listed.dataType && input.dataType !== 'TYPE_INVALID')
    mistake(`${path}.data_type`, `expected ${listed.dataType}, as the input has, got ${input.dataType}`);
  const fits = input.dims.length === listed.dims.length && listed.dims.every((dim, index) => dim === -1 || dim === input.dims[index]);
  if (!fits) mistake(`${path}.dims`, `expected [${listed.dims.join(', ')}], as the input has, got [${input.dims.join(', ')}]`);
}

function checkFile(path: string, file: string, folder: string, checkFileName: FileNameCheck, mistake: Mistake): void {
  if (file === '') mistake(path, `expected the name of a file in the model's directory '${folder}', got none`);
  else checkFileName(path, file, mistake);
}

function checkTolerance(path: string, tolerance: number, mistake: Mistake): void {
  if (!(tolerance >= 0) || tolerance === Number.POSITIVE_INFINITY) mistake(path, `expected a number of 0 or more, got ${tolerance}`);
}
