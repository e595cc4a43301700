import { countBytesElements } from '../../../proto/bytes.ts';
import { byteSizeOf, DATATYPES, type Datatype, elementCount, findDatatype } from '../../../proto/datatype.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import { deduceShape } from './deduce-shape.ts';
import { datatypeOfArray, encodeValues, type TensorValues, type ValuesOf } from './encode-values.ts';
import type { TensorMetadata } from './server-facts.ts';
import type { InputTensor, SharedMemoryRange } from './transport.ts';

/** An input with more said than its values. */
export interface DescribedInput<D extends Datatype = Datatype> {
  /** The values; or `raw`, the tensor's bytes as the binary tensor extension has them; or `sharedMemory`, where they lie. */
  readonly data?: ValuesOf[D];
  readonly raw?: Uint8Array;
  readonly sharedMemory?: Readonly<{ region: string; byteSize: number; offset?: number }>;
  /** The batch dimension included. Left out: deduced from the values and the model's metadata. Needed with `raw` and `sharedMemory`. */
  readonly shape?: readonly number[];
  readonly datatype?: Datatype;
}

/** What `model.infer` takes for an input of datatype `D`: its values, or an object that says more. */
export type ModelInput<D extends Datatype = Datatype> = D extends Datatype ? ValuesOf[D] | DescribedInput<D> : never;

/** What `client.infer` takes for an input. `shape` may be left out for nested and for one-dimensional values, `datatype` where a typed array or text says it. */
export interface NamedInput extends DescribedInput {
  readonly name: string;
}

/** An input under construction, by the names of Triton's clients. A NamedInput or plain values do the same with less. */
export class InferInput implements NamedInput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: Datatype;
  data?: TensorValues;
  raw?: Uint8Array;
  sharedMemory?: SharedMemoryRange;

  constructor(name: string, shape: readonly number[], datatype: Datatype) {
    this.name = name;
    this.shape = shape;
    this.datatype = datatype;
  }

  setData(values: TensorValues): this {
    this.#clear();
    this.data = values;
    return this;
  }

  /** The tensor's bytes as the binary tensor extension has them. */
  setRaw(bytes: Uint8Array): this {
    this.#clear();
    this.raw = bytes;
    return this;
  }

  /** Bytes. */
  setSharedMemory(region: string, byteSize: number, offset = 0): this {
    this.#clear();
    this.sharedMemory = { region, byteSize, offset };
    return this;
  }

  #clear(): void {
    delete this.data;
    delete this.raw;
    delete this.sharedMemory;
  }
}

/** Checks an input and makes it bytes. `metadata`: null for a model of which nothing is known. Throws INVALID_ARGUMENT that names the input. */
export function encodeInput(name: string, input: unknown, metadata: TensorMetadata | null): InputTensor {
  const what = `inputs.${name}`;
  const described = isDescribed(input) ? input : { data: input as TensorValues };
  const sources = [described.data, described.raw, described.sharedMemory].filter((source) => source !== undefined);
  if (sources.length !== 1) {
    throw invalidArgument(
      `${what}: expected values, or an object with one of data, raw, sharedMemory, got ${sources.length || 'none'} of them`,
    );
  }
  const datatype = datatypeOf(described, metadata, what);
  const shape = described.shape === undefined ? null : checkedShape(described.shape, what);
  if (described.sharedMemory !== undefined) {
    const { region, byteSize, offset = 0 } = described.sharedMemory;
    return { name, datatype, shape: requireShape(shape, metadata, what), data: { region, byteSize, offset } };
  }
  if (described.raw !== undefined) {
    const whole = requireShape(shape, metadata, what);
    const count = datatype === 'BYTES' ? countBytesElements(described.raw, what) : described.raw.length / byteSizeOf(datatype);
    checkCount(whole, count, datatype, what);
    return { name, datatype, shape: whole, data: described.raw };
  }
  const { data, count, nestedShape } = encodeValues(datatype, described.data, what);
  if (shape === null) return { name, datatype, shape: deduceShape(metadata?.shape ?? null, count, nestedShape, what), data };
  checkCount(shape, count, datatype, what);
  return { name, datatype, shape, data };
}

function isDescribed(input: unknown): input is DescribedInput {
  return typeof input === 'object' && input !== null && !Array.isArray(input) && !ArrayBuffer.isView(input);
}

function datatypeOf(input: DescribedInput, metadata: TensorMetadata | null, what: string): Datatype {
  const name = input.datatype ?? metadata?.datatype ?? datatypeOfArray(input.data) ?? datatypeOfLeaf(input.data);
  if (name === undefined) {
    throw invalidArgument(`${what}: expected a datatype, since plain numbers may be any: one of ${Object.keys(DATATYPES).join(', ')}`);
  }
  const info = findDatatype(name);
  if (info === undefined) {
    const names = Object.keys(DATATYPES);
    throw invalidArgument(`${what}.datatype: expected one of ${names.join(', ')}, got '${name}'${didYouMean(name, names)}`);
  }
  return info.name;
}

function datatypeOfLeaf(values: unknown): Datatype | undefined {
  let leaf = values;
  for (let depth = 0; Array.isArray(leaf) && depth < 32; depth++) leaf = leaf[0];
  if (typeof leaf === 'boolean') return 'BOOL';
  return typeof leaf === 'string' || (leaf !== values && datatypeOfArray(leaf) === 'UINT8') ? 'BYTES' : undefined;
}

function requireShape(shape: readonly number[] | null, metadata: TensorMetadata | null, what: string): readonly number[] {
  if (shape !== null) return shape;
  if (metadata?.shape.every((dim) => dim >= 0)) return metadata.shape;
  throw invalidArgument(`${what}.shape: expected a shape, since bytes do not tell it, got none`);
}

function checkedShape(shape: readonly number[], what: string): readonly number[] {
  if (!Array.isArray(shape) || elementCount(shape) < 0) {
    throw invalidArgument(`${what}.shape: expected integers >= 0 whose product is no more than 2^40, got [${String(shape)}]`);
  }
  // The request is read later than it is made: what a caller changes meanwhile is not ours.
  return [...shape];
}

function checkCount(shape: readonly number[], count: number, datatype: Datatype, what: string): void {
  const expected = elementCount(shape);
  if (count !== expected) throw invalidArgument(`${what}: expected ${expected} elements of ${datatype} for shape [${shape}], got ${count}`);
}
