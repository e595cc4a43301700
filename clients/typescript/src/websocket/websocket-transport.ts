import { InferenceError } from '../../../../proto/inference-error.ts';
import { CallError } from '../call-error.ts';
import { leftMs } from '../call-scope.ts';
import { HttpControl } from '../http/http-control.ts';
import { HttpSession } from '../http/http-session.ts';
import type { CallContext, InferRequest, InferResponse, Transport, TransportOptions } from '../transport.ts';
import type { SocketTarget } from './message-socket.ts';
import { type OpenSocket, openBrowserSocket, openNodeSocket } from './open-socket.ts';
import { ResponseIterator } from './response-iterator.ts';
import type { CallOwner, WebSocketCall } from './websocket-call.ts';
import { WebSocketConnection } from './websocket-connection.ts';

const DEFAULT_PATH = '/v2/ws';
/** Connections that take no more requests and have unanswered ones: their headers are out of date, or a stream on them has a slow reader. */
const MAX_RETIRED = 16;

/**
 * Inference over one WebSocket, opened by the first call and, when it was lost, by the next one; every other call goes over HTTP to the same host.
 * Requests share the connection, told apart by id: the caller's, where it gave one that no other request in flight has, else one made here.
 *
 * Headers go with the handshake (not in browsers, whose WebSocket takes none: INVALID_ARGUMENT). A call whose headers are others than the
 * connection's, a new token for one, opens a new connection; the old one is closed when all on it are answered.
 *
 * The wire cannot hold back one stream and let others run. So a connection with a slow reader (in Node, with `ws`, whose sockets can stop reading)
 * is left to what is on it: the next call opens another, and where only slow streams are left nothing is read, which holds the models back. What runs
 * beside a slow stream meanwhile, and everything in browsers, whose sockets cannot stop, is served; then the stream's responses are kept up to a bound
 * (websocket-connection.ts), past which that stream alone ends with RESOURCE_EXHAUSTED.
 */
export class WebSocketTransport extends HttpControl implements Transport {
  readonly name = 'WebSocket';
  readonly #url: string;
  readonly #options: TransportOptions;
  readonly #openSocket: OpenSocket;
  readonly #session: HttpSession;
  #current: WebSocketConnection | null = null;
  #currentHeaders = '';
  readonly #retired = new Set<WebSocketConnection>();
  #isClosed = false;

  constructor(url: string, session: HttpSession, options: TransportOptions, openSocket: OpenSocket) {
    super(session);
    this.#url = url;
    this.#session = session;
    this.#options = options;
    this.#openSocket = openSocket;
  }

  async infer(request: InferRequest, context: CallContext): Promise<InferResponse> {
    const { owner, call } = this.#start(request, context, false);
    const first = await call.next();
    // Null at once behind the one response of a model that is not decoupled.
    if (first !== null && (await call.next()) === null) return first;
    owner.abandon(call, null);
    throw new CallError(
      'UNIMPLEMENTED',
      `model '${request.modelName}' gave ${first === null ? 'no response' : 'more than one response'}: it is decoupled: use stream()`,
      { phase: 'answered' },
    );
  }

  stream(request: InferRequest, context: CallContext): AsyncIterableIterator<InferResponse> {
    return new ResponseIterator(() => this.#start(request, context, true));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const error = closed();
    const connections = [...this.#retired];
    if (this.#current !== null) connections.push(this.#current);
    this.#current = null;
    await Promise.all([this.#session.close(), ...connections.map((connection) => connection.close(error))]);
  }

  #start(request: InferRequest, context: CallContext, isStream: boolean): { owner: CallOwner; call: WebSocketCall } {
    const { signal, headers } = context;
    if (signal?.aborted) throw InferenceError.from(signal.reason);
    if (this.#isClosed) throw closed();
    const connection = this.#connectionFor(headers);
    return { owner: connection, call: connection.start(request, signal, leftMs(context), isStream) };
  }

  #connectionFor(headers: Readonly<Record<string, string>>): WebSocketConnection {
    const key = headersKey(headers);
    const current = this.#current;
    const isFull = this.#retired.size >= MAX_RETIRED;
    if (current?.isUsable && key === this.#currentHeaders && (isFull || !current.isHeldBack)) return current;
    if (current !== null && !current.isClosed) {
      if (isFull) {
        const text = `${MAX_RETIRED} connections with other headers have unanswered requests: headers go with a connection; give the same to all calls`;
        throw new CallError('RESOURCE_EXHAUSTED', text, { phase: 'refused' });
      }
      this.#retired.add(current);
      if (current.isIdle) this.#closeRetired(current);
    }
    const target: SocketTarget = { url: this.#url, headers, tls: this.#options.tls };
    this.#current = new WebSocketConnection(this.#openSocket, target, (connection) => this.#closeRetired(connection));
    this.#currentHeaders = key;
    return this.#current;
  }

  #closeRetired(connection: WebSocketConnection): void {
    if (this.#retired.delete(connection) && !connection.isClosed) void connection.close(closed());
  }
}

function headersKey(headers: Readonly<Record<string, string>>): string {
  const names = Object.keys(headers);
  return names.length === 0 ? '' : JSON.stringify(names.sort().map((name) => [name, headers[name]]));
}

function closed(): InferenceError {
  return new InferenceError('CANCELLED', 'the client is closed');
}

/** `ws` and `wss` URLs; the path is `/v2/ws` where the URL has none. See CreateTransport. */
export function createTransport(url: URL, options: TransportOptions): WebSocketTransport {
  return transportOver(openNodeSocket, url, options);
}

/** The same in a browser. */
export function createBrowserTransport(url: URL, options: TransportOptions): WebSocketTransport {
  return transportOver(openBrowserSocket, url, options);
}

function transportOver(openSocket: OpenSocket, url: URL, options: TransportOptions): WebSocketTransport {
  const socketUrl = new URL(url);
  socketUrl.hash = '';
  if (socketUrl.pathname === '/') socketUrl.pathname = DEFAULT_PATH;
  const httpUrl = new URL(socketUrl);
  httpUrl.protocol = url.protocol === 'wss:' ? 'https:' : 'http:';
  httpUrl.search = '';
  // Behind a gateway both lie below the same path.
  httpUrl.pathname = socketUrl.pathname.endsWith(DEFAULT_PATH) ? socketUrl.pathname.slice(0, -DEFAULT_PATH.length) : '';
  const fetch = options.fetch ?? (options.tls === null ? globalThis.fetch : noCertificates);
  return new WebSocketTransport(socketUrl.href, new HttpSession(httpUrl, fetch), options, openSocket);
}

const noCertificates: typeof globalThis.fetch = () =>
  Promise.reject(
    new InferenceError(
      'UNIMPLEMENTED',
      'tls: calls that are not inference go over fetch, which takes no certificates: set NODE_EXTRA_CA_CERTS, or give `fetch`, one that has them',
    ),
  );
