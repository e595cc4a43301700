/** HTTP/2 frames written by hand, for tests of what no HTTP/2 library would send. */

import { connect, type Socket } from 'node:net';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;
export const END_STREAM = 1;
export const END_HEADERS = 4;

/** Literal header fields, without indexing or Huffman coding; names and values of fewer than 127 bytes. */
export function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(
    Object.entries(headers).flatMap(([name, value]) => [
      Buffer.from([0, name.length]),
      Buffer.from(name),
      Buffer.from([value.length]),
      Buffer.from(value),
    ]),
  );
}

export const CALL_HEADERS: Readonly<Record<string, string>> = {
  ':method': 'POST',
  ':scheme': 'http',
  ':path': '/test.Test/Echo',
  ':authority': 'localhost',
  'content-type': 'application/grpc',
  te: 'trailers',
};

export class RawHttp2Connection {
  /** Whoever closed it. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #pieces: Buffer[] = [];
  #onData: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => {});
    socket.on('data', (piece) => {
      this.#pieces.push(piece);
      this.#onData();
    });
    this.closed = new Promise((resolve) => socket.on('close', () => resolve()));
  }

  static open(port: number): Promise<RawHttp2Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('error', reject);
      socket.once('connect', () => resolve(new RawHttp2Connection(socket)));
    });
  }

  /** The client's preface and empty SETTINGS. */
  start(): void {
    this.#socket.write(PREFACE);
    this.frame(SETTINGS, 0, 0, Buffer.alloc(0));
  }

  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    if (this.#socket.destroyed) return;
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(streamId, 5);
    this.#socket.write(Buffer.concat([head, payload]));
  }

  /** Bytes as they are. */
  write(bytes: Uint8Array): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }

  /** Whether a frame of this type has come. */
  received(type: number): boolean {
    const bytes = Buffer.concat(this.#pieces);
    for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) if (bytes[at + 3] === type) return true;
    return false;
  }

  /** Resolves when one has. */
  async until(type: number): Promise<void> {
    while (!this.received(type)) await new Promise<void>((resolve) => (this.#onData = resolve));
  }

  /** Takes nothing more off the socket, until `resume`. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
