/** @hotpath takes each request from its parsed head to its handler: framing, route, limits, body, content coding. The same for both engines (measured by node-http-transport.bench.ts) */

import { type BufferedExchange, type ExchangeOwner, NO_BODY } from './buffered-exchange.ts';
import { ACCEPTED_CODINGS, inflateBody, parseContentEncoding } from './content-encoding.ts';
import { CrossOrigin, preflightHeaders } from './cross-origin.ts';
import type { HttpErrorBody, HttpTransportOptions } from './http-exchange.ts';
import * as refusals from './http-refusals.ts';
import { HttpRouter } from './http-router.ts';
import { MessagePool, MIN_POOLED_BYTES } from './message-pool.ts';
import { nearestPath } from './nearest-path.ts';
import type { WebSocketRoute } from './web-socket.ts';
import type { HeldWebSocket, WebSocketOwner } from './web-socket-connection.ts';
import { type HandshakeHead, HandshakeRoute } from './web-socket-handshake.ts';

/** Triton's bound on the chunks of a chunked body: past it, the cost is in the pieces and not in the bytes. */
const MAX_BODY_CHUNKS = 65_536;
/** What a chunked body's buffer starts with, bytes. */
const FIRST_GROWTH_BYTES = 4096;
const RETRY_SOON: readonly string[] = Object.freeze(['retry-after', '1']);
const NO_HEADERS: readonly string[] = Object.freeze([]);

/** The parts of a head that say how the request ends, as the engine found them; '' for what is not there. Reused from request to request. */
export interface RequestFraming {
  /** As it was sent: it may be no method of ours. */
  method: string;
  contentLength: string;
  transferEncoding: string;
  expect: string;
  /** Read where CORS is on. */
  origin: string;
  /** Content-Length or Transfer-Encoding was sent more than once, or with an empty value. */
  hasRepeatedFraming: boolean;
  hasRepeatedHost: boolean;
  /** The headers are over the transport's limits. */
  hasTooLargeHeaders: boolean;
}

export class RequestIntake implements ExchangeOwner, WebSocketOwner {
  readonly router: HttpRouter;
  readonly errorBody: HttpErrorBody;
  /** Answers say which pages of other sites may read them. */
  readonly hasCors: boolean;
  /** Exchanges opened and not released. */
  openExchanges = 0;
  /** Those whose end is not known yet. */
  readonly webSockets = new Set<HeldWebSocket>();
  /** Body bytes held or promised to by open exchanges. */
  bufferedBodyBytes = 0;
  isDraining = false;
  readonly #maxBodyBytes: number;
  readonly #maxBufferedBodyBytes: number;
  readonly #maxOpenExchanges: number;
  readonly #crossOrigin: CrossOrigin;
  readonly #bodies: MessagePool = new MessagePool();
  readonly #onError: (error: unknown) => void;
  #drained: (() => void) | null = null;

  /** `maxOpenExchanges`: a bound of its own for an engine that cannot bound its connections. */
  constructor(options: HttpTransportOptions, maxOpenExchanges: number) {
    const crossOrigin = new CrossOrigin(options.allowOrigins);
    this.#crossOrigin = crossOrigin;
    this.hasCors = !crossOrigin.isOff;
    this.router = new HttpRouter([...options.routes, ...options.webSockets.map((route) => new HandshakeRoute(route, crossOrigin))]);
    this.errorBody = options.errorBody;
    this.#maxBodyBytes = options.maxBodyBytes;
    this.#maxBufferedBodyBytes = options.maxBufferedBodyBytes;
    this.#maxOpenExchanges = maxOpenExchanges;
    this.#onError = (error) => options.onError(error);
  }

  onError(error: unknown): void {
    this.#onError(error);
  }

