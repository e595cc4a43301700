/** @hotpath node:http's request and response to an exchange and back; shared listeners that find the exchange on `this`, one copy of the answer. */

import { readFileSync } from 'node:fs';
import { createServer, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net';
import type { HttpErrorBody, HttpTransport, HttpTransportOptions, StartHttpTransport } from '../http-exchange.ts';
import * as refusals from '../http-refusals.ts';
import { isHttpMethod } from '../http-router.ts';
import { checkTlsFiles, listenFailure, tlsFailure } from '../listen-failure.ts';
import { type RequestFraming, RequestIntake } from '../request-intake.ts';
import type { WebSocketRoute } from '../web-socket.ts';
import { type ConnectedSocket, NodeConnection, NodeExchange, type NodeExchangeHost, NodeRequest } from './node-exchange.ts';
import { NodeHttpWebSockets, type WsModule } from './node-http-web-socket.ts';

/** Headers of one request; more of them cost more than they can say. */
const MAX_HEADER_COUNT = 128;
/** Unanswered pipelined requests of one connection; further ones wait, and it is not read from, until some are answered. */
const MAX_PIPELINED = 32;
/** Bytes of answers that a connection may leave unread before its pipelined requests wait. */
const MAX_UNREAD_ANSWER_BYTES = 1024 * 1024;

class NodeHttpTransport implements HttpTransport, NodeExchangeHost {
  readonly engine = 'node';
  readonly intake: RequestIntake;
  readonly #server: Server<typeof NodeRequest, typeof ServerResponse>;
  readonly #connections = new Set<NodeConnection>();
  /** Sockets whose TLS handshake is not over, by the client's address: node:http does not know of them yet. */
  readonly #handshaking = new Map<string, Socket>();
  readonly #errorBody: HttpErrorBody;
  readonly #framing: RequestFraming = {
    method: '',
    contentLength: '',
    transferEncoding: '',
    expect: '',
    origin: '',
    hasRepeatedFraming: false,
    hasRepeatedHost: false,
    hasTooLargeHeaders: false,
  };
  /** null: there are no routes for them. */
  readonly #webSockets: NodeHttpWebSockets | null;
  #port = 0;
  #closed: Promise<void> | null = null;

  /** `ws`: null when no route needs it. */
  constructor(options: HttpTransportOptions, ws: WsModule | null) {
    this.intake = new RequestIntake(options, Number.MAX_SAFE_INTEGER);
    this.#errorBody = options.errorBody;
    const serverOptions = {
      IncomingMessage: NodeRequest,
      insecureHTTPParser: false,
      joinDuplicateHeaders: true,
      requireHostHeader: true,
      noDelay: true,
      maxHeaderSize: options.maxHeaderBytes,
      headersTimeout: options.headersTimeoutMs,
      requestTimeout: Math.max(options.requestTimeoutMs, options.headersTimeoutMs),
      keepAliveTimeout: options.keepAliveTimeoutMs,
      connectionsCheckingInterval: Math.min(
        1000,
        Math.max(20, Math.ceil(Math.min(options.headersTimeoutMs, options.requestTimeoutMs) / 4)),
      ),
    };
    const server =
      options.tls === null
        ? createServer<typeof NodeRequest, typeof ServerResponse>(serverOptions)
        : createTlsServer<typeof NodeRequest, typeof ServerResponse>({
            ...serverOptions,
            cert: readFileSync(options.tls.certFile),
            key: readFileSync(options.tls.keyFile),
            ...(options.tls.caFile === null ? {} : { ca: readFileSync(options.tls.caFile), requestCert: true, rejectUnauthorized: true }),
            handshakeTimeout: options.headersTimeoutMs,
            minVersion: 'TLSv1.2',
          });
    this.#server = server;
    server.maxConnections = options.maxConnections;
    // All headers reach the handler, which counts them: node:http would drop those past its own limit without a word.
    server.maxHeadersCount = 0;
    // node:http also uses this timer for connections that send their headers, so it must not be the shorter one.
    server.timeout = options.headersTimeoutMs + 1000;
    server.on(options.tls === null ? 'connection' : 'secureConnection', (socket: Socket) => this.#onConnection(socket));
    if (options.tls !== null) {
      server.on('connection', (socket: Socket) => {
        const address = addressOf(socket);
        this.#handshaking.set(address, socket);
        socket.once('close', () => this.#handshaking.delete(address));
      });
    }
    server.on('timeout', (socket: Socket) => this.#onSocketTimeout(socket));
    server.on('request', (request, response) => this.#onRequest(request, response));
    server.on('checkContinue', (request, response) => this.#onRequest(request, response));
    server.on('checkExpectation', (request, response) => this.#onRequest(request, response));
    this.#webSockets = ws === null ? null : new NodeHttpWebSockets(ws, options.webSockets, this.intake);
    // Without a listener node:http takes no request for an upgrade.
    if (ws !== null) server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket as Socket, head));
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => this.#onClientError(error, socket as Socket));
  }

  get port(): number {
    return this.#port;
  }

  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const onError = (error: NodeJS.ErrnoException): void => reject(listenFailure(host, port, error));
      this.#server.once('error', onError);
      this.#server.listen({ host, port, exclusive: true, backlog: 1024 }, () => {
        this.#server.off('error', onError);
        this.#server.on('error', (error) => this.intake.onError(error));
        this.#port = (this.#server.address() as AddressInfo).port;
        resolve();
      });
    });
  }

  async drain(): Promise<void> {
    const closed = this.#stopListening();
    await this.intake.drain();
    // Those that are left are writing their last answer; the write stall limit ends those whose client does not take it.
    await closed;
  }

  async close(): Promise<void> {
    const closed = this.#stopListening();
    for (const connection of this.#connections) connection.socket.destroy();
    this.#server.closeAllConnections();
    await closed;
  }

  settle(exchange: NodeExchange): void {
    const { connection } = exchange;
    this.#unlink(exchange);
    this.intake.release(exchange);
    if (connection.waiting.length > 0) this.#takeWaiting(connection);
  }

  closeWhenIdle(connection: NodeConnection): void {
    closeWhenIdle(connection);
  }

  takeHandshake(connection: NodeConnection, request: NodeRequest): WebSocketRoute | null {
    const { lastResponse } = connection;
    // Answers that are still due would get between the frames.
    const isAnswered = connection.openCount === 0 && connection.waiting.length === 0 && lastResponse?.writableFinished !== false;
    if (!isAnswered || connection.isBroken || connection.pendingRefusal !== 0 || request.httpVersion !== '1.1') return null;
    const url = request.url ?? '';
    const mark = url.indexOf('?');
    return this.intake.takeHandshake(mark < 0 ? url : url.slice(0, mark), this.#readFraming(request), request);
  }

  #onUpgrade(request: NodeRequest, socket: Socket, head: Buffer): void {
    const connection = (socket as ConnectedSocket).nereidConnection;
    const route = request.webSocketRoute;
    if (connection === undefined || route === undefined || route === null) {
      socket.destroy();
      return;
    }
    connection.isUpgraded = true;
    this.#webSockets!.open(route, request, socket, head);
  }

  #stopListening(): Promise<void> {
    if (this.#closed === null) {
      // Not node:http's own close: it takes a connection for idle, and cuts it off, when its answer is written but not flushed.
      this.#closed = new Promise((resolve) =>
        NetServer.prototype.close.call(this.#server, () => {
          // All connections are gone; this ends node:http's timer.
          this.#server.close();
          this.#webSockets?.stop();
          resolve();
        }),
      );
      this.intake.isDraining = true;
      for (const socket of this.#handshaking.values()) socket.destroy();
      for (const connection of this.#connections) closeWhenIdle(connection);
    }
    return this.#closed;
  }

  #unlink(exchange: NodeExchange): void {
    const { connection } = exchange;
    if (exchange.newer === null) {
      if (connection.newest !== exchange) return;
      connection.newest = exchange.older;
    } else exchange.newer.older = exchange.older;
    if (exchange.older !== null) exchange.older.newer = exchange.newer;
    exchange.newer = null;
    exchange.older = null;
    connection.openCount -= 1;
  }

  #onConnection(socket: Socket): void {
    this.#handshaking.delete(addressOf(socket));
    const connection = new NodeConnection(this, socket);
    (socket as ConnectedSocket).nereidConnection = connection;
    this.#connections.add(connection);
    socket.once('close', () => {
      this.#connections.delete(connection);
      connection.waiting.length = 0;
      for (let exchange = connection.newest; exchange !== null; ) {
        const { older } = exchange;
        this.#unlink(exchange);
        exchange.abort();
        exchange = older;
      }
    });
  }

  #onRequest(request: NodeRequest, response: ServerResponse<NodeRequest>): void {
    const connection = (request.socket as ConnectedSocket).nereidConnection!;
    if (connection.isBroken) return;
    if (connection.waiting.length === 0 && mayTake(connection)) {
      this.#take(connection, request, response);
      return;
    }
    connection.waiting.push([request, response]);
    if (connection.isPaused) return;
    connection.isPaused = true;
    connection.socket.pause();
    this.#takeWaiting(connection);
  }

  /** Lets waiting requests in as far as the connection's limits allow, and reads on when none is left. */
  #takeWaiting(connection: NodeConnection): void {
    const { waiting, socket } = connection;
    if (connection.isTaking) return;
    connection.isTaking = true;
    while (waiting.length > 0 && !connection.isBroken && !socket.destroyed && mayTake(connection)) {
      const [request, response] = waiting.shift()!;
      this.#take(connection, request, response);
    }
    connection.isTaking = false;
    if (connection.isBroken || socket.destroyed) {
      waiting.length = 0;
      return;
    }
    if (waiting.length === 0) {
      connection.isPaused = false;
      socket.resume();
      if (connection.pendingRefusal !== 0) this.#refuseMalformed(connection);
    } else if (connection.unreadAnswerBytes > MAX_UNREAD_ANSWER_BYTES && !connection.isAwaitingFlush) {
      connection.isAwaitingFlush = true;
      connection.lastResponse!.once('finish', () => {
        connection.isAwaitingFlush = false;
        this.#takeWaiting(connection);
      });
    }
  }

  #take(connection: NodeConnection, request: NodeRequest, response: ServerResponse<NodeRequest>): void {
    const url = request.url ?? '';
    const mark = url.indexOf('?');
    const method = request.method ?? '';
    const exchange = new NodeExchange(
      this,
      connection,
      request,
      response,
      isHttpMethod(method) ? method : 'GET',
      mark < 0 ? url : url.slice(0, mark),
      mark < 0 ? '' : url.slice(mark + 1),
    );
    request.exchange = exchange;
    const framing = this.#readFraming(request);
    if (!this.intake.open(exchange, framing)) return;
    if (exchange.expectedBytes === 0) {
      exchange.markDue();
      this.intake.complete(exchange);
      return;
    }
    if (framing.expect !== '') response.writeContinue();
    request.on('data', onBodyData);
    request.on('end', onBodyEnd);
  }

  #readFraming(request: NodeRequest): RequestFraming {
    const { headers } = request;
    const framing = this.#framing;
    framing.method = request.method ?? '';
    framing.contentLength = headers['content-length'] ?? '';
    framing.transferEncoding = headers['transfer-encoding'] ?? '';
    framing.expect = headers.expect ?? '';
    // The parser refuses repeated and contradictory lengths itself. An empty one gets here.
    framing.hasRepeatedFraming = headers['content-length'] === '' || headers['transfer-encoding'] === '';
    framing.hasRepeatedHost = headers.host?.includes(',') === true;
    framing.hasTooLargeHeaders = request.rawHeaders.length > 2 * MAX_HEADER_COUNT;
    if (this.intake.hasCors) framing.origin = headers.origin ?? '';
    return framing;
  }

  /** Fires after a time without traffic on a socket, and for an idle connection after the keep-alive time. */
  #onSocketTimeout(socket: Socket): void {
    const connection = (socket as ConnectedSocket).nereidConnection;
    const isWaitingForUs = connection !== undefined && connection.openCount > 0 && socket.writableLength === 0;
    if (isWaitingForUs) socket.setTimeout(this.#server.timeout);
    else socket.destroy();
  }

  #onClientError(error: NodeJS.ErrnoException, socket: Socket): void {
    const connection = (socket as ConnectedSocket).nereidConnection;
    if (connection === undefined || !socket.writable || error.code === 'ECONNRESET') {
      socket.destroy();
      return;
    }
    if (connection.isBroken || connection.pendingRefusal !== 0) return;
    connection.pendingRefusal = statusOfParserError(error.code);
    this.#refuseMalformed(connection);
  }

  /** Earlier requests are answered first and in order. What the broken one would have been is never answered otherwise. */
  #refuseMalformed(connection: NodeConnection): void {
    const { socket, lastResponse, pendingRefusal: status } = connection;
    if (connection.waiting.length > 0) return;
    if (lastResponse !== null && !lastResponse.writableFinished) {
      lastResponse.once('finish', () => this.#refuseMalformed(connection));
      return;
    }
    // A request that was answered before its body broke has had its answer.
    if (socket.writable && lastResponse?.req.complete !== false) {
      const message = status === 431 ? refusals.HEADERS_TOO_LARGE : status === 408 ? refusals.REQUEST_TIMEOUT : refusals.MALFORMED_REQUEST;
      const body = this.#errorBody.encode(status, message, '');
      const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: ${this.#errorBody.contentType}\r\n`;
      socket.write(`${head}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`);
    }
    socket.destroySoon();
  }
}

function addressOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}

/** A connection with an open exchange closes by itself: the answer will say `Connection: close`. */
function closeWhenIdle(connection: NodeConnection): void {
  const { socket, lastResponse } = connection;
  if (connection.openCount > 0 || connection.isUpgraded) return;
  if (lastResponse === null || lastResponse.writableFinished) socket.destroySoon();
  else lastResponse.once('finish', () => socket.destroySoon());
}

function mayTake(connection: NodeConnection): boolean {
  // Answers go out in order: when the last one is flushed, all are.
  if (connection.lastResponse === null || connection.lastResponse.writableFinished) connection.unreadAnswerBytes = 0;
  return connection.openCount < MAX_PIPELINED && connection.unreadAnswerBytes <= MAX_UNREAD_ANSWER_BYTES;
}

function onBodyData(this: NodeRequest, chunk: Buffer): void {
  const exchange = this.exchange!;
  // The parser copies each piece into memory of its own; should a version of Node hand out a view, the intake copies it.
  (exchange.owner as RequestIntake).receive(exchange, chunk, chunk.buffer.byteLength === chunk.byteLength);
}

function onBodyEnd(this: NodeRequest): void {
  const exchange = this.exchange!;
  exchange.markDue();
  (exchange.owner as RequestIntake).complete(exchange);
}

function statusOfParserError(code: string | undefined): number {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return 431;
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return 413;
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return 408;
    default:
      return 400;
  }
}

/** The engine that is always there. */
export const startNodeHttpTransport: StartHttpTransport = async (options) => {
  let transport: NodeHttpTransport;
  const ws = options.webSockets.length === 0 ? null : await import('ws');
  if (options.tls !== null) checkTlsFiles(options.tls);
  try {
    transport = new NodeHttpTransport(options, ws);
  } catch (error) {
    throw options.tls === null ? error : tlsFailure(options.tls, error);
  }
  await transport.listen(options.host, options.port);
  return transport;
};
