import { type FileHandle, open } from 'node:fs/promises';
import { type GgufTensorType, TENSOR_FORMATS } from './tensor-types.ts';

export const GGUF_VALUE_TYPES = {
  uint8: 0,
  int8: 1,
  uint16: 2,
  int16: 3,
  uint32: 4,
  int32: 5,
  float32: 6,
  bool: 7,
  string: 8,
  array: 9,
  uint64: 10,
  int64: 11,
  float64: 12,
} as const;

type ScalarType = Exclude<keyof typeof GGUF_VALUE_TYPES, 'array'>;
type Scalar = number | bigint | boolean | string;

/** A number for the integer and float types (a bigint too for the 64-bit ones), and so on. */
export type GgufValue =
  | { readonly type: ScalarType; readonly value: Scalar }
  | { readonly type: 'array'; readonly of: ScalarType; readonly values: readonly Scalar[] };

export interface GgufTensor {
  readonly name: string;
  /** As in the file: the length of a row first. */
  readonly dims: readonly number[];
  readonly type: GgufTensorType;
  /** All values, row after row, or what fills the row of that number (rows are asked for in order, once each). */
  readonly values: Float32Array | ((row: number, into: Float32Array) => void);
}

export interface GgufModel {
  /** By key, in the order of the file. `general.alignment` is obeyed. */
  readonly metadata: Readonly<Record<string, GgufValue>>;
  readonly tensors: readonly GgufTensor[];
}

/** Bytes of tensor data that are made at a time when a file is written. */
const PIECE_BYTES = 4 * 1024 * 1024;

/** The model as a GGUF file, version 3. */
export function writeGguf(model: GgufModel): Uint8Array {
  const header = ggufHeader(model);
  const align = alignmentOf(model);
  let size = header.length;
  for (const tensor of model.tensors) size += padded(tensorBytes(tensor), align);
  const bytes = new Uint8Array(size);
  bytes.set(header);
  const view = new DataView(bytes.buffer);
  let at = header.length;
  for (const tensor of model.tensors) {
    encodeRows(tensor, 0, rowsOf(tensor), view, at);
    at += padded(tensorBytes(tensor), align);
  }
  return bytes;
}

/** The same into a file, some megabytes at a time. */
export async function writeGgufFile(path: string, model: GgufModel): Promise<void> {
  const file = await open(path, 'w');
  try {
    await writeAll(file, ggufHeader(model));
    const align = alignmentOf(model);
    for (const tensor of model.tensors) {
      const total = tensorBytes(tensor);
      const rows = rowsOf(tensor);
      const rowBytes = total / rows;
      const step = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
      for (let row = 0; row < rows; row += step) {
        const count = Math.min(step, rows - row);
        const piece = new Uint8Array(count * rowBytes);
        encodeRows(tensor, row, count, new DataView(piece.buffer), 0);
        await writeAll(file, piece);
      }
      await writeAll(file, new Uint8Array(padded(total, align) - total));
    }
  } finally {
    await file.close();
  }
}

/** All that stands before the tensor data, padding included. */
function ggufHeader(model: GgufModel): Uint8Array {
  const writer = new HeaderWriter();
  const align = alignmentOf(model);
  const entries = Object.entries(model.metadata);
  writer.bytes(new TextEncoder().encode('GGUF'));
  writer.scalar('uint32', 3);
  writer.scalar('uint64', model.tensors.length);
  writer.scalar('uint64', entries.length);
  for (const [key, value] of entries) {
    writer.scalar('string', key);
    writer.scalar('uint32', GGUF_VALUE_TYPES[value.type]);
    if (value.type !== 'array') {
      writer.scalar(value.type, value.value);
      continue;
    }
    writer.scalar('uint32', GGUF_VALUE_TYPES[value.of]);
    writer.scalar('uint64', value.values.length);
    for (const item of value.values) writer.scalar(value.of, item);
  }
  let offset = 0;
  for (const tensor of model.tensors) {
    const { blockLength, id } = TENSOR_FORMATS[tensor.type];
    if (tensor.dims[0]! % blockLength !== 0) {
      throw new RangeError(`${tensor.name}: expected rows of a multiple of ${blockLength} for ${tensor.type}, got ${tensor.dims[0]}`);
    }
    writer.scalar('string', tensor.name);
    writer.scalar('uint32', tensor.dims.length);
    for (const dim of tensor.dims) writer.scalar('uint64', dim);
    writer.scalar('uint32', id);
    writer.scalar('uint64', offset);
    offset += padded(tensorBytes(tensor), align);
  }
  return writer.take(align);
}

class HeaderWriter {
  #buffer: Uint8Array = new Uint8Array(4096);
  #length = 0;

  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  scalar(type: ScalarType, value: Scalar): void {
    if (type === 'string') {
      const text = new TextEncoder().encode(String(value));
      this.scalar('uint64', text.length);
      this.bytes(text);
      return;
    }
    const view = this.#reserve(8);
    const at = this.#length;
    switch (type) {
      case 'uint8':
        view.setUint8(at, Number(value));
        this.#length += 1;
        return;
      case 'int8':
      case 'bool':
        view.setInt8(at, Number(value));
        this.#length += 1;
        return;
      case 'uint16':
        view.setUint16(at, Number(value), true);
        this.#length += 2;
        return;
      case 'int16':
        view.setInt16(at, Number(value), true);
        this.#length += 2;
        return;
      case 'uint32':
        view.setUint32(at, Number(value), true);
        this.#length += 4;
        return;
      case 'int32':
        view.setInt32(at, Number(value), true);
        this.#length += 4;
        return;
      case 'float32':
        view.setFloat32(at, Number(value), true);
        this.#length += 4;
        return;
      case 'uint64':
        view.setBigUint64(at, BigInt(value), true);
        this.#length += 8;
        return;
      case 'int64':
        view.setBigInt64(at, BigInt(value), true);
        this.#length += 8;
        return;
      case 'float64':
        view.setFloat64(at, Number(value), true);
        this.#length += 8;
        return;
    }
  }

  take(align: number): Uint8Array {
    const bytes = new Uint8Array(padded(this.#length, align));
    bytes.set(this.#buffer.subarray(0, this.#length));
    return bytes;
  }

  #reserve(count: number): DataView {
    if (this.#length + count > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(2 * this.#buffer.length, this.#length + count));
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    return new DataView(this.#buffer.buffer);
  }
}

function alignmentOf(model: GgufModel): number {
  const given = model.metadata['general.alignment'];
  return given === undefined || given.type === 'array' ? 32 : Number(given.value);
}

function rowsOf(tensor: GgufTensor): number {
  return tensor.dims.slice(1).reduce((product, dim) => product * dim, 1);
}

function tensorBytes(tensor: GgufTensor): number {
  const { blockLength, blockBytes } = TENSOR_FORMATS[tensor.type];
  return (tensor.dims[0]! / blockLength) * blockBytes * rowsOf(tensor);
}

function encodeRows(tensor: GgufTensor, first: number, count: number, into: DataView, at: number): void {
  const format = TENSOR_FORMATS[tensor.type];
  const length = tensor.dims[0]!;
  const rowBytes = (length / format.blockLength) * format.blockBytes;
  const { values } = tensor;
  const buffer = new Float32Array(length);
  for (let i = 0; i < count; i++) {
    let row: Float32Array = buffer;
    if (typeof values === 'function') values(first + i, row);
    else row = values.subarray((first + i) * length, (first + i + 1) * length);
    format.encode(row, into, at + i * rowBytes);
  }
}

function padded(length: number, align: number): number {
  return Math.ceil(length / align) * align;
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten;
}