  /**
   * A head is in. True: the body, if there is one, is to be handed to `receive` and then `complete` is to be called. False: refused, and answered.
   */
  open(exchange: BufferedExchange, framing: RequestFraming): boolean {
    this.openExchanges += 1;
    if (this.hasCors && framing.origin !== '') exchange.allowOrigin = this.#crossOrigin.allow(framing.origin);
    // First what makes the rest of the connection untrustworthy: whoever stands in front may have seen other requests in these bytes.
    if (framing.hasRepeatedHost) return refuse(exchange, 400, refusals.DUPLICATE_HOST, NO_HEADERS, true);
    const isChunked = framing.transferEncoding !== '';
    if (framing.hasRepeatedFraming || (isChunked && framing.contentLength !== '')) {
      return refuse(exchange, 400, refusals.AMBIGUOUS_LENGTH, NO_HEADERS, true);
    }
    if (isChunked) {
      if (framing.transferEncoding.toLowerCase() !== 'chunked') {
        return refuse(exchange, 501, refusals.UNSUPPORTED_TRANSFER_CODING, NO_HEADERS, true);
      }
      exchange.expectedBytes = -1;
    } else if (framing.contentLength !== '') {
      exchange.expectedBytes = parseDigits(framing.contentLength);
      if (exchange.expectedBytes < 0) return refuse(exchange, 400, refusals.AMBIGUOUS_LENGTH, NO_HEADERS, true);
    }
    if (framing.hasTooLargeHeaders) return refuse(exchange, 431, refusals.HEADERS_TOO_LARGE, NO_HEADERS, true);
    if (this.isDraining) return refuse(exchange, 503, refusals.DRAINING, RETRY_SOON, false);
    if (this.openExchanges + this.webSockets.size > this.#maxOpenExchanges)
      return refuse(exchange, 503, refusals.TOO_MANY_REQUESTS_OPEN, RETRY_SOON, false);

    const match = this.router.match(exchange.path);
    const { endpoint } = match;
    if (endpoint === null) {
      if (match.refusal === 404) {
        const nearest = nearestPath(exchange.path, this.router.endpoints);
        return refuse(exchange, 404, refusals.pathNotFound(exchange.path, nearest), NO_HEADERS, false);
      }
      return refuse(exchange, match.refusal, match.refusal === 414 ? refusals.PATH_TOO_LONG : refusals.INVALID_PATH, NO_HEADERS, false);
    }
    const route = endpoint.route(framing.method);
    if (route === undefined) {
      if (framing.method === 'OPTIONS') {
        const isPreflight = exchange.allowOrigin !== '';
        exchange.respond(204, isPreflight ? preflightHeaders(endpoint.allow, endpoint.requestHeaders) : ['allow', endpoint.allow], NO_BODY);
        return false;
      }
      return refuse(exchange, 405, refusals.methodNotAllowed(framing.method, endpoint.allow), ['allow', endpoint.allow], false);
    }
    if (framing.expect !== '' && framing.expect.toLowerCase() !== '100-continue') {
      return refuse(exchange, 417, refusals.expectationFailed(framing.expect), NO_HEADERS, false);
    }
    if (exchange.contentEncoding !== '') {
      const coding = parseContentEncoding(exchange.contentEncoding);
      if (coding === null || (coding !== 'identity' && !route.allowContentCoding)) {
        const isKnown = coding !== null;
        return refuse(
          exchange,
          415,
          isKnown
            ? refusals.contentCodingNotAllowed(exchange.contentEncoding)
            : refusals.unsupportedContentCoding(exchange.contentEncoding),
          ['accept-encoding', route.allowContentCoding ? ACCEPTED_CODINGS : 'identity'],
          false,
        );
      }
      exchange.contentEncoding = coding === 'identity' ? '' : coding;
    }
    const { expectedBytes } = exchange;
    if (expectedBytes > this.#maxBodyBytes) {
      return refuse(exchange, 413, refusals.bodyTooLarge(expectedBytes, this.#maxBodyBytes), NO_HEADERS, false);
    }
    if (expectedBytes > 0 && !this.#reserve(exchange, expectedBytes)) return refuse(exchange, 503, refusals.BODIES_BUSY, RETRY_SOON, false);
    exchange.route = route;
    exchange.params = match.params;
    return true;
  }

  /**
   * The route of a handshake that can be taken, null for any other request: what is wrong with it is for `open` to find, and for its route to say.
   */
  takeHandshake(path: string, framing: RequestFraming, head: HandshakeHead): WebSocketRoute | null {
    const isBodiless = framing.transferEncoding === '' && (framing.contentLength === '' || framing.contentLength === '0');
    if (framing.method !== 'GET' || !isBodiless || framing.expect !== '') return null;
    if (framing.hasRepeatedHost || framing.hasRepeatedFraming || framing.hasTooLargeHeaders || this.isDraining) return null;
    if (this.openExchanges + this.webSockets.size >= this.#maxOpenExchanges) return null;
    const route = this.router.match(path).endpoint?.route('GET');
    return route instanceof HandshakeRoute && route.fault(head) === null ? route.webSocket : null;
  }

  holdWebSocket(connection: HeldWebSocket): void {
    this.webSockets.add(connection);
  }

  releaseWebSocket(connection: HeldWebSocket): void {
    this.webSockets.delete(connection);
    this.#settleDrain();
  }

  /**
   * A piece of the body. `isOwned`: it is a buffer of its own that nobody else will change; otherwise it is copied before this returns. What comes after a
   * refusal is dropped.
   */
  receive(exchange: BufferedExchange, chunk: Buffer | Uint8Array, isOwned: boolean): void {
    const bytes = chunk.byteLength;
    if (bytes === 0 || exchange.isAnswered || exchange.isAborted) return;
    exchange.chunks += 1;
    const at = exchange.receivedBytes;
    const end = at + bytes;
    if (exchange.expectedBytes >= 0) {
      if (end > exchange.expectedBytes) {
        refuse(exchange, 400, refusals.MALFORMED_REQUEST, NO_HEADERS, true);
        return;
      }
      if (at === 0) {
        if (isOwned && bytes === exchange.expectedBytes) {
          exchange.received = chunk as Buffer;
          exchange.receivedBytes = bytes;
          return;
        }
        exchange.received = this.#allocate(exchange, exchange.expectedBytes);
      }
    } else {
      if (exchange.chunks > MAX_BODY_CHUNKS) {
        refuse(exchange, 400, refusals.TOO_MANY_CHUNKS, NO_HEADERS, true);
        return;
      }
      if (end > this.#maxBodyBytes) {
        // It is not known how much more would come, so the rest is not waited for.
        refuse(exchange, 413, refusals.bodyTooLarge(-1, this.#maxBodyBytes), NO_HEADERS, true);
        return;
      }
      if (end > exchange.received.byteLength && !this.#grow(exchange, end)) {
        refuse(exchange, 503, refusals.BODIES_BUSY, RETRY_SOON, true);
        return;
      }
    }
    exchange.received.set(chunk, at);
    exchange.receivedBytes = end;
  }

  /** The last byte is in. Calls the handler, at once unless the body has to be inflated first. */
  complete(exchange: BufferedExchange): void {
    if (exchange.isAnswered || exchange.isAborted) return;
    const { received, receivedBytes } = exchange;
    exchange.body = received.byteLength === receivedBytes ? received : received.subarray(0, receivedBytes);
    exchange.received = NO_BODY;
    if (exchange.contentEncoding === '') {
      this.#dispatch(exchange);
      return;
    }
    if (receivedBytes === 0) refuse(exchange, 400, refusals.EMPTY_COMPRESSED_BODY, NO_HEADERS, false);
    else this.#inflate(exchange);
  }

  release(exchange: BufferedExchange): void {
    if (exchange.isReleased) return;
    exchange.isReleased = true;
    exchange.received = NO_BODY;
    this.#giveBack(exchange);
    this.bufferedBodyBytes -= exchange.reservedBytes;
    exchange.reservedBytes = 0;
    this.openExchanges -= 1;
    this.#settleDrain();
  }

  /** From now on new exchanges get 503 and WebSockets are asked to end; resolves when none is open. */
  drain(): Promise<void> {
    this.isDraining = true;
    for (const connection of this.webSockets) connection.requestDrain();
    if (this.openExchanges + this.webSockets.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const earlier = this.#drained;
      this.#drained = () => {
        earlier?.();
        resolve();
      };
    });
  }

  #settleDrain(): void {
    if (this.#drained === null || this.openExchanges + this.webSockets.size > 0) return;
    this.#drained();
    this.#drained = null;
  }

  /** For a body of known length. Memory that is new for each large one costs a collection every few dozen of them, and the first touch of its pages: two thirds of the time of a 600 KB request. */
  #allocate(exchange: BufferedExchange, bytes: number): Buffer {
    if (bytes < MIN_POOLED_BYTES) return Buffer.allocUnsafe(bytes);
    exchange.pooled = this.#bodies.take(bytes);
    return exchange.pooled;
  }

  /** Behind any answer but a whole 200 somebody may still read, for a request that ended before its work did: such a body is the collector's. */
  #giveBack(exchange: BufferedExchange): void {
    const { pooled } = exchange;
    if (pooled === null) return;
    exchange.pooled = null;
    exchange.body = NO_BODY;
    if (exchange.isServed && !exchange.isAborted) this.#bodies.give(pooled);
  }

  #dispatch(exchange: BufferedExchange): void {
    exchange.isDispatched = true;
    try {
      exchange.route!.handle(exchange);
    } catch (error) {
      this.#onError(error);
      exchange.refuse(500, refusals.INTERNAL_FAULT);
    }
  }

  #inflate(exchange: BufferedExchange): void {
    const budget = { reserveInflated: (bytes: number) => !exchange.isAborted && this.#reserve(exchange, bytes) };
    inflateBody(exchange.body, this.#maxBodyBytes, budget, (result) => {
      if (exchange.isAborted) return;
      switch (result.outcome) {
        case 'done':
          exchange.body = result.body;
          this.#dispatch(exchange);
          return;
        case 'too-large':
          exchange.refuse(413, refusals.bodyTooLarge(-1, this.#maxBodyBytes));
          return;
        case 'no-room':
          exchange.refuse(503, refusals.BODIES_BUSY, RETRY_SOON);
          return;
        case 'corrupt':
          exchange.refuse(400, refusals.CORRUPT_COMPRESSED_BODY);
      }
    });
  }

  #reserve(exchange: BufferedExchange, bytes: number): boolean {
    if (exchange.isReleased || this.bufferedBodyBytes + bytes > this.#maxBufferedBodyBytes) return false;
    this.bufferedBodyBytes += bytes;
    exchange.reservedBytes += bytes;
    return true;
  }

  /** Doubling keeps the copies of a body in many pieces linear; the budget counts what is allocated, not what is filled. */
  #grow(exchange: BufferedExchange, neededBytes: number): boolean {
    const old = exchange.received;
    const capacity = Math.max(neededBytes, Math.min(Math.max(old.byteLength * 2, FIRST_GROWTH_BYTES), this.#maxBodyBytes));
    if (!this.#reserve(exchange, capacity - old.byteLength)) return false;
    const grown = Buffer.allocUnsafe(capacity);
    grown.set(old.subarray(0, exchange.receivedBytes), 0);
    exchange.received = grown;
    return true;
  }
}

function refuse(exchange: BufferedExchange, status: number, message: string, headers: readonly string[], mustClose: boolean): false {
  exchange.refuse(status, message, headers, mustClose);
  return false;
}

/** -1 for what is not a plain non-negative whole number that a double holds exactly. */
function parseDigits(text: string): number {
  if (text.length > 15) return -1;
  let value = 0;
  for (let index = 0; index < text.length; index += 1) {
    const digit = text.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}
