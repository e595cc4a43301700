import type { FileHandle } from 'node:fs/promises';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';

/** Bytes that are read at a time, which bounds how long the loop is kept. */
const PIECE_BYTES = 256 * 1024;

/** The file ends before what it declares: its copy is not done, or was cut. */
export class TruncatedGguf extends InferenceError {
  constructor(message: string) {
    super('INVALID_ARGUMENT', message);
  }
}

/** Reads a file from its beginning on, some piece at a time; it never holds more than a piece. All numbers are little-endian. */
export class GgufCursor {
  readonly #file: FileHandle;
  readonly #limit: number;
  readonly byteLength: number;
  #buffer: Buffer = Buffer.alloc(0);
  /** Where the buffer begins in the file, and where the cursor stands in the buffer. */
  #start = 0;
  #at = 0;

  /** `limit`: no byte at or after it is read. */
  constructor(file: FileHandle, byteLength: number, limit: number) {
    this.#file = file;
    this.byteLength = byteLength;
    this.#limit = limit;
  }

  get position(): number {
    return this.#start + this.#at;
  }

  /** Bytes of the file behind the cursor. */
  get left(): number {
    return this.byteLength - this.position;
  }

  /** Whether so many bytes are at hand: if not, call {@link fill}. */
  has(count: number): boolean {
    return this.#at + count <= this.#buffer.length;
  }

  /** Makes `count` bytes, a piece at most, be at hand. Throws when the file, or what is read of it, ends before; `what` names them. */
  async fill(count: number, what: string): Promise<void> {
    if (this.has(count)) return;
    this.checkLeft(count, what);
    const start = this.position;
    const buffer = Buffer.allocUnsafe(Math.max(count, Math.min(PIECE_BYTES, this.byteLength - start)));
    let length = this.#buffer.copy(buffer, 0, this.#at);
    while (length < buffer.length) {
      const { bytesRead } = await this.#file.read(buffer, length, buffer.length - length, start + length);
      if (bytesRead === 0) {
        throw new TruncatedGguf(`has become shorter than the ${this.byteLength} bytes that it had when it was opened`);
      }
      length += bytesRead;
    }
    this.#buffer = buffer;
    this.#start = start;
    this.#at = 0;
  }

  checkLeft(count: number, what: string): void {
    if (count > this.left) {
      throw new TruncatedGguf(`ends at byte ${this.byteLength} in ${what}, which needs ${count} bytes from byte ${this.position} on`);
    }
    if (this.position + count > this.#limit) {
      throw invalidArgument(`${what}: expected a header of at most ${this.#limit} bytes, got one that goes on at byte ${this.#limit}`);
    }
  }

  skip(count: number, what: string): void {
    if (this.has(count)) {
      this.#at += count;
      return;
    }
    this.checkLeft(count, what);
    this.#start = this.position + count;
    this.#buffer = this.#buffer.subarray(0, 0);
    this.#at = 0;
  }

  /** The following take what {@link fill} has brought. */
  uint8(): number {
    return this.#buffer.readUInt8(this.#at++);
  }

  int8(): number {
    return this.#buffer.readInt8(this.#at++);
  }

  uint16(): number {
    this.#at += 2;
    return this.#buffer.readUInt16LE(this.#at - 2);
  }

  int16(): number {
    this.#at += 2;
    return this.#buffer.readInt16LE(this.#at - 2);
  }

  uint32(): number {
    this.#at += 4;
    return this.#buffer.readUInt32LE(this.#at - 4);
  }

  int32(): number {
    this.#at += 4;
    return this.#buffer.readInt32LE(this.#at - 4);
  }

  float32(): number {
    this.#at += 4;
    return this.#buffer.readFloatLE(this.#at - 4);
  }

  float64(): number {
    this.#at += 8;
    return this.#buffer.readDoubleLE(this.#at - 8);
  }

  /** Rounded above 2^53, where no caller's bound lies. */
  uint64(): number {
    this.#at += 8;
    return this.#buffer.readUInt32LE(this.#at - 8) + this.#buffer.readUInt32LE(this.#at - 4) * 0x1_0000_0000;
  }

  int64(): number {
    this.#at += 8;
    return this.#buffer.readUInt32LE(this.#at - 8) + this.#buffer.readInt32LE(this.#at - 4) * 0x1_0000_0000;
  }

  /** The bytes as characters, which is exact whatever they are. */
  latin1(length: number): string {
    this.#at += length;
    return this.#buffer.toString('latin1', this.#at - length, this.#at);
  }

  text(length: number): string {
    this.#at += length;
    return this.#buffer.toString('utf8', this.#at - length, this.#at);
  }
}
