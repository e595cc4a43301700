import { pathOf } from '../../clients/typescript/src/nested-values.ts';
import { viewTensorData } from '../../clients/typescript/src/tensor-data.ts';
import { countBytesElements, decodeBytes } from '../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../proto/datatype.ts';
import { fromBf16, fromFp16 } from '../../proto/float16.ts';

/** Of a string, in a sentence about it. */
const MAX_SHOWN = 60;

/** Elements that a tensor's bytes hold; -1: they end within one. */
export function countElements(datatype: Datatype, data: Uint8Array): number {
  const size = byteSizeOf(datatype);
  if (size > 0) return data.length % size === 0 ? data.length / size : -1;
  try {
    return countBytesElements(data, '');
  } catch {
    return -1;
  }
}

/**
 * '' when the tensors are the same; else the rest of a sentence that begins with the output's name: its first element that differs, what was expected, what came. Both have whole
 * elements of `datatype`; `shape` is that of `got`.
 *
 * `tolerance`, of floating-point datatypes: |got - expected| <= tolerance + tolerance x |expected|, as NumPy's allclose has it; 0: bit for bit, but that any NaN equals any other.
 */
export function compareTensors(
  datatype: Datatype,
  shape: readonly number[],
  expected: Uint8Array,
  got: Uint8Array,
  tolerance: number,
): string {
  if (Buffer.compare(expected, got) === 0) return '';
  expected = asPlain(expected);
  got = asPlain(got);
  const wanted = countElements(datatype, expected);
  const count = countElements(datatype, got);
  if (wanted !== count) return `: expected ${wanted < 0 ? `${expected.length} bytes` : `${wanted} elements`}, got ${count} elements`;
  if (datatype === 'BYTES') return compareStrings(shape, expected, got);
  const isFloat = datatype === 'FP32' || datatype === 'FP64' || datatype === 'FP16' || datatype === 'BF16';
  if (!isFloat) {
    const left = viewTensorData(datatype, expected);
    const right = viewTensorData(datatype, got);
    for (let i = 0; i < count; i++) if (left[i] !== right[i]) return difference(shape, i, String(left[i]), String(right[i]));
    return '';
  }
  const left = numbersOf(datatype, expected);
  const right = numbersOf(datatype, got);
  for (let i = 0; i < count; i++) {
    if (!isNear(left[i]!, right[i]!, tolerance)) return difference(shape, i, floatText(left[i]!), floatText(right[i]!), tolerance);
  }
  return '';
}

/** Not as a Buffer, whose `slice` copies nothing: a view of elements needs a copy where bytes are not aligned. */
function asPlain(data: Uint8Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.length);
}

function isNear(expected: number, got: number, tolerance: number): boolean {
  // Object.is tells 0 from -0, and NaN from nothing.
  if (Object.is(expected, got)) return true;
  return tolerance > 0 && Number.isFinite(expected) && Math.abs(got - expected) <= tolerance + tolerance * Math.abs(expected);
}

function numbersOf(datatype: 'FP16' | 'BF16' | 'FP32' | 'FP64', data: Uint8Array): Float32Array | Float64Array {
  if (datatype === 'FP32' || datatype === 'FP64') return viewTensorData(datatype, data);
  const widen = datatype === 'FP16' ? fromFp16 : fromBf16;
  return Float32Array.from(viewTensorData(datatype, data), widen);
}

function compareStrings(shape: readonly number[], expected: Uint8Array, got: Uint8Array): string {
  const left = decodeBytes(expected, '');
  const right = decodeBytes(got, '');
  const at = left.findIndex((element, i) => Buffer.compare(element, right[i]!) !== 0);
  return at < 0 ? '' : difference(shape, at, stringText(left[at]!), stringText(right[at]!));
}

function difference(shape: readonly number[], index: number, expected: string, got: string, tolerance = 0): string {
  return `${pathOf(shape, index)}: expected ${expected}${tolerance > 0 ? ` (tolerance ${tolerance})` : ''}, got ${got}`;
}

function floatText(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

/** As JSON, what is no UTF-8 with U+FFFD in its place. */
function stringText(element: Uint8Array): string {
  const text = Buffer.from(element.buffer, element.byteOffset, Math.min(element.length, MAX_SHOWN)).toString('utf8');
  return `${JSON.stringify(text)}${element.length > MAX_SHOWN ? ` and ${element.length - MAX_SHOWN} bytes more` : ''}`;
}
