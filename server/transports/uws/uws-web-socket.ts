/** @hotpath one copy of each message that comes in; the answers of a tick go out in one cork, which is one system call, or all but the first where the tick before had but one */

import { joinBody } from '../buffered-exchange.ts';
import type { WebSocketRoute } from '../web-socket.ts';
import { CLOSE_TIMEOUT_MS, HeldWebSocket, type WebSocketOwner } from '../web-socket-connection.ts';
import type { UwsBehavior, UwsRequest, UwsResponse, UwsSocket, UwsSocketContext, UwsWebSocketHandlers } from './uws-module.ts';

/** A message up to so far past the limit is taken and refused with 1009; for a larger one the engine cuts the connection without a close frame. */
const MAX_EXCESS_BYTES = 1024 * 1024;
/** Larger messages go by themselves: the cork's buffer is of this size. */
const MAX_QUEUED_BYTES = 16 * 1024;
/** The engine's bounds, s. */
const MIN_IDLE_S = 8;
const MAX_IDLE_S = 960;
/** Nothing is published to it. */
const NO_TOPIC = 'none';

/** The transport, as its WebSockets see it. */
export interface UwsWebSocketHost {
  readonly intake: WebSocketOwner;
  /** The pieces in one view, good until the next call. */
  join(pieces: readonly Uint8Array[], bytes: number): Uint8Array;
  /** The engine does not count it as a connection that closed. */
  webSocketGone(): void;
}

interface QueuedMessage {
  readonly message: Uint8Array;
  readonly isBinary: boolean;
}

export class UwsWebSocket extends HeldWebSocket implements UwsWebSocketHandlers {
  readonly #transport: UwsWebSocketHost;
  /** null: not open yet, or gone. */
  #socket: UwsSocket | null = null;
  /** Own copies, sent by the end of this turn of the loop. */
  #queue: QueuedMessage[] = [];
  #queuedBytes = 0;
  /** A message was sent or queued in this turn, and `#flush` will run. */
  #isFlushDue = false;
  /** Messages of this turn, and whether the last turn had several: then the first one waits for those behind it, else it goes at once. */
  #turnCount = 0;
  #sendsSeveral = false;
  /** The engine has corked the connection by itself. */
  #isReceiving = false;
  #closing: { readonly code: number; readonly reason: string; readonly timer: NodeJS.Timeout } | null = null;
  readonly #flush: () => void;
  readonly #sendQueue: () => void;

