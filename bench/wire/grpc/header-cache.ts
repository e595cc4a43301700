import type { AnswerHeaders } from './answer-headers.ts';
import { decodeAnswerHeaders } from './header-decoder.ts';

const ENTRIES = 8;
/** A longer block is decoded each time. */
const MAX_BLOCK_BYTES = 512;

interface Entry {
  readonly block: Buffer;
  readonly headers: AnswerHeaders;
  /** It was found since the hand last came by. */
  wasFound: boolean;
}

/**
 * The last few header blocks of a server: nearly all answers have one of two, those of an answer that begins and those of one that ends well. Without a dynamic table a block that is the
 * same byte for byte means the same.
 */
export class HeaderCache {
  readonly #entries: Entry[] = [];
  #hand = 0;

  /** Throws ProtocolFault. */
  decode(bytes: Buffer, from: number, to: number): AnswerHeaders {
    const length = to - from;
    for (let i = 0; i < this.#entries.length; i++) {
      const entry = this.#entries[i]!;
      if (entry.block.length === length && isEqual(entry.block, bytes, from)) {
        entry.wasFound = true;
        return entry.headers;
      }
    }
    const headers = decodeAnswerHeaders(bytes, from, to);
    if (length <= MAX_BLOCK_BYTES) this.#keep({ block: Buffer.from(bytes.subarray(from, to)), headers, wasFound: false });
    return headers;
  }

  /** In the place of one that was not found for a while: blocks with a number in them, each different, do not drive out those that come again. */
  #keep(entry: Entry): void {
    if (this.#entries.length < ENTRIES) {
      this.#entries.push(entry);
      return;
    }
    for (;;) {
      const old = this.#entries[this.#hand]!;
      if (!old.wasFound) break;
      old.wasFound = false;
      this.#hand = (this.#hand + 1) % ENTRIES;
    }
    this.#entries[this.#hand] = entry;
    this.#hand = (this.#hand + 1) % ENTRIES;
  }
}

/** From behind: blocks that differ do so in their last field. */
function isEqual(block: Buffer, bytes: Buffer, from: number): boolean {
  for (let i = block.length - 1; i >= 0; i--) if (block[i] !== bytes[from + i]) return false;
  return true;
}
