import { halfFloatBits } from './half-float.ts';

export type GgufTensorType = 'F32' | 'F16' | 'Q8_0' | 'Q4_0';

interface TensorFormat {
  /** Its number in the file. */
  readonly id: number;
  /** Elements of a row that are stored together. */
  readonly blockLength: number;
  /** Bytes of such a block. */
  readonly blockBytes: number;
  encode(row: Float32Array, into: DataView, at: number): void;
}

/** How rows of each type lie in a GGUF file. Source: the reference quantisation of ggml. */
export const TENSOR_FORMATS: Readonly<Record<GgufTensorType, TensorFormat>> = {
  F32: { id: 0, blockLength: 1, blockBytes: 4, encode: encodeF32 },
  F16: { id: 1, blockLength: 1, blockBytes: 2, encode: encodeF16 },
  Q8_0: { id: 8, blockLength: 32, blockBytes: 34, encode: encodeQ8 },
  Q4_0: { id: 2, blockLength: 32, blockBytes: 18, encode: encodeQ4 },
};

function encodeF32(row: Float32Array, into: DataView, at: number): void {
  for (let i = 0; i < row.length; i++) into.setFloat32(at + 4 * i, row[i]!, true);
}

function encodeF16(row: Float32Array, into: DataView, at: number): void {
  for (let i = 0; i < row.length; i++) into.setUint16(at + 2 * i, halfFloatBits(row[i]!), true);
}

/** Blocks of a half-precision scale and 32 signed bytes. */
function encodeQ8(row: Float32Array, into: DataView, at: number): void {
  let to = at;
  for (let start = 0; start < row.length; start += 32, to += 34) {
    let largest = 0;
    for (let i = start; i < start + 32; i++) largest = Math.max(largest, Math.abs(row[i]!));
    const scale = largest / 127;
    const inverse = scale === 0 ? 0 : 1 / scale;
    into.setUint16(to, halfFloatBits(scale), true);
    for (let i = 0; i < 32; i++) into.setInt8(to + 2 + i, Math.round(row[start + i]! * inverse));
  }
}

/** Blocks of a half-precision scale and 32 half bytes (value + 8): the first 16 are the low halves. */
function encodeQ4(row: Float32Array, into: DataView, at: number): void {
  let to = at;
  for (let start = 0; start < row.length; start += 32, to += 18) {
    let largest = 0;
    for (let i = start; i < start + 32; i++) if (Math.abs(row[i]!) > Math.abs(largest)) largest = row[i]!;
    const scale = largest / -8;
    const inverse = scale === 0 ? 0 : 1 / scale;
    into.setUint16(to, halfFloatBits(scale), true);
    for (let i = 0; i < 16; i++) {
      const low = nibble(row[start + i]! * inverse);
      const high = nibble(row[start + 16 + i]! * inverse);
      into.setUint8(to + 2 + i, low | (high << 4));
    }
  }
}

function nibble(scaled: number): number {
  return Math.min(15, Math.floor(scaled + 8.5));
}
