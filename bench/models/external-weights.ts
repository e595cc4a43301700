/** ONNX files whose weights lie in other files, as exporters write models above 2 GB. */
import { encodeOnnxModel } from './onnx-model.ts';

export interface ExternalWeights {
  readonly location: string;
  /** Bytes; left out of the file unless given. */
  readonly offset?: number;
  readonly length?: number;
}

/** Bytes that {@link addExternalWeights} reads of the file with the weights: FP32 [1, 16]. */
export const EXTERNAL_WEIGHTS_BYTES = 64;

/** OUTPUT0 is INPUT0 plus the weights, all FP32 of 16 values a row. */
export function addExternalWeights(weights: ExternalWeights): Uint8Array {
  const dims = ['batch', 16];
  const model = encodeOnnxModel({
    name: 'external_weights',
    inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims }],
    outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims }],
    nodes: [{ op: 'Add', inputs: ['INPUT0', 'weights'], outputs: ['OUTPUT0'] }],
  });
  // A message that stands in two pieces is one to every reader: the second piece adds an initializer to the graph.
  return Buffer.concat([model, delimited(7, delimited(5, externalTensor('weights', weights)))]);
}

/** A TensorProto of FP32 [1, 16] without data of its own. */
export function externalTensor(name: string, weights: ExternalWeights): Uint8Array {
  const entries = Object.entries(weights).map(([key, value]) =>
    delimited(13, delimited(1, Buffer.from(key)), delimited(2, Buffer.from(String(value)))),
  );
  return Buffer.concat([number(1, 1), number(1, 16), number(2, 1), delimited(8, Buffer.from(name)), ...entries, number(14, 1)]);
}

/** A length-delimited field of protobuf. */
export function delimited(field: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([varint(field * 8 + 2), varint(length), ...parts]);
}

function number(field: number, value: number): Uint8Array {
  return Buffer.concat([varint(field * 8), varint(value)]);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Uint8Array.of(...bytes, value);
}
