/** @hotpath finds where a tensor's bytes lie, and hands pointers to native code: nothing is allocated (measured by onnxruntime-model-instance.bench.ts) */

import koffi from 'koffi';

const WORD_BYTES = 8;
const HALF_RANGE = 2 ** 32;

/** Where an ArrayBuffer's first byte lies, as a number: user-space addresses stay below 2^53. Off-heap memory, so it holds while the buffer lives. */
export function addressOf(buffer: ArrayBufferLike): number {
  // Through a view, because koffi takes that of a SharedArrayBuffer too.
  return Number(koffi.address(new Uint8Array(buffer)));
}

/**
 * Bases of the buffers seen so far. A base never changes while its buffer lives, and asking V8 for it costs as much as a small native call;
 * keyed weakly, so a buffer that goes takes its entry with it.
 */
const bases = new WeakMap<ArrayBufferLike, number>();

/** Where `data` lies. It has to have bytes: an empty buffer may lie nowhere. */
export function addressOfBytes(data: Uint8Array): number {
  const { buffer } = data;
  let base = bases.get(buffer);
  if (base === undefined) {
    base = addressOf(buffer);
    bases.set(buffer, base);
  }
  return base + data.byteOffset;
}

/**
 * A row of 64-bit words that native code reads and writes: pointers, sizes, int64 dimensions. Words are got and set as two halves, because a
 * BigInt64Array would make a BigInt for each.
 *
 * Whoever passes `address` to native code keeps this object referenced for as long as that code may look at it.
 */
export class NativeWords {
  readonly address: number;
  /** Two entries a word, low half first: every platform that ONNX Runtime ships for is little-endian. */
  readonly halves: Uint32Array;

  constructor(words: number) {
    const buffer = new ArrayBuffer(Math.max(1, words) * WORD_BYTES);
    this.halves = new Uint32Array(buffer);
    this.address = addressOf(buffer);
  }

  addressOfWord(index: number): number {
    return this.address + index * WORD_BYTES;
  }

  get(index: number): number {
    return this.halves[2 * index]! + this.halves[2 * index + 1]! * HALF_RANGE;
  }

  /** `value` is a whole number from 0 to 2^53. */
  set(index: number, value: number): void {
    this.halves[2 * index] = value % HALF_RANGE;
    this.halves[2 * index + 1] = value / HALF_RANGE;
  }

  /** A signed word: dimensions, where -1 means open. */
  getSigned(index: number): number {
    const high = this.halves[2 * index + 1]! | 0;
    return high * HALF_RANGE + this.halves[2 * index]!;
  }
}

/** Text for native code: UTF-8 (or UTF-16 for Windows paths), NUL-terminated. Keep it referenced while `address` is in use. */
export class NativeString {
  readonly address: number;
  readonly buffer: Buffer;

  constructor(text: string, encoding: 'utf8' | 'utf16le' = 'utf8') {
    const bytes = Buffer.from(text, encoding);
    // Slow: a buffer of its own, not a slice of the pool; two zero bytes end either encoding.
    this.buffer = Buffer.allocUnsafeSlow(bytes.length + 2).fill(0);
    bytes.copy(this.buffer);
    this.address = addressOf(this.buffer.buffer);
  }
}

const lastKept: unknown[] = [];

/** Keeps a value reachable up to this call: the compiler may drop a local after its last use, and native code does not count as one. */
export function keepUntilHere(value: unknown): void {
  lastKept[0] = value;
}
