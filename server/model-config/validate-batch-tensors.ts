import type { BatchInput, BatchOutput, ModelConfig, ModelInput } from '../../backends/api/model-config.ts';
import { didYouMean } from '../../proto/nearest-name.ts';

type Mistake = (field: string, message: string) => void;

/** The rules of batch_input, batch_output and allow_ragged_batch (reference 5.10). Names are held to the inputs and outputs that the configuration lists, where it lists any. */
export function findBatchTensorMistakes(config: ModelConfig, mistake: Mistake): void {
  const { input, batchInput, batchOutput } = config;
  const ragged = input.findIndex((one) => one.allowRaggedBatch);
  if (ragged < 0 && batchInput.length === 0 && batchOutput.length === 0) return;
  const field = ragged >= 0 ? `input[${ragged}].allow_ragged_batch` : batchInput.length > 0 ? 'batch_input' : 'batch_output';
  if (config.modelTransactionPolicy?.decoupled) mistake(field, 'expected none with a decoupled model, whose requests run one by one');
  if (config.ensembleScheduling !== null && ragged < 0) mistake(field, 'expected none in an ensemble; give it to the model of the step');
  const targets = new Map<string, string>();
  for (const [index, one] of batchInput.entries()) checkBatchInput(`batch_input[${index}]`, one, input, targets, mistake);
  const outputs = new Map<string, string>();
  for (const [index, one] of batchOutput.entries()) checkBatchOutput(`batch_output[${index}]`, one, config, outputs, mistake);
}

function checkBatchInput(
  path: string,
  { targetName, dataType, sourceInput }: BatchInput,
  inputs: readonly ModelInput[],
  targets: Map<string, string>,
  mistake: Mistake,
): void {
  checkTargets(path, targetName, targets, mistake);
  for (const [index, name] of targetName.entries()) {
    const listed = inputs.findIndex((input) => input.name === name);
    if (listed >= 0)
      mistake(`${path}.target_name[${index}]`, `'${name}' is input[${listed}] too, which clients send; remove it from one of the two`);
  }
  if (dataType !== 'TYPE_INT32' && dataType !== 'TYPE_FP32')
    mistake(`${path}.data_type`, `expected TYPE_INT32 or TYPE_FP32, got ${dataType}`);
  findSource(path, sourceInput, inputs, mistake);
}

function checkBatchOutput(
  path: string,
  { targetName, sourceInput }: BatchOutput,
  { input, output }: ModelConfig,
  targets: Map<string, string>,
  mistake: Mistake,
): void {
  checkTargets(path, targetName, targets, mistake);
  const source = findSource(path, sourceInput, input, mistake);
  for (const [index, name] of targetName.entries()) {
    const target = output.find((one) => one.name === name);
    if (target === undefined) {
      if (output.length === 0) continue;
      const names = output.map((one) => one.name);
      mistake(`${path}.target_name[${index}]`, `expected one of the outputs ${names.join(', ')}, got '${name}'${didYouMean(name, names)}`);
    } else if (source !== null) {
      const dims = target.reshape?.shape ?? target.dims;
      const rank = (source.reshape?.shape ?? source.dims).length;
      const open = dims.findIndex((dim, at) => dim === -1 && at >= rank);
      if (open >= 0) {
        mistake(
          `${path}.source_input[0]`,
          `expected an input with ${open + 1} dimensions or more, as dimension ${open} of output '${name}' is taken from it; '${source.name}' has ${rank}`,
        );
      }
    }
  }
}

function checkTargets(path: string, names: readonly string[], seen: Map<string, string>, mistake: Mistake): void {
  if (names.length === 0) mistake(`${path}.target_name`, 'expected the name of a tensor of the model, got none');
  for (const [index, name] of names.entries()) {
    const field = `${path}.target_name[${index}]`;
    const first = seen.get(name);
    if (name === '') mistake(field, 'expected the name of a tensor of the model, got none');
    else if (first !== undefined) mistake(field, `'${name}' is the target of ${first} already`);
    else seen.set(name, path);
  }
}

/** Null where it is wrong, or can't be known yet. */
function findSource(path: string, names: readonly string[], inputs: readonly ModelInput[], mistake: Mistake): ModelInput | null {
  if (names.length !== 1) {
    mistake(`${path}.source_input`, `expected exactly one input, got ${names.length}`);
    return null;
  }
  if (inputs.length === 0) return null;
  const found = inputs.find((input) => input.name === names[0]);
  if (found !== undefined) return found;
  const known = inputs.map((input) => input.name);
  mistake(`${path}.source_input[0]`, `expected one of the inputs ${known.join(', ')}, got '${names[0]}'${didYouMean(names[0]!, known)}`);
  return null;
}
