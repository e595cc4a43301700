import { InferenceError } from '../../../../proto/inference-error.ts';
import { CallError } from '../call-error.ts';
import type { MessageSocket, SocketEvents, SocketTarget } from './message-socket.ts';

/** What is used of the WebSocket of browsers, and of Node from version 22 on. Source: the WHATWG WebSockets standard. */
interface StandardWebSocket {
  binaryType: string;
  readonly bufferedAmount: number;
  readonly readyState: number;
  send(data: string | Uint8Array): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: string, listener: (event: SocketEvent) => void): void;
}

interface SocketEvent {
  readonly data?: unknown;
  readonly code?: number;
  readonly reason?: string;
  /** Node says why a connection failed; browsers keep it to themselves. */
  readonly message?: string;
  readonly error?: unknown;
}

export type StandardWebSocketClass = new (url: string) => StandardWebSocket;

const OPEN = 1;
/** The standard has no event for what was sent. */
const DRAIN_POLL_MS = 4;

class StandardSocket implements MessageSocket {
  readonly canPause = false;
  readonly #socket: StandardWebSocket;
  readonly #events: SocketEvents;
  #isWatching = false;

  constructor(socket: StandardWebSocket, events: SocketEvents) {
    this.#socket = socket;
    this.#events = events;
  }

  get isOpen(): boolean {
    return this.#socket.readyState === OPEN;
  }

  get unsentBytes(): number {
    return this.#socket.bufferedAmount;
  }

  sendText(text: string): void {
    this.#socket.send(text);
  }

  sendBinary(bytes: Uint8Array): void {
    this.#socket.send(bytes);
  }

  watchDrain(bytes: number): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    setTimeout(() => {
      this.#isWatching = false;
      if (!this.isOpen) return;
      if (this.unsentBytes < bytes) this.#events.onSent();
      else this.watchDrain(bytes);
    }, DRAIN_POLL_MS);
  }

  pause(): void {}

  resume(): void {}

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }

  terminate(): void {
    this.#socket.close();
  }
}

export function openStandardSocket(
  WebSocketClass: StandardWebSocketClass,
  { url }: SocketTarget,
  events: SocketEvents,
  signal: AbortSignal,
): Promise<MessageSocket> {
  return new Promise((resolve, reject) => {
    let socket: StandardWebSocket;
    try {
      socket = new WebSocketClass(url);
    } catch (error) {
      // A page that came over https may not open ws://, for one.
      reject(new InferenceError('INVALID_ARGUMENT', `${url}: ${(error as Error).message}`, { cause: error }));
      return;
    }
    socket.binaryType = 'arraybuffer';
    let isOpen = false;
    const refuse = (detail: string, cause: unknown): void => {
      signal.removeEventListener('abort', onAbort);
      reject(new CallError('UNAVAILABLE', `${url}: no connection: ${detail}`, { phase: 'refused', cause }));
    };
    const onAbort = (): void => {
      socket.close();
      reject(InferenceError.from(signal.reason));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    socket.addEventListener('open', () => {
      signal.removeEventListener('abort', onAbort);
      isOpen = true;
      resolve(new StandardSocket(socket, events));
    });
    socket.addEventListener('message', ({ data }) => {
      if (typeof data === 'string') events.onText(data);
      else events.onBinary(new Uint8Array(data as ArrayBuffer));
    });
    socket.addEventListener('error', (event) => {
      // Behind a handshake that failed Node 22 says no close.
      if (!isOpen) refuse(event.message || 'the runtime does not say why', event.error);
    });
    socket.addEventListener('close', (event) => {
      if (isOpen) events.onClose(event.code ?? 1006, event.reason ?? '');
      else refuse('it was closed', undefined);
    });
  });
}
