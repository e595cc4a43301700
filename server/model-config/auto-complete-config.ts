import type { ModelMetadata, TensorMetadata } from '../../backends/api/backend.ts';
import type { ModelConfig, ModelDynamicBatching, ModelInput, ModelOutput } from '../../backends/api/model-config.ts';
import { DATATYPES } from '../../proto/datatype.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { checkSequenceTensors, isSequenceInput, isStateOutput } from './check-sequence-tensors.ts';
import { type ConfigFinding, throwOnConfigErrors } from './config-finding.ts';
import { fillSchedulerDefaults } from './normalise-model-config.ts';
import { validateModelConfig } from './validate-model-config.ts';

export interface AutoCompleteOptions {
  /** max_batch_size of a model that can batch and whose configuration says nothing: `--backend-config default-max-batch-size`, Triton's default 4. */
  readonly defaultMaxBatchSize: number;
}

/** Triton's, so that a repository behaves the same. */
export const DEFAULT_MAX_BATCH_SIZE = 4;

/** What the configuration and the model's file disagree about. */
export interface ConfigMismatch extends ConfigFinding {
  /** Field and message in one, with the tensor's name. */
  readonly text: string;
}

export interface CompletedConfig {
  readonly config: ModelConfig;
  readonly mismatches: readonly ConfigMismatch[];
}

/**
 * A normalised configuration completed by what the model's file states, and checked against it. Batching, inputs and outputs are filled in where
 * the configuration lacks inputs or outputs; a configuration that lists both is only checked. Throws INVALID_ARGUMENT when configuration and
 * file disagree, with what each says, every disagreement on a line. Source: reference 6.3, ONNX backend auto-complete.
 */
export function autoCompleteConfig(config: ModelConfig, metadata: ModelMetadata, options?: AutoCompleteOptions): ModelConfig {
  const completed = completeConfig(config, metadata, options);
  if (completed.mismatches.length > 0) {
    throw invalidArgument(completed.mismatches.map(({ text }) => `model '${config.name}': ${text}`).join('\n'));
  }
  // Sizes that depend on max_batch_size could not be compared before it was known.
  throwOnConfigErrors(validateModelConfig(completed.config), `model '${config.name}'`);
  return completed.config;
}

/** The same without judging: validateModelConfig has not seen the result, and nothing is thrown. */
export function completeConfig(config: ModelConfig, metadata: ModelMetadata, options?: AutoCompleteOptions): CompletedConfig {
  const mismatches: ConfigMismatch[] = [];
  const isComplete = config.input.length > 0 && config.output.length > 0;
  const completed = isComplete ? config : fillFromMetadata(config, metadata, options?.defaultMaxBatchSize ?? DEFAULT_MAX_BATCH_SIZE);
  checkMadeInputs(config, metadata, mismatches);
  const result = fillSchedulerDefaults({
    ...completed,
    input: checkTensors('input', completed.input, metadata, completed, mismatches),
    output: checkTensors('output', completed.output, metadata, completed, mismatches),
  });
  checkSequenceTensors(completed, metadata, (field, message) => {
    mismatches.push({ severity: 'error', field, message, text: `${field}: ${message}` });
  });
  return { config: result, mismatches };
}

/** Every tensor has a leading dimension that the file leaves open. */
export function canBatch(metadata: ModelMetadata): boolean {
  const tensors = [...metadata.inputs, ...metadata.outputs];
  return tensors.length > 0 && tensors.every((tensor) => tensor.shape[0] === -1);
}

function fillFromMetadata(config: ModelConfig, metadata: ModelMetadata, defaultMaxBatchSize: number): ModelConfig {
  const canHaveRows = metadata.maxBatchSize === undefined ? canBatch(withRows(config, metadata)) : metadata.maxBatchSize > 0;
  const turnsOnBatching = config.maxBatchSize === 0 && canHaveRows && !listsFullShapes(config, metadata);
  const maxBatchSize = turnsOnBatching ? (metadata.maxBatchSize ?? defaultMaxBatchSize) : config.maxBatchSize;
  const hasScheduler = config.dynamicBatching !== null || config.sequenceBatching !== null || config.ensembleScheduling !== null;
  const input =
    config.input.length > 0
      ? config.input
      : metadata.inputs
          .filter(({ name }) => !isMade(config, name) && !isSequenceInput(config, name))
          .map((tensor) => inputFrom(tensor, maxBatchSize > 0));
  return {
    ...config,
    maxBatchSize,
    dynamicBatching:
      maxBatchSize > 1 && !hasScheduler && !config.modelTransactionPolicy?.decoupled ? emptyDynamicBatching() : config.dynamicBatching,
    input,
    output:
      config.output.length > 0
        ? config.output
        : metadata.outputs
            .filter(({ name }) => !isStateOutput(config, name))
            .map((tensor) => withScatteredDims(outputFrom(tensor, maxBatchSize > 0), config, input)),
  };
}

