import { encodeBytes } from '../../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../../proto/datatype.ts';
import { toBf16, toFp16 } from '../../../proto/float16.ts';
import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { flatten, isFlatArray, type Nested, pathOf } from './nested-values.ts';

export type NumericArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;

type Numbers = NumericArray | Nested<number>;
type Integers64 = BigInt64Array | BigUint64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array;

/** What an input takes, by datatype. Numbers are rounded to floating-point types, and refused where an integer type does not hold them. */
export interface ValuesOf {
  /** Numbers must be 0 or 1. */
  BOOL: Uint8Array | Nested<boolean> | Nested<number>;
  UINT8: Numbers;
  UINT16: Numbers;
  UINT32: Numbers;
  /** Numbers must be safe integers. */
  UINT64: Integers64 | Nested<number | bigint>;
  INT8: Numbers;
  INT16: Numbers;
  INT32: Numbers;
  /** Numbers must be safe integers. */
  INT64: Integers64 | Nested<number | bigint>;
  /** A Uint16Array (or Float16Array) is taken as bits, anything else as numbers. */
  FP16: Numbers;
  /** A Uint16Array is taken as bits, anything else as numbers. */
  BF16: Numbers;
  FP32: Numbers;
  FP64: Numbers;
  /** Text goes as UTF-8; a Uint8Array is one element. */
  BYTES: Nested<string | Uint8Array>;
}

export type TensorValues = ValuesOf[Datatype];

export interface EncodedValues {
  /** A view of the caller's array where it has the tensor's layout already. */
  readonly data: Uint8Array;
  readonly count: number;
  /** The shape of nested arrays; null: the values were flat. A single value has []. */
  readonly nestedShape: readonly number[] | null;
}

const FLOAT16_ARRAY = 'Float16Array';

/** Whose elements lie in memory as the datatype's do. */
const NATIVE_ARRAYS: { readonly [D in Datatype]: readonly string[] } = {
  BOOL: [],
  UINT8: ['Uint8Array', 'Uint8ClampedArray'],
  UINT16: ['Uint16Array'],
  UINT32: ['Uint32Array'],
  UINT64: ['BigUint64Array'],
  INT8: ['Int8Array'],
  INT16: ['Int16Array'],
  INT32: ['Int32Array'],
  INT64: ['BigInt64Array'],
  FP16: ['Uint16Array', FLOAT16_ARRAY],
  BF16: ['Uint16Array'],
  FP32: ['Float32Array'],
  FP64: ['Float64Array'],
  BYTES: [],
};

/** The datatype of a typed array that can only be one; undefined for all other values. */
export function datatypeOfArray(values: unknown): Datatype | undefined {
  switch (typedArrayName(values)) {
    case 'Float32Array':
      return 'FP32';
    case 'Float64Array':
      return 'FP64';
    case FLOAT16_ARRAY:
      return 'FP16';
    case 'BigInt64Array':
      return 'INT64';
    case 'BigUint64Array':
      return 'UINT64';
    case 'Int8Array':
      return 'INT8';
    case 'Int16Array':
      return 'INT16';
    case 'Int32Array':
      return 'INT32';
    case 'Uint8Array':
    case 'Uint8ClampedArray':
      return 'UINT8';
    case 'Uint16Array':
      return 'UINT16';
    case 'Uint32Array':
      return 'UINT32';
    default:
      return undefined;
  }
}

/** `Float32Array`, ...; undefined for what is no typed array. Works across realms, and for Node's Buffer, which is a Uint8Array. */
function typedArrayName(values: unknown): string | undefined {
  return ArrayBuffer.isView(values) && !(values instanceof DataView) ? Object.prototype.toString.call(values).slice(8, -1) : undefined;
}

/**
 * The values of an input as the bytes of a tensor. `what` names the input in errors, which are INVALID_ARGUMENT and say the index and the value that is wrong.
 */
export function encodeValues(datatype: Datatype, values: unknown, what: string): EncodedValues {
  const arrayName = typedArrayName(values);
  if (arrayName !== undefined && datatype !== 'BYTES') {
    const array = values as NumericArray;
    if (NATIVE_ARRAYS[datatype].includes(arrayName)) {
      return { data: new Uint8Array(array.buffer, array.byteOffset, array.byteLength), count: array.length, nestedShape: null };
    }
    return { data: encodeFlat(datatype, array, null, what), count: array.length, nestedShape: null };
  }
  if (isFlatArray(values)) return { data: encodeFlat(datatype, values, null, what), count: values.length, nestedShape: null };
  const nested = flatten(values, what);
  return { data: encodeFlat(datatype, nested.leaves, nested.shape, what), count: nested.leaves.length, nestedShape: nested.shape };
}

