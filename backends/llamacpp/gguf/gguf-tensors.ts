import { invalidArgument } from '../../../proto/inference-error.ts';
import { type GgufCursor, TruncatedGguf } from './gguf-cursor.ts';
import { readName, shownKey } from './gguf-metadata.ts';
import { TENSOR_LAYOUTS } from './tensor-layouts.ts';

/** More than any model has: mixtures of experts in the old form have some ten thousand. llama.cpp compares each name with all before it. */
const MAX_TENSORS = 65_536;
const MAX_DIMENSIONS = 4;
/** Bytes of a name, one less than llama.cpp's field. */
const MAX_NAME_BYTES = 63;
/** The least that a tensor's entry takes: an empty name, no dimensions, a type, an offset. */
const MIN_ENTRY_BYTES = 24;

export interface GgufTensorEntry {
  readonly dimensions: number;
  /** Such as `Q8_0`. */
  readonly type: string;
}

export interface GgufTensors {
  readonly byName: ReadonlyMap<string, GgufTensorEntry>;
  /** Of all tensors, with what pads them. */
  readonly byteLength: number;
  readonly dataOffset: number;
}

/** Reads the entries of all tensors, and checks that their data lies in the file: one after another, as llama.cpp asks. */
export async function readTensors(cursor: GgufCursor, count: number, alignment: number): Promise<GgufTensors> {
  if (count > MAX_TENSORS) throw invalidArgument(`tensors: expected at most ${MAX_TENSORS}, got ${count}`);
  if (count === 0) throw invalidArgument('tensors: expected some, got none; give a model, not a vocabulary alone');
  cursor.checkLeft(count * MIN_ENTRY_BYTES, `the entries of ${count} tensors`);
  const byName = new Map<string, GgufTensorEntry>();
  let next = 0;
  // Without the padding behind the last one, which some writers leave out.
  let end = 0;
  for (let i = 0; i < count; i++) {
    const name = await readName(cursor, `the name of tensor ${i}`, MAX_NAME_BYTES);
    if (name === '') throw invalidArgument(`tensor ${i}: expected a name, got an empty one`);
    const field = `tensor '${shownKey(name)}'`;
    if (byName.has(name)) throw invalidArgument(`${field}: expected each name once, got it again as tensor ${i}`);
    await cursor.fill(4, field);
    const dimensions = cursor.uint32();
    if (dimensions < 1 || dimensions > MAX_DIMENSIONS)
      throw invalidArgument(`${field}: expected 1 to ${MAX_DIMENSIONS} dimensions, got ${dimensions}`);
    await cursor.fill(8 * dimensions + 12, field);
    let elements = 1;
    let row = 0;
    for (let d = 0; d < dimensions; d++) {
      const length = cursor.uint64();
      if (length < 1 || length > Number.MAX_SAFE_INTEGER)
        throw invalidArgument(`${field}: expected dimension ${d} to be 1 or more, got ${length}`);
      if (d === 0) row = length;
      elements *= length;
      if (elements > Number.MAX_SAFE_INTEGER) throw invalidArgument(`${field}: expected fewer than 2^53 elements, got ${elements} or more`);
    }
    const type = cursor.uint32();
    const layout = TENSOR_LAYOUTS.get(type);
    if (layout === undefined) throw invalidArgument(`${field}: expected a known type, got ${type}; convert the model anew`);
    byName.set(name, { dimensions, type: layout.name });
    if (row % layout.blockLength !== 0) {
      throw invalidArgument(`${field}: expected rows of a multiple of ${layout.blockLength} for ${layout.name}, got ${row}`);
    }
    const offset = cursor.uint64();
    if (offset !== next) throw invalidArgument(`${field}: expected its data at offset ${next}, behind the tensor before, got ${offset}`);
    const bytes = (elements / layout.blockLength) * layout.blockBytes;
    end = offset + bytes;
    next = Math.ceil(end / alignment) * alignment;
    if (!(next <= Number.MAX_SAFE_INTEGER)) throw invalidArgument(`${field}: expected fewer than 2^53 bytes up to here, got ${next}`);
  }
  const dataOffset = Math.ceil(cursor.position / alignment) * alignment;
  if (dataOffset + end > cursor.byteLength) {
    throw new TruncatedGguf(`ends at byte ${cursor.byteLength}; its tensors go on to byte ${dataOffset + end}`);
  }
  return { byName, byteLength: next, dataOffset };
}
