/** A WebSocket client for tests that sends exactly the frames it is told to, well-formed or not. */

import { connect, type Socket } from 'node:net';

export const SAMPLE_KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

/** A handshake's request. `changes` replace or add headers; null takes one away. */
export function handshake(path: string, changes: Readonly<Record<string, string | null>> = {}, line = `GET ${path} HTTP/1.1`): string {
  const headers: Record<string, string | null> = {
    Host: 'a:80',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': SAMPLE_KEY,
    'Sec-WebSocket-Version': '13',
    ...changes,
  };
  const lines = Object.entries(headers).filter(([, value]) => value !== null);
  return `${line}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
}

export interface RawFrame {
  /** FIN, reserved bits and opcode. */
  readonly first: number;
  readonly payload: Buffer;
}

interface FrameChanges {
  readonly isMasked?: boolean;
  /** The length that the header claims. */
  readonly claims?: bigint;
}

/** A frame of a client; `first` is its first byte. */
export function frame(first: number, payload: string | Buffer = '', { isMasked = true, claims }: FrameChanges = {}): Buffer {
  const bytes = Buffer.from(payload);
  const length = claims ?? BigInt(bytes.length);
  const head = [first];
  const mask = isMasked ? 0x80 : 0;
  if (length < 126n) head.push(mask | Number(length));
  else if (length < 65_536n) head.push(mask | 126, Number(length >> 8n), Number(length & 255n));
  else {
    head.push(mask | 127);
    for (let shift = 56n; shift >= 0n; shift -= 8n) head.push(Number((length >> shift) & 255n));
  }
  if (!isMasked) return Buffer.concat([Buffer.from(head), bytes]);
  const key = [0x37, 0xfa, 0x21, 0x3d];
  return Buffer.concat([Buffer.from(head), Buffer.from(key), Buffer.from(bytes.map((byte, index) => byte ^ key[index & 3]!))]);
}

export class RawWebSocket {
  readonly socket: Socket;
  isClosed = false;
  receivedBytes = 0;
  /** The head of the answer to the handshake, when it is in. */
  head = '';
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

  /** Connects and shakes hands; throws with the answer when that is not 101. */
  static async open(port: number, path: string, changes: Readonly<Record<string, string | null>> = {}): Promise<RawWebSocket> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    const client = new RawWebSocket(socket);
    client.write(handshake(path, changes));
    for (;;) {
      const end = client.#buffer.indexOf('\r\n\r\n');
      if (end >= 0) {
        client.head = client.#buffer.toString('latin1', 0, end);
        client.#buffer = client.#buffer.subarray(end + 4);
        if (client.head.startsWith('HTTP/1.1 101 ')) return client;
      }
      if (end >= 0 || client.isClosed) {
        socket.destroy();
        throw new Error(client.head || 'closed');
      }
      await client.#change();
    }
  }

  write(...frames: (string | Buffer)[]): void {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(frames.map((data) => Buffer.from(data as string))));
  }

  /** The next frame; null when the connection closes before it is complete. */
  async next(): Promise<RawFrame | null> {
    for (;;) {
      const next = this.#parse();
      if (next !== null) return next;
      if (this.isClosed) return null;
      await this.#change();
    }
  }

  /** The code of the close frame that comes, whatever else comes before it; null when the connection closes without one. */
  async closeCode(): Promise<number | null> {
    for (;;) {
      const next = await this.next();
      if (next === null) return null;
      if (next.first === 0x88) return next.payload.length === 0 ? 1005 : next.payload.readUInt16BE(0);
    }
  }

  async closed(): Promise<void> {
    while (!this.isClosed) await this.#change();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const resolve of waiting) resolve();
  }

  #parse(): RawFrame | null {
    const buffer = this.#buffer;
    if (buffer.length < 2) return null;
    const short = buffer[1]!;
    const start = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (buffer.length < start) return null;
    const length = short < 126 ? short : short === 126 ? buffer.readUInt16BE(2) : Number(buffer.readBigUInt64BE(2));
    if (buffer.length < start + length) return null;
    this.#buffer = buffer.subarray(start + length);
    return { first: buffer[0]!, payload: buffer.subarray(start, start + length) };
  }
}
