import type { ModelConfig, ModelInput, ModelOutput } from '../../backends/api/model-config.ts';
import type { ConfigFinding } from './config-finding.ts';
import { findBatchTensorMistakes } from './validate-batch-tensors.ts';
import { findScheduleMistakes } from './validate-schedule-config.ts';
import { findWarmupMistakes } from './validate-warmup-config.ts';

/** Instances of one group; each takes a place in a host, and a mistyped count must not start thousands. */
const MAX_INSTANCES = 1_024;

/**
 * What is wrong with a configuration in itself: names, dimensions, reshapes, batching, instance groups, warm-up. Whether it fits the model's file is
 * autoCompleteConfig's to say, and what is not supported findUnsupportedConfig's. Inputs and outputs may be missing. Source: reference, section 5.
 */
export function validateModelConfig(config: ModelConfig): ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  const mistake = (field: string, message: string): void => {
    findings.push({ severity: 'error', field, message });
  };
  if (config.maxBatchSize < 0) mistake('max_batch_size', `expected 0 (no batch dimension) or more, got ${config.maxBatchSize}`);
  checkTensors('input', config.input, config.maxBatchSize > 0, mistake);
  checkTensors('output', config.output, config.maxBatchSize > 0, mistake);
  checkFileName('default_model_filename', config.defaultModelFilename, mistake);
  if (config.versionPolicy?.specific) {
    const { versions } = config.versionPolicy.specific;
    if (versions.length === 0)
      mistake('version_policy.specific.versions', 'expected at least one version, got none; list them, or use latest or all');
    for (const [index, version] of versions.entries()) {
      if (version < 0) mistake(`version_policy.specific.versions[${index}]`, `expected 0 or more, got ${version}`);
    }
  }
  checkInstanceGroups(config, mistake);
  for (const key of Object.keys(config.metricTags)) {
    if (!/^[A-Za-z0-9_]+$/.test(key))
      mistake(`metric_tags[${JSON.stringify(key)}]`, 'expected a key of letters, digits and _, as it becomes a metric label');
  }
  findBatchTensorMistakes(config, mistake);
  findScheduleMistakes(config, mistake);
  findWarmupMistakes(config, checkFileName, mistake);
  return findings;
}

type Mistake = (field: string, message: string) => void;

function checkTensors(list: 'input' | 'output', tensors: readonly (ModelInput | ModelOutput)[], batches: boolean, mistake: Mistake): void {
  const firstAt = new Map<string, number>();
  for (const [index, tensor] of tensors.entries()) {
    const path = `${list}[${index}]`;
    if (tensor.name === '') mistake(`${path}.name`, 'expected a name, got none');
    const first = firstAt.get(tensor.name);
    if (first !== undefined && tensor.name !== '') mistake(`${path}.name`, `'${tensor.name}' is already the name of ${list}[${first}]`);
    else firstAt.set(tensor.name, index);
    if (tensor.dataType === 'TYPE_INVALID') mistake(`${path}.data_type`, 'expected a data type such as TYPE_FP32, got none');
    checkDims(`${path}.dims`, tensor.dims, mistake);
    // Behind a batch dimension, no dims is one value a row: clients see [-1]. (Triton has no such form; there it is [-1, 1].)
    if (tensor.dims.length === 0 && !batches)
      mistake(`${path}.dims`, 'expected at least one dimension, got none; a scalar is dims [1] with an empty reshape');
    if ('format' in tensor && tensor.format !== 'FORMAT_NONE' && tensor.dims.length !== 3) {
      mistake(`${path}.dims`, `expected exactly 3 dimensions for ${tensor.format}, got ${tensor.dims.length}`);
    }
    if (tensor.reshape !== null) checkReshape(path, tensor.dims, tensor.reshape.shape, mistake);
    if ('labelFilename' in tensor) checkFileName(`${path}.label_filename`, tensor.labelFilename, mistake);
  }
}

function checkDims(path: string, dims: readonly number[], mistake: Mistake): void {
  for (const [index, dim] of dims.entries()) {
    if (dim < 1 && dim !== -1) mistake(`${path}[${index}]`, `expected 1 or more, or -1 for any, got ${dim}`);
  }
}

/**
 * Both shapes hold the same elements whatever the open dimensions turn out to be: as many -1 on each side, and the same product between each pair of
 * them. An empty reshape is a scalar. (Triton wants a batch dimension for that; without one the tensor is a scalar all the same.)
 */
function checkReshape(path: string, dims: readonly number[], shape: readonly number[], mistake: Mistake): void {
  checkDims(`${path}.reshape.shape`, shape, mistake);
  const expected = productsBetweenOpenDims(dims);
  const got = productsBetweenOpenDims(shape);
  if (expected.length !== got.length) {
    mistake(`${path}.reshape.shape`, `expected as many -1 as dims has (${expected.length - 1}), got ${got.length - 1}`);
    return;
  }
  for (const [index, product] of expected.entries()) {
    if (product !== got[index]) {
      mistake(
        `${path}.reshape.shape`,
        `expected the same number of elements as dims [${dims.join(', ')}] (${product}), got [${shape.join(', ')}] (${got[index]})`,
      );
      return;
    }
  }
}

/** BigInt, as dims come up to 2^53 each. */
function productsBetweenOpenDims(dims: readonly number[]): bigint[] {
  const products = [1n];
  for (const dim of dims) {
    if (dim === -1) products.push(1n);
    else products[products.length - 1] = products[products.length - 1]! * BigInt(dim);
  }
  return products;
}

function checkInstanceGroups(config: ModelConfig, mistake: Mistake): void {
  const names = new Set<string>();
  for (const [index, group] of config.instanceGroup.entries()) {
    const path = `instance_group[${index}]`;
    // 0 is what an unset count reads as.
    if (group.count < 0 || group.count > MAX_INSTANCES)
      mistake(`${path}.count`, `expected 1 to ${MAX_INSTANCES} (0 = the default), got ${group.count}`);
    if (group.kind === 'KIND_CPU' && group.gpus.length > 0)
      mistake(`${path}.gpus`, 'expected none for KIND_CPU; remove gpus, or use KIND_GPU');
    if (group.name === '') continue;
    if (names.has(group.name)) mistake(`${path}.name`, `'${group.name}' is the name of another instance group`);
    names.add(group.name);
  }
  if (config.instanceGroup.length > 0 && config.instanceGroup.every(({ passive }) => passive))
    mistake('instance_group', 'expected a group that is not passive, as no instance would take requests');
}

/** A name in the model's own directories: a path out of them would read any file of the machine. */
function checkFileName(path: string, name: string, mistake: Mistake): void {
  const parts = name.split(/[/\\]/);
  if (name.includes('\0') || name.startsWith('/') || name.startsWith('\\') || parts.includes('..')) {
    mistake(path, `expected a file inside the model's directory, got ${JSON.stringify(name)}`);
  }
}
