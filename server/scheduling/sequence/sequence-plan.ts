import type { ModelMetadata, TensorMetadata } from '../../../backends/api/backend.ts';
import type { ModelConfig, ModelSequenceBatchingControl, ModelSequenceBatchingState } from '../../../backends/api/model-config.ts';
import { LENGTH_PREFIX_BYTES } from '../../../proto/bytes.ts';
import { byteSizeOf, type Datatype, datatypeFromConfig, elementCount, MAX_TENSOR_BYTES } from '../../../proto/datatype.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { InputSpec, ModelSignature, OutputSpec } from '../../inference/model-signature.ts';

/** A control input of two values, shaped for one request. */
export interface FlagControl {
  readonly input: number;
  readonly no: Tensor;
  readonly yes: Tensor;
}

export interface CorrelationControl {
  readonly input: number;
  readonly name: string;
  /** UINT64, INT64, UINT32, INT32 or BYTES. */
  readonly datatype: Datatype;
}

export interface StatePlan {
  readonly input: number;
  readonly inputName: string;
  readonly outputName: string;
  /** What a sequence starts from, shaped for one request; shared by all sequences, never written to. */
  readonly initial: Tensor;
}

/** What a model of sequences runs on: the clients' inputs, then the tensors that the server makes for each request. Built once, at load. */
export interface SequencePlan {
  /** All inputs and outputs of an execution; the model's own signature, which clients see, is a part of it. */
  readonly signature: ModelSignature;
  /** How many of `signature.inputs` come from the client; they are the first. */
  readonly clientInputs: number;
  readonly start: FlagControl | null;
  readonly ready: FlagControl | null;
  readonly end: FlagControl | null;
  readonly correlation: CorrelationControl | null;
  readonly states: readonly StatePlan[];
  /** Outputs that callers may have; null: all of them. */
  readonly returned: ReadonlySet<string> | null;
  /** Positions of the inputs with an open dimension, ragged ones left out: requests share an execution only when these agree. */
  readonly variableInputs: readonly number[];
  readonly hasOptionalInputs: boolean;
}

/**
 * `signature`: what clients see. `initialStates`: contents of the states' files, by input name. Source: ModelSequenceBatching of Triton's model_config.proto
 * (reference 5.7). A control is [1], or [1, 1] where the model batches.
 */
export function planSequences(
  config: ModelConfig,
  signature: ModelSignature,
  metadata: ModelMetadata,
  initialStates: ReadonlyMap<string, Uint8Array>,
): SequencePlan {
  const batching = config.sequenceBatching!;
  const inputs: InputSpec[] = [...signature.inputs];
  const outputs: OutputSpec[] = [...signature.outputs];
  const batchDims = signature.maxBatchSize > 0 ? [1] : [];
  const flags = new Map<string, FlagControl>();
  let correlation: CorrelationControl | null = null;
  for (const { name, control: controls } of batching.controlInput) {
    for (const control of controls) {
      const input = inputs.length;
      const datatype = controlDatatype(control);
      inputs.push({
        name,
        datatype,
        byteSize: byteSizeOf(datatype),
        dims: [1],
        optional: false,
        reshape: scalarReshape(name, metadata, batchDims.length),
      });
      if (control.kind === 'CONTROL_SEQUENCE_CORRID') correlation = { input, name, datatype };
      else flags.set(control.kind, flagControl(input, name, datatype, control, [...batchDims, 1]));
    }
  }
  const states = batching.state.map((state): StatePlan => {
    const input = inputs.length;
    const datatype = requireDatatype(state.dataType, `sequence_batching.state '${state.inputName}'`);
    const spec = { datatype, byteSize: byteSizeOf(datatype), dims: state.dims, reshape: null };
    inputs.push({ ...spec, name: state.inputName, optional: false });
    if (!outputs.some((output) => output.name === state.outputName)) outputs.push({ ...spec, name: state.outputName, labels: null });
    const initial = initialState(state, datatype, batchDims, initialStates.get(state.inputName));
    return { input, inputName: state.inputName, outputName: state.outputName, initial };
  });
  // The model computes them all; what the configuration does not name is nobody's.
  for (const { name, datatype, shape } of metadata.outputs) {
    if (outputs.some((output) => output.name === name)) continue;
    outputs.push({ name, datatype, byteSize: byteSizeOf(datatype), dims: shape.slice(batchDims.length), reshape: null, labels: null });
  }
  const variableInputs: number[] = [];
  inputs.forEach((spec, index) => {
    if (spec.dims.includes(-1) && !signature.batchTensors?.ragged[index]) variableInputs.push(index);
  });
  return {
    signature: {
      ...signature,
      inputs,
      outputs,
      inputIndex: new Map(inputs.map(({ name }, index) => [name, index])),
      outputIndex: new Map(outputs.map(({ name }, index) => [name, index])),
      requiredInputs: signature.requiredInputs + inputs.length - signature.inputs.length,
    },
    clientInputs: signature.inputs.length,
    start: flags.get('CONTROL_SEQUENCE_START') ?? null,
    ready: flags.get('CONTROL_SEQUENCE_READY') ?? null,
    end: flags.get('CONTROL_SEQUENCE_END') ?? null,
    correlation,
    states,
    returned: outputs.length === signature.outputs.length ? null : new Set(signature.outputIndex.keys()),
    variableInputs,
    hasOptionalInputs: signature.requiredInputs < signature.inputs.length,
  };
}

