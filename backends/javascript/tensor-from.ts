/** @hotpath what the model's code gives, made into tensors; all that can be wrong with it is told in its words (measured by request-channel.bench.ts) */

import { encodeBytes } from '../../proto/bytes.ts';
import { type Datatype, elementCount, findDatatype } from '../../proto/datatype.ts';
import { toBf16, toFp16 } from '../../proto/float16.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { ELEMENT_ARRAYS } from './element-arrays.ts';
import { TensorView } from './tensor-view.ts';

/** What is known of the tensor beforehand. */
export interface ExpectedTensor {
  readonly datatype: Datatype;
  /** -1: any. The batch dimension is the number of rows. */
  readonly shape: readonly number[];
}

/** `what` names it in messages: "output 'OUT'". `expected` null: nothing is known, datatype and shape follow from the values. Throws INVALID_ARGUMENT, or what the model's own getters throw. */
export function tensorFrom(what: string, name: string, init: unknown, expected: ExpectedTensor | null): Tensor {
  if (init instanceof TensorView) return checked(what, expected, { name, datatype: init.datatype, shape: init.shape, data: init.bytes });
  if (typeof init !== 'object' || init === null) throw invalidArgument(`${what}: expected an array or { data, shape }, got ${shown(init)}`);
  const isBare = Array.isArray(init) || ArrayBuffer.isView(init);
  const {
    data: values,
    shape: givenShape,
    datatype: givenType,
  } = isBare ? { data: init, shape: undefined, datatype: undefined } : (init as Record<string, unknown>);
  if (!Array.isArray(values) && !ArrayBuffer.isView(values))
    throw invalidArgument(`${what}: data: expected an array, got ${shown(values)}`);
  const datatype = datatypeOf(what, givenType, expected, values);
  const data = datatype === 'BYTES' ? stringBytes(what, values) : numberBytes(what, datatype, values);
  const count =
    datatype === 'BYTES' ? (values as readonly unknown[]).length : data.length / ELEMENT_ARRAYS[datatype].array.BYTES_PER_ELEMENT;
  const shape = givenShape === undefined ? inferredShape(what, expected, count) : shapeFrom(what, givenShape);
  if (elementCount(shape) !== count) {
    throw invalidArgument(`${what}: its shape [${shape.join(',')}] has ${elementCount(shape)} elements, got ${count}`);
  }
  return checked(what, expected, { name, datatype, shape, data });
}

function checked(what: string, expected: ExpectedTensor | null, tensor: Tensor): Tensor {
  if (expected === null) return tensor;
  const { datatype, shape } = tensor;
  if (datatype !== expected.datatype)
    throw invalidArgument(`${what}: the model's configuration says ${expected.datatype}, got ${datatype}`);
  const isRight = shape.length === expected.shape.length && expected.shape.every((dim, i) => dim === -1 || dim === shape[i]);
  if (!isRight) throw invalidArgument(`${what}: expected the shape [${expected.shape.join(',')}] (-1: any), got [${shape.join(',')}]`);
  return tensor;
}

function datatypeOf(what: string, given: unknown, expected: ExpectedTensor | null, values: unknown): Datatype {
  if (given === undefined || given === null) return expected?.datatype ?? datatypeByValues(what, values);
  const info = typeof given === 'string' ? findDatatype(given) : undefined;
  if (info === undefined) throw invalidArgument(`${what}: datatype: expected one such as FP32 or BYTES, got ${shown(given)}`);
  if (expected !== null && info.name !== expected.datatype)
    throw invalidArgument(`${what}: the model's configuration says ${expected.datatype}, got ${info.name}`);
  return info.name;
}

const byArray: ReadonlyMap<unknown, Datatype> = new Map<unknown, Datatype>([
  [Uint8Array, 'UINT8'],
  [Uint16Array, 'UINT16'],
  [Uint32Array, 'UINT32'],
  [BigUint64Array, 'UINT64'],
  [Int8Array, 'INT8'],
  [Int16Array, 'INT16'],
  [Int32Array, 'INT32'],
  [BigInt64Array, 'INT64'],
  [Float32Array, 'FP32'],
  [Float64Array, 'FP64'],
]);

function datatypeByValues(what: string, values: unknown): Datatype {
  const found = Array.isArray(values)
    ? values.length > 0 && values.every((value) => typeof value === 'string' || value instanceof Uint8Array)
      ? 'BYTES'
      : undefined
    : byArray.get((values as object).constructor);
  if (found === undefined)
    throw invalidArgument(`${what}: datatype: expected one, such as { datatype: 'FP32', data, shape }, for ${shown(values)}`);
  return found;
}

function stringBytes(what: string, values: unknown): Uint8Array {
  if (!Array.isArray(values)) throw invalidArgument(`${what} is BYTES: expected an array of strings or Uint8Array, got ${shown(values)}`);
  for (let i = 0; i < values.length; i++) {
    const value: unknown = values[i];
    if (typeof value !== 'string' && !(value instanceof Uint8Array))
      throw invalidArgument(`${what} is BYTES: element ${i}: expected a string or Uint8Array, got ${shown(value)}`);
  }
  return encodeBytes(values as (string | Uint8Array)[]);
}

