import type { Datatype } from '../../proto/datatype.ts';
import type { NumberArray } from './model-api.ts';

type NumberArrayClass = {
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): NumberArray;
  new (length: number): NumberArray;
  readonly BYTES_PER_ELEMENT: number;
  readonly name: string;
};

interface ElementArray {
  readonly array: NumberArrayClass;
  /** Of whole numbers; null: floating point. */
  readonly range: readonly [number | bigint, number | bigint] | null;
}

const bits = (width: bigint, isSigned: boolean): readonly [bigint, bigint] =>
  isSigned ? [-(1n << (width - 1n)), (1n << (width - 1n)) - 1n] : [0n, (1n << width) - 1n];

/** The array whose elements have the datatype's layout; FP16 and BF16 as their bits. */
export const ELEMENT_ARRAYS: { readonly [name in Exclude<Datatype, 'BYTES'>]: ElementArray } = {
  BOOL: { array: Uint8Array, range: [0, 1] },
  UINT8: { array: Uint8Array, range: [0, 255] },
  UINT16: { array: Uint16Array, range: [0, 65_535] },
  UINT32: { array: Uint32Array, range: [0, 4_294_967_295] },
  UINT64: { array: BigUint64Array, range: bits(64n, false) },
  INT8: { array: Int8Array, range: [-128, 127] },
  INT16: { array: Int16Array, range: [-32_768, 32_767] },
  INT32: { array: Int32Array, range: [-2_147_483_648, 2_147_483_647] },
  INT64: { array: BigInt64Array, range: bits(64n, true) },
  FP16: { array: Uint16Array, range: null },
  BF16: { array: Uint16Array, range: null },
  FP32: { array: Float32Array, range: null },
  FP64: { array: Float64Array, range: null },
};
