/** @hotpath uWebSockets.js request and response to an exchange and back; native callbacks are pooled, one copy of each body, one scratch buffer for answers. */

import { copyBody, joinBody } from '../buffered-exchange.ts';
import type { HttpTransport, HttpTransportOptions } from '../http-exchange.ts';
import { REQUEST_TIMEOUT } from '../http-refusals.ts';
import { isHttpMethod } from '../http-router.ts';
import { checkTlsFiles, listenFailure } from '../listen-failure.ts';
import { type RequestFraming, RequestIntake } from '../request-intake.ts';
import type { HandshakeHead } from '../web-socket-handshake.ts';
import { joinedHeader, UwsCallbacks, UwsExchange, type UwsExchangeHost } from './uws-exchange.ts';
import type { UwsApp, UwsListenSocket, UwsModule, UwsRequest, UwsResponse, UwsSocketContext } from './uws-module.ts';
import { UwsWebSocket, type UwsWebSocketHost, uwsBehavior } from './uws-web-socket.ts';

/** The scratch buffer's first and largest size, bytes. Answers beyond the largest get a buffer of their own. */
const FIRST_SCRATCH_BYTES = 64 * 1024;
const MAX_SCRATCH_BYTES = 4 * 1024 * 1024;
/** Callback sets kept for reuse. */
const MAX_POOLED_CALLBACKS = 1024;
/** Once WebSockets are closed and streams ended, for their peers to take the last bytes: the engine does not say when they have, ms. */
const LINGER_MS = 300;
const HANDSHAKE_HEADERS = ['upgrade', 'origin', 'sec-websocket-key', 'sec-websocket-version'];
/** What the transport reads itself, whatever the routes name. */
const OWN_HEADERS = [
  'content-length',
  'transfer-encoding',
  'expect',
  'host',
  'connection',
  'upgrade',
  'origin',
  'accept-encoding',
  'content-encoding',
];
/** Shared by all requests that have none, so never added to. */
const NO_HEADERS = Object.freeze([]) as unknown as string[];
const NO_BYTES = Buffer.alloc(0);

class UwsTransport implements HttpTransport, UwsExchangeHost, UwsWebSocketHost {
  readonly engine = 'uws';
  readonly intake: RequestIntake;
  /** Whose answer `writeAnswer` writes. */
  writing: UwsExchange | null = null;
  readonly writeAnswer: () => void;
  readonly #uws: UwsModule;
  readonly #app: UwsApp;
  readonly #maxHeaderBytes: number;
  readonly #requestTimeoutMs: number;
  readonly #sweepMs: number;
  readonly #sweep: NodeJS.Timeout;
  /** Of the last sweep: near enough for a deadline, and free to read. */
  #clockMs: number = performance.now();
  readonly #pool: UwsCallbacks[] = [];
  #scratch = Buffer.allocUnsafeSlow(FIRST_SCRATCH_BYTES);
  #listenSocket: UwsListenSocket | null = null;
  #port = 0;
  /** Bodies coming in, oldest first: they all have the same time, so only the first can be late. */
  #oldest: UwsExchange | null = null;
  #newest: UwsExchange | null = null;
  /** Filled by `#visitHeader` for the request at hand. */
  #headers: string[] = [];
  #headerBytes = 0;
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
  /** The request at hand, as its handshake is judged. */
  readonly #head: HandshakeHead = { header: (name) => joinedHeader(this.#headers, name) };
  /** By their lengths, every header that some route names: the others are not kept. No list for a length that no header has which is read at all. */
  readonly #wantedHeaders: readonly (readonly string[] | undefined)[];
  #hasHost = false;
  #host = '';
  #connection = '';
  #upgrade = '';
  #connections = 0;
  /** Since it began to drain. */
  #hasEndedStream = false;
  #acceptEncoding = '';
  #contentEncoding = '';
  readonly #visitHeader: (key: string, value: string) => void;

