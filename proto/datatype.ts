/** @hotpath datatype names are looked up once per tensor, in and out (measured by check-response.bench.ts) */

/**
 * The Open Inference Protocol's data types, and the only table of them: protocol name, bytes per element, the name that
 * model configurations use, the ONNX element type, and the typed array whose elements have the same layout.
 *
 * Source: Open Inference Protocol (tensor data types), Triton `model_config.proto` (DataType), ONNX `TensorProto.DataType`.
 */
export type Datatype =
  | 'BOOL'
  | 'UINT8'
  | 'UINT16'
  | 'UINT32'
  | 'UINT64'
  | 'INT8'
  | 'INT16'
  | 'INT32'
  | 'INT64'
  | 'FP16'
  | 'BF16'
  | 'FP32'
  | 'FP64'
  | 'BYTES';

export type ConfigDatatype =
  | 'TYPE_BOOL'
  | 'TYPE_UINT8'
  | 'TYPE_UINT16'
  | 'TYPE_UINT32'
  | 'TYPE_UINT64'
  | 'TYPE_INT8'
  | 'TYPE_INT16'
  | 'TYPE_INT32'
  | 'TYPE_INT64'
  | 'TYPE_FP16'
  | 'TYPE_BF16'
  | 'TYPE_FP32'
  | 'TYPE_FP64'
  | 'TYPE_STRING';

export interface DatatypeInfo {
  readonly name: Datatype;
  /** Bytes of one element; 0 for BYTES, whose elements carry their own length. */
  readonly byteSize: number;
  /** The name in `config.pbtxt`. */
  readonly configName: ConfigDatatype;
  /** `TensorProto.DataType` of ONNX. */
  readonly onnxType: number;
}

/**
 * Sizes, in bytes, are multiplied from request shapes: past this, a product is refused before anything is allocated. It is far above any
 * body limit and far below where doubles stop counting in ones.
 */
export const MAX_TENSOR_BYTES: number = 2 ** 40;

export const DATATYPES: { readonly [name in Datatype]: DatatypeInfo } = {
  BOOL: { name: 'BOOL', byteSize: 1, configName: 'TYPE_BOOL', onnxType: 9 },
  UINT8: { name: 'UINT8', byteSize: 1, configName: 'TYPE_UINT8', onnxType: 2 },
  UINT16: { name: 'UINT16', byteSize: 2, configName: 'TYPE_UINT16', onnxType: 4 },
  UINT32: { name: 'UINT32', byteSize: 4, configName: 'TYPE_UINT32', onnxType: 12 },
  UINT64: { name: 'UINT64', byteSize: 8, configName: 'TYPE_UINT64', onnxType: 13 },
  INT8: { name: 'INT8', byteSize: 1, configName: 'TYPE_INT8', onnxType: 3 },
  INT16: { name: 'INT16', byteSize: 2, configName: 'TYPE_INT16', onnxType: 5 },
  INT32: { name: 'INT32', byteSize: 4, configName: 'TYPE_INT32', onnxType: 6 },
  INT64: { name: 'INT64', byteSize: 8, configName: 'TYPE_INT64', onnxType: 7 },
  FP16: { name: 'FP16', byteSize: 2, configName: 'TYPE_FP16', onnxType: 10 },
  BF16: { name: 'BF16', byteSize: 2, configName: 'TYPE_BF16', onnxType: 16 },
  FP32: { name: 'FP32', byteSize: 4, configName: 'TYPE_FP32', onnxType: 1 },
  FP64: { name: 'FP64', byteSize: 8, configName: 'TYPE_FP64', onnxType: 11 },
  BYTES: { name: 'BYTES', byteSize: 0, configName: 'TYPE_STRING', onnxType: 8 },
};

const byName = new Map<string, DatatypeInfo>(Object.entries(DATATYPES));
const byConfigName = new Map<string, Datatype>(Object.values(DATATYPES).map((info) => [info.configName, info.name]));
const byOnnxType = new Map<number, Datatype>(Object.values(DATATYPES).map((info) => [info.onnxType, info.name]));

/** The entry of a protocol name (case-sensitive, as the protocol has it), or undefined. */
export function findDatatype(name: string): DatatypeInfo | undefined {
  return byName.get(name);
}

/** Bytes of one element; 0 for BYTES. */
export function byteSizeOf(datatype: Datatype): number {
  return DATATYPES[datatype].byteSize;
}

/** `TYPE_FP32` -> `FP32`; undefined for TYPE_INVALID and for anything unknown. */
export function datatypeFromConfig(configName: string): Datatype | undefined {
  return byConfigName.get(configName);
}

/** ONNX `TensorProto.DataType` -> protocol name; undefined for types that the protocol does not have (complex, 4-bit, 8-bit floats). */
export function datatypeFromOnnx(onnxType: number): Datatype | undefined {
  return byOnnxType.get(onnxType);
}

/**
 * Elements of a shape; 1 for a scalar (empty shape). -1 when a dimension is negative or fractional, or when the product passes
 * {@link MAX_TENSOR_BYTES}: callers refuse it before they allocate.
 */
export function elementCount(shape: ArrayLike<number>): number {
  let count = 1;
  for (let i = 0; i < shape.length; i++) {
    const dim = shape[i]!;
    if (!(dim >= 0) || dim > MAX_TENSOR_BYTES || dim !== Math.floor(dim)) return -1;
    count *= dim;
    // A later zero makes the product small again, yet such a shape has no honest sender.
    if (count > MAX_TENSOR_BYTES) return -1;
  }
  return count;
}
