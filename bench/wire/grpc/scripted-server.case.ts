/** A server whose HTTP/2 is written by hand, frame by frame: for what no library would send. */

import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { DATA, END_HEADERS, END_STREAM, HEADERS, putFrameHead, SETTINGS } from '../../../proto/http2-frames.ts';
import { until } from '../../../server/e2e/serve.ts';
import { FrameReader } from './frame-reader.ts';
import { frameMessage } from './message-prefix.ts';

const PREFACE_BYTES = 24;

export interface SeenFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

export class ScriptedServer {
  readonly port: number;
  readonly frames: SeenFrame[] = [];
  readonly #server: Server;
  #socket: Socket | null = null;

  private constructor(server: Server, settings: readonly (readonly [number, number])[] | null) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (socket) => {
      this.#socket = socket;
      const keep = (type: number, flags: number, streamId: number, bytes: Buffer, from: number, to: number): void => {
        this.frames.push({ type, flags, streamId, payload: Buffer.from(bytes.subarray(from, to)) });
      };
      const reader = new FrameReader({
        onData: (streamId, bytes, from, to, isEnd) => keep(DATA, isEnd ? END_STREAM : 0, streamId, bytes, from, to),
        onFrame: keep,
      });
      let toSkip = PREFACE_BYTES;
      socket.on('error', () => {});
      socket.on('data', (bytes: Buffer) => {
        const skipped = Math.min(toSkip, bytes.length);
        toSkip -= skipped;
        const rest = bytes.subarray(skipped);
        reader.read(rest, rest.length);
      });
      if (settings !== null) this.settings(settings);
    });
  }

  /** `settings`: what it begins with; null: it says nothing. */
  static async start(settings: readonly (readonly [number, number])[] | null = []): Promise<ScriptedServer> {
    const server = createServer({ noDelay: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new ScriptedServer(server, settings);
  }

  send(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    const bytes = Buffer.alloc(9 + payload.length);
    putFrameHead(bytes, 0, payload.length, type, flags, streamId);
    bytes.set(payload, 9);
    this.raw(bytes);
  }

  raw(bytes: Uint8Array): void {
    this.#socket!.write(bytes);
  }

  settings(settings: readonly (readonly [number, number])[]): void {
    const payload = Buffer.alloc(settings.length * 6);
    settings.forEach(([name, value], i) => {
      payload.writeUInt16BE(name, i * 6);
      payload.writeUInt32BE(value, i * 6 + 2);
    });
    this.send(SETTINGS, 0, 0, payload);
  }

  /** Headers, a message, trailers. */
  answer(streamId: number, message: Uint8Array): void {
    this.send(HEADERS, END_HEADERS, streamId, block({ ':status': '200', 'content-type': 'application/grpc' }));
    this.send(DATA, 0, streamId, frameMessage(message));
    this.send(HEADERS, END_HEADERS | END_STREAM, streamId, block({ 'grpc-status': '0' }));
  }

  /** The frames of a kind, once there are as many. */
  async until(type: number, count = 1): Promise<SeenFrame[]> {
    const ofType = (): SeenFrame[] => this.frames.filter((frame) => frame.type === type);
    await until(() => ofType().length >= count);
    return ofType();
  }

  hangUp(): void {
    this.#socket?.destroy();
  }

  async stop(): Promise<void> {
    this.#socket?.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

/** Literal fields without Huffman coding, of fewer than 127 bytes each. */
export function block(headers: Readonly<Record<string, string>>): Buffer {
  const text = (value: string): number[] => [value.length, ...Buffer.from(value, 'latin1')];
  return Buffer.from(Object.entries(headers).flatMap(([name, value]) => [0, ...text(name), ...text(value)]));
}

export function uint32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value, i * 4);
  return bytes;
}
