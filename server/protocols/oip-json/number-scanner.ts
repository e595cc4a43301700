/** @hotpath JSON `data` arrays straight from the body's bytes to a tensor's bytes; nothing is allocated per element */

import { byteSizeOf, type Datatype } from '../../../proto/datatype.ts';
import { toBf16, toFp16 } from '../../../proto/float16.ts';
import { ArrayWalker, nextLeaf } from './array-walker.ts';
import { scanFloats16, scanFp32, scanFp64 } from './float-scanner.ts';
import { scanStrings } from './string-scanner.ts';

const TWO_32 = 4294967296;
const BILLION = 1e9;

export interface ScannedTensor {
  /** The tensor's bytes, little-endian, row-major; nobody else's, and aligned to its elements. */
  readonly data: Uint8Array;
  /** Offset behind the array. */
  readonly end: number;
}

/**
 * Scans the JSON array whose '[' stands at `at` into the bytes of a tensor of `count` elements. What it takes, by datatype:
 *
 * - BOOL: `true`, `false`.
 * - INT*, UINT*: integer literals (no fraction, no exponent) that the type holds; exact over all 64 bits.
 * - FP32, FP64: numbers, rounded as JSON.parse does, then Math.fround for FP32; `NaN`, `Infinity`, `-Infinity`, `Inf`, `-Inf`, bare or in quotes.
 * - FP16, BF16: the same, the double rounded to nearest even (Triton takes these in binary only).
 * - BYTES: strings, as UTF-8.
 *
 * A number that a type cannot hold, a leaf of another kind and another count of leaves are refused: INVALID_ARGUMENT, naming tensor and index, what was
 * expected and what came. Source: Open Inference Protocol, tensor data; Triton takes bare NaN and Infinity too.
 */
export function scanTensorData(
  bytes: Uint8Array,
  at: number,
  inputIndex: number,
  inputName: string,
  datatype: Datatype,
  shape: readonly number[],
  count: number,
): ScannedTensor {
  const walker = new ArrayWalker(bytes, inputIndex, inputName, datatype, shape, count);
  if (datatype === 'BYTES') return { data: scanStrings(walker, at), end: walker.end };
  // An array in n bytes has at most n / 2 leaves: a count past that is met with "too few" below, and never allocated for.
  const room = Math.min(count, Math.ceil((bytes.length - at) / 2));
  // Small ones come from Node's pool, whose pieces begin at multiples of 8; not zeroed, for every byte is written or the tensor refused.
  const data = Buffer.allocUnsafe(room * byteSizeOf(datatype));
  const { buffer, byteOffset } = data;
  let got: number;
  switch (datatype) {
    case 'BOOL':
      got = scanBooleans(walker, at, data, room);
      break;
    case 'INT64':
      got = scanIntegers64(walker, at, new Uint32Array(buffer, byteOffset, 2 * room), room, true);
      break;
    case 'UINT64':
      got = scanIntegers64(walker, at, new Uint32Array(buffer, byteOffset, 2 * room), room, false);
      break;
    case 'FP32':
      got = scanFp32(walker, at, new Float32Array(buffer, byteOffset, room), room);
      break;
    case 'FP64':
      got = scanFp64(walker, at, new Float64Array(buffer, byteOffset, room), room);
      break;
    case 'FP16':
    case 'BF16':
      got = scanFloats16(walker, at, new Uint16Array(buffer, byteOffset, room), room, datatype === 'FP16' ? toFp16 : toBf16);
      break;
    case 'INT8':
      got = scanIntegers(walker, at, data, room, 1, -128, 127);
      break;
    case 'INT16':
      got = scanIntegers(walker, at, data, room, 2, -32768, 32767);
      break;
    case 'INT32':
      got = scanIntegers(walker, at, data, room, 4, -2147483648, 2147483647);
      break;
    case 'UINT8':
      got = scanIntegers(walker, at, data, room, 1, 0, 255);
      break;
    case 'UINT16':
      got = scanIntegers(walker, at, data, room, 2, 0, 65535);
      break;
    default:
      got = scanIntegers(walker, at, data, room, 4, 0, 4294967295);
  }
  if (got !== count) throw walker.tooFew(got);
  return { data, end: walker.end };
}

function scanBooleans(walker: ArrayWalker, at: number, out: Uint8Array, room: number): number {
  const bytes = walker.bytes;
  let i = 0;
  for (at = walker.first(at); at >= 0; at = nextLeaf(walker, bytes, at, i)) {
    if (i === room) throw walker.tooMany(at);
    // t-r-u-e, f-a-l-s-e
    if (bytes[at] === 0x74 && bytes[at + 1] === 0x72 && bytes[at + 2] === 0x75 && bytes[at + 3] === 0x65) {
      out[i++] = 1;
      at += 4;
    } else if (bytes[at] === 0x66 && bytes[at + 1] === 0x61 && bytes[at + 2] === 0x6c && bytes[at + 3] === 0x73 && bytes[at + 4] === 0x65) {
      out[i++] = 0;
      at += 5;
    } else {
      const isNumber = bytes[at] === 0x30 || bytes[at] === 0x31;
      throw walker.wrongLeaf(at, i, isNumber ? 'true or false (0 and 1 are numbers, not booleans)' : 'true or false');
    }
  }
  return i;
}

