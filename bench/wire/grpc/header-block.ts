import { CONTINUATION, END_HEADERS, HAS_PRIORITY, HEADERS, PADDED } from '../../../proto/http2-frames.ts';
import { ProtocolFault } from './protocol-fault.ts';

/** All fragments of a header block. */
const MAX_BLOCK_BYTES = 64 * 1024;
const EMPTY: Buffer = Buffer.alloc(0);

/** Puts header blocks together, of which nearly all are one frame. Source: RFC 9113, sections 6.2 and 6.10. */
export class HeaderBlock {
  /** After a frame that ended a block: its stream, the flags of its HEADERS, and where it lies. */
  streamId = 0;
  flags = 0;
  bytes: Buffer = EMPTY;
  start = 0;
  end = 0;
  #isInside = false;
  #fragments: Buffer[] = [];
  #count = 0;

  /** To be asked before any frame is looked at. Throws ProtocolFault for one that cuts a header block in two, and for a continuation of none. */
  check(type: number, streamId: number): void {
    if (this.#isInside) {
      if (type !== CONTINUATION || streamId !== this.streamId) throw new ProtocolFault('another frame within a header block');
    } else if (type === CONTINUATION) {
      throw new ProtocolFault('a CONTINUATION frame without a header block before it');
    }
  }

  /** Takes the payload of a HEADERS or CONTINUATION frame; true: the block is complete. Throws ProtocolFault. */
  take(type: number, flags: number, streamId: number, bytes: Buffer, from: number, to: number): boolean {
    if (type === HEADERS) {
      this.streamId = streamId;
      this.flags = flags;
      if ((flags & PADDED) !== 0) {
        to -= bytes[from]!;
        from++;
      }
      if ((flags & HAS_PRIORITY) !== 0) from += 5;
      if (from > to) throw new ProtocolFault('a HEADERS frame with more padding than bytes');
      if ((flags & END_HEADERS) !== 0) {
        this.#setBlock(bytes, from, to);
        return true;
      }
    }
    this.#isInside = true;
    this.#count += to - from;
    if (this.#count > MAX_BLOCK_BYTES) throw new ProtocolFault(`headers of more than ${MAX_BLOCK_BYTES} bytes`);
    // An empty one adds nothing, however many come.
    if (to > from) this.#fragments.push(Buffer.from(bytes.subarray(from, to)));
    if ((flags & END_HEADERS) === 0) return false;
    const block = Buffer.concat(this.#fragments);
    this.#isInside = false;
    this.#fragments = [];
    this.#count = 0;
    this.#setBlock(block, 0, block.length);
    return true;
  }

  #setBlock(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
  }
}
