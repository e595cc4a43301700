/** A client for tests that sends exactly the bytes it is told to, well-formed or not. */

import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface RawHttpResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

export class RawHttpConnection {
  readonly socket: Socket;
  isClosed = false;
  /** All bytes received. */
  receivedBytes = 0;
  #buffer: Buffer = Buffer.alloc(0);
  #wake: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.receivedBytes += chunk.length;
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      this.#notify();
    });
    // A reset is a way of closing; `close` follows.
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isClosed = true;
      this.#notify();
    });
  }

  static open(port: number, tls: { ca: Buffer; cert?: Buffer; key?: Buffer } | null = null): Promise<RawHttpConnection> {
    return new Promise((resolve, reject) => {
      const socket =
        tls === null
          ? connect({ port, host: '127.0.0.1', noDelay: true })
          : connectTls({ port, host: '127.0.0.1', servername: 'localhost', ...tls });
      const connection = new RawHttpConnection(socket);
      socket.once(tls === null ? 'connect' : 'secureConnect', () => resolve(connection));
      socket.once('error', reject);
    });
  }

  write(data: string | Buffer): void {
    if (!this.socket.destroyed) this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
  }

  /** The next response; null when the connection closes before it is complete. One without Content-Length lasts until the close. */
  async next(isHead = false): Promise<RawHttpResponse | null> {
    for (;;) {
      const response = this.#parse(isHead);
      if (response !== null) return response;
      if (this.isClosed) return null;
      await this.#change();
    }
  }

  /** Resolves when the connection is closed. */
  async closed(): Promise<void> {
    while (!this.isClosed) await this.#change();
  }

  destroy(): void {
    this.socket.destroy();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const resolve of waiting) resolve();
  }

  #parse(isHead: boolean): RawHttpResponse | null {
    const end = this.#buffer.indexOf('\r\n\r\n');
    if (end < 0) return null;
    const lines = this.#buffer.toString('latin1', 0, end).split('\r\n');
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(lines[0]!)?.[1]);
    const headers = new Map<string, string>();
    for (const line of lines.slice(1))
      headers.set(line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim());
    const length = headers.get('content-length');
    const isBodiless = isHead || status < 200 || status === 204;
    if (length === undefined && !isBodiless && !this.isClosed) return null;
    const start = end + 4;
    const stop = isBodiless ? start : length === undefined ? this.#buffer.length : start + Number(length);
    if (this.#buffer.length < stop) return null;
    const body = this.#buffer.subarray(start, stop);
    this.#buffer = this.#buffer.subarray(stop);
    return { status, headers, body };
  }
}
