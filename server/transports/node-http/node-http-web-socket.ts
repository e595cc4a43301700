/** @hotpath each answer framed in one buffer of its own, those of a tick in one write; messages come from ws as they are */

import type { Socket } from 'node:net';
import type { WebSocket, WebSocketServer } from 'ws';
import { copyBody } from '../buffered-exchange.ts';
import type { WebSocketRoute } from '../web-socket.ts';
import { CLOSE_TIMEOUT_MS, HeldWebSocket, type WebSocketOwner } from '../web-socket-connection.ts';
import type { NodeRequest } from './node-exchange.ts';

/** The part of ws that is used here; loaded when there are routes. */
export type WsModule = Pick<typeof import('ws'), 'WebSocketServer'>;

/** What is kept of a message while it comes in besides its bytes costs about as much as so many of them. */
const BYTES_PER_PART = 512;
const MIN_PARTS = 4096;
const MAX_FRAGMENTS = 131_072;
const MAX_WS_PAYLOAD_BYTES = 2 ** 31 - 1;
/** Of one connection, not yet taken by the kernel. */
const MAX_WAITING_PONGS = 32;
const TEXT_FRAME = 0x81;
const BINARY_FRAME = 0x82;

/** The WebSockets of a transport, one server of ws for each route: it does the handshake's answer, frames that come in, pongs and the closing handshake. */
export class NodeHttpWebSockets {
  readonly #owner: WebSocketOwner;
  readonly #servers = new Map<WebSocketRoute, WebSocketServer>();
  readonly #connections = new Set<NodeHttpWebSocket>();
  readonly #sweep: NodeJS.Timeout;

  constructor(ws: WsModule, routes: readonly WebSocketRoute[], owner: WebSocketOwner) {
    this.#owner = owner;
    for (const route of routes) this.#servers.set(route, new ws.WebSocketServer(serverOptions(route)));
    const shortestMs = Math.min(...routes.map(({ idleTimeoutMs }) => idleTimeoutMs));
    this.#sweep = setInterval(() => this.#checkAll(), Math.min(15_000, Math.max(20, Math.ceil(shortestMs / 8))));
    this.#sweep.unref();
  }

  /** `request` is a handshake that `takeHandshake` took; `head` is what came behind it. */
  open(route: WebSocketRoute, request: NodeRequest, socket: Socket, head: Buffer): void {
    // ws would choose the first one offered.
    delete request.headers['sec-websocket-protocol'];
    this.#servers.get(route)!.handleUpgrade(request, socket, head, (ws) => {
      const connection = new NodeHttpWebSocket(this.#owner, route, ws, socket);
      this.#connections.add(connection);
      ws.once('close', () => this.#connections.delete(connection));
      connection.open();
    });
  }

  stop(): void {
    clearInterval(this.#sweep);
  }

  #checkAll(): void {
    const nowMs = performance.now();
    for (const connection of this.#connections) connection.check(nowMs);
  }
}

function serverOptions(route: WebSocketRoute) {
  return {
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    skipUTF8Validation: false,
    maxPayload: Math.min(route.maxMessageBytes, MAX_WS_PAYLOAD_BYTES),
    maxFragments: MAX_FRAGMENTS,
    maxBufferedChunks: MIN_PARTS + Math.ceil(route.maxMessageBytes / BYTES_PER_PART),
    closeTimeout: CLOSE_TIMEOUT_MS,
    // ws cuts off a peer that has 60 of them waiting: one that is held back and pings to say that it lives.
    autoPong: false,
  };
}

class NodeHttpWebSocket extends HeldWebSocket {
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  #isCorked = false;
  #isPaused = false;
  /** What the last check saw, and when one last saw a sign of life. */
  #seenReadBytes = 0;
  #aliveMs: number = performance.now();
  #isPinged = false;
  #waitingPongs = 0;
  /** The last ping that has no answer yet. */
  #latePing: Buffer | null = null;
  readonly #uncork: () => void;
  readonly #onPonged: () => void;
  readonly #onWritten: (error?: Error | null) => void;

