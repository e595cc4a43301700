import { InferenceError } from '../../../../proto/inference-error.ts';
import { CallError } from '../call-error.ts';
import { errorFromHttp } from '../http-status.ts';
import type { MessageSocket, SocketEvents, SocketTarget } from './message-socket.ts';

type WsModule = typeof import('ws');
type WsWebSocket = import('ws').WebSocket;

/** A single answer may be larger than the package's own bound, 100 MiB. */
const MAX_MESSAGE_BYTES = 2 ** 31 - 1;
/** A peer that is gone without a word is found by the kernel: pings would not do, for a server that holds back does not read them. */
const KEEP_ALIVE_MS = 30_000;
/** Pings, while nothing is read, that say to the server that the client lives; its own pings are not heard then. */
const PAUSED_PING_MS = 2_000;
const MAX_REFUSAL_BYTES = 16 * 1024;

const utf8 = new TextDecoder();

class WsSocket implements MessageSocket {
  readonly canPause = true;
  readonly #socket: WsWebSocket;
  readonly #onSent: () => void;
  #pinging: ReturnType<typeof setInterval> | undefined;

  constructor(socket: WsWebSocket, events: SocketEvents) {
    this.#socket = socket;
    this.#onSent = () => events.onSent();
    socket.on('close', (code, reason) => {
      clearInterval(this.#pinging);
      events.onClose(code, utf8.decode(reason));
    });
  }

  get isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  get unsentBytes(): number {
    return this.#socket.bufferedAmount;
  }

  sendText(text: string): void {
    this.#socket.send(text, this.#onSent);
  }

  sendBinary(bytes: Uint8Array): void {
    this.#socket.send(bytes, this.#onSent);
  }

  watchDrain(): void {
    // Every message sent says so.
  }

  pause(): void {
    this.#socket.pause();
    this.#pinging = setInterval(() => this.#socket.ping(), PAUSED_PING_MS);
  }

  resume(): void {
    clearInterval(this.#pinging);
    this.#socket.resume();
  }

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }

  terminate(): void {
    this.#socket.terminate();
  }
}

/** By the npm package `ws`; null where it is not installed. */
export async function openWsSocket(target: SocketTarget, events: SocketEvents, signal: AbortSignal): Promise<MessageSocket | null> {
  const ws = await importWs();
  if (ws === null) return null;
  signal.throwIfAborted();
  const { url, headers, tls } = target;
  return new Promise((resolve, reject) => {
    const socket = new ws.WebSocket(url, {
      headers,
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
      ...(tls as { ca?: string; cert?: string; key?: string } | null),
    });
    const refuse = (error: unknown): void => {
      signal.removeEventListener('abort', onAbort);
      reject(error as Error);
      socket.terminate();
    };
    const onAbort = (): void => refuse(InferenceError.from(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    // Stays for the life of the socket: behind an error comes a close, with a code that says enough.
    socket.on('error', (error) => {
      refuse(new CallError('UNAVAILABLE', `${url}: no connection: ${errorText(error)}`, { phase: 'refused', cause: error }));
    });
    socket.on('upgrade', ({ socket: raw }) => raw.setKeepAlive(true, KEEP_ALIVE_MS));
    socket.on('unexpected-response', (_request, response) => {
      const pieces: Uint8Array[] = [];
      let bytes = 0;
      const end = (): void => {
        const body = pieces.map((piece) => utf8.decode(piece)).join('');
        refuse(errorFromHttp(response.statusCode ?? 0, body, response.headers['retry-after'] ?? null, url));
      };
      response.on('data', (piece: Uint8Array) => {
        pieces.push(piece);
        bytes += piece.length;
        if (bytes > MAX_REFUSAL_BYTES) end();
      });
      response.on('end', end);
      response.on('error', end);
    });
    socket.on('message', (data, isBinary) => {
      // One piece, by the default `binaryType`. As a plain view: slice() of the subclass that it is would not copy.
      const { buffer, byteOffset, byteLength } = data as Uint8Array;
      const bytes = new Uint8Array(buffer, byteOffset, byteLength);
      if (isBinary) events.onBinary(bytes);
      else events.onText(utf8.decode(bytes));
    });
    socket.on('open', () => {
      signal.removeEventListener('abort', onAbort);
      resolve(new WsSocket(socket, events));
    });
  });
}

/** Of one address, or of each that a name has. */
function errorText(error: Error): string {
  if (error.message !== '') return error.message;
  const errors: unknown = (error as { errors?: unknown }).errors;
  return Array.isArray(errors) ? errors.map((one) => (one as Error).message).join('; ') : error.name;
}

async function importWs(): Promise<WsModule | null> {
  // Not a literal, so that no bundler for browsers looks for it.
  const name: string = 'ws';
  try {
    const module = (await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as WsModule;
    return typeof module.WebSocket === 'function' ? module : null;
  } catch {
    return null;
  }
}