/** What a wrong leaf of an integer tensor is told: whether it is no integer at all, or one that does not fit. */
function integerRange(min: number | bigint, max: number | bigint): string {
  return `an integer from ${min} to ${max} (no fraction, no exponent)`;
}

function scanIntegers(walker: ArrayWalker, at: number, out8: Uint8Array, room: number, width: 1 | 2 | 4, min: number, max: number): number {
  const bytes = walker.bytes;
  // Unsigned views store negative numbers as their two's complement; one store for each width keeps the loop's types fixed.
  const out16 = width === 2 ? new Uint16Array(out8.buffer, out8.byteOffset, room) : EMPTY_16;
  const out32 = width === 4 ? new Uint32Array(out8.buffer, out8.byteOffset, room) : EMPTY_32;
  let i = 0;
  for (at = walker.first(at); at >= 0; at = nextLeaf(walker, bytes, at, i)) {
    if (i === room) throw walker.tooMany(at);
    const start = at;
    const isNegative = bytes[at] === 0x2d;
    if (isNegative) at++;
    let value = bytes[at]! - 0x30;
    if (!(value >= 0 && value <= 9)) throw walker.wrongLeaf(start, i, integerRange(min, max));
    let digit = bytes[++at]! - 0x30;
    if (value !== 0) {
      while (digit >= 0 && digit <= 9) {
        value = value * 10 + digit;
        digit = bytes[++at]! - 0x30;
      }
    }
    if (isNegative) value = -value;
    // '.', 'e', 'E', or a digit behind a leading zero; every other byte is left to nextLeaf.
    if (digit === -2 || digit === 0x35 || digit === 0x15 || (digit >= 0 && digit <= 9) || value < min || value > max) {
      throw walker.wrongLeaf(start, i, integerRange(min, max));
    }
    if (width === 4) out32[i++] = value;
    else if (width === 2) out16[i++] = value;
    else out8[i++] = value;
  }
  return i;
}

const EMPTY_16 = new Uint16Array(0);
const EMPTY_32 = new Uint32Array(0);

/** Writes low and high words, as the bytes lie (little-endian, as every machine Node runs on that we serve). */
function scanIntegers64(walker: ArrayWalker, at: number, out: Uint32Array, room: number, isSigned: boolean): number {
  const bytes = walker.bytes;
  let i = 0;
  for (at = walker.first(at); at >= 0; at = nextLeaf(walker, bytes, at, i)) {
    if (i === room) throw walker.tooMany(at);
    const start = at;
    const isNegative = bytes[at] === 0x2d;
    if (isNegative) at++;
    const first = at;
    let value = bytes[at]! - 0x30;
    if (!(value >= 0 && value <= 9)) throw wrongInteger64(walker, start, i, isSigned);
    let digit = bytes[++at]! - 0x30;
    if (value !== 0) {
      while (digit >= 0 && digit <= 9) {
        value = value * 10 + digit;
        digit = bytes[++at]! - 0x30;
      }
    }
    if (digit === -2 || digit === 0x35 || digit === 0x15 || (digit >= 0 && digit <= 9)) throw wrongInteger64(walker, start, i, isSigned);
    let low: number;
    let high: number;
    const digits = at - first;
    if (digits <= 15) {
      low = value >>> 0;
      high = (value - low) / TWO_32;
    } else {
      if (digits > 20) throw wrongInteger64(walker, start, i, isSigned);
      // head * 10^9 + tail, the head cut at its 16th bit so that every product stays below 2^53.
      let head = 0;
      for (let d = first; d < at - 9; d++) head = head * 10 + bytes[d]! - 0x30;
      let tail = 0;
      for (let d = at - 9; d < at; d++) tail = tail * 10 + bytes[d]! - 0x30;
      const headLow = head % 65536;
      const upper = ((head - headLow) / 65536) * BILLION;
      const upperLow = upper % 65536;
      const lower = upperLow * 65536 + headLow * BILLION + tail;
      low = lower >>> 0;
      high = (upper - upperLow) / 65536 + (lower - low) / TWO_32;
    }
    if (isNegative) {
      if (!isSigned ? low !== 0 || high !== 0 : high > 0x80000000 || (high === 0x80000000 && low !== 0)) {
        throw wrongInteger64(walker, start, i, isSigned);
      }
      // Two's complement; the stores below take it modulo 2^32.
      high = low === 0 ? -high : -high - 1;
      low = -low;
    } else if (high > (isSigned ? 0x7fffffff : 0xffffffff)) {
      throw wrongInteger64(walker, start, i, isSigned);
    }
    out[2 * i] = low;
    out[2 * i + 1] = high;
    i++;
  }
  return i;
}

function wrongInteger64(walker: ArrayWalker, at: number, index: number, isSigned: boolean): Error {
  return walker.wrongLeaf(at, index, isSigned ? integerRange(-(2n ** 63n), 2n ** 63n - 1n) : integerRange(0, 2n ** 64n - 1n));
}
