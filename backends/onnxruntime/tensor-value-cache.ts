/** @hotpath one look-up per tensor and run: an OrtValue over memory that was seen before costs no native call (measured by onnxruntime-model-instance.bench.ts) */

import { byteSizeOf, type Datatype, elementCount } from '../../proto/datatype.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { addressOfBytes, NativeWords } from './native-words.ts';
import { check, type OrtLibrary } from './ort-library.ts';

/** Power of two. Requests lie in few places (the slots of a ring), each with few shapes. */
const ENTRIES = 64;

interface Entry {
  address: number;
  byteLength: number;
  shape: readonly number[];
  /** OrtValue, ours to release; 0 when the entry is unused. */
  value: number;
}

/** Where empty tensors point: a zero-length buffer may have no address at all. */
const nowhere = new NativeWords(8);

/**
 * OrtValues of one input or output, over memory that is not ours: address, length and shape name a value, so whatever lies there at the time
 * of a run is what the run reads or writes. A value over memory that is gone is never handed out, for nobody can pass that memory any more; if
 * another buffer comes to lie there, the value is right for that one.
 */
export class TensorValueCache {
  readonly #library: OrtLibrary;
  readonly #what: string;
  readonly #datatype: Datatype;
  readonly #elementType: number;
  readonly #elementBytes: number;
  readonly #entries: Entry[] = [];
  readonly #out = new NativeWords(1);
  #dims = new NativeWords(8);

  /** `what` names the tensor in errors: input 'INPUT0'. Not for BYTES, whose elements never lie in our memory. */
  constructor(library: OrtLibrary, what: string, datatype: Datatype, elementType: number) {
    this.#library = library;
    this.#what = what;
    this.#datatype = datatype;
    this.#elementType = elementType;
    this.#elementBytes = byteSizeOf(datatype);
    for (let i = 0; i < ENTRIES; i++) this.#entries.push({ address: 0, byteLength: 0, shape: [], value: 0 });
  }

  /**
   * The OrtValue over `data`, which stays this cache's. Throws INVALID_ARGUMENT when shape and length disagree.
   */
  valueOver(data: Uint8Array, shape: readonly number[]): number {
    const byteLength = data.length;
    const address = byteLength === 0 ? nowhere.address : addressOfBytes(data);
    const entry = this.#entries[(address / 64 + (shape.length > 0 ? shape[0]! * 5 : 0)) & (ENTRIES - 1)]!;
    if (entry.value !== 0) {
      if (entry.address === address && entry.byteLength === byteLength && isSameShape(entry.shape, shape)) return entry.value;
      const stale = entry.value;
      entry.value = 0;
      this.#library.api.ReleaseValue(stale);
    }
    const value = this.#create(address, byteLength, shape);
    entry.address = address;
    entry.byteLength = byteLength;
    // A copy: the caller may use its array again for another shape.
    entry.shape = shape.slice();
    entry.value = value;
    return value;
  }

  dispose(): void {
    for (const entry of this.#entries) {
      if (entry.value !== 0) this.#library.api.ReleaseValue(entry.value);
      entry.value = 0;
    }
  }

  #create(address: number, byteLength: number, shape: readonly number[]): number {
    const count = elementCount(shape);
    if (count < 0 || count * this.#elementBytes !== byteLength) {
      const expected = count < 0 ? 'no tensor' : `${count * this.#elementBytes} bytes`;
      throw invalidArgument(`${this.#what}: shape [${shape.join(',')}] of ${this.#datatype} is ${expected}, got ${byteLength} bytes`);
    }
    if (address % this.#elementBytes !== 0) {
      // Vectorised kernels may assume what the element type promises. Whoever calls us promised more, so this is no client's doing.
      throw new InferenceError('INTERNAL', `${this.#what}: its memory is not aligned to the ${this.#elementBytes} bytes of an element`);
    }
    const rank = shape.length;
    this.#dims = writeDims(this.#dims, shape);
    const { api, memoryInfo } = this.#library;
    const out = this.#out;
    check(
      api,
      api.CreateTensorWithDataAsOrtValue(memoryInfo, address, byteLength, this.#dims.address, rank, this.#elementType, out.address),
    );
    return out.get(0);
  }
}

function isSameShape(left: readonly number[], right: readonly number[]): boolean {
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

/** Writes a shape as int64 dimensions; a longer row of words than given when it takes one. */
export function writeDims(words: NativeWords, shape: readonly number[]): NativeWords {
  const room = words.halves.length / 2 < shape.length ? new NativeWords(shape.length) : words;
  for (let i = 0; i < shape.length; i++) room.set(i, shape[i]!);
  return room;
}
