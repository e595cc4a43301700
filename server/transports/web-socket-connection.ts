/** @hotpath each message to its listener and each answer to the engine, within the bound of what may wait (measured by node-http-web-socket.bench.ts) */

import type { WebSocketConnection, WebSocketListener, WebSocketRoute } from './web-socket.ts';

/** For the peer's half of the closing handshake, and before it for what still waits to be sent, ms. */
export const CLOSE_TIMEOUT_MS = 5000;
const MAX_REASON_BYTES = 123;

/** Whoever counts the connections: the intake of the transport. */
export interface WebSocketOwner {
  onError(error: unknown): void;
  holdWebSocket(connection: HeldWebSocket): void;
  releaseWebSocket(connection: HeldWebSocket): void;
}

/** What both engines' connections have in common. */
export abstract class HeldWebSocket implements WebSocketConnection {
  readonly route: WebSocketRoute;
  /** No message comes or goes any more; the closing handshake may still be under way. */
  isClosed = false;
  protected readonly owner: WebSocketOwner;
  #listener: WebSocketListener | null = null;
  /** Why this side closed; 0: it did not. */
  #closeCode = 0;
  #isGone = false;
  /** The most that the listener has seen waiting since it last heard of less. */
  #seenUnsentBytes = 0;

  constructor(owner: WebSocketOwner, route: WebSocketRoute) {
    this.owner = owner;
    this.route = route;
  }

  /** Bytes that wait to be sent. */
  protected abstract waitingBytes(): number;
  /** One message, not larger than may wait. `bytes` is its size; the pieces are borrowed. */
  protected abstract put(message: string | Uint8Array | readonly Uint8Array[], bytes: number, isBinary: boolean): void;
  /** Sends the close frame behind what waits, and sees to it that the connection ends within CLOSE_TIMEOUT_MS. */
  protected abstract startClosing(code: number, reason: string): void;
  /** Ends the connection at once. What waits is dropped. */
  protected abstract cutOff(): void;
  abstract pause(): void;
  abstract resume(): void;

  get unsentBytes(): number {
    const bytes = this.waitingBytes();
    if (bytes > this.#seenUnsentBytes) this.#seenUnsentBytes = bytes;
    return bytes;
  }

  sendText(text: string | Uint8Array): void {
    if (this.isClosed) return;
    const bytes = typeof text === 'string' ? Buffer.byteLength(text) : text.byteLength;
    if (this.#hasRoom(bytes)) this.put(text, bytes, false);
  }

  sendBinary(message: Uint8Array | readonly Uint8Array[]): void {
    if (this.isClosed) return;
    let bytes = 0;
    if (message instanceof Uint8Array) bytes = message.byteLength;
    else for (const piece of message) bytes += piece.byteLength;
    if (this.#hasRoom(bytes)) this.put(message, bytes, true);
  }

  close(code: number, reason: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#closeCode = code;
    this.startClosing(code, cutReason(reason));
  }

  /** The handshake is done. */
  open(): void {
    this.owner.holdWebSocket(this);
    try {
      this.#listener = this.route.open(this);
    } catch (error) {
      this.fail(error);
    }
  }

  /** `message` is the listener's to keep. */
  receive(message: Uint8Array, isBinary: boolean): void {
    if (this.isClosed) return;
    try {
      if (isBinary) this.#listener!.onBinary(message);
      else this.#listener!.onText(message);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Some of what waited has been sent. */
  flushed(): void {
    if (this.#seenUnsentBytes === 0 || this.isClosed) return;
    const bytes = this.waitingBytes();
    if (bytes !== 0 && bytes * 2 >= this.#seenUnsentBytes) return;
    this.#seenUnsentBytes = bytes;
    try {
      this.#listener?.onDrain();
    } catch (error) {
      this.fail(error);
    }
  }

  requestDrain(): void {
    const listener = this.#listener;
    try {
      if (listener?.onDrainRequested === undefined) this.close(1001, 'the server is shutting down');
      else listener.onDrainRequested();
    } catch (error) {
      this.fail(error);
    }
  }

  /** The peer cannot be served any more: an idle or slow one, or one past a limit. */
  end(code: number): void {
    this.isClosed = true;
    if (this.#closeCode === 0) this.#closeCode = code;
    this.cutOff();
  }

  /** The peer or the engine has ended the connection for `code`; said before `gone` where the engine knows better than its own code. */
  endedFor(code: number): void {
    this.isClosed = true;
    if (this.#closeCode === 0) this.#closeCode = code;
  }

  /** The connection is no more. The listener hears of it in a turn of its own, so never within a call of its own. */
  gone(code: number): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.endedFor(code);
    this.owner.releaseWebSocket(this);
    queueMicrotask(() => {
      try {
        this.#listener?.onClose(this.#closeCode);
      } catch (error) {
        this.owner.onError(error);
      }
    });
  }

  /** A fault of the listener, or of ours. */
  fail(error: unknown): void {
    this.owner.onError(error);
    this.close(1011, 'internal error');
  }

  /** With nothing waiting, a message of any size goes: what may wait is then that one message. */
  #hasRoom(bytes: number): boolean {
    const waiting = this.waitingBytes();
    if (waiting === 0 || waiting + bytes <= this.route.maxUnsentBytes) return true;
    this.end(1013);
    return false;
  }
}

function cutReason(reason: string): string {
  const bytes = Buffer.from(reason);
  // A streaming decoder keeps a character that is cut in two to itself.
  return bytes.byteLength <= MAX_REASON_BYTES ? reason : new TextDecoder().decode(bytes.subarray(0, MAX_REASON_BYTES), { stream: true });
}
