import koffi from 'koffi';
import { DATATYPES, type Datatype, datatypeFromConfig, datatypeFromOnnx } from '../../proto/datatype.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { ModelMetadata, TensorMetadata } from '../api/backend.ts';
import type { ModelConfig } from '../api/model-config.ts';
import { NativeString, NativeWords } from './native-words.ts';
import type { OrtFunction } from './ort-api.ts';
import { check, type OrtLibrary } from './ort-library.ts';

/** What a session says of one input or output. */
export interface TensorSignature extends TensorMetadata {
  readonly nativeName: NativeString;
  /** ONNX element type. */
  readonly elementType: number;
  /** The name of each open dimension, or the empty string. */
  readonly symbols: readonly string[];
}

export interface ModelSignature {
  readonly inputs: readonly TensorSignature[];
  readonly outputs: readonly TensorSignature[];
  readonly metadata: ModelMetadata;
}

/** ONNXType */
const TENSOR = 1;
const typeNames = ['unknown', 'tensor', 'sequence', 'map', 'opaque', 'sparse tensor', 'optional'];

/** Element types that the protocol has no datatype for. */
const elementTypeNames: ReadonlyMap<number, string> = new Map([
  [14, 'complex64'],
  [15, 'complex128'],
  [17, 'float8e4m3fn'],
  [18, 'float8e4m3fnuz'],
  [19, 'float8e5m2'],
  [20, 'float8e5m2fnuz'],
  [21, 'uint4'],
  [22, 'int4'],
  [23, 'float4e2m1'],
]);

/** More tensors, or dimensions, than any model has: a number past it is a broken file. */
const MAX_TENSORS = 65_536;
const MAX_RANK = 1_024;

interface Lister {
  readonly side: 'input' | 'output';
  readonly optional: boolean;
  readonly count: OrtFunction<number>;
  readonly name: OrtFunction<number>;
  readonly type: OrtFunction<number>;
}

/**
 * Reads the signature of an open session. Throws UNIMPLEMENTED, naming the tensor, for what the protocol has no form for: sequences, maps,
 * complex numbers, 4- and 8-bit floats; INVALID_ARGUMENT when neither the file nor the configuration says a tensor's rank.
 */
export function readModelSignature(library: OrtLibrary, session: number, config: ModelConfig): ModelSignature {
  const { api } = library;
  const required = readTensors(library, session, config, {
    side: 'input',
    optional: false,
    count: api.SessionGetInputCount,
    name: api.SessionGetInputName,
    type: api.SessionGetInputTypeInfo,
  });
  const overridable = readTensors(library, session, config, {
    side: 'input',
    optional: true,
    count: api.SessionGetOverridableInitializerCount,
    name: api.SessionGetOverridableInitializerName,
    type: api.SessionGetOverridableInitializerTypeInfo,
  });
  const outputs = readTensors(library, session, config, {
    side: 'output',
    optional: false,
    count: api.SessionGetOutputCount,
    name: api.SessionGetOutputName,
    type: api.SessionGetOutputTypeInfo,
  });
  const inputs = [...required, ...overridable];
  return { inputs, outputs, metadata: { inputs: inputs.map(toMetadata), outputs: outputs.map(toMetadata) } };
}

function toMetadata({ name, datatype, shape, optional }: TensorSignature): TensorMetadata {
  return { name, datatype, shape, optional };
}

function readTensors(library: OrtLibrary, session: number, config: ModelConfig, lister: Lister): TensorSignature[] {
  const { api } = library;
  const out = new NativeWords(1);
  check(api, lister.count(session, out.address));
  const count = out.get(0);
  if (count > MAX_TENSORS) throw invalidArgument(`the model has ${count} ${lister.side}s; at most ${MAX_TENSORS} are supported`);
  const tensors: TensorSignature[] = [];
  for (let i = 0; i < count; i++) {
    check(api, lister.name(session, i, library.allocator, out.address));
    const nameAddress = out.get(0);
    const name = koffi.decode.string(BigInt(nameAddress));
    check(api, api.AllocatorFree(library.allocator, nameAddress));
    check(api, lister.type(session, i, out.address));
    const typeInfo = out.get(0);
    try {
      tensors.push(readTensor(library, typeInfo, name, lister, config));
    } finally {
      api.ReleaseTypeInfo(typeInfo);
    }
  }
  return tensors;
}

function readTensor(library: OrtLibrary, typeInfo: number, name: string, lister: Lister, config: ModelConfig): TensorSignature {
  const { api } = library;
  const out = new NativeWords(1);
  check(api, api.GetOnnxTypeFromTypeInfo(typeInfo, out.address));
  const type = out.halves[0]!;
  if (type !== TENSOR) throw unsupported(lister, name, `a ${typeNames[type] ?? `value of ONNX type ${type}`}`);
  check(api, api.CastTypeInfoToTensorInfo(typeInfo, out.address));
  const tensorInfo = out.get(0);
  check(api, api.GetTensorElementType(tensorInfo, out.address));
  const elementType = out.halves[0]!;
  const datatype = datatypeFromOnnx(elementType);
  if (datatype === undefined) {
    throw unsupported(lister, name, `a tensor of ${elementTypeNames.get(elementType) ?? `ONNX element type ${elementType}`}`);
  }
  const known = { name, datatype, elementType, optional: lister.optional, nativeName: new NativeString(name) };
  if (api.TensorTypeAndShape_HasShape(tensorInfo) % 256 === 0) {
    const shape = shapeFromConfig(lister, name, datatype, config);
    return { ...known, shape, symbols: shape.map(() => '') };
  }
  check(api, api.GetDimensionsCount(tensorInfo, out.address));
  const rank = out.get(0);
  if (rank > MAX_RANK) throw invalidArgument(`${lister.side} '${name}' has ${rank} dimensions; at most ${MAX_RANK} are supported`);
  if (rank === 0) return { ...known, shape: [], symbols: [] };
  const dims = new NativeWords(rank);
  check(api, api.GetDimensions(tensorInfo, dims.address, rank));
  const names = new NativeWords(rank);
  check(api, api.GetSymbolicDimensions(tensorInfo, names.address, rank));
  const shape: number[] = [];
  const symbols: string[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const dim = dims.getSigned(axis);
    const symbolAddress = names.get(axis);
    shape.push(dim < 0 ? -1 : dim);
    symbols.push(dim < 0 && symbolAddress !== 0 ? koffi.decode.string(BigInt(symbolAddress)) : '');
  }
  return { ...known, shape, symbols };
}

function unsupported(lister: Lister, name: string, what: string): InferenceError {
  return new InferenceError(
    'UNIMPLEMENTED',
    `${lister.side} '${name}' is ${what}, which the inference protocol has no datatype for; it has ${Object.keys(DATATYPES).join(', ')} tensors`,
  );
}

/** Some exporters leave even the rank open; then the configuration has to say it. */
function shapeFromConfig(lister: Lister, name: string, datatype: Datatype, config: ModelConfig): number[] {
  const entry = (lister.side === 'input' ? config.input : config.output).find((tensor) => tensor.name === name);
  if (entry === undefined || datatypeFromConfig(entry.dataType) === undefined) {
    throw invalidArgument(
      `${lister.side} '${name}': the model file does not say how many dimensions it has; ` +
        `list it in the configuration with data_type ${DATATYPES[datatype].configName} and its dims`,
    );
  }
  const dims = entry.reshape?.shape ?? entry.dims;
  return config.maxBatchSize > 0 ? [-1, ...dims] : [...dims];
}
