/** @hotpath one request of node:http as an exchange: its head read in place, its answer copied once and written (measured by node-http-transport.bench.ts) */

import { IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { BufferedExchange, bodyByteLength, joinBody } from '../buffered-exchange.ts';
import type { HttpBody, HttpMethod } from '../http-exchange.ts';
import type { RequestIntake } from '../request-intake.ts';
import type { WebSocketRoute } from '../web-socket.ts';
import type { HandshakeHead } from '../web-socket-handshake.ts';

/** What a socket's send buffer takes at least, bytes. */
const KERNEL_BUFFER_BYTES = 64 * 1024;
/** A client that takes none of its answer for this long is cut off, ms. */
const WRITE_STALL_MS = 10_000;

/** The transport, as its exchanges see it. */
export interface NodeExchangeHost {
  readonly intake: RequestIntake;
  /** The answer is with node:http: the exchange is over. */
  settle(exchange: NodeExchange): void;
  /** The client of a connection that is to close was not told so. */
  closeWhenIdle(connection: NodeConnection): void;
  /** The route of a handshake that can be taken now. */
  takeHandshake(connection: NodeConnection, request: NodeRequest): WebSocketRoute | null;
}

/** node:http makes these itself, so the exchange is a field of the class: listeners then need no closure. */
export class NodeRequest extends IncomingMessage implements HandshakeHead {
  exchange: NodeExchange | null = null;
  /** undefined: not looked for. */
  webSocketRoute: WebSocketRoute | null | undefined = undefined;
  #asksForUpgrade = false;

  /**
   * node:http asks this of each parsed head, and hands a connection over when it is true: for an Upgrade to anything (HTTP/2 is what Java's client offers with each
   * request) and on any path. So it is only true where a WebSocket begins; other requests are served as if they had not asked.
   */
  get upgrade(): boolean {
    if (!this.#asksForUpgrade) return false;
    if (this.method === 'CONNECT') return true;
    if (this.webSocketRoute === undefined) {
      const connection = (this.socket as ConnectedSocket).nereidConnection;
      this.webSocketRoute = connection === undefined ? null : connection.transport.takeHandshake(connection, this);
    }
    return this.webSocketRoute !== null;
  }

  set upgrade(asksForUpgrade: boolean | null) {
    // The base class sets it before this class has its fields.
    if (#asksForUpgrade in this) this.#asksForUpgrade = asksForUpgrade === true;
  }

  header(name: string): string {
    const value = this.headers[name];
    return typeof value === 'string' ? value : '';
  }
}

/** What is open on one socket. */
export class NodeConnection {
  readonly transport: NodeExchangeHost;
  readonly socket: Socket;
  /** It has become a WebSocket. */
  isUpgraded = false;
  /** Newest of a doubly linked list: each exchange whose answer has not been handed to node:http. */
  newest: NodeExchange | null = null;
  openCount = 0;
  /** Pipelined requests that wait for their turn, at most what one read of the socket brought. */
  readonly waiting: (readonly [NodeRequest, ServerResponse<NodeRequest>])[] = [];
  isPaused = false;
  isTaking = false;
  isAwaitingFlush = false;
  /** Of answers given since all were flushed. */
  unreadAnswerBytes = 0;
  exchangesSeen = 0;
  /** The latest request that is complete or answered, and its response: what a refusal of a malformed successor has to wait for. */
  lastNumber = 0;
  lastResponse: ServerResponse<NodeRequest> | null = null;
  /** What follows on the connection cannot be trusted to be a request: nothing more is taken from it. */
  isBroken = false;
  /** The status for a malformed request, told to the client after the answers that are still due. */
  pendingRefusal = 0;

  constructor(transport: NodeExchangeHost, socket: Socket) {
    this.transport = transport;
    this.socket = socket;
  }
}

/** How a request finds its connection: a field of the socket, since node:http offers no other place that lasts as long. */
export interface ConnectedSocket extends Socket {
  nereidConnection?: NodeConnection;
}

export class NodeExchange extends BufferedExchange {
  readonly #transport: NodeExchangeHost;
  readonly #request: NodeRequest;
  readonly #response: ServerResponse<NodeRequest>;
  readonly connection: NodeConnection;
  /** Place among the requests of its connection. */
  readonly #number: number;
  newer: NodeExchange | null = null;
  older: NodeExchange | null = null;
  /** Of an answer in parts: until the first of them. */
  #status = 0;
  #head: readonly string[] | null = null;
  #saysClose = false;

  constructor(
    transport: NodeExchangeHost,
    connection: NodeConnection,
    request: NodeRequest,
    response: ServerResponse<NodeRequest>,
    method: HttpMethod,
    path: string,
    query: string,
  ) {
    super(transport.intake, method, path, query);
    this.#transport = transport;
    this.#request = request;
    this.#response = response;
    this.connection = connection;
    this.contentEncoding = this.header('content-encoding');
    this.acceptEncoding = this.header('accept-encoding');
    this.older = connection.newest;
    if (connection.newest !== null) connection.newest.newer = this;
    connection.newest = this;
    connection.openCount += 1;
    connection.exchangesSeen += 1;
    this.#number = connection.exchangesSeen;
  }

  /** Its answer is due, or on its way. */
  markDue(): void {
    const { connection } = this;
    if (this.#number < connection.lastNumber) return;
    connection.lastNumber = this.#number;
    connection.lastResponse = this.#response;
  }

  header(name: string): string {
    return this.#request.header(name);
  }

  protected send(status: number, headers: readonly string[], body: HttpBody, mustClose: boolean): void {
    const response = this.#response;
    this.markDue();
    const head = headers.slice();
    if (mustClose) this.connection.isBroken = true;
    if (mustClose || this.#transport.intake.isDraining) head.push('connection', 'close');
    if (status === 204 || status === 304) {
      response.writeHead(status, head);
      response.end();
    } else {
      // The pieces are borrowed and node:http may write later: an exact copy.
      const owned = typeof body === 'string' ? body : this.method === 'HEAD' ? null : joinBody(body);
      const bytes = owned === null ? bodyByteLength(body) : Buffer.byteLength(owned);
      this.connection.unreadAnswerBytes += bytes;
      head.push('content-length', String(bytes));
      response.writeHead(status, head);
      if (this.method === 'HEAD' || owned === null) response.end();
      else response.end(owned);
    }
    // More than the kernel is sure to take: from here on the client has to take some of it in each such time. node:http sets its own time again afterwards.
    if (this.connection.unreadAnswerBytes > KERNEL_BUFFER_BYTES) this.connection.socket.setTimeout(WRITE_STALL_MS);
    this.#transport.settle(this);
  }

  protected beginStream(status: number, headers: readonly string[]): void {
    this.#status = status;
    this.#head = headers;
    this.markDue();
    this.#response.on('drain', onStreamDrain);
  }

  writePart(bytes: Uint8Array): boolean {
    const response = this.#response;
    const { socket } = this.connection;
    // Gone; that it is will be told in a later tick.
    if (socket.destroyed || response.destroyed) return true;
    this.#writeHead();
    if (this.#isBodiless) return true;
    // Node writes later what it cannot write now, so the bytes must be its own.
    if (response.write(Buffer.from(bytes))) return true;
    // The client has to take some of it in each such time; a timer that ends while nothing is left to write is set anew.
    socket.setTimeout(WRITE_STALL_MS);
    return false;
  }

  endParts(bytes: Uint8Array): void {
    const response = this.#response;
    if (this.connection.socket.destroyed || response.destroyed) return;
    this.#writeHead();
    if (bytes.length === 0 || this.#isBodiless) response.end();
    else response.end(Buffer.from(bytes));
    this.#transport.settle(this);
    if (!this.#saysClose && this.#transport.intake.isDraining) this.#transport.closeWhenIdle(this.connection);
  }

  cutOff(): void {
    this.connection.socket.destroy();
  }

  onFault(error: unknown): void {
    this.owner.onError(error);
    if (!this.isAborted && !this.isReleased) this.connection.socket.destroy();
  }

  get #isBodiless(): boolean {
    return this.method === 'HEAD' || this.#status === 204 || this.#status === 304;
  }

  #writeHead(): void {
    const head = this.#head;
    if (head === null) return;
    this.#head = null;
    this.#saysClose = this.#transport.intake.isDraining;
    this.#response.writeHead(this.#status, this.#saysClose ? [...head, 'connection', 'close'] : head.slice());
  }
}

function onStreamDrain(this: ServerResponse<NodeRequest>): void {
  this.req.exchange?.stream?.onWritable();
}
