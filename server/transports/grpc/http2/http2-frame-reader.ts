/** @hotpath cuts a connection's bytes, however they come, into HTTP/2 frames; no object per frame. Source: RFC 9113, section 4.1 (measured by grpc-transport.bench.ts) */

import {
  DATA,
  DEFAULT_FRAME_BYTES,
  FRAME_HEAD_BYTES,
  FRAME_SIZE_ERROR,
  PADDED,
  PROTOCOL_ERROR,
  uint32At,
} from '../../../../proto/http2-frames.ts';
import { Http2Fault } from './http2-fault.ts';

export interface FrameHandler {
  /** A DATA frame begins. `length`: of its payload, padding and all, which is what flow control counts. */
  onDataFrame(streamId: number, flags: number, length: number): void;
  /** Bytes of that frame, without padding; they are not collected, so that a frame that comes in pieces is several calls, and an empty one none. */
  onDataBytes(bytes: Buffer, from: number, to: number): void;
  /** That frame has been read. */
  onDataEnd(flags: number): void;
  /** A frame of another kind, whole. The bytes are used again after the call. */
  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, from: number, to: number): void;
}

export class FrameReader {
  readonly #handler: FrameHandler;
  /** The beginning of a frame's head that was cut. */
  readonly #head: Buffer = Buffer.alloc(FRAME_HEAD_BYTES);
  #headBytes = 0;
  /** Of a frame that was cut, other than DATA; null until there is one. */
  #payload: Buffer | null = null;
  #payloadBytes = 0;
  /** Bytes of the frame at hand that are still to come, without its padding. */
  #left = 0;
  #isInFrame = false;
  /** The padding of the DATA frame at hand; -1: its length is the next byte. */
  #padding = 0;
  #type = 0;
  #flags = 0;
  #streamId = 0;
  #isStopped = false;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** No more frames are handed over, of the bytes at hand neither. */
  stop(): void {
    this.#isStopped = true;
    this.#payload = null;
  }

  /** Throws Http2Fault, and what the handler throws. */
  read(bytes: Buffer, from: number): void {
    const { length } = bytes;
    let at = from;
    while (!this.#isStopped) {
      if (this.#isInFrame) {
        at = this.#type === DATA ? this.#readData(bytes, at) : this.#readPayload(bytes, at);
        if (this.#isInFrame) return;
      } else if (this.#headBytes === 0 && length - at >= FRAME_HEAD_BYTES) {
        this.#readHead(bytes, at);
        at += FRAME_HEAD_BYTES;
      } else {
        const count = Math.min(FRAME_HEAD_BYTES - this.#headBytes, length - at);
        bytes.copy(this.#head, this.#headBytes, at, at + count);
        this.#headBytes += count;
        at += count;
        if (this.#headBytes < FRAME_HEAD_BYTES) return;
        this.#headBytes = 0;
        this.#readHead(this.#head, 0);
      }
    }
  }

  #readHead(head: Buffer, at: number): void {
    const length = (head[at]! << 16) | (head[at + 1]! << 8) | head[at + 2]!;
    if (length > DEFAULT_FRAME_BYTES) {
      throw new Http2Fault(FRAME_SIZE_ERROR, `a frame of ${length} bytes, where at most ${DEFAULT_FRAME_BYTES} are allowed`);
    }
    this.#type = head[at + 3]!;
    this.#flags = head[at + 4]!;
    this.#streamId = uint32At(head, at + 5) & 0x7fff_ffff;
    this.#left = length;
    this.#isInFrame = true;
    if (this.#type !== DATA) return;
    this.#padding = (this.#flags & PADDED) === 0 ? 0 : -1;
    this.#handler.onDataFrame(this.#streamId, this.#flags, length);
  }

  #readData(bytes: Buffer, from: number): number {
    let at = from;
    if (this.#padding < 0) {
      if (this.#left === 0) throw new Http2Fault(FRAME_SIZE_ERROR, 'a padded DATA frame without the length of its padding');
      if (at === bytes.length) return at;
      this.#padding = bytes[at]!;
      at += 1;
      this.#left -= 1 + this.#padding;
      if (this.#left < 0) throw new Http2Fault(PROTOCOL_ERROR, 'a DATA frame with more padding than bytes');
    }
    if (this.#left > 0) {
      const end = Math.min(bytes.length, at + this.#left);
      if (end === at) return at;
      this.#left -= end - at;
      this.#handler.onDataBytes(bytes, at, end);
      at = end;
      if (this.#left > 0 || this.#isStopped) return at;
    }
    if (this.#padding > 0) {
      const count = Math.min(this.#padding, bytes.length - at);
      this.#padding -= count;
      at += count;
      if (this.#padding > 0) return at;
    }
    this.#isInFrame = false;
    this.#handler.onDataEnd(this.#flags);
    return at;
  }

  #readPayload(bytes: Buffer, at: number): number {
    const left = this.#left;
    if (this.#payloadBytes === 0 && bytes.length - at >= left) {
      this.#isInFrame = false;
      this.#handler.onFrame(this.#type, this.#flags, this.#streamId, bytes, at, at + left);
      return at + left;
    }
    const count = Math.min(left, bytes.length - at);
    this.#payload ??= Buffer.allocUnsafeSlow(DEFAULT_FRAME_BYTES);
    bytes.copy(this.#payload, this.#payloadBytes, at, at + count);
    this.#payloadBytes += count;
    this.#left -= count;
    if (this.#left > 0) return at + count;
    const length = this.#payloadBytes;
    this.#payloadBytes = 0;
    this.#isInFrame = false;
    this.#handler.onFrame(this.#type, this.#flags, this.#streamId, this.#payload, 0, length);
    return at + count;
  }
}