  constructor(transport: UwsWebSocketHost, route: WebSocketRoute) {
    super(transport.intake, route);
    this.#transport = transport;
    this.#sendQueue = () => {
      const queue = this.#queue;
      this.#queue = [];
      this.#queuedBytes = 0;
      for (const { message, isBinary } of queue) this.#socket!.send(message, isBinary, false);
    };
    this.#flush = () => {
      this.#isFlushDue = false;
      this.#sendsSeveral = this.#turnCount > 1;
      this.#turnCount = 0;
      if (this.#queue.length === 0 || this.#socket === null) return;
      this.#socket.cork(this.#sendQueue);
      this.flushed();
    };
  }

  /** The engine cannot stop reading. */
  pause(): void {}

  resume(): void {}

  onOpen(socket: UwsSocket): void {
    this.#socket = socket;
    // Builds before 20.47 lose bytes of a large message that the kernel does not take at once, on a path of their own that a subscriber's messages do not go.
    socket.subscribe(NO_TOPIC);
    this.#isReceiving = true;
    this.open();
    this.#isReceiving = false;
  }

  onMessage(message: ArrayBuffer, isBinary: boolean): void {
    if (message.byteLength > this.route.maxMessageBytes) {
      this.close(1009, `a message may have ${this.route.maxMessageBytes} bytes`);
      return;
    }
    this.#isReceiving = true;
    try {
      // Buffer.from does the same by a longer way.
      const copy = Buffer.allocUnsafe(message.byteLength);
      copy.set(new Uint8Array(message));
      this.receive(copy, isBinary);
    } catch (error) {
      // No memory for the copy.
      this.fail(error);
    }
    this.#isReceiving = false;
  }

  /** The engine has answered it. A peer that asks and does not read is bounded as one that is sent messages. */
  onPing(): void {
    if (this.waitingBytes() > this.route.maxUnsentBytes) this.end(1013);
  }

  onWritable(): void {
    if (this.#closing === null) this.flushed();
    else if (this.#socket !== null && this.#socket.getBufferedAmount() === 0) this.#sendClose();
  }

  onGone(code: number, reason: ArrayBuffer): void {
    this.#socket = null;
    this.#queue = [];
    this.#queuedBytes = 0;
    if (this.#closing !== null) clearTimeout(this.#closing.timer);
    this.#transport.webSocketGone();
    this.gone(code === 1006 ? codeOfCut(Buffer.from(reason).toString('latin1')) : code);
  }

  protected waitingBytes(): number {
    return this.#socket === null ? 0 : this.#socket.getBufferedAmount() + this.#queuedBytes;
  }

  protected put(message: string | Uint8Array | readonly Uint8Array[], bytes: number, isBinary: boolean): void {
    const socket = this.#socket;
    if (socket === null) return;
    if (!this.#isReceiving) {
      this.#turnCount++;
      if (!this.#isFlushDue) {
        this.#isFlushDue = true;
        process.nextTick(this.#flush);
      }
      if ((this.#sendsSeveral || this.#turnCount > 1) && bytes <= MAX_QUEUED_BYTES) {
        this.#queue.push({ message: typeof message === 'string' ? Buffer.from(message) : joinBody(message), isBinary });
        this.#queuedBytes += bytes;
        return;
      }
    }
    if (this.#queue.length > 0) socket.cork(this.#sendQueue);
    const whole =
      typeof message === 'string' ? Buffer.from(message) : message instanceof Uint8Array ? message : this.#transport.join(message, bytes);
    socket.send(whole, isBinary, false);
  }

  /** The close frame goes when everything before it is with the kernel: once it is sent the engine tells nothing more of this connection. */
  protected startClosing(code: number, reason: string): void {
    const socket = this.#socket;
    if (socket === null) return;
    if (this.#queue.length > 0) socket.cork(this.#sendQueue);
    this.#closing = { code, reason, timer: setTimeout(() => this.cutOff(), CLOSE_TIMEOUT_MS) };
    if (socket.getBufferedAmount() === 0) this.#sendClose();
  }

  protected cutOff(): void {
    this.#socket?.close();
  }

  /** The engine cuts off a peer that does not answer it within 4 to 16 s. */
  #sendClose(): void {
    const { code, reason } = this.#closing!;
    this.#socket?.end(code, reason);
  }
}

/** What a route asks of the engine. What is thrown into the native side ends the process. */
export function uwsBehavior(
  route: WebSocketRoute,
  upgrade: (response: UwsResponse, request: UwsRequest, context: UwsSocketContext) => void,
): UwsBehavior {
  return {
    maxPayloadLength: route.maxMessageBytes + Math.min(route.maxMessageBytes, MAX_EXCESS_BYTES),
    maxBackpressure: 0,
    idleTimeout: Math.min(MAX_IDLE_S, Math.max(MIN_IDLE_S, Math.ceil(route.idleTimeoutMs / 1000))),
    sendPingsAutomatically: true,
    upgrade,
    open: (socket) => socket.getUserData().nereidWebSocket.onOpen(socket),
    message: (socket, message, isBinary) => socket.getUserData().nereidWebSocket.onMessage(message, isBinary),
    ping: (socket) => socket.getUserData().nereidWebSocket.onPing(),
    drain: (socket) => socket.getUserData().nereidWebSocket.onWritable(),
    close: (socket, code, reason) => socket.getUserData().nereidWebSocket.onGone(code, reason),
  };
}

/** For the listener: the peer of a connection that the engine cuts off is told nothing. */
function codeOfCut(reason: string): number {
  if (reason.includes('too big')) return 1009;
  if (reason.includes('UTF-8')) return 1007;
  if (reason.includes('timed out')) return 1001;
  return 1006;
}