/** The tensors in which each row is a request's own: not what the server makes, nor what is concatenated. */
function withRows(config: ModelConfig, { inputs, outputs }: ModelMetadata): ModelMetadata {
  return {
    inputs: inputs.filter(({ name }) => !isMade(config, name) && !isRagged(config, name)),
    outputs: outputs.filter(({ name }) => !isScattered(config, name)),
  };
}

function isMade(config: ModelConfig, name: string): boolean {
  return config.batchInput.some((one) => one.targetName.includes(name));
}

function isRagged(config: ModelConfig, name: string): boolean {
  return config.input.some((one) => one.name === name && one.allowRaggedBatch);
}

function isScattered(config: ModelConfig, name: string): boolean {
  return config.batchOutput.some((one) => one.targetName.includes(name));
}

/** A scattered output has the shape of its source: the file knows the concatenation alone. */
function withScatteredDims(output: ModelOutput, config: ModelConfig, inputs: readonly ModelInput[]): ModelOutput {
  const source = config.batchOutput.find((one) => one.targetName.includes(output.name))?.sourceInput[0];
  const dims = inputs.find((input) => input.name === source)?.dims;
  return dims === undefined ? output : { ...output, dims, reshape: null };
}

/**
 * A list that gives a tensor with as many dimensions as the file has describes a model without a batch dimension: turning batching on would
 * contradict what its author wrote.
 */
function listsFullShapes(config: ModelConfig, metadata: ModelMetadata): boolean {
  const { inputs, outputs } = withRows(config, metadata);
  const ranks = new Map([...inputs, ...outputs].map((tensor) => [tensor.name, tensor.shape.length]));
  return [...config.input, ...config.output].some((tensor) => ranks.get(tensor.name) === modelDims(tensor).length);
}

function emptyDynamicBatching(): ModelDynamicBatching {
  return {
    preferredBatchSize: [],
    maxQueueDelayMicroseconds: 0,
    preserveOrdering: false,
    priorityLevels: 0,
    defaultPriorityLevel: 0,
    defaultQueuePolicy: null,
    priorityQueuePolicy: {},
  };
}

function inputFrom(tensor: TensorMetadata, batches: boolean): ModelInput {
  return {
    name: tensor.name,
    dataType: DATATYPES[tensor.datatype].configName,
    format: 'FORMAT_NONE',
    ...dimsFrom(tensor, batches),
    isShapeTensor: false,
    allowRaggedBatch: false,
    optional: tensor.optional,
    isNonLinearFormatIo: false,
  };
}

function outputFrom(tensor: TensorMetadata, batches: boolean): ModelOutput {
  return {
    name: tensor.name,
    dataType: DATATYPES[tensor.datatype].configName,
    ...dimsFrom(tensor, batches),
    labelFilename: '',
    isShapeTensor: false,
    isNonLinearFormatIo: false,
  };
}

/** Clients see a scalar as [1], since dims may not be empty; the reshape tells what the model wants. */
function dimsFrom(tensor: TensorMetadata, batches: boolean): Pick<ModelInput, 'dims' | 'reshape'> {
  const dims = batches ? tensor.shape.slice(1) : [...tensor.shape];
  return dims.length === 0 ? { dims: [1], reshape: { shape: [] } } : { dims, reshape: null };
}

function checkTensors<T extends ModelInput | ModelOutput>(
  kind: 'input' | 'output',
  configured: readonly T[],
  metadata: ModelMetadata,
  config: ModelConfig,
  mismatches: ConfigMismatch[],
): T[] {
  const inModel = kind === 'input' ? metadata.inputs : metadata.outputs;
  // Code is given its requests one by one, and concatenates nothing.
  const keepsApart = metadata.maxBatchSize !== undefined;
  const byName = new Map(inModel.map((tensor) => [tensor.name, tensor]));
  const checked = configured.map((tensor, index) => {
    const known = byName.get(tensor.name);
    if (known !== undefined) return checkTensor(`${kind}[${index}]`, tensor, known, config, keepsApart, mismatches);
    const message = `unexpected inference ${kind} '${tensor.name}', allowed ${kind}s are: ${[...byName.keys()].join(', ')}${didYouMean(tensor.name, byName.keys())}`;
    mismatches.push({ severity: 'error', field: `${kind}[${index}].name`, message, text: message });
    return tensor;
  });
  // An output that is not listed is simply not served; an input that is not listed would have no value.
  const names = new Set(configured.map((tensor) => tensor.name));
  const missing =
    kind === 'input'
      ? inModel
          .filter(({ name, optional }) => !optional && !names.has(name) && !isMade(config, name) && !isSequenceInput(config, name))
          .map((tensor) => tensor.name)
      : [];
  if (missing.length > 0) {
    const message = `expected every required input of the model, missing ${missing.join(', ')}`;
    mismatches.push({ severity: 'error', field: 'input', message, text: `input: ${message}` });
  }
  return checked;
}

