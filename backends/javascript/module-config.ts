import { datatypeFromConfig, findDatatype, MAX_TENSOR_BYTES } from '../../proto/datatype.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { ModelMetadata, ModelSpec, TensorMetadata } from '../api/backend.ts';
import type { ModelConfig, ModelInput, ModelOutput, ModelSequenceBatchingControl } from '../api/model-config.ts';
import { shown } from './tensor-from.ts';

/** What a model's code says of itself, checked. */
export interface DeclaredConfig {
  readonly inputs: readonly TensorMetadata[] | null;
  readonly outputs: readonly TensorMetadata[] | null;
  readonly maxBatchSize: number;
  readonly maxConcurrency: number;
  readonly parameters: Readonly<Record<string, string>>;
}

const FIELDS = ['maxBatchSize', 'inputs', 'outputs', 'maxConcurrency', 'parameters'];
const TENSOR_FIELDS = ['name', 'datatype', 'dims', 'optional'];
const MAX_RANK = 64;
const MAX_BATCH_SIZE = 1_048_576;

const nothing: DeclaredConfig = { inputs: null, outputs: null, maxBatchSize: 0, maxConcurrency: 0, parameters: {} };

/** `exported`: the module's `config`. Throws INVALID_ARGUMENT that names the field. */
export function readModuleConfig(exported: unknown): DeclaredConfig {
  if (exported === undefined || exported === null) return nothing;
  const config = record(exported, 'config');
  refuseUnknown(config, FIELDS, 'config');
  const maxBatchSize = whole(config['maxBatchSize'] ?? 0, 'config.maxBatchSize', MAX_BATCH_SIZE);
  const isBatching = maxBatchSize > 0;
  const parameters = record(config['parameters'] ?? {}, 'config.parameters');
  for (const [name, value] of Object.entries(parameters))
    if (typeof value !== 'string') throw invalidArgument(`config.parameters.${name}: expected a string, got ${shown(value)}`);
  return {
    inputs: config['inputs'] === undefined ? null : tensors(config['inputs'], 'config.inputs', isBatching),
    outputs: config['outputs'] === undefined ? null : tensors(config['outputs'], 'config.outputs', isBatching),
    maxBatchSize,
    maxConcurrency: config['maxConcurrency'] === undefined ? 0 : whole(config['maxConcurrency'], 'config.maxConcurrency', 1_000_000, 1),
    parameters: parameters as Record<string, string>,
  };
}

/** The configuration file where it lists tensors, the code where it does; they are compared by whoever completes the configuration. Throws INVALID_ARGUMENT where neither does. */
export function metadataOf(spec: ModelSpec, declared: DeclaredConfig): ModelMetadata {
  const { config } = spec;
  const maxBatchSize =
    config.maxBatchSize > 0 || (config.input.length > 0 && config.output.length > 0) ? config.maxBatchSize : declared.maxBatchSize;
  if (declared.maxBatchSize > 0 !== maxBatchSize > 0 && (declared.inputs !== null || declared.outputs !== null)) {
    throw invalidArgument(
      `config.maxBatchSize: the code says ${declared.maxBatchSize}, max_batch_size in the configuration is ${maxBatchSize}: with 0 a model has no batch dimension; make them agree`,
    );
  }
  const isBatching = maxBatchSize > 0;
  const inputs = declared.inputs ?? [
    ...config.input.map((tensor, i) => metadataFrom(tensor, `input[${i}]`, isBatching)),
    ...sequenceInputs(config, isBatching),
  ];
  const outputs = declared.outputs ?? [
    ...config.output.map((tensor, i) => metadataFrom(tensor, `output[${i}]`, isBatching)),
    ...stateOutputs(config, isBatching),
  ];
  if (outputs.length === 0) {
    throw invalidArgument(
      'the model says nothing of its inputs and outputs: list them in its configuration, or export const config = { maxBatchSize, inputs: [{ name, datatype, dims }], outputs: [...] }',
    );
  }
  return { inputs, outputs, maxBatchSize };
}

/** Controls and states of sequence_batching: code that has no list of its own takes them as the configuration makes them. */
function sequenceInputs({ sequenceBatching, input }: ModelConfig, isBatching: boolean): TensorMetadata[] {
  if (sequenceBatching === null) return [];
  const controls = sequenceBatching.controlInput.flatMap(({ name, control: [first] }) =>
    first === undefined ? [] : [sequenceTensor(name, controlType(first), [1], isBatching)],
  );
  const states = sequenceBatching.state.map(({ inputName, dataType, dims }) => sequenceTensor(inputName, dataType, dims, isBatching));
  return [...controls, ...states].filter(({ name }) => !input.some((listed) => listed.name === name));
}

