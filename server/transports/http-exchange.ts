/**
 * What an HTTP transport offers to a protocol. A transport knows no protocol: it has routes, limits, sockets; a protocol knows no socket. Both HTTP
 * engines (uws, node) meet this contract and one suite, `http-transport.case.ts`.
 */

import type { WebSocketRoute } from './web-socket.ts';

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'OPTIONS' | 'PATCH';

/** One request and the chance to answer it once. */
export interface HttpExchange {
  readonly method: HttpMethod;
  /** The path as it was sent, without the query. */
  readonly path: string;
  /** What follows '?', or ''. */
  readonly query: string;
  /** Path parameters in the order of the route's pattern, each percent-decoded exactly once. */
  readonly params: readonly string[];
  /**
   * A request header that the route named in `requestHeaders` (lower case); '' when it is not there. A header sent twice is the values joined by ', ';
   * repeated framing headers never get here.
   */
  header(name: string): string;
  /** The whole body, content coding undone. Stays as it is until the exchange is answered, and behind any answer but a 200 for as long as it is referenced: a 200 says that nobody reads it any more. */
  readonly body: Uint8Array;
  /** The client is gone: answering does nothing. */
  readonly isAborted: boolean;
  /** Hears, once, that the client went away before the answer was complete. */
  abortListener: HttpAbortListener | null;
  /**
   * Answers. `headers` are name, value, name, value...; content-length, date and connection are the transport's. `body` is one piece or several in order,
   * borrowed until this returns. A second answer is dropped.
   */
  respond(status: number, headers: readonly string[], body: HttpBody): void;
  /**
   * Begins an answer that comes in parts (chunked, unless it ends in its first tick; never compressed). Its head goes out with the first part. `headers` as in `respond`. The exchange
   * stays open, and `abortListener` hears, until `end` or `abort`. After an answer or an abort it does nothing, and neither does what it returns.
   */
  startStream(status: number, headers: readonly string[]): HttpStream;
}

/** The parts of one answer. What is written in one tick goes out together at its end. After `end`, `abort` and when the client is gone all of it does nothing. */
export interface HttpStream {
  drainListener: HttpDrainListener | null;
  /**
   * Adds a part, which is borrowed until this returns. False: the client takes less than it is given; what was written is kept, but hold back more until `drainListener` hears that
   * it may go on. A client that takes nothing for some seconds is cut off (`abortListener` hears).
   */
  write(part: string | Uint8Array): boolean;
  /** The answer is whole. */
  end(): void;
  /** Cuts the connection off, so that the client knows that the answer is not whole. `abortListener` does not hear of it. */
  abort(): void;
}

/** An object rather than a function, as `HttpAbortListener` is. */
export interface HttpDrainListener {
  /** Never called inside `write`. */
  onStreamDrained(): void;
}

/** A protocol's per-call object; an object rather than a function, so that a call needs no closure. */
export interface HttpAbortListener {
  onExchangeAborted(): void;
}

export type HttpBody = string | Uint8Array | readonly Uint8Array[];

export interface HttpRoute {
  readonly method: HttpMethod;
  /**
   * Segments divided by '/'; `{name}` is any one segment, `{name:digits}` one of digits only. Matches the whole path; a trailing slash is another path.
   */
  readonly pattern: string;
  /** Lower-case names of the request headers that the handler reads; the transport keeps no others. */
  readonly requestHeaders: readonly string[];
  /** Request bodies may come in gzip or deflate, and the answer may go out so when the client asks. */
  readonly allowContentCoding: boolean;
  /** Runs on the loop as soon as the whole body is there. What it throws becomes a 500 without detail, and a log line. */
  handle(exchange: HttpExchange): void;
}

/** How a transport words the refusals that happen before a route is reached: the protocol's error body for a status and a message. */
export interface HttpErrorBody {
  readonly contentType: string;
  /** `path`: as it was sent; '' where it could not be read. */
  encode(status: number, message: string, path: string): string;
}

export interface HttpTransportOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly routes: readonly HttpRoute[];
  readonly webSockets: readonly WebSocketRoute[];
  /**
   * Origins (scheme://host[:port]) whose pages may call from a browser, or '*': CORS for the routes, and the Origin check of WebSocket handshakes. A WebSocket handshake
   * without an Origin, or with the server's own, is always taken; one with another is refused with 403.
   */
  readonly allowOrigins: readonly string[];
  readonly errorBody: HttpErrorBody;
  /** Largest body, before and after its content coding is undone, bytes. */
  readonly maxBodyBytes: number;
  /** All bodies being received or held at one time, bytes: further ones are refused with 503 before they are read. */
  readonly maxBufferedBodyBytes: number;
  readonly maxHeaderBytes: number;
  readonly maxConnections: number;
  /** Time for a request's headers to arrive, ms. */
  readonly headersTimeoutMs: number;
  /** Time for a whole request to arrive, ms. */
  readonly requestTimeoutMs: number;
  /** Idle time between requests of a connection, ms. */
  readonly keepAliveTimeoutMs: number;
  /** PEM files; null: plain HTTP. */
  readonly tls: { readonly certFile: string; readonly keyFile: string; readonly caFile: string | null } | null;
  /** Hears of what a handler threw and of other faults that are the server's. */
  onError(error: unknown): void;
}

export interface HttpTransport {
  readonly engine: 'uws' | 'node';
  /** The port it listens on. */
  readonly port: number;
  /** Takes no new connections, asks clients of open ones to close (`Connection: close`), resolves when the last exchange is answered. */
  drain(): Promise<void>;
  /** Closes everything now. */
  close(): Promise<void>;
}

/** Resolves when listening; rejects with a plain message when the port is taken or a certificate cannot be read. */
export type StartHttpTransport = (options: HttpTransportOptions) => Promise<HttpTransport>;
