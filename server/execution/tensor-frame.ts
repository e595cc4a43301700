/** @hotpath frames of hosts that run models' own code: JSON that says what lies behind it, then the tensors' bytes (measured by request-channel.bench.ts) */

import { countBytesElements } from '../../proto/bytes.ts';
import { byteSizeOf, elementCount, findDatatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { registerUsedOnce } from '../../proto/tensor-memory.ts';
import { FRAME_HEADER_BYTES, FrameError, type FrameKind, MAX_CONTROL_BYTES, MAX_TENSOR_FRAME_BYTES, writeFrameHeader } from './messages.ts';

/** `[name, datatype, byte length, ...shape]`. */
export type TensorRow = readonly (string | number)[];

const LENGTH_BYTES = 4;
const MAX_SEQUENCE_ID = 2n ** 64n - 1n;
/** As many bytes as an id may have at the doors: it has no more characters. */
const MAX_SEQUENCE_ID_CHARACTERS = 128;
const MAX_RANK = 64;

/** Typed arrays of any type can begin where a tensor does. */
function aligned(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

export function tensorRow({ name, datatype, shape, data }: Tensor): TensorRow {
  return [name, datatype, data.length, ...shape];
}

/** `tensors` in the order in which the header's rows have them. Throws RangeError for what no frame can carry. */
export function tensorFrame(kind: FrameKind, header: object, tensors: readonly Tensor[]): Buffer {
  const json = JSON.stringify(header);
  const jsonBytes = Buffer.byteLength(json);
  let payloadBytes = aligned(LENGTH_BYTES + jsonBytes);
  for (let i = 0; i < tensors.length; i++) payloadBytes += aligned(tensors[i]!.data.length);
  if (payloadBytes > MAX_TENSOR_FRAME_BYTES || jsonBytes > MAX_CONTROL_BYTES) {
    throw new RangeError(`${payloadBytes} bytes, over the limit of ${MAX_TENSOR_FRAME_BYTES} for one message`);
  }
  const frame = Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES + payloadBytes);
  writeFrameHeader(frame, 0, kind, payloadBytes);
  frame.writeUInt32LE(jsonBytes, FRAME_HEADER_BYTES);
  frame.write(json, FRAME_HEADER_BYTES + LENGTH_BYTES, 'utf8');
  let at = FRAME_HEADER_BYTES + aligned(LENGTH_BYTES + jsonBytes);
  for (let i = 0; i < tensors.length; i++) {
    const { data } = tensors[i]!;
    frame.set(data, at);
    at += aligned(data.length);
  }
  return frame;
}

/** Reads a payload that the other side may have made up: whatever is not as it should be is a FrameError. */
export class TensorFrameReader {
  readonly header: Readonly<Record<string, unknown>>;
  readonly #payload: Uint8Array;
  #at: number;

  /** `payload` begins on an 8-byte boundary of its memory. */
  constructor(payload: Buffer) {
    const jsonBytes = payload.length < LENGTH_BYTES ? -1 : payload.readUInt32LE(0);
    if (jsonBytes < 0 || LENGTH_BYTES + jsonBytes > payload.length) throw new FrameError('a header that is longer than its frame');
    let header: unknown;
    try {
      header = JSON.parse(payload.toString('utf8', LENGTH_BYTES, LENGTH_BYTES + jsonBytes));
    } catch {
      throw new FrameError('a header that is not JSON');
    }
    if (typeof header !== 'object' || header === null) throw new FrameError('a header that is not an object');
    this.header = header as Record<string, unknown>;
    this.#payload = new Uint8Array(payload.buffer, payload.byteOffset, payload.length);
    registerUsedOnce(payload);
    this.#at = aligned(LENGTH_BYTES + jsonBytes);
  }

  /** The next tensors, as views of the payload. */
  tensors(rows: unknown): Tensor[] {
    if (!Array.isArray(rows)) throw new FrameError('tensors that are not a list');
    const tensors = new Array<Tensor>(rows.length);
    for (let i = 0; i < rows.length; i++) tensors[i] = this.#tensor(rows[i]);
    return tensors;
  }

  #tensor(row: unknown): Tensor {
    if (!Array.isArray(row) || row.length < 3 || row.length > 3 + MAX_RANK) throw new FrameError('a tensor without its description');
    const [name, datatypeName, byteLength] = row as unknown[];
    const info = typeof datatypeName === 'string' ? findDatatype(datatypeName) : undefined;
    if (typeof name !== 'string' || info === undefined) throw new FrameError('a tensor without name or datatype');
    const shape = row.slice(3) as number[];
    const count = shape.every((dim) => typeof dim === 'number') ? elementCount(shape) : -1;
    if (count < 0) throw new FrameError(`an impossible shape of tensor '${name}'`);
    const at = this.#at;
    if (
      typeof byteLength !== 'number' ||
      !(byteLength >= 0) ||
      !Number.isSafeInteger(byteLength) ||
      at + byteLength > this.#payload.length
    ) {
      throw new FrameError(`tensor '${name}' outside its frame`);
    }
    const data = this.#payload.subarray(at, at + byteLength);
    if (info.byteSize === 0) requireElements(name, data, count);
    else if (byteLength !== count * byteSizeOf(info.name))
      throw new FrameError(`${byteLength} bytes of tensor '${name}', whose shape says otherwise`);
    this.#at = at + aligned(byteLength);
    return { name, datatype: info.name, shape, data };
  }
}

