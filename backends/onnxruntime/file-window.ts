import type { FileHandle } from 'node:fs/promises';

/** Read at once when going on; a step of this size or less is read over. */
const WINDOW_BYTES = 65_536;
/** Read at once after a long step: headers, and then most likely another step. */
const PIECE_BYTES = 4_096;

/** A window on a file, moved by {@link load}; what lies in it is read without waiting. Memory: {@link WINDOW_BYTES}. */
export class FileWindow {
  readonly #file: FileHandle;
  readonly #byteLength: number;
  readonly #bytes: Buffer = Buffer.allocUnsafe(WINDOW_BYTES);
  #start = 0;
  #stop = 0;
  /** The byte after the varint that was read last. */
  next = 0;

  constructor(file: FileHandle, byteLength: number) {
    this.#file = file;
    this.#byteLength = byteLength;
  }

  /** Whether the bytes from `at` on, `count` or as many as the file has, are in the window. */
  has(at: number, count: number): boolean {
    return at >= this.#start && Math.min(at + count, this.#byteLength) <= this.#stop;
  }

  /** Moves the window to `at`. False when the file no longer has the bytes that it had. `count`: at most {@link PIECE_BYTES}. */
  async load(at: number, count: number): Promise<boolean> {
    if (this.has(at, count)) return true;
    const wanted = Math.min(at - this.#stop > WINDOW_BYTES ? PIECE_BYTES : WINDOW_BYTES, this.#byteLength - at);
    this.#start = at;
    this.#stop = at;
    while (this.#stop < at + wanted) {
      const { bytesRead } = await this.#file.read(this.#bytes, this.#stop - at, at + wanted - this.#stop, this.#stop);
      if (bytesRead === 0) return this.has(at, count);
      this.#stop += bytesRead;
    }
    return this.has(at, count);
  }

  /** Reads a varint that ends before `end`, and moves {@link next} behind it. NaN: cut, or longer than ten bytes. Above 2^53 the value is rounded. */
  varint(at: number, end: number): number {
    const limit = Math.min(end, this.#stop, at + 10);
    let value = 0;
    let factor = 1;
    for (let i = at; i < limit; i++) {
      const byte = this.#bytes[i - this.#start]!;
      if (byte < 0x80) {
        this.next = i + 1;
        return value + byte * factor;
      }
      value += (byte & 0x7f) * factor;
      factor *= 128;
    }
    return Number.NaN;
  }

  text(at: number, length: number): string {
    return this.#bytes.toString('utf8', at - this.#start, at - this.#start + length);
  }
}