  constructor(uws: UwsModule, options: HttpTransportOptions) {
    this.#uws = uws;
    this.#maxHeaderBytes = options.maxHeaderBytes;
    this.#requestTimeoutMs = options.requestTimeoutMs;
    const app = options.tls === null ? uws.App() : uws.SSLApp({ cert_file_name: options.tls.certFile, key_file_name: options.tls.keyFile });
    this.#app = app;
    const watchConnections = app.filter;
    watchConnections?.call(app, (response, count) => {
      this.#connections += count > 0 ? 1 : -1;
      if (count > 0 && this.#connections > options.maxConnections) response.close();
    });
    // One connection has at most one open exchange here, so this bounds the working ones where a build cannot count connections.
    this.intake = new RequestIntake(options, options.maxConnections);
    const wanted = options.routes.flatMap((route) => route.requestHeaders);
    this.#wantedHeaders = byLength(options.webSockets.length > 0 ? [...wanted, ...HANDSHAKE_HEADERS] : wanted);
    this.writeAnswer = () => {
      const exchange = this.writing;
      this.writing = null;
      exchange?.write();
    };
    this.#visitHeader = (key, value) => this.#onHeader(key, value);
    for (const route of options.webSockets) {
      app.ws(
        route.pattern,
        uwsBehavior(route, (response, request, context) => this.#onRequest(response, request, context)),
      );
    }
    app.any('/*', (response, request) => this.#onRequest(response, request, null));
    this.#sweepMs = Math.min(1000, Math.max(20, Math.ceil(options.requestTimeoutMs / 4)));
    this.#sweep = setInterval(() => this.#refuseLate(), this.#sweepMs);
    this.#sweep.unref();
  }

  get port(): number {
    return this.#port;
  }

  listen(host: string, port: number): void {
    // Without the exclusive flag the engine shares the port with another process that listens on it.
    this.#app.listen(host, port, this.#uws.LIBUS_LISTEN_EXCLUSIVE_PORT, (socket) => {
      if (socket !== false) this.#listenSocket = socket;
    });
    if (this.#listenSocket === null) {
      clearInterval(this.#sweep);
      throw listenFailure(host, port, null);
    }
    this.#port = this.#uws.localPort(this.#listenSocket);
  }

  async drain(): Promise<void> {
    this.#stopListening();
    const hasWebSockets = this.intake.webSockets.size > 0;
    await this.intake.drain();
    if (hasWebSockets || this.#hasEndedStream) await new Promise((resolve) => setTimeout(resolve, LINGER_MS));
    // The last answers were written in this turn of the loop, or are in the kernel's hands.
    await new Promise((resolve) => setImmediate(resolve));
    this.#app.close?.();
    clearInterval(this.#sweep);
  }

  close(): Promise<void> {
    this.intake.isDraining = true;
    this.#stopListening();
    this.#app.close?.();
    clearInterval(this.#sweep);
    return Promise.resolve();
  }

  /** The pieces in one view, of the scratch buffer where they fit: the engine copies what it is given before its call returns. */
  join(pieces: readonly Uint8Array[], bytes: number): Uint8Array {
    if (pieces.length === 0) return NO_BYTES;
    if (pieces.length === 1) return pieces[0]!;
    if (bytes > MAX_SCRATCH_BYTES) return joinBody(pieces);
    if (bytes > this.#scratch.byteLength) {
      this.#scratch = Buffer.allocUnsafeSlow(Math.min(MAX_SCRATCH_BYTES, 2 ** Math.ceil(Math.log2(bytes))));
    }
    copyBody(pieces, this.#scratch);
    return this.#scratch.subarray(0, bytes);
  }

  streamEnded(): void {
    if (this.intake.isDraining) this.#hasEndedStream = true;
  }

  webSocketGone(): void {
    this.#connections -= 1;
  }

  giveBack(callbacks: UwsCallbacks): void {
    callbacks.exchange = null;
    if (this.#pool.length < MAX_POOLED_CALLBACKS) this.#pool.push(callbacks);
  }

  stopClock(exchange: UwsExchange): void {
    if (exchange.deadlineMs === 0) return;
    exchange.deadlineMs = 0;
    if (exchange.earlier === null) this.#oldest = exchange.later;
    else exchange.earlier.later = exchange.later;
    if (exchange.later === null) this.#newest = exchange.earlier;
    else exchange.later.earlier = exchange.earlier;
    exchange.earlier = null;
    exchange.later = null;
  }

  #startClock(exchange: UwsExchange): void {
    exchange.deadlineMs = this.#clockMs + this.#requestTimeoutMs;
    exchange.earlier = this.#newest;
    if (this.#newest === null) this.#oldest = exchange;
    else this.#newest.later = exchange;
    this.#newest = exchange;
  }

  #refuseLate(): void {
    // Deadlines were set by the time of the sweep before them, so they are given one interval more.
    this.#clockMs = performance.now();
    const due = this.#clockMs - this.#sweepMs;
    while (this.#oldest !== null && this.#oldest.deadlineMs <= due) {
      const late = this.#oldest;
      this.stopClock(late);
      late.refuse(408, REQUEST_TIMEOUT, [], true);
    }
  }

  #stopListening(): void {
    if (this.#listenSocket === null) return;
    this.#uws.closeListenSocket(this.#listenSocket);
    this.#listenSocket = null;
  }

  /** `context`: of the WebSocket route whose path it is, when it may be a handshake. */
  #onRequest(response: UwsResponse, request: UwsRequest, context: UwsSocketContext | null): void {
    const framing = this.#framing;
    framing.method = request.getCaseSensitiveMethod();
    framing.contentLength = '';
    framing.transferEncoding = '';
    framing.expect = '';
    framing.hasRepeatedFraming = false;
    framing.hasRepeatedHost = false;
    framing.origin = '';
    this.#hasHost = false;
    this.#host = '';
    this.#connection = '';
    this.#upgrade = '';
    this.#acceptEncoding = '';
    this.#contentEncoding = '';
    this.#headers = NO_HEADERS;
    this.#headerBytes = 0;
    request.forEachHeader(this.#visitHeader);
    framing.hasTooLargeHeaders = this.#headerBytes > this.#maxHeaderBytes;
    const { method } = framing;
    // Of every other request these are nobody's to read, so they are not kept.
    if (this.#upgrade !== '') this.#headers = [...this.#headers, 'host', this.#host, 'connection', this.#connection];
    if (context !== null) {
      const route = this.intake.takeHandshake(request.getUrl(), framing, this.#head);
      if (route !== null) {
        const webSocket = new UwsWebSocket(this, route);
        response.upgrade({ nereidWebSocket: webSocket }, this.#head.header('sec-websocket-key'), '', '', context);
        return;
      }
    }
    const exchange = new UwsExchange(
      this,
      response,
      this.#pool.pop() ?? new UwsCallbacks(),
      isHttpMethod(method) ? method : 'GET',
      request.getUrl(),
      request.getQuery() ?? '',
      this.#headers,
    );
    exchange.acceptEncoding = this.#acceptEncoding;
    exchange.contentEncoding = this.#contentEncoding;
    try {
      if (!this.intake.open(exchange, framing)) return;
      if (exchange.expectedBytes === 0) {
        this.intake.complete(exchange);
        return;
      }
      this.#startClock(exchange);
      exchange.receiveBody();
    } catch (error) {
      exchange.onFault(error);
    }
  }

  #onHeader(key: string, value: string): void {
    this.#headerBytes += key.length + value.length + 4;
    const framing = this.#framing;
    // The length alone says of most headers that nobody reads them.
    const wanted = this.#wantedHeaders[key.length];
    if (wanted === undefined) return;
    switch (key) {
      case 'content-length':
        if (value === '' || framing.contentLength !== '') framing.hasRepeatedFraming = true;
        framing.contentLength = value;
        return;
      case 'transfer-encoding':
        if (value === '' || framing.transferEncoding !== '') framing.hasRepeatedFraming = true;
        framing.transferEncoding = value;
        return;
      case 'expect':
        framing.expect = value;
        return;
      case 'host':
        if (this.#hasHost) framing.hasRepeatedHost = true;
        this.#hasHost = true;
        this.#host = value;
        return;
      case 'connection':
        this.#connection = this.#connection === '' ? value : `${this.#connection}, ${value}`;
        return;
      case 'upgrade':
        this.#upgrade = value;
        break;
      case 'origin':
        framing.origin = framing.origin === '' ? value : `${framing.origin}, ${value}`;
        break;
      case 'accept-encoding':
        this.#acceptEncoding = this.#acceptEncoding === '' ? value : `${this.#acceptEncoding}, ${value}`;
        break;
      case 'content-encoding':
        this.#contentEncoding = this.#contentEncoding === '' ? value : `${this.#contentEncoding}, ${value}`;
        break;
    }
    for (let i = 0; i < wanted.length; i++) {
      if (wanted[i] !== key) continue;
      if (this.#headers.length === 0) this.#headers = [key, value];
      else this.#headers.push(key, value);
      return;
    }
  }
}

function byLength(names: readonly string[]): (readonly string[] | undefined)[] {
  const lists: (string[] | undefined)[] = [];
  for (const { length } of [...OWN_HEADERS, ...names]) lists[length] = [];
  for (const name of new Set(names)) lists[name.length]!.push(name);
  return Array.from(lists);
}

/** Starts the transport on a loaded module. */
export async function startUwsTransport(uws: UwsModule, options: HttpTransportOptions): Promise<HttpTransport> {
  const { tls } = options;
  if (tls !== null) {
    if (tls.caFile !== null) {
      throw new Error('the uws engine asks for no client certificates: use --http-engine node with a CA file');
    }
    checkTlsFiles(tls);
  }
  const transport = new UwsTransport(uws, options);
  transport.listen(options.host, options.port);
  return transport;
}
