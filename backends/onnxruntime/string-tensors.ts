/** @hotpath BYTES tensors: every element's bytes go between length-prefixed memory and ONNX Runtime's strings, never through JavaScript strings (measured by onnxruntime-model-instance.bench.ts) */

import { countBytesElements, LENGTH_PREFIX_BYTES } from '../../proto/bytes.ts';
import { elementCount } from '../../proto/datatype.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { addressOf, addressOfBytes, NativeWords } from './native-words.ts';
import { check, type OrtLibrary } from './ort-library.ts';
import { writeDims } from './tensor-value-cache.ts';

/** ONNX element type of strings. */
const STRING = 8;
/** Scratch memory up to this size is kept for the next run. */
const KEPT_BYTES = 1024 * 1024;

/**
 * Fills and reads ONNX Runtime's string tensors. They hold bytes of any kind: neither NULs nor bytes that are no UTF-8 are changed. One per
 * model instance; it owns scratch memory.
 */
export class StringTensors {
  readonly #library: OrtLibrary;
  readonly #out = new NativeWords(1);
  #dims = new NativeWords(8);
  #bytes = Buffer.allocUnsafeSlow(4096);
  #bytesAddress = addressOf(this.#bytes.buffer);
  #words = new NativeWords(256);

  constructor(library: OrtLibrary) {
    this.#library = library;
  }

  /**
   * A new string tensor with the elements of `data`; the caller releases it. Throws INVALID_ARGUMENT when `data` holds another number of elements
   * than the shape has.
   */
  create(data: Uint8Array, shape: readonly number[], name: string): number {
    const count = elementCount(shape);
    const held = countBytesElements(data, `input '${name}'`);
    if (held !== count) {
      throw invalidArgument(`input '${name}': shape [${shape.join(',')}] has ${Math.max(count, 0)} elements, got ${held} BYTES elements`);
    }
    const { api, allocator } = this.#library;
    this.#dims = writeDims(this.#dims, shape);
    check(api, api.CreateTensorAsOrtValue(allocator, this.#dims.address, shape.length, STRING, this.#out.address));
    const value = this.#out.get(0);
    if (count > 0) {
      try {
        this.#fill(value, data, count);
      } catch (error) {
        api.ReleaseValue(value);
        throw error;
      } finally {
        this.#shrink();
      }
    }
    return value;
  }

  /**
   * One native call fills all elements with NUL-terminated texts. Those that hold a NUL themselves end there, and are then written again one by
   * one, which costs a call and a copy each.
   */
  #fill(value: number, data: Uint8Array, count: number): void {
    const { api } = this.#library;
    // Every element's 4-byte length gives way to a 1-byte end, so the terminated texts always fit.
    this.#reserve(data.length, count);
    const bytes = this.#bytes;
    const words = this.#words;
    let at = 0;
    let to = 0;
    let hasNul = false;
    for (let i = 0; i < count; i++) {
      const length = lengthAt(data, at);
      at += LENGTH_PREFIX_BYTES;
      words.set(i, this.#bytesAddress + to);
      const end = at + length;
      if (length <= 32) {
        for (let from = at; from < end; from++) {
          const byte = data[from]!;
          if (byte === 0) hasNul = true;
          bytes[to++] = byte;
        }
      } else {
        const element = data.subarray(at, end);
        bytes.set(element, to);
        to += length;
        if (!hasNul && element.includes(0)) hasNul = true;
      }
      bytes[to++] = 0;
      at = end;
    }
    check(api, api.FillStringTensor(value, words.address, count));
    if (hasNul) this.#fillThoseWithNul(value, data, count);
  }

  #fillThoseWithNul(value: number, data: Uint8Array, count: number): void {
    const { api, memcpy } = this.#library;
    const out = this.#out;
    let at = 0;
    let to = 0;
    for (let i = 0; i < count; i++) {
      const length = lengthAt(data, at);
      at += LENGTH_PREFIX_BYTES;
      if (data.subarray(at, at + length).includes(0)) {
        check(api, api.GetResizedStringTensorElementBuffer(value, i, length, out.address));
        memcpy(out.get(0), this.#bytesAddress + to, length);
      }
      at += length;
      to += length + 1;
    }
  }

  /** Bytes that `count` elements of a string tensor take with their length prefixes. */
  byteLength(value: number, count: number): number {
    if (count === 0) return 0;
    const { api } = this.#library;
    check(api, api.GetStringTensorDataLength(value, this.#out.address));
    return this.#out.get(0) + count * LENGTH_PREFIX_BYTES;
  }

  /**
   * Writes a string tensor's elements, with their lengths in front, into `to`, which holds exactly `byteLength(value, count)` bytes.
   */
  read(value: number, count: number, to: Uint8Array): void {
    if (count === 0) return;
    const { api } = this.#library;
    const prefixes = count * LENGTH_PREFIX_BYTES;
    const contentBytes = to.length - prefixes;
    this.#reserve(0, count);
    const starts = this.#words;
    try {
      // The content goes to the end of `to`; each element then moves forward past its length. As n lengths go in front of element n, where an
      // element goes never reaches beyond where it comes from, and no second buffer is needed.
      const address = addressOfBytes(to) + prefixes;
      check(api, api.GetStringTensorContent(value, address, contentBytes, starts.address, count));
      let at = 0;
      let start = starts.get(0);
      for (let i = 0; i < count; i++) {
        const end = i + 1 < count ? starts.get(i + 1) : contentBytes;
        const length = end - start;
        to[at] = length;
        to[at + 1] = length >>> 8;
        to[at + 2] = length >>> 16;
        to[at + 3] = length >>> 24;
        at += LENGTH_PREFIX_BYTES;
        to.copyWithin(at, prefixes + start, prefixes + end);
        at += length;
        start = end;
      }
    } finally {
      this.#shrink();
    }
  }

  #reserve(byteLength: number, words: number): void {
    if (this.#bytes.length < byteLength) {
      this.#bytes = Buffer.allocUnsafeSlow(byteLength);
      this.#bytesAddress = addressOf(this.#bytes.buffer);
    }
    if (this.#words.halves.length < words * 2) this.#words = new NativeWords(words);
  }

  #shrink(): void {
    if (this.#bytes.length > KEPT_BYTES) {
      this.#bytes = Buffer.allocUnsafeSlow(4096);
      this.#bytesAddress = addressOf(this.#bytes.buffer);
    }
    if (this.#words.halves.byteLength > KEPT_BYTES) this.#words = new NativeWords(256);
  }
}

function lengthAt(data: Uint8Array, at: number): number {
  return (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;
}
