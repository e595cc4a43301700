/** An HTTP/2 connection under test, without a network: bytes go in and frames come out. */

import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { FRAME_HEAD_BYTES, PREFACE, putFrameHead, SETTINGS } from '../../../../proto/http2-frames.ts';
import { OutputBlocks } from './connection-output.ts';
import { encodeHeaderBlock } from './header-block.ts';
import { Http2Connection, type Http2Listener } from './http2-connection.ts';
import { type FrameHandler, FrameReader } from './http2-frame-reader.ts';
import type { Http2Stream, StreamHandler } from './http2-stream.ts';
import type { Http2Limits } from './http2-streams.ts';

export const LIMITS: Http2Limits = {
  maxHeaderListBytes: 16 * 1024,
  maxHeaderFields: 128,
  streamWindowBytes: 100_000,
  connectionWindowBytes: 200_000,
  maxStreams: 50,
};
export const REQUEST_BLOCK: Buffer = encodeHeaderBlock({ ':method': 'POST', ':scheme': 'http', ':path': '/', te: 'trailers' });
const HEAD: Buffer = encodeHeaderBlock({ ':status': '200' });
const END: Buffer = encodeHeaderBlock({ 'grpc-status': '0' });

export interface SentFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  /** Of DATA its length alone. */
  readonly payload: Buffer | number;
}

export function frameBytes(type: number, flags: number, streamId: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  putFrameHead(head, 0, payload.length, type, flags, streamId);
  return Buffer.concat([head, payload]);
}

export function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Answers each request with its body, or leaves it open. */
export class EchoHandler implements StreamHandler {
  closed = 0;
  isEnded = false;
  readonly stream: Http2Stream;
  readonly #answers: boolean;
  readonly #body: Buffer[] = [];

  constructor(stream: Http2Stream, answers: boolean) {
    this.stream = stream;
    this.#answers = answers;
  }

  onData(chunk: Buffer, from: number, to: number): void {
    this.#body.push(chunk.subarray(from, to));
    this.stream.returnWindow();
  }

  onRequestEnd(): void {
    this.isEnded = true;
    if (this.#answers) this.stream.sendAnswer(HEAD, 0, Buffer.concat(this.#body), END);
  }

  onDrain(): void {}

  onClose(): void {
    this.closed += 1;
  }
}

export class Http2Fixture implements Http2Listener, FrameHandler {
  readonly connection: Http2Connection;
  readonly requests: EchoHandler[] = [];
  readonly faults: unknown[] = [];
  readonly sent: SentFrame[] = [];
  isClosed = false;
  readonly #socket: Duplex & { destroySoon?: () => void; bytesRead?: number };
  readonly #reader: FrameReader = new FrameReader(this);
  readonly #answers: boolean;

  constructor(answers = true) {
    this.#answers = answers;
    this.#socket = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => {
        this.#reader.read(Buffer.from(chunk), 0);
        done();
      },
    });
    this.#socket.destroySoon = () => void this.#socket.destroy();
    this.connection = new Http2Connection(this.#socket as unknown as Socket, LIMITS, new OutputBlocks(), this);
  }

  /** As it comes from the network. */
  receive(...pieces: Uint8Array[]): void {
    this.#socket.emit('data', Buffer.concat(pieces));
  }

  /** Preface and SETTINGS; with what the settings say. */
  start(settings: Uint8Array = Buffer.alloc(0)): void {
    this.receive(PREFACE, frameBytes(SETTINGS, 0, 0, settings));
  }

  /** What was written is read. */
  settle(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** `type` of the frames sent that are of this one. */
  ofType(type: number): SentFrame[] {
    return this.sent.filter((frame) => frame.type === type);
  }

  onReady(): void {}
  onPong(): void {}

  onRequest(stream: Http2Stream): void {
    const handler = new EchoHandler(stream, this.#answers);
    stream.handler = handler;
    this.requests.push(handler);
  }

  onClosed(): void {
    this.isClosed = true;
  }

  onFault(error: unknown): void {
    this.faults.push(error);
  }

  onDataFrame(streamId: number, flags: number, length: number): void {
    this.sent.push({ type: 0, flags, streamId, payload: length });
  }

  onDataBytes(): void {}
  onDataEnd(): void {}

  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, from: number, to: number): void {
    this.sent.push({ type, flags, streamId, payload: Buffer.from(bytes.subarray(from, to)) });
  }
}
