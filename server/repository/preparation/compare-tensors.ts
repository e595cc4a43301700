import { LENGTH_PREFIX_BYTES, skipBytesElement } from '../../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../../proto/datatype.ts';
import { fromBf16, fromFp16 } from '../../../proto/float16.ts';
import type { Tensor } from '../../../proto/tensor.ts';

/** A floating-point number may differ from the expected one by absolute + relative * |expected|. */
export interface Tolerance {
  readonly absolute: number;
  readonly relative: number;
}

export interface Difference {
  /** Of the element, row-major. */
  readonly index: number;
  /** Both as text for a message. */
  readonly expected: string;
  readonly got: string;
  /** The difference that was allowed; null where there is no tolerance: integers, BOOL, BYTES, infinities and NaN. */
  readonly allowed: number | null;
}

type ReadFloat = (view: DataView, index: number) => number;

const readFloats: Readonly<Partial<Record<Datatype, ReadFloat>>> = {
  FP16: (view, index) => fromFp16(view.getUint16(2 * index, true)),
  BF16: (view, index) => fromBf16(view.getUint16(2 * index, true)),
  FP32: (view, index) => view.getFloat32(4 * index, true),
  FP64: (view, index) => view.getFloat64(8 * index, true),
};

const readIntegers: Readonly<Partial<Record<Datatype, (view: DataView, index: number) => number | bigint | boolean>>> = {
  BOOL: (view, index) => view.getUint8(index) !== 0,
  UINT8: (view, index) => view.getUint8(index),
  UINT16: (view, index) => view.getUint16(2 * index, true),
  UINT32: (view, index) => view.getUint32(4 * index, true),
  UINT64: (view, index) => view.getBigUint64(8 * index, true),
  INT8: (view, index) => view.getInt8(index),
  INT16: (view, index) => view.getInt16(2 * index, true),
  INT32: (view, index) => view.getInt32(4 * index, true),
  INT64: (view, index) => view.getBigInt64(8 * index, true),
};

/** Characters of a string shown. */
const MAX_SHOWN = 60;

/**
 * The first element in which two tensors of one datatype and shape differ, or null: returned at the end; it yields after every `together`
 * elements, for whoever else wants a turn. NaN equals NaN, an infinity only itself.
 */
export function* findDifference(
  expected: Tensor,
  got: Tensor,
  tolerance: Tolerance,
  together: number,
): Generator<undefined, Difference | null, undefined> {
  const { datatype } = expected;
  const read = readFloats[datatype];
  if (datatype === 'BYTES') return yield* differentString(expected.data, got.data, together);
  const expectedView = viewOf(expected.data);
  const gotView = viewOf(got.data);
  const size = byteSizeOf(datatype);
  const count = expected.data.length / size;
  for (let from = 0; from < count; from += together) {
    if (from > 0) yield;
    const to = Math.min(from + together, count);
    // Equal bits are equal numbers, and that is soon known.
    if (Buffer.compare(expected.data.subarray(from * size, to * size), got.data.subarray(from * size, to * size)) === 0) continue;
    for (let index = from; index < to; index++) {
      if (read === undefined) {
        const wanted = readIntegers[datatype]!(expectedView, index);
        const found = readIntegers[datatype]!(gotView, index);
        if (wanted !== found) return { index, expected: String(wanted), got: String(found), allowed: null };
        continue;
      }
      const wanted = read(expectedView, index);
      const found = read(gotView, index);
      if (Object.is(wanted, found)) continue;
      const allowed = tolerance.absolute + tolerance.relative * Math.abs(wanted);
      if (Number.isFinite(wanted) && Number.isFinite(found) && Math.abs(found - wanted) <= allowed) continue;
      return { index, expected: digits(wanted, datatype), got: digits(found, datatype), allowed: Number.isFinite(wanted) ? allowed : null };
    }
  }
  return null;
}

function* differentString(expected: Uint8Array, got: Uint8Array, together: number): Generator<undefined, Difference | null, undefined> {
  let at = 0;
  let gotAt = 0;
  for (let index = 0; at < expected.length && gotAt < got.length; index++) {
    if (index > 0 && index % together === 0) yield;
    const end = skipBytesElement(expected, at);
    const gotEnd = skipBytesElement(got, gotAt);
    const wanted = expected.subarray(at + LENGTH_PREFIX_BYTES, end);
    const found = got.subarray(gotAt + LENGTH_PREFIX_BYTES, gotEnd);
    if (Buffer.compare(wanted, found) !== 0) return { index, expected: shown(wanted), got: shown(found), allowed: null };
    at = end;
    gotAt = gotEnd;
  }
  return null;
}

/** `[1,3]`: an element's place in its tensor. */
export function coordinates(index: number, shape: readonly number[]): string {
  const at: number[] = [];
  for (let d = shape.length - 1; d >= 0; d--) {
    at.unshift(index % shape[d]!);
    index = Math.floor(index / shape[d]!);
  }
  return `[${at.join(',')}]`;
}

/** As few digits as tell an FP32 from its neighbours: 0.1, not the double nearest to it. */
function digits(value: number, datatype: Datatype): string {
  if (datatype !== 'FP32' || !Number.isFinite(value)) return String(value);
  let shortest = value;
  for (let precision = 9; precision >= 6; precision--) {
    const rounded = Number(value.toPrecision(precision));
    if (Math.fround(rounded) !== value) break;
    shortest = rounded;
  }
  return String(shortest);
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.length);
}

function shown(bytes: Uint8Array): string {
  const text = JSON.stringify(Buffer.from(bytes).toString('utf8'));
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}... (${bytes.length} bytes)` : text;
}
