/** @hotpath takes the chunks of a host's socket apart into frames; over the socket transport every batch passes here, both ways */

import { FRAME_HEADER_BYTES, FrameError, maxPayloadBytes } from './messages.ts';

/** `payload` has an ArrayBuffer of its own and belongs to the receiver. */
export type FrameHandler = (kind: number, payload: Buffer) => void;

/**
 * Chunks in, whole frames out. A payload is allocated once, when its length is known and checked, and filled by one copy.
 */
export class FrameReader {
  readonly #onFrame: FrameHandler;
  readonly #header: Buffer = Buffer.alloc(FRAME_HEADER_BYTES);
  #headerFilled = 0;
  #payload: Buffer | null = null;
  #payloadFilled = 0;

  constructor(onFrame: FrameHandler) {
    this.#onFrame = onFrame;
  }

  /** True between the first byte of a frame and its last. */
  get isInFrame(): boolean {
    return this.#headerFilled > 0;
  }

  /** Throws FrameError when the bytes are not frames: the connection has lost its place and must end. */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#payload === null) {
        const wanted = FRAME_HEADER_BYTES - this.#headerFilled;
        const taken = Math.min(wanted, chunk.length - at);
        this.#header.set(chunk.subarray(at, at + taken), this.#headerFilled);
        this.#headerFilled += taken;
        at += taken;
        if (taken < wanted) return;
        this.#payload = this.#allocatePayload();
        this.#payloadFilled = 0;
      }
      const taken = Math.min(this.#payload.length - this.#payloadFilled, chunk.length - at);
      if (taken > 0) {
        this.#payload.set(chunk.subarray(at, at + taken), this.#payloadFilled);
        this.#payloadFilled += taken;
        at += taken;
      }
      if (this.#payloadFilled === this.#payload.length) {
        const payload = this.#payload;
        this.#payload = null;
        this.#headerFilled = 0;
        this.#onFrame(this.#header[4]!, payload);
      }
    }
  }

  #allocatePayload(): Buffer {
    const kind = this.#header[4]!;
    const length = this.#header.readUInt32LE(0) - 1;
    const max = maxPayloadBytes(kind);
    if (max < 0) throw new FrameError(`unknown frame kind ${kind}`);
    if (length < 0 || length > max) throw new FrameError(`a frame of kind ${kind} says ${length} bytes, at most ${max} are allowed`);
    return Buffer.allocUnsafeSlow(length);
  }
}