function stateOutputs({ sequenceBatching, output }: ModelConfig, isBatching: boolean): TensorMetadata[] {
  if (sequenceBatching === null) return [];
  return sequenceBatching.state
    .filter(({ outputName }) => !output.some(({ name }) => name === outputName))
    .map(({ outputName, dataType, dims }) => sequenceTensor(outputName, dataType, dims, isBatching));
}

function controlType(control: ModelSequenceBatchingControl): string {
  if (control.kind === 'CONTROL_SEQUENCE_CORRID') return control.dataType;
  if (control.fp32FalseTrue.length > 0) return 'TYPE_FP32';
  return control.boolFalseTrue.length > 0 ? 'TYPE_BOOL' : 'TYPE_INT32';
}

function sequenceTensor(name: string, type: string, dims: readonly number[], isBatching: boolean): TensorMetadata {
  const datatype = datatypeFromConfig(type);
  if (datatype === undefined)
    throw invalidArgument(`sequence_batching: data_type of '${name}': expected one such as TYPE_INT32, got ${type}`);
  return { name, datatype, shape: isBatching ? [-1, ...dims] : [...dims], optional: false };
}

function metadataFrom(tensor: ModelInput | ModelOutput, field: string, isBatching: boolean): TensorMetadata {
  const datatype = datatypeFromConfig(tensor.dataType);
  if (datatype === undefined) throw invalidArgument(`${field}.data_type: expected one such as TYPE_FP32, got ${tensor.dataType}`);
  if (tensor.reshape !== null)
    throw invalidArgument(
      `${field}.reshape: a model that is code gets tensors as clients send them; remove it, and give what the code takes as dims`,
    );
  const shape = isBatching ? [-1, ...tensor.dims] : [...tensor.dims];
  return { name: tensor.name, datatype, shape, optional: 'optional' in tensor && tensor.optional };
}

function tensors(value: unknown, field: string, isBatching: boolean): TensorMetadata[] {
  if (!Array.isArray(value)) throw invalidArgument(`${field}: expected a list of { name, datatype, dims }, got ${shown(value)}`);
  const names = new Set<string>();
  return value.map((entry: unknown, i) => {
    const at = `${field}[${i}]`;
    const tensor = record(entry, at);
    refuseUnknown(tensor, TENSOR_FIELDS, at);
    const { name, datatype, dims, optional = false } = tensor;
    if (typeof name !== 'string' || name === '') throw invalidArgument(`${at}.name: expected a name, got ${shown(name)}`);
    if (names.has(name)) throw invalidArgument(`${at}.name: '${name}' is there twice`);
    names.add(name);
    const type = typeof datatype === 'string' ? (findDatatype(datatype)?.name ?? datatypeFromConfig(datatype)) : undefined;
    if (type === undefined) throw invalidArgument(`${at}.datatype: expected one such as FP32 or BYTES, got ${shown(datatype)}`);
    if (!Array.isArray(dims) || dims.length > MAX_RANK || !dims.every(isDimension))
      throw invalidArgument(
        `${at}.dims: expected a list of whole numbers, -1 for any, got ${Array.isArray(dims) ? `[${dims.map(shown).join(',')}]` : shown(dims)}`,
      );
    if (typeof optional !== 'boolean') throw invalidArgument(`${at}.optional: expected true or false, got ${shown(optional)}`);
    return { name, datatype: type, shape: isBatching ? [-1, ...dims] : [...dims], optional };
  });
}

function isDimension(dim: unknown): dim is number {
  return Number.isSafeInteger(dim) && ((dim as number) === -1 || (dim as number) > 0) && (dim as number) <= MAX_TENSOR_BYTES;
}

function whole(value: unknown, field: string, max: number, min = 0): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw invalidArgument(`${field}: expected a whole number from ${min} to ${max}, got ${shown(value)}`);
}

function record(value: unknown, field: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidArgument(`${field}: expected an object, got ${shown(value)}`);
  return value as Record<string, unknown>;
}

function refuseUnknown(value: Readonly<Record<string, unknown>>, known: readonly string[], field: string): void {
  for (const name of Object.keys(value)) {
    if (!known.includes(name)) throw invalidArgument(`${field}.${name}: expected one of ${known.join(', ')}${didYouMean(name, known)}`);
  }
}
