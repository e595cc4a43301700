/**
 * Writes ONNX files: a graph described with plain objects becomes the bytes of a `.onnx` file. It checks what a typing mistake would
 * get wrong (byte counts, attribute kinds); the graph itself is checked by whoever loads the file.
 */
import { readFileSync } from 'node:fs';
import protobuf from 'protobufjs';
import { modelsFolder } from './models-folder.ts';

/** ONNX element types by name, with the number the file format gives them. */
export const onnxElementType = {
  FLOAT: 1,
  UINT8: 2,
  INT8: 3,
  UINT16: 4,
  INT16: 5,
  INT32: 6,
  INT64: 7,
  STRING: 8,
  BOOL: 9,
  FLOAT16: 10,
  DOUBLE: 11,
  UINT32: 12,
  UINT64: 13,
  BFLOAT16: 16,
} as const;

export type OnnxElementType = keyof typeof onnxElementType;

/** Bytes of one element; strings have no fixed size. */
const elementBytes: Record<Exclude<OnnxElementType, 'STRING'>, number> = {
  FLOAT: 4,
  UINT8: 1,
  INT8: 1,
  UINT16: 2,
  INT16: 2,
  INT32: 4,
  INT64: 8,
  BOOL: 1,
  FLOAT16: 2,
  DOUBLE: 8,
  UINT32: 4,
  UINT64: 8,
  BFLOAT16: 2,
};

/** A fixed size, or -1 for an unknown one, or a name for an unknown one that is the same wherever the name appears. */
export type OnnxDimension = number | string;

/** An input or output of a graph. `dims` empty: a scalar. `dims` absent: nothing is known of the shape, not even its rank. */
export interface OnnxValue {
  readonly name: string;
  readonly elementType: OnnxElementType;
  readonly dims?: readonly OnnxDimension[];
}

/** A constant tensor. `data` is the little-endian, row-major content (any typed array), or the strings of a STRING tensor. */
export interface OnnxTensor {
  readonly name: string;
  readonly elementType: OnnxElementType;
  readonly dims: readonly number[];
  readonly data: ArrayBufferView | readonly string[];
}

/** Exactly one kind of value per attribute, as the operator's definition demands. */
export type OnnxAttribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly floats: readonly number[] }
  | { readonly string: string }
  | { readonly strings: readonly string[] }
  | { readonly tensor: OnnxTensor }
  | { readonly graph: OnnxGraph };

/** One operator. An empty string among the inputs is an optional input that is not given. */
export interface OnnxNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>;
}

/** A whole model's graph, or the body of a Loop or a branch of an If. Nodes stand in an order in which they can run. */
export interface OnnxGraph {
  readonly name: string;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly initializers?: readonly OnnxTensor[];
  readonly nodes: readonly OnnxNode[];
}

export interface OnnxModelOptions {
  /** Version of the standard operator set; 17 unless given, which any ONNX Runtime since 1.12 reads. */
  readonly opset?: number;
  /** Version of the file format; 8 unless given, the one that belongs to opset 17. */
  readonly irVersion?: number;
}

/**
 * The bytes of an ONNX file holding `graph`. The same graph always gives the same bytes.
 *
 * @throws RangeError when a tensor's data does not fill its dims exactly, or a dimension is not a whole number from -1 up.
 */
export function encodeOnnxModel(graph: OnnxGraph, options: OnnxModelOptions = {}): Uint8Array {
  return modelType().encode(modelMessage(graph, options)).finish();
}

function modelMessage(graph: OnnxGraph, options: OnnxModelOptions): protobuf.Message {
  return modelType().fromObject({
    irVersion: options.irVersion ?? 8,
    producerName: 'nereid',
    opsetImport: [{ domain: '', version: options.opset ?? 17 }],
    graph: graphMessage(graph),
  });
}

function graphMessage(graph: OnnxGraph): object {
  return {
    name: graph.name,
    input: graph.inputs.map(valueMessage),
    output: graph.outputs.map(valueMessage),
    initializer: (graph.initializers ?? []).map(tensorMessage),
    node: graph.nodes.map((node, index) => ({
      name: `${node.op}_${index}`,
      opType: node.op,
      input: node.inputs,
      output: node.outputs,
      attribute: Object.entries(node.attributes ?? {}).map(([name, attribute]) => ({ name, ...attributeMessage(attribute) })),
    })),
  };
}

function attributeMessage(attribute: OnnxAttribute): object {
  if ('int' in attribute) return { type: 'INT', i: attribute.int };
  if ('ints' in attribute) return { type: 'INTS', ints: attribute.ints };
  if ('float' in attribute) return { type: 'FLOAT', f: attribute.float };
  if ('floats' in attribute) return { type: 'FLOATS', floats: attribute.floats };
  if ('string' in attribute) return { type: 'STRING', s: Buffer.from(attribute.string) };
  if ('strings' in attribute) return { type: 'STRINGS', strings: attribute.strings.map((text) => Buffer.from(text)) };
  if ('tensor' in attribute) return { type: 'TENSOR', t: tensorMessage(attribute.tensor) };
  return { type: 'GRAPH', g: graphMessage(attribute.graph) };
}

function valueMessage(value: OnnxValue): object {
  const elemType = onnxElementType[value.elementType];
  if (value.dims === undefined) return { name: value.name, type: { tensorType: { elemType } } };
  return { name: value.name, type: { tensorType: { elemType, shape: { dim: value.dims.map(dimensionMessage) } } } };
}

function dimensionMessage(dimension: OnnxDimension): object {
  if (typeof dimension === 'string') return { dimParam: dimension };
  if (!Number.isSafeInteger(dimension) || dimension < -1) {
    throw new RangeError(`a dimension is a whole number from -1 up, got ${dimension}`);
  }
  return dimension === -1 ? {} : { dimValue: dimension };
}

function tensorMessage(tensor: OnnxTensor): object {
  const { name, elementType, dims, data } = tensor;
  const dataType = onnxElementType[elementType];
  const elements = dims.reduce((product, dimension) => product * dimension, 1);
  if (elementType === 'STRING') {
    if (ArrayBuffer.isView(data))
      throw new RangeError(`tensor '${name}' is STRING and takes an array of strings, got ${data.constructor.name}`);
    if (data.length !== elements)
      throw new RangeError(`tensor '${name}' needs ${elements} strings for its dims [${dims.join()}], got ${data.length}`);
    return { name, dataType, dims, stringData: data.map((text) => Buffer.from(text)) };
  }
  if (!ArrayBuffer.isView(data)) throw new RangeError(`tensor '${name}' is ${elementType} and takes a typed array, got an array`);
  const expected = elements * elementBytes[elementType];
  if (data.byteLength !== expected) {
    throw new RangeError(`tensor '${name}' needs ${expected} bytes for ${elementType} [${dims.join()}], got ${data.byteLength}`);
  }
  return { name, dataType, dims, rawData: Buffer.from(data.buffer, data.byteOffset, data.byteLength) };
}

let cachedModelType: protobuf.Type | undefined;

function modelType(): protobuf.Type {
  cachedModelType ??= protobuf.parse(readFileSync(new URL('onnx.proto', modelsFolder), 'utf8')).root.lookupType('nereid.onnx.ModelProto');
  return cachedModelType;
}
