import { connect, type Socket } from 'node:net';
import type { Lane } from './closed-loop.ts';

/** How many bytes the answer that begins at the start of `received` has; 0: not known yet. Throws on an answer that is not a success. */
export type AnswerLength = (received: Buffer) => number;

/** One connection over which the same bytes are sent again and again, each answer awaited: HTTP/1.1 and WebSocket alike, at the same cost. */
export class ByteLane implements Lane {
  readonly #socket: Socket;
  readonly #request: Buffer;
  readonly #lengthOf: AnswerLength;
  #head: Buffer = Buffer.alloc(0);
  #expected = 0;
  #received = 0;
  #answered: ((error: Error | null) => void) | null = null;

  private constructor(socket: Socket, request: Buffer, lengthOf: AnswerLength) {
    this.#socket = socket;
    this.#request = request;
    this.#lengthOf = lengthOf;
    socket.on('data', (chunk) => this.#onData(chunk));
    socket.on('error', (error) => this.#answered?.(error));
    socket.on('close', () => this.#answered?.(new Error('the server closed the connection')));
  }

  static async open(port: number, request: Buffer, lengthOf: AnswerLength): Promise<ByteLane> {
    return new ByteLane(await connected(port), request, lengthOf);
  }

  /** Upgrades first. */
  static async openWebSocket(port: number, path: string, request: Buffer): Promise<ByteLane> {
    const socket = await connected(port);
    socket.write(
      `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
    );
    const answer: Buffer = await new Promise((resolve) => socket.once('data', resolve));
    if (!answer.toString('latin1').startsWith('HTTP/1.1 101'))
      throw new Error(`no WebSocket: ${answer.toString('latin1').split('\r\n')[0]}`);
    return new ByteLane(socket, request, webSocketAnswer);
  }

  send(answered: (error: Error | null) => void): void {
    this.#answered = answered;
    this.#expected = 0;
    this.#received = 0;
    this.#socket.write(this.#request);
  }

  close(): void {
    this.#answered = null;
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    this.#received += chunk.length;
    if (this.#expected === 0) {
      this.#head = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk]);
      try {
        this.#expected = this.#lengthOf(this.#head);
      } catch (error) {
        this.#answered?.(error as Error);
        return;
      }
    }
    if (this.#expected === 0 || this.#received < this.#expected) return;
    this.#head = Buffer.alloc(0);
    const answered = this.#answered;
    this.#answered = null;
    answered?.(this.#received > this.#expected ? new Error('more bytes than the answer has') : null);
  }
}

async function connected(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  return socket;
}

export function httpAnswer(received: Buffer): number {
  const headEnd = received.indexOf('\r\n\r\n');
  if (headEnd < 0) return 0;
  const head = received.toString('latin1', 0, headEnd);
  const length = Number(/\r\ncontent-length: *([0-9]+)/i.exec(head)?.[1] ?? Number.NaN);
  if (!head.startsWith('HTTP/1.1 200') || Number.isNaN(length)) throw new Error(`unexpected answer: ${head.split('\r\n')[0]}`);
  return headEnd + 4 + length;
}

/** One unfragmented, unmasked frame: a binary one, since errors are text here. */
function webSocketAnswer(received: Buffer): number {
  if (received.length < 10 && received.length < 2 + received[1]!) return 0;
  if (received[0] !== 0x82) throw new Error(`unexpected frame 0x${received[0]!.toString(16)}: ${received.toString('utf8', 2, 300)}`);
  const short = received[1]!;
  if (short < 126) return 2 + short;
  return short === 126 ? 4 + received.readUInt16BE(2) : 10 + Number(received.readBigUInt64BE(2));
}

/** A client's frame, masked with zeros: the server's work is the same, and the bytes are prepared once. */
export function webSocketFrame(opcode: 1 | 2, payload: Buffer): Buffer {
  const header = Buffer.alloc(14);
  header[0] = 0x80 | opcode;
  let at = 2;
  if (payload.length < 126) {
    header[1] = 0x80 | payload.length;
  } else if (payload.length < 65_536) {
    header[1] = 0x80 | 126;
    at = header.writeUInt16BE(payload.length, 2);
  } else {
    header[1] = 0x80 | 127;
    at = header.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  return Buffer.concat([header.subarray(0, at + 4), payload]);
}
