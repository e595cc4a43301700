import { decodeBytes } from '../../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../../proto/datatype.ts';
import { fromBf16, fromFp16 } from '../../../proto/float16.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import { CallError } from './call-error.ts';

/** What `data` of an output is, by datatype. BOOL: 0 and 1. FP16 and BF16: their bits, as no JavaScript array holds them everywhere. BYTES: text. */
export interface DataOf {
  BOOL: Uint8Array;
  UINT8: Uint8Array;
  UINT16: Uint16Array;
  UINT32: Uint32Array;
  UINT64: BigUint64Array;
  INT8: Int8Array;
  INT16: Int16Array;
  INT32: Int32Array;
  INT64: BigInt64Array;
  FP16: Uint16Array;
  BF16: Uint16Array;
  FP32: Float32Array;
  FP64: Float64Array;
  BYTES: string[];
}

export type FixedDatatype = Exclude<Datatype, 'BYTES'>;

interface ArrayOver<A> {
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): A;
}

const ARRAYS: { readonly [D in FixedDatatype]: ArrayOver<DataOf[D]> } = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP16: Uint16Array,
  BF16: Uint16Array,
  FP32: Float32Array,
  FP64: Float64Array,
};

/** A tensor's bytes as a typed array: a view of them where they are aligned to its elements, else of a copy. A part of an element at the end is left out. */
export function viewTensorData<D extends FixedDatatype>(datatype: D, bytes: Uint8Array): DataOf[D] {
  const size = byteSizeOf(datatype);
  // A copy either way: a Buffer's own slice() would be another view.
  const data = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  return new ARRAYS[datatype](data.buffer, data.byteOffset, Math.floor(data.length / size));
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The elements of a BYTES tensor as text. Throws INVALID_ARGUMENT for an element that is no UTF-8; `remedy`: what its error advises. */
export function readStrings(bytes: Uint8Array, what: string, remedy = 'read the elements with bytes()'): string[] {
  return decodeBytes(bytes, what).map((element, index) => {
    try {
      return utf8.decode(element);
    } catch {
      throw invalidArgument(`${what}[${index}]: expected UTF-8, got ${element.length} bytes that are not: ${remedy}`);
    }
  });
}

/** The values of any numeric tensor as float32. Throws INVALID_ARGUMENT for BYTES, and for 64-bit integers, which float32 is no place for. */
export function toFloat32(datatype: Datatype, bytes: Uint8Array, what: string): Float32Array {
  switch (datatype) {
    case 'FP32':
      return viewTensorData('FP32', bytes);
    case 'FP16':
    case 'BF16': {
      const widen = datatype === 'FP16' ? fromFp16 : fromBf16;
      const bits = viewTensorData(datatype, bytes);
      const values = new Float32Array(bits.length);
      for (let i = 0; i < bits.length; i++) values[i] = widen(bits[i]!);
      return values;
    }
    case 'BYTES':
    case 'INT64':
    case 'UINT64':
      throw invalidArgument(`${what}: ${datatype} has no float32 form: read its ${datatype === 'BYTES' ? 'strings() or bytes()' : 'data'}`);
    default:
      return Float32Array.from(viewTensorData(datatype, bytes));
  }
}

/** For a datatype that this client does not know: the server is newer, or not one. */
export function unknownDatatype(name: unknown, what: string): CallError {
  return new CallError('INTERNAL', `${what}: the server says datatype ${JSON.stringify(name)}, which this client does not know`, {
    phase: 'answered',
  });
}