  constructor(owner: WebSocketOwner, route: WebSocketRoute, ws: WebSocket, socket: Socket) {
    super(owner, route);
    this.#ws = ws;
    this.#socket = socket;
    this.#uncork = () => {
      this.#isCorked = false;
      socket.uncork();
    };
    this.#onWritten = (error) => {
      if (error === undefined || error === null) this.flushed();
    };
    this.#onPonged = () => {
      this.#waitingPongs -= 1;
      const late = this.#latePing;
      this.#latePing = null;
      if (late !== null) this.#answerPing(late);
    };
    ws.on('message', (message, isBinary) => this.receive(message as Buffer, isBinary));
    // A copy: what ws gives is a view of all that was read with it.
    ws.on('ping', (payload) => this.#answerPing(Buffer.from(payload)));
    // ws then sends a close frame with the code, and `close` follows.
    ws.on('error', (error: NodeJS.ErrnoException) => this.endedFor(codeOfFault(error.code)));
    ws.on('close', (code) => this.gone(code));
    // Fires when nothing has been read, and the kernel has taken nothing of what waits, for so long.
    socket.setTimeout(route.idleTimeoutMs);
    socket.on('timeout', () => {
      if (socket.writableLength > 0) this.end(1001);
    });
  }

  /** What ws has already read is delivered all the same: at most one read of the socket. */
  pause(): void {
    if (this.isClosed || this.#isPaused) return;
    this.#isPaused = true;
    this.#ws.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#ws.resume();
  }

  /** Whether the peer lives. Here it is one that sends; the socket's own time limit is for one that has something to take. */
  check(nowMs: number): void {
    const { bytesRead, writableLength } = this.#socket;
    if (bytesRead !== this.#seenReadBytes || writableLength > 0 || this.#isPaused) {
      this.#seenReadBytes = bytesRead;
      this.#aliveMs = nowMs;
      this.#isPinged = false;
      return;
    }
    if (this.isClosed) return;
    const silentMs = nowMs - this.#aliveMs;
    const { idleTimeoutMs } = this.route;
    if (silentMs >= idleTimeoutMs) this.close(1001, `nothing was heard for ${idleTimeoutMs} ms`);
    else if (silentMs >= idleTimeoutMs / 2 && !this.#isPinged) {
      this.#isPinged = true;
      this.#ws.ping();
    }
  }

  /** Where many wait, only the last one gets its answer (RFC 6455, 5.5.3). */
  #answerPing(payload: Buffer): void {
    if (this.#ws.readyState !== this.#ws.OPEN) return;
    if (this.#waitingPongs >= MAX_WAITING_PONGS) {
      this.#latePing = payload;
      return;
    }
    this.#waitingPongs += 1;
    this.#ws.pong(payload, false, this.#onPonged);
  }

  protected waitingBytes(): number {
    return this.#socket.writableLength;
  }

  protected put(message: string | Uint8Array | readonly Uint8Array[], bytes: number, isBinary: boolean): void {
    // ws itself only writes whole control frames, so this cannot come between its bytes.
    const socket = this.#socket;
    if (!this.#isCorked) {
      this.#isCorked = true;
      socket.cork();
      process.nextTick(this.#uncork);
    }
    const headBytes = bytes < 126 ? 2 : bytes < 65_536 ? 4 : 10;
    const frame = Buffer.allocUnsafe(headBytes + bytes);
    frame[0] = isBinary ? BINARY_FRAME : TEXT_FRAME;
    if (headBytes === 2) frame[1] = bytes;
    else if (headBytes === 4) {
      frame[1] = 126;
      frame.writeUInt16BE(bytes, 2);
    } else {
      frame[1] = 127;
      frame.writeUInt32BE(Math.floor(bytes / 2 ** 32), 2);
      frame.writeUInt32BE(bytes % 2 ** 32, 6);
    }
    if (typeof message === 'string') frame.write(message, headBytes);
    else copyBody(message, frame.subarray(headBytes));
    socket.write(frame, this.#onWritten);
  }

  protected startClosing(code: number, reason: string): void {
    // The peer's close frame has to be read.
    this.resume();
    this.#ws.close(code, reason);
  }

  protected cutOff(): void {
    this.#ws.terminate();
  }
}

/** ws' error codes, as the close codes that it sends for them. */
function codeOfFault(code: string | undefined): number {
  switch (code) {
    case 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH':
    case 'WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH':
      return 1009;
    case 'WS_ERR_INVALID_UTF8':
      return 1007;
    case 'WS_ERR_TOO_MANY_BUFFERED_PARTS':
      return 1008;
    default:
      return code?.startsWith('WS_ERR_') === true ? 1002 : 1006;
  }
}
