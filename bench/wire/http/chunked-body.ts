/** @hotpath the chunks of a streamed answer: their sizes, and where their data lies in what was read (measured by response-parser.bench.ts) */

const LF = 10;
const CR = 13;
const SEMICOLON = 59;
const SPACE = 32;
const TAB = 9;

const SIZE = 0;
const EXTENSION = 1;
const DATA = 2;
const DATA_END = 3;
const TRAILER_START = 4;
const TRAILER = 5;
const DONE = 6;

/** Sizes stay exact numbers, and no chunk has as many. */
const MAX_SIZE = 2 ** 40;
/** Extensions and trailers together, of one answer: they mean nothing here. */
const MAX_IGNORED_BYTES = 64 * 1024;

/** Source: RFC 9112, section 7.1. Lines may end in LF alone. */
export class ChunkedBody {
  /** Data that the last `next` found: `bytes[dataFrom, dataEnd)`. */
  dataFrom = 0;
  dataEnd = 0;
  /** Why these are no chunks; '' as long as they are. */
  fault = '';
  #state = SIZE;
  #left = 0;
  #digits = 0;
  #ignored = 0;

  get isDone(): boolean {
    return this.#state === DONE;
  }

  begin(): void {
    this.fault = '';
    this.#ignored = 0;
    this.#beginChunk();
  }

  /** Reads up to the end of the next piece of data, of the body, or of the bytes; returns how far it came. */
  next(bytes: Buffer, from: number, to: number): number {
    this.dataFrom = 0;
    this.dataEnd = 0;
    for (let at = from; at < to; at++) {
      const byte = bytes[at]!;
      switch (this.#state) {
        case SIZE:
          this.#readSize(byte);
          break;
        case EXTENSION:
          if (byte === LF) this.#endSize();
          else this.#ignore();
          break;
        case DATA: {
          const end = this.#left < to - at ? at + this.#left : to;
          this.#left -= end - at;
          if (this.#left === 0) this.#state = DATA_END;
          this.dataFrom = at;
          this.dataEnd = end;
          return end;
        }
        case DATA_END:
          if (byte === LF) this.#beginChunk();
          else if (byte !== CR) this.fault = 'a chunk is longer than its size says';
          break;
        case TRAILER_START:
          if (byte === LF) {
            this.#state = DONE;
            return at + 1;
          }
          if (byte !== CR) this.#state = TRAILER;
          this.#ignore();
          break;
        default:
          if (byte === LF) this.#state = TRAILER_START;
          this.#ignore();
      }
      if (this.fault !== '') return at + 1;
    }
    return to;
  }

  #beginChunk(): void {
    this.#state = SIZE;
    this.#left = 0;
    this.#digits = 0;
  }

  #readSize(byte: number): void {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      this.#left = this.#left * 16 + digit;
      this.#digits++;
      if (this.#left > MAX_SIZE) this.fault = 'a chunk of more than 2^40 bytes';
      return;
    }
    if (this.#digits === 0 || (byte !== LF && byte !== CR && byte !== SEMICOLON && byte !== SPACE && byte !== TAB)) {
      this.fault = `expected the size of a chunk, got byte 0x${byte.toString(16).padStart(2, '0')}`;
    } else if (byte === LF) this.#endSize();
    else this.#state = EXTENSION;
  }

  #endSize(): void {
    this.#state = this.#left === 0 ? TRAILER_START : DATA;
  }

  #ignore(): void {
    if (++this.#ignored > MAX_IGNORED_BYTES) this.fault = `more than ${MAX_IGNORED_BYTES} bytes of chunk extensions and trailers`;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const letter = byte | 0x20;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}
