import { DATA, DEFAULT_FRAME_BYTES, END_STREAM, FRAME_HEAD_BYTES, PADDED, uint32At } from '../../../proto/http2-frames.ts';
import { ProtocolFault } from './protocol-fault.ts';

export interface FrameHandler {
  /** Bytes of a DATA frame without padding, which is not collected: a frame that comes in pieces is several calls. `isEnd`: the stream's last bytes, which may be none. */
  onData(streamId: number, bytes: Buffer, from: number, to: number, isEnd: boolean): void;
  /** A frame of another kind, or a padded one, as a whole. The bytes are used again after the call. */
  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, from: number, to: number): void;
}

/** "HTTP" where a frame's head should be: an answer of HTTP/1.1. */
const HTTP1 = 0x48545450;

/** Cuts a connection's bytes, however they come, into HTTP/2 frames. Source: RFC 9113, section 4.1. */
export class FrameReader {
  readonly #handler: FrameHandler;
  /** The beginning of a frame's head that was cut. */
  readonly #head: Buffer = Buffer.alloc(FRAME_HEAD_BYTES);
  #headBytes = 0;
  /** Of a frame that was cut, other than DATA. */
  readonly #payload: Buffer = Buffer.allocUnsafeSlow(DEFAULT_FRAME_BYTES);
  #payloadBytes = 0;
  /** Bytes of the frame at hand that are still to come. */
  #left = 0;
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
  }

  /** `bytes[0, length)` are new. Throws ProtocolFault for what is no HTTP/2, and what the handler throws. */
  read(bytes: Buffer, length: number): void {
    let at = 0;
    while (at < length && !this.#isStopped) {
      if (this.#left > 0) {
        at = this.#readPayload(bytes, at, length);
      } else if (this.#headBytes === 0 && length - at >= FRAME_HEAD_BYTES) {
        at = this.#readFrame(bytes, at, at + FRAME_HEAD_BYTES, bytes, length);
      } else {
        const count = Math.min(FRAME_HEAD_BYTES - this.#headBytes, length - at);
        bytes.copy(this.#head, this.#headBytes, at, at + count);
        this.#headBytes += count;
        at += count;
        if (this.#headBytes < FRAME_HEAD_BYTES) return;
        this.#headBytes = 0;
        at = this.#readFrame(this.#head, 0, at, bytes, length);
      }
    }
  }

  /** The frame whose head lies at `head[headAt]` and whose payload begins at `bytes[at]`; gives the offset behind what was read. */
  #readFrame(head: Buffer, headAt: number, at: number, bytes: Buffer, length: number): number {
    const size = (head[headAt]! << 16) | (head[headAt + 1]! << 8) | head[headAt + 2]!;
    const type = head[headAt + 3]!;
    const flags = head[headAt + 4]!;
    const streamId = uint32At(head, headAt + 5) & 0x7fff_ffff;
    if (size > DEFAULT_FRAME_BYTES) {
      throw new ProtocolFault(
        uint32At(head, headAt) === HTTP1
          ? 'the server answers in HTTP/1.1: is this its gRPC port?'
          : `a frame of ${size} bytes, where HTTP/2 allows ${DEFAULT_FRAME_BYTES}: is this a gRPC port?`,
      );
    }
    const available = length - at;
    if (type === DATA && (flags & PADDED) === 0) {
      const isWhole = size <= available;
      const end = isWhole ? at + size : length;
      if (isWhole || available > 0) this.#handler.onData(streamId, bytes, at, end, isWhole && (flags & END_STREAM) !== 0);
      this.#keep(type, flags, streamId, size - (end - at));
      return end;
    }
    if (size <= available) {
      this.#handler.onFrame(type, flags, streamId, bytes, at, at + size);
      return at + size;
    }
    this.#keep(type, flags, streamId, size);
    this.#payloadBytes = 0;
    return at;
  }

  #keep(type: number, flags: number, streamId: number, left: number): void {
    this.#type = type;
    this.#flags = flags;
    this.#streamId = streamId;
    this.#left = left;
  }

  #readPayload(bytes: Buffer, at: number, length: number): number {
    const count = Math.min(this.#left, length - at);
    this.#left -= count;
    const isWhole = this.#left === 0;
    if (this.#type === DATA && (this.#flags & PADDED) === 0) {
      this.#handler.onData(this.#streamId, bytes, at, at + count, isWhole && (this.#flags & END_STREAM) !== 0);
      return at + count;
    }
    bytes.copy(this.#payload, this.#payloadBytes, at, at + count);
    this.#payloadBytes += count;
    if (isWhole) this.#handler.onFrame(this.#type, this.#flags, this.#streamId, this.#payload, 0, this.#payloadBytes);
    return at + count;
  }
}