/** Zeros of the shape, BYTES as empty strings. */
export function zeroTensor(name: string, datatype: Datatype, shape: readonly number[]): Tensor {
  const bytes = elementCount(shape) * (byteSizeOf(datatype) || LENGTH_PREFIX_BYTES);
  if (!(bytes >= 0 && bytes <= MAX_TENSOR_BYTES)) {
    throw invalidArgument(`'${name}': a tensor of shape [${shape.join(',')}], ${datatype}, is more than a tensor may hold`);
  }
  return { name, datatype, shape, data: new Uint8Array(bytes) };
}

/** Of START, END and READY. */
export function controlDatatype(control: ModelSequenceBatchingControl): Datatype {
  if (control.kind === 'CONTROL_SEQUENCE_CORRID') return requireDatatype(control.dataType, 'sequence_batching: the correlation id');
  if (control.fp32FalseTrue.length > 0) return 'FP32';
  return control.boolFalseTrue.length > 0 ? 'BOOL' : 'INT32';
}

/** The shape of a state before its first request; an open dimension is 1 there. */
export function initialShape(state: ModelSequenceBatchingState): readonly number[] {
  const dims = state.initialState[0]?.dims ?? state.dims;
  return dims.map((dim) => (dim < 0 ? 1 : dim));
}

function initialState(
  state: ModelSequenceBatchingState,
  datatype: Datatype,
  batchDims: readonly number[],
  data: Uint8Array | undefined,
): Tensor {
  const shape = [...batchDims, ...initialShape(state)];
  return data === undefined ? zeroTensor(state.inputName, datatype, shape) : { name: state.inputName, datatype, shape, data };
}

function flagControl(
  input: number,
  name: string,
  datatype: Datatype,
  control: ModelSequenceBatchingControl,
  shape: readonly number[],
): FlagControl {
  const tensor = (at: number): Tensor => {
    const data = new Uint8Array(byteSizeOf(datatype));
    const view = new DataView(data.buffer);
    if (datatype === 'FP32') view.setFloat32(0, control.fp32FalseTrue[at]!, true);
    else if (datatype === 'BOOL') view.setUint8(0, control.boolFalseTrue[at]! ? 1 : 0);
    else view.setInt32(0, control.int32FalseTrue[at]!, true);
    return { name, datatype, shape, data };
  };
  return { input, no: tensor(0), yes: tensor(1) };
}

/** A model file may take one value for each request without a dimension of its own. */
function scalarReshape(name: string, metadata: ModelMetadata, batchDims: number): readonly number[] | null {
  const known = metadata.inputs.find((input: TensorMetadata) => input.name === name);
  return known !== undefined && known.shape.length === batchDims ? [] : null;
}

function requireDatatype(configName: string, what: string): Datatype {
  const datatype = datatypeFromConfig(configName);
  if (datatype === undefined)
    throw invalidArgument(`${what}: data_type is ${configName}; expected one of the protocol's types, such as TYPE_FP32`);
  return datatype;
}