function requireElements(name: string, data: Uint8Array, count: number): void {
  let found = -1;
  try {
    found = countBytesElements(data, name);
  } catch {
    // Said below.
  }
  if (found !== count) throw new FrameError(`broken BYTES of tensor '${name}'`);
}

/** Numbers that JSON lacks, and BigInts, as text: parameters and correlation ids. */
export function encodeValues(values: Readonly<Record<string, string | number | boolean>>): Record<string, unknown> | 0 {
  let encoded: Record<string, unknown> | null = null;
  for (const name in values) {
    const value = values[name]!;
    encoded ??= Object.create(null) as Record<string, unknown>;
    encoded[name] = typeof value === 'number' && !Number.isFinite(value) ? [String(value)] : value;
  }
  return encoded ?? 0;
}

const noValues: Readonly<Record<string, string | number | boolean>> = Object.freeze({});

/** Throws FrameError. */
export function decodeValues(encoded: unknown): Readonly<Record<string, string | number | boolean>> {
  if (encoded === 0 || encoded === undefined) return noValues;
  if (typeof encoded !== 'object' || encoded === null) throw new FrameError('parameters that are not an object');
  const values: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(encoded)) {
    const read: unknown = Array.isArray(value) ? Number(value[0]) : value;
    if (typeof read !== 'string' && typeof read !== 'number' && typeof read !== 'boolean')
      throw new FrameError('a parameter of no known type');
    Object.defineProperty(values, name, { value: read, enumerable: true, configurable: true, writable: true });
  }
  return values;
}

interface Sequence {
  readonly id: bigint | string;
  readonly isStart: boolean;
  readonly isEnd: boolean;
}

export function encodeSequence(sequence: Sequence | null): unknown {
  if (sequence === null) return 0;
  return [typeof sequence.id === 'bigint' ? 1 : 0, String(sequence.id), sequence.isStart ? 1 : 0, sequence.isEnd ? 1 : 0];
}

/** Throws FrameError. */
export function decodeSequence(encoded: unknown): Sequence | null {
  if (encoded === 0 || encoded === undefined) return null;
  if (!Array.isArray(encoded) || typeof encoded[1] !== 'string') throw new FrameError('a sequence without its id');
  const text = encoded[1];
  if (encoded[0] === 1 && !(/^[0-9]{1,20}$/.test(text) && BigInt(text) <= MAX_SEQUENCE_ID))
    throw new FrameError('a sequence whose id is no number');
  if (text.length > MAX_SEQUENCE_ID_CHARACTERS) throw new FrameError('a sequence whose id is too long');
  return { id: encoded[0] === 1 ? BigInt(text) : text, isStart: encoded[2] === 1, isEnd: encoded[3] === 1 };
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