function encodeFlat(datatype: Datatype, values: ArrayLike<unknown>, shape: readonly number[] | null, what: string): Uint8Array {
  if (datatype === 'BYTES') return encodeElements(values, shape, what);
  const count = values.length;
  const data = new Uint8Array(count * byteSizeOf(datatype));
  const { buffer } = data;
  switch (datatype) {
    case 'BOOL':
      for (let i = 0; i < count; i++) {
        const value = values[i];
        if (value !== true && value !== false && value !== 0 && value !== 1) {
          throw wrongValue(what, shape, i, value, datatype, 'true, false, 1 or 0');
        }
        data[i] = Number(value);
      }
      return data;
    case 'INT64':
    case 'UINT64':
      fillIntegers64(new BigInt64Array(buffer), values, shape, what, datatype);
      return data;
    case 'FP32':
      fillFloats(new Float32Array(buffer), values, shape, what, datatype, MAX_FP32);
      return data;
    case 'FP64':
      fillFloats(new Float64Array(buffer), values, shape, what, datatype, Number.POSITIVE_INFINITY);
      return data;
    case 'FP16':
    case 'BF16': {
      const out = new Uint16Array(buffer);
      const round = datatype === 'FP16' ? toFp16 : toBf16;
      for (let i = 0; i < count; i++) {
        const value = values[i];
        const bits = typeof value === 'number' ? round(value) : -1;
        if (bits < 0) throw wrongValue(what, shape, i, value, datatype, 'a number within its range');
        out[i] = bits;
      }
      return data;
    }
    case 'INT8':
      fillIntegers(new Int8Array(buffer), values, shape, what, datatype, -128, 127);
      return data;
    case 'INT16':
      fillIntegers(new Int16Array(buffer), values, shape, what, datatype, -32768, 32767);
      return data;
    case 'INT32':
      fillIntegers(new Int32Array(buffer), values, shape, what, datatype, -2147483648, 2147483647);
      return data;
    case 'UINT8':
      fillIntegers(data, values, shape, what, datatype, 0, 255);
      return data;
    case 'UINT16':
      fillIntegers(new Uint16Array(buffer), values, shape, what, datatype, 0, 65535);
      return data;
    case 'UINT32':
      fillIntegers(new Uint32Array(buffer), values, shape, what, datatype, 0, 4294967295);
      return data;
  }
}

/** Half a step above the largest float32: doubles below it round to that, those from it on to infinity. */
const MAX_FP32 = 2 ** 128 - 2 ** 103;

function fillFloats(
  out: Float32Array | Float64Array,
  values: ArrayLike<unknown>,
  shape: readonly number[] | null,
  what: string,
  datatype: Datatype,
  limit: number,
): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value !== 'number') throw wrongValue(what, shape, i, value, datatype, 'a number');
    if (Math.abs(value) >= limit && value - value === 0) throw wrongValue(what, shape, i, value, datatype, 'a number within its range');
    out[i] = value;
  }
}

function fillIntegers(
  out: NumericArray,
  values: ArrayLike<unknown>,
  shape: readonly number[] | null,
  what: string,
  datatype: Datatype,
  min: number,
  max: number,
): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value !== 'number' || !(value >= min && value <= max) || Math.floor(value) !== value) {
      throw wrongValue(what, shape, i, value, datatype, `an integer from ${min} to ${max}`);
    }
    out[i] = value;
  }
}

function fillIntegers64(
  out: BigInt64Array,
  values: ArrayLike<unknown>,
  shape: readonly number[] | null,
  what: string,
  datatype: 'INT64' | 'UINT64',
): void {
  const [min, max] = datatype === 'INT64' ? [-(2n ** 63n), 2n ** 63n - 1n] : [0n, 2n ** 64n - 1n];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value === 'number' && !Number.isSafeInteger(value)) {
      throw wrongValue(what, shape, i, value, datatype, 'a bigint, or a number that is a safe integer');
    }
    if ((typeof value !== 'number' && typeof value !== 'bigint') || value < min || value > max) {
      throw wrongValue(what, shape, i, value, datatype, `an integer from ${min} to ${max}`);
    }
    // Stores modulo 2^64, so the upper half of UINT64 too.
    out[i] = BigInt(value);
  }
}

function encodeElements(values: ArrayLike<unknown>, shape: readonly number[] | null, what: string): Uint8Array {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value !== 'string' && typedArrayName(value) !== 'Uint8Array') {
      throw wrongValue(what, shape, i, value, 'BYTES', 'a string or a Uint8Array');
    }
  }
  return encodeBytes(values as readonly (string | Uint8Array)[]);
}

function wrongValue(
  what: string,
  shape: readonly number[] | null,
  index: number,
  value: unknown,
  datatype: Datatype,
  expected: string,
): InferenceError {
  return invalidArgument(`${what}${pathOf(shape, index)}: expected ${expected} for ${datatype}, got ${describeValue(value)}`);
}

export function describeValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (value === null || value === undefined || typeof value !== 'object') return String(value);
  return Object.prototype.toString.call(value).slice(8, -1);
}
