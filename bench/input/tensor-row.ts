import { encodeValues } from '../../clients/typescript/src/encode-values.ts';
import type { InputTensor } from '../../clients/typescript/src/transport.ts';
import { countBytesElements } from '../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../proto/datatype.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { readDims } from './input-shapes.ts';

/** What one row of a batch has of a tensor. */
export interface TensorRow {
  readonly datatype: Datatype;
  readonly dims: readonly number[];
  readonly data: Uint8Array;
}

/** One entry of a file: tensors by name. */
export interface DataEntry {
  readonly inputs: ReadonlyMap<string, TensorRow>;
  /** null: nobody said what the answer must be. */
  readonly outputs: ReadonlyMap<string, TensorRow> | null;
}

/** The bytes of a row, in the binary tensor extension's layout. `what` names it in errors, which are INVALID_ARGUMENT. */
export function rowOfBytes(
  datatype: Datatype,
  dims: readonly number[],
  given: readonly number[] | null,
  data: Uint8Array,
  what: string,
): TensorRow {
  const size = byteSizeOf(datatype);
  if (size > 0 && data.length % size !== 0) {
    throw invalidArgument(`${what}: expected a multiple of ${size} bytes, the size of ${datatype}, got ${data.length}`);
  }
  const count = size > 0 ? data.length / size : countBytesElements(data, what);
  return { datatype, dims: readDims(dims, given, count, what), data };
}

/** The same of numbers, flags or strings, flat or nested as the shape is. */
export function rowOfValues(
  datatype: Datatype,
  dims: readonly number[],
  given: readonly number[] | null,
  values: unknown,
  what: string,
): TensorRow {
  const { data, count } = encodeValues(datatype, values, what);
  return { datatype, dims: readDims(dims, given, count, what), data };
}

/** Rows one behind the other, with the batch dimension in front where the model has one. They must be alike. */
export function joinRows(name: string, rows: readonly TensorRow[], isBatched: boolean): InputTensor & { readonly data: Uint8Array } {
  const first = rows[0]!;
  const other = rows.find((row) => String(row.dims) !== String(first.dims));
  if (other !== undefined) {
    throw invalidArgument(`inputs.${name}: rows of shapes [${first.dims}] and [${other.dims}] do not make one batch: give --batch-size 1`);
  }
  const data = rows.length === 1 ? first.data : new Uint8Array(Buffer.concat(rows.map((row) => row.data)));
  return { name, datatype: first.datatype, shape: isBatched ? [rows.length, ...first.dims] : first.dims, data };
}
