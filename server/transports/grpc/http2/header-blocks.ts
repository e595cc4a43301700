/** @hotpath the header blocks of a connection's requests: a client's calls of one method begin with the same bytes again and again (measured by grpc-transport.bench.ts) */

import { HeaderDecoder } from '../../../../proto/hpack/header-decoder.ts';
import { DEFAULT_TABLE_BYTES } from '../../../../proto/http2-frames.ts';
import { type HeaderBounds, RequestHeaders } from './request-headers.ts';

const KEPT = 4;
/** A longer block is decoded each time. */
const MAX_KEPT_BYTES = 1024;

interface KeptBlock {
  readonly bytes: Buffer;
  /** Of the decoder's table. */
  readonly version: number;
  readonly headers: RequestHeaders;
}

export class HeaderBlocks {
  readonly #decoder: HeaderDecoder = new HeaderDecoder(DEFAULT_TABLE_BYTES);
  readonly #bounds: HeaderBounds;
  readonly #kept: KeptBlock[] = [];
  #next = 0;

  constructor(bounds: HeaderBounds) {
    this.#bounds = bounds;
  }

  /** Throws HpackFault. */
  decode(block: Buffer, from: number, to: number): RequestHeaders {
    const { version } = this.#decoder;
    const kept = this.#find(block, from, to - from, version);
    if (kept !== null) return kept;
    const headers = new RequestHeaders(this.#bounds, false);
    this.#decoder.decode(block, from, to, headers);
    headers.finish();
    // One that changed the table would change it again, and has to be decoded to do so.
    if (to - from <= MAX_KEPT_BYTES && this.#decoder.version === version) {
      this.#kept[this.#next] = { bytes: Buffer.from(block.subarray(from, to)), version, headers };
      this.#next = (this.#next + 1) % KEPT;
    }
    return headers;
  }

  /** False: they are no trailers. Throws HpackFault. */
  checkTrailers(block: Buffer, from: number, to: number): boolean {
    const trailers = new RequestHeaders(this.#bounds, true);
    this.#decoder.decode(block, from, to, trailers);
    return !trailers.isMalformed && !trailers.isTooLarge;
  }

  #find(block: Buffer, from: number, length: number, version: number): RequestHeaders | null {
    for (let i = 0; i < this.#kept.length; i++) {
      const kept = this.#kept[i]!;
      if (kept.version === version && kept.bytes.length === length && isSame(kept.bytes, block, from)) return kept.headers;
    }
    return null;
  }
}

/** From behind: blocks that differ do so in their last fields. */
function isSame(bytes: Buffer, block: Buffer, from: number): boolean {
  for (let i = bytes.length - 1; i >= 0; i--) if (bytes[i] !== block[from + i]) return false;
  return true;
}
