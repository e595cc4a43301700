import { PREFIX_BYTES } from './message-prefix.ts';

/** A message that is kept whole is no longer than this. */
const MAX_MESSAGE_BYTES = 512 * 1024 * 1024;

const EMPTY: Buffer = Buffer.alloc(0);

/** Cuts a stream's DATA into gRPC messages, and keeps as much of each as is asked for. One that lies in one piece is not copied. Source: gRPC over HTTP/2, "Length-Prefixed-Message". */
export class MessageReader {
  /** After `read`: a message ended there. */
  isWhole = false;
  /** Of the last message. */
  isCompressed = false;
  length = 0;
  /** Where the kept part of it lies; until the next `read`. */
  bytes: Buffer = EMPTY;
  start = 0;
  end = 0;
  #prefixBytes = 0;
  #left = 0;
  #kept: Buffer = EMPTY;
  #keptBytes = 0;
  /** Of the message at hand. */
  #keep = 0;

  /** Before the first message of another stream. */
  reset(): void {
    this.isWhole = false;
    this.#prefixBytes = 0;
    this.#left = 0;
  }

  /** Whether a message has begun and not ended. */
  get isInside(): boolean {
    return this.#prefixBytes > 0;
  }

  /** Reads on from `at`, up to the end of a message or of the bytes, and gives the offset behind. `keep`: of a message, from its beginning; 0: nothing is looked at. */
  read(bytes: Buffer, at: number, to: number, keep: number): number {
    this.isWhole = false;
    if (this.#prefixBytes === 0 && to - at >= PREFIX_BYTES) {
      this.isCompressed = bytes[at] !== 0;
      this.length = ((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) >>> 0;
      at += PREFIX_BYTES;
      if (this.length <= to - at) {
        this.bytes = bytes;
        this.start = at;
        this.end = at + Math.min(keep, this.length);
        this.isWhole = true;
        return at + this.length;
      }
      this.#prefixBytes = PREFIX_BYTES;
      this.#begin(keep);
    } else if (this.#prefixBytes < PREFIX_BYTES) {
      at = this.#readPrefix(bytes, at, to);
      if (this.#prefixBytes < PREFIX_BYTES) return at;
      this.#begin(keep);
    }
    const count = Math.min(this.#left, to - at);
    const kept = Math.min(count, this.#keep - this.#keptBytes);
    if (kept > 0) {
      bytes.copy(this.#kept, this.#keptBytes, at, at + kept);
      this.#keptBytes += kept;
    }
    this.#left -= count;
    if (this.#left === 0) {
      this.bytes = this.#kept;
      this.start = 0;
      this.end = this.#keptBytes;
      this.isWhole = true;
      this.#prefixBytes = 0;
    }
    return at + count;
  }

  #readPrefix(bytes: Buffer, at: number, to: number): number {
    while (this.#prefixBytes < PREFIX_BYTES && at < to) {
      const byte = bytes[at++]!;
      if (this.#prefixBytes === 0) this.isCompressed = byte !== 0;
      this.length = this.#prefixBytes <= 1 ? (this.#prefixBytes === 0 ? 0 : byte) : this.length * 256 + byte;
      this.#prefixBytes++;
    }
    return at;
  }

  #begin(keep: number): void {
    this.#left = this.length;
    this.#keptBytes = 0;
    this.#keep = Math.min(keep, this.length, MAX_MESSAGE_BYTES);
    if (this.#kept.length < this.#keep) this.#kept = Buffer.allocUnsafeSlow(this.#keep);
  }
}
