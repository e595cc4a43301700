/** @hotpath header blocks out of HEADERS and CONTINUATION frames. Source: RFC 9113, sections 6.2 and 6.10 (measured by grpc-transport.bench.ts) */

import { END_HEADERS, ENHANCE_YOUR_CALM, HAS_PRIORITY, PADDED, PROTOCOL_ERROR, uint32At } from '../../../../proto/http2-frames.ts';
import { Http2Fault } from './http2-fault.ts';

/** A client that sends more CONTINUATION frames for one header block sends nothing else (CVE-2024-27316). */
const MAX_CONTINUATIONS = 64;

export interface BlockHandler {
  /** A whole block; `flags` are those of its HEADERS frame. */
  onBlock(streamId: number, flags: number, bytes: Buffer, from: number, to: number): void;
}

export class BlockAssembly {
  /** Of the block that is not complete; 0: there is none. */
  streamId = 0;
  readonly #handler: BlockHandler;
  readonly #maxBytes: number;
  #flags = 0;
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(handler: BlockHandler, maxBytes: number) {
    this.#handler = handler;
    this.#maxBytes = maxBytes;
  }

  clear(): void {
    this.#pieces = [];
  }

  /** A HEADERS frame. Throws Http2Fault, and what the handler throws. */
  headers(streamId: number, flags: number, bytes: Buffer, start: number, end: number): void {
    let from = start;
    let to = end;
    if ((flags & PADDED) !== 0) {
      to -= from < to ? bytes[from]! : 1;
      from += 1;
    }
    if ((flags & HAS_PRIORITY) !== 0) {
      if (from + 4 <= to) checkPriority(streamId, bytes, from);
      from += 5;
    }
    if (from > to) throw new Http2Fault(PROTOCOL_ERROR, 'a HEADERS frame with more padding than bytes');
    if ((flags & END_HEADERS) !== 0) {
      this.#handler.onBlock(streamId, flags, bytes, from, to);
      return;
    }
    this.streamId = streamId;
    this.#flags = flags;
    this.#pieces.push(Buffer.from(bytes.subarray(from, to)));
    this.#bytes = to - from;
  }

  /** A CONTINUATION frame of the block at hand. Throws Http2Fault, and what the handler throws. */
  continuation(flags: number, bytes: Buffer, from: number, to: number): void {
    this.#bytes += to - from;
    if (this.#pieces.length > MAX_CONTINUATIONS || this.#bytes > this.#maxBytes) {
      throw new Http2Fault(ENHANCE_YOUR_CALM, `a header block of ${this.#bytes} bytes in ${this.#pieces.length + 1} frames`);
    }
    this.#pieces.push(Buffer.from(bytes.subarray(from, to)));
    if ((flags & END_HEADERS) === 0) return;
    const block = Buffer.concat(this.#pieces);
    const { streamId } = this;
    this.#pieces = [];
    this.streamId = 0;
    this.#handler.onBlock(streamId, this.#flags, block, 0, block.length);
  }
}

/** Priorities mean nothing here; one that no client means is an error all the same. Throws Http2Fault. */
export function checkPriority(streamId: number, bytes: Buffer, from: number): void {
  if ((uint32At(bytes, from) & 0x7fff_ffff) === streamId) throw new Http2Fault(PROTOCOL_ERROR, 'a stream that depends on itself');
}