/** The targets of batch_input are inputs of the model that no client sends, each of the rank that its kind has. */
function checkMadeInputs(config: ModelConfig, metadata: ModelMetadata, mismatches: ConfigMismatch[]): void {
  for (const [index, { targetName, kind, dataType }] of config.batchInput.entries()) {
    const rank = kind === 'BATCH_ITEM_SHAPE' ? 2 : 1;
    for (const [at, name] of targetName.entries()) {
      const known = metadata.inputs.find((tensor) => tensor.name === name);
      const mismatch = (field: string, message: string): void => {
        const path = `batch_input[${index}].${field}`;
        mismatches.push({ severity: 'error', field: path, message, text: `${path} '${name}': ${message}` });
      };
      if (known === undefined) {
        const names = metadata.inputs.map((tensor) => tensor.name);
        mismatch(`target_name[${at}]`, `the model has no such input${didYouMean(name, names) || '.'} Its inputs are: ${names.join(', ')}`);
      } else if (DATATYPES[known.datatype].configName !== dataType) {
        mismatch('data_type', `the model says ${DATATYPES[known.datatype].configName}, the configuration ${dataType}`);
      } else if (known.shape.length !== rank) {
        mismatch('kind', `the model expects shape ${shapeText(known.shape)}, ${kind} has ${rank === 1 ? '1 dimension' : '2 dimensions'}`);
      }
    }
  }
}

/** At most one mismatch: the next would follow from it. */
function checkTensor<T extends ModelInput | ModelOutput>(
  path: string,
  tensor: T,
  known: TensorMetadata,
  config: ModelConfig,
  keepsApart: boolean,
  mismatches: ConfigMismatch[],
): T {
  const mismatch = (field: string, message: string): T => {
    mismatches.push({ severity: 'error', field: `${path}.${field}`, message, text: `${path} '${tensor.name}': ${field}: ${message}` });
    return tensor;
  };
  const batches = config.maxBatchSize > 0;
  const expectedType = DATATYPES[known.datatype].configName;
  if (tensor.dataType !== expectedType) {
    return mismatch('data_type', `the model says ${expectedType}, the configuration ${tensor.dataType}`);
  }
  const isInput = 'allowRaggedBatch' in tensor;
  // A concatenation is cut up by its number of elements, whatever its rank.
  if (!keepsApart && !isInput && isScattered(config, tensor.name)) return tensor;
  if (!keepsApart && isInput && tensor.allowRaggedBatch) {
    if (known.shape.length === 1 && known.shape[0] === -1) return tensor;
    return mismatch(
      'allow_ragged_batch',
      `the elements of all requests come to the model in one dimension, [-1], but the model expects shape ${shapeText(known.shape)}`,
    );
  }
  if (batches && known.shape[0] !== -1) {
    const message =
      `the model does not batch (its shape is ${shapeText(known.shape)}, and batching needs -1 as the first dimension), ` +
      `the configuration says ${config.maxBatchSize}; set max_batch_size to 0 and give all dimensions in dims`;
    mismatches.push({ severity: 'error', field: 'max_batch_size', message, text: `${path} '${tensor.name}': max_batch_size: ${message}` });
    return tensor;
  }
  const modelShape = batches ? known.shape.slice(1) : known.shape;
  // [1] for a scalar without saying reshape is common, and means the same.
  if (modelShape.length === 0 && tensor.reshape === null && tensor.dims.length === 1 && tensor.dims[0] === 1) {
    return { ...tensor, reshape: { shape: [] } };
  }
  const dims = modelDims(tensor);
  const where = tensor.reshape === null ? 'dims' : 'reshape.shape';
  const suffix = batches ? ' (without the batch dimension)' : '';
  if (dims.length !== modelShape.length) {
    const hint =
      !batches && dims.length + 1 === modelShape.length && known.shape[0] === -1
        ? '; set max_batch_size, or list the first dimension too'
        : '';
    return mismatch(
      where,
      `the model expects ${modelShape.length} dimensions${suffix} (shape ${shapeText(modelShape)}) but the model configuration ` +
        `specifies ${dims.length} dimensions (shape ${shapeText(dims)})${hint}`,
    );
  }
  const at = modelShape.findIndex((dim, index) => dim !== -1 && dim !== dims[index]);
  if (at < 0) return tensor;
  return mismatch(
    `${where}[${at}]`,
    `the model expects shape ${shapeText(modelShape)}${suffix} but the model configuration specifies shape ${shapeText(dims)}`,
  );
}

/** The shape that the model's file is given, without the batch dimension. */
function modelDims(tensor: ModelInput | ModelOutput): readonly number[] {
  return tensor.reshape === null ? tensor.dims : tensor.reshape.shape;
}

function shapeText(shape: readonly number[]): string {
  return `[${shape.join(',')}]`;
}