function numberBytes(what: string, datatype: Exclude<Datatype, 'BYTES'>, values: readonly unknown[] | ArrayBufferView): Uint8Array {
  const { array } = ELEMENT_ARRAYS[datatype];
  if (values instanceof array || (datatype === 'UINT8' && values instanceof Uint8ClampedArray)) {
    if (datatype === 'BOOL' && (values as Uint8Array).some((value) => value > 1))
      throw invalidArgument(`${what} is BOOL: expected 0 and 1`);
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  }
  const isHalf = datatype === 'FP16' || datatype === 'BF16';
  const isReadable = Array.isArray(values) || (isHalf && (values instanceof Float32Array || values instanceof Float64Array));
  if (!isReadable)
    throw invalidArgument(
      `${what} is ${datatype}: expected ${isHalf ? 'a Float32Array, ' : ''}a ${array.name} or an array, got ${shown(values)}`,
    );
  const elements = values as readonly unknown[];
  const made = new array(elements.length);
  for (let i = 0; i < elements.length; i++) made[i] = elementFrom(what, datatype, elements[i], i) as never;
  return new Uint8Array(made.buffer, made.byteOffset, made.byteLength);
}

function elementFrom(what: string, datatype: Exclude<Datatype, 'BYTES'>, value: unknown, index: number): number | bigint {
  const { range, array } = ELEMENT_ARRAYS[datatype];
  if (range === null) {
    if (typeof value !== 'number') throw wrongElement(what, datatype, value, index);
    if (datatype !== 'FP16' && datatype !== 'BF16') return value;
    const half = datatype === 'FP16' ? toFp16(value) : toBf16(value);
    if (half < 0) throw invalidArgument(`${what} is ${datatype}: element ${index}: ${value} is outside its range`);
    return half;
  }
  if (typeof value === 'boolean' && datatype === 'BOOL') return value ? 1 : 0;
  const isWhole = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));
  if (!isWhole || value < range[0] || value > range[1]) throw wrongElement(what, datatype, value, index);
  return array.BYTES_PER_ELEMENT === 8 ? BigInt(value) : Number(value);
}

function wrongElement(what: string, datatype: Datatype, value: unknown, index: number): Error {
  const range = datatype === 'BYTES' ? null : ELEMENT_ARRAYS[datatype].range;
  const wanted = range === null ? 'a number' : `a whole number from ${range[0]} to ${range[1]}`;
  return invalidArgument(`${what} is ${datatype}: element ${index}: expected ${wanted}, got ${shown(value)}`);
}

function shapeFrom(what: string, given: unknown): number[] {
  const isList = Array.isArray(given) || (ArrayBuffer.isView(given) && !(given instanceof DataView));
  if (!isList) throw invalidArgument(`${what}: shape: expected a list of dimensions, got ${shown(given)}`);
  const shape = Array.from(given as ArrayLike<unknown>, (dim) => (typeof dim === 'bigint' ? Number(dim) : dim));
  if (shape.length > 64 || !shape.every((dim): dim is number => typeof dim === 'number' && dim >= 0) || elementCount(shape) < 0) {
    const dims = `${shape.slice(0, 64).map(shown).join(',')}${shape.length > 64 ? `,... (${shape.length} dimensions, at most 64)` : ''}`;
    throw invalidArgument(`${what}: shape: expected whole numbers of 0 or more, got [${dims}]`);
  }
  return shape;
}

/** One open dimension follows from the number of elements. */
function inferredShape(what: string, expected: ExpectedTensor | null, count: number): number[] {
  if (expected === null) return [count];
  const shape = [...expected.shape];
  const open = shape.indexOf(-1);
  if (open < 0) return shape;
  let known = 1;
  for (const dim of shape) if (dim >= 0) known *= dim;
  if (shape.indexOf(-1, open + 1) >= 0 || known === 0 || count % known !== 0) {
    throw invalidArgument(
      `${what}: shape: expected { data, shape }, since [${shape.join(',')}] (-1: any) does not follow from ${count} elements`,
    );
  }
  shape[open] = count / known;
  return shape;
}

/** What a model gave, in few words; never throws. */
export function shown(value: unknown): string {
  try {
    if (value === null || value === undefined || typeof value === 'number' || typeof value === 'boolean') return String(value);
    if (typeof value === 'bigint') return `${value}n`;
    if (typeof value === 'string') return `the string ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value)}`;
    if (typeof value !== 'object') return `a ${typeof value}`;
    const name: unknown = value.constructor?.name;
    return typeof name === 'string' && name !== '' && name.length < 60 ? `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}` : 'an object';
  } catch {
    return 'an object';
  }
}
