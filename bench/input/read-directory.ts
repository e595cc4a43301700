import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { countBytesElements, encodeBytes } from '../../proto/bytes.ts';
import { elementCount } from '../../proto/datatype.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { TargetModel, TargetTensor } from '../target/target.ts';
import { rowDims, type ShapeOverrides } from './input-shapes.ts';
import { type DataEntry, rowOfBytes, type TensorRow } from './tensor-row.ts';

const MAX_FILE_BYTES = 64 * 1024 * 1024;

/**
 * A directory with a file of raw bytes for each input, of its name (percent-encoded where it has a slash), and perhaps for outputs, which answers are compared with. One row, in the binary
 * tensor extension's layout; a BYTES input of one element may be the element alone, a picture for one. Throws INVALID_ARGUMENT.
 */
export async function readDirectory(directory: string, model: TargetModel, shapes: ShapeOverrides): Promise<DataEntry> {
  // Looked up in the listing: a name comes from the server, and must lead nowhere else.
  const names = await readdir(directory);
  const read = async (tensor: TargetTensor, dims: readonly number[]): Promise<TensorRow | null> => {
    const name = names.find((one) => one === tensor.name || one === encodeURIComponent(tensor.name));
    return name === undefined ? null : readRow(join(directory, name), tensor, dims);
  };
  const inputs = new Map<string, TensorRow>();
  for (const input of model.inputs) {
    const row = await read(input, shapes.get(input.name) ?? rowDims(model, input));
    if (row !== null) inputs.set(input.name, row);
    else if (!input.isOptional) {
      throw invalidArgument(
        `${directory}: expected a file '${encodeURIComponent(input.name)}' for this input, got none${didYouMean(input.name, names)}`,
      );
    }
  }
  if (inputs.size === 0) throw invalidArgument(`${directory}: expected a file for each input of model '${model.name}', got none`);
  const outputs = new Map<string, TensorRow>();
  for (const output of model.outputs) {
    const dims = rowDims(model, output);
    const row = await read(output, dims.filter((dim) => dim < 0).length > 1 ? [-1] : dims);
    if (row !== null) outputs.set(output.name, row);
  }
  return { inputs, outputs: outputs.size === 0 ? null : outputs };
}

async function readRow(path: string, { datatype }: TargetTensor, dims: readonly number[]): Promise<TensorRow> {
  const { size } = await stat(path);
  if (size > MAX_FILE_BYTES) throw invalidArgument(`${path}: expected at most ${MAX_FILE_BYTES} bytes, got ${size}`);
  const bytes = new Uint8Array(await readFile(path));
  const isElement = datatype === 'BYTES' && elementCount(dims.map((dim) => (dim < 0 ? 1 : dim))) === 1 && !isOneElement(bytes);
  return rowOfBytes(datatype, dims, null, isElement ? encodeBytes([bytes]) : bytes, path);
}

function isOneElement(bytes: Uint8Array): boolean {
  try {
    return countBytesElements(bytes, '') === 1;
  } catch {
    return false;
  }
}
