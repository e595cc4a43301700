/** @hotpath picks the best classes of each row, for outputs that a request asks to have classified */

import { encodeBytes } from '../../proto/bytes.ts';
import { byteSizeOf } from '../../proto/datatype.ts';
import { fromBf16, fromFp16 } from '../../proto/float16.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';

/** Classes of one row: past this, sorting it would hold up every other request. */
export const MAX_CLASSES = 1_000_000;

type Values = ArrayLike<number> | ArrayLike<bigint>;

/**
 * The `classes` best entries of each row as BYTES `value:index` or, where there is a label for the index, `value:index:label`; best first, the lower index first among
 * equals, NaN last. Values as C's `%f` and `%d` print them. The shape is [K], or [batch, K] when the first dimension is a batch's; K is at most the row's length.
 *
 * Throws INVALID_ARGUMENT for BOOL and BYTES and for rows of more than a million entries. Source: classification extension; FP16 and BF16 are our addition.
 */
export function classifyTensor(tensor: Tensor, classes: number, hasBatchDimension: boolean, labels: readonly string[] | null): Tensor {
  const { name, datatype, shape } = tensor;
  if (datatype === 'BOOL' || datatype === 'BYTES') {
    throw invalidArgument(
      `class result not available for output '${name}' due to unsupported type '${datatype}': expected a numeric output, ask for this one without 'classification'`,
    );
  }
  const rows = hasBatchDimension ? shape[0]! : 1;
  const values = valuesOf(tensor);
  const rowLength = rows === 0 ? 0 : values.length / rows;
  if (rowLength > MAX_CLASSES) {
    throw invalidArgument(
      `classification output tensor too large: output '${name}' has ${rowLength} elements in a row, expected at most ${MAX_CLASSES}`,
    );
  }
  if (!Number.isInteger(rowLength)) {
    throw new InferenceError('INTERNAL', `output '${name}' has ${values.length} elements, which its ${rows} rows do not divide`);
  }
  const kept = Math.min(classes, rowLength);
  const isFloat = datatype.startsWith('FP') || datatype === 'BF16';
  const elements: string[] = [];
  for (let row = 0; row < rows; row++) {
    for (const index of bestOf(values, row * rowLength, rowLength, kept)) {
      const value = values[row * rowLength + index]!;
      const text = isFloat ? printFloat(value as number) : String(value);
      const label = labels?.[index];
      elements.push(label === undefined ? `${text}:${index}` : `${text}:${index}:${label}`);
    }
  }
  return { name, datatype: 'BYTES', shape: hasBatchDimension ? [rows, kept] : [kept], data: encodeBytes(elements) };
}

/** Indices within the row, best first: a heap of `kept`, its worst entry on top, so a row costs length * log(kept). */
function bestOf(values: Values, start: number, length: number, kept: number): number[] {
  const heap: number[] = [];
  if (kept === 0) return heap;
  const isWorse = (a: number, b: number): boolean => {
    const x = values[start + a]!;
    const y = values[start + b]!;
    if (x < y) return true;
    if (x > y) return false;
    // Equal, or one is not a number.
    const xIsNan = Number.isNaN(x);
    return xIsNan === Number.isNaN(y) ? a > b : xIsNan;
  };
  for (let index = 0; index < length; index++) {
    if (heap.length < kept) {
      let at = heap.push(index) - 1;
      while (at > 0) {
        const parent = (at - 1) >> 1;
        if (!isWorse(index, heap[parent]!)) break;
        heap[at] = heap[parent]!;
        at = parent;
      }
      heap[at] = index;
    } else if (isWorse(heap[0]!, index)) {
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= kept) break;
        if (child + 1 < kept && isWorse(heap[child + 1]!, heap[child]!)) child++;
        if (!isWorse(heap[child]!, index)) break;
        heap[at] = heap[child]!;
        at = child;
      }
      heap[at] = index;
    }
  }
  return heap.sort((a, b) => (isWorse(a, b) ? 1 : -1));
}

/** C's `%f`: six decimals, all digits before the point. */
function printFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  // toFixed turns to exponents at 1e21, and drops the sign of -0.
  if (Math.abs(value) >= 1e21) return `${BigInt(value)}.000000`;
  const text = value.toFixed(6);
  return Object.is(value, -0) ? `-${text}` : text;
}

function widened(bits: Uint16Array, widen: (bits: number) => number): Float32Array {
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = widen(bits[i]!);
  return values;
}

function valuesOf(tensor: Tensor): Values {
  const size = byteSizeOf(tensor.datatype);
  const data = tensor.data.byteOffset % size === 0 ? tensor.data : new Uint8Array(tensor.data);
  const count = data.length / size;
  const { buffer, byteOffset } = data;
  switch (tensor.datatype) {
    case 'FP32':
      return new Float32Array(buffer, byteOffset, count);
    case 'FP64':
      return new Float64Array(buffer, byteOffset, count);
    case 'FP16':
      return widened(new Uint16Array(buffer, byteOffset, count), fromFp16);
    case 'BF16':
      return widened(new Uint16Array(buffer, byteOffset, count), fromBf16);
    case 'INT8':
      return new Int8Array(buffer, byteOffset, count);
    case 'INT16':
      return new Int16Array(buffer, byteOffset, count);
    case 'INT32':
      return new Int32Array(buffer, byteOffset, count);
    case 'INT64':
      return new BigInt64Array(buffer, byteOffset, count);
    case 'UINT16':
      return new Uint16Array(buffer, byteOffset, count);
    case 'UINT32':
      return new Uint32Array(buffer, byteOffset, count);
    case 'UINT64':
      return new BigUint64Array(buffer, byteOffset, count);
    default:
      return data;
  }
}
