/** @hotpath one object for each request: its head, its body as it comes in, and its one answer (measured by node-http-transport.bench.ts) */

import { AnswerStream, type StreamWire } from './answer-stream.ts';
import { chooseResponseCoding, compressBody, MIN_COMPRESSED_BODY_BYTES } from './content-encoding.ts';
import { withCrossOrigin } from './cross-origin.ts';
import type { HttpAbortListener, HttpBody, HttpErrorBody, HttpExchange, HttpMethod, HttpRoute, HttpStream } from './http-exchange.ts';
import { INTERNAL_FAULT } from './http-refusals.ts';

export const NO_BODY: Buffer = Buffer.alloc(0);
const NO_PARAMS: readonly string[] = Object.freeze([]);
const INVALID_HEADER_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** Whoever counts exchanges and the bytes they hold: the intake of the transport. */
export interface ExchangeOwner {
  readonly errorBody: HttpErrorBody;
  onError(error: unknown): void;
  /** Called once, when the exchange needs nothing any more: answered or abandoned. */
  release(exchange: BufferedExchange): void;
}

/**
 * What both engines' exchanges have in common. The fields below `contentEncoding` belong to the intake while the body comes in; a protocol sees only
 * `HttpExchange`.
 */
export abstract class BufferedExchange implements HttpExchange, StreamWire {
  readonly method: HttpMethod;
  readonly path: string;
  readonly query: string;
  params: readonly string[] = NO_PARAMS;
  body: Buffer = NO_BODY;
  isAborted = false;
  abortListener: HttpAbortListener | null = null;

  readonly owner: ExchangeOwner;
  /** null until routed, and for good when the request is refused. */
  route: HttpRoute | null = null;
  /** `respond` or `refuse` was called; the answer may still be on its way out. */
  isAnswered = false;
  /** The handler has been called. */
  isDispatched = false;
  isReleased = false;
  /** The answer, where it comes in parts. */
  stream: AnswerStream | null = null;
  contentEncoding = '';
  acceptEncoding = '';
  /** Access-Control-Allow-Origin of the answer; '': none. */
  allowOrigin = '';
  /** From Content-Length; -1: chunked. */
  expectedBytes = 0;
  receivedBytes = 0;
  /** Pieces that brought bytes. */
  chunks = 0;
  /** The final buffer when the length is known, else one that doubles. */
  received: Buffer = NO_BODY;
  /** Memory of the intake's pool that `received` is, whole. */
  pooled: Buffer | null = null;
  /** The handler answered 200, in one piece: whatever it did with the body is done. */
  isServed = false;
  /** What this exchange holds of the transport's body budget. */
  reservedBytes = 0;

  constructor(owner: ExchangeOwner, method: HttpMethod, path: string, query: string) {
    this.owner = owner;
    this.method = method;
    this.path = path;
    this.query = query;
  }

  abstract header(name: string): string;

  /**
   * Puts the answer on the wire: exactly once, never after an abort. `body` is borrowed. `mustClose`: the bytes that follow on this connection cannot be
   * trusted to be a request, so nothing more may be read from it.
   */
  protected abstract send(status: number, headers: readonly string[], body: HttpBody, mustClose: boolean): void;

  /** Keeps the head of an answer in parts, for the first of them. */
  protected abstract beginStream(status: number, headers: readonly string[]): void;
  abstract writePart(bytes: Uint8Array): boolean;
  abstract endParts(bytes: Uint8Array): void;
  abstract cutOff(): void;
  abstract onFault(error: unknown): void;

  startStream(status: number, headers: readonly string[]): HttpStream {
    const stream = new AnswerStream(this);
    if (this.isAnswered || this.isAborted || !this.#mayBeSent(headers)) {
      stream.drop();
      return stream;
    }
    this.isAnswered = true;
    this.stream = stream;
    this.beginStream(status, this.allowOrigin === '' ? headers : withCrossOrigin(headers, this.allowOrigin));
    return stream;
  }

  respond(status: number, headers: readonly string[], body: HttpBody): void {
    if (this.isAnswered || this.isAborted || !this.#mayBeSent(headers)) return;
    this.isAnswered = true;
    this.isServed = status === 200;
    if (this.allowOrigin !== '') headers = withCrossOrigin(headers, this.allowOrigin);
    if (this.acceptEncoding !== '' && status === 200 && this.route?.allowContentCoding === true && this.method !== 'HEAD') {
      const coding = chooseResponseCoding(this.acceptEncoding);
      if (coding !== 'identity' && bodyByteLength(body) >= MIN_COMPRESSED_BODY_BYTES) {
        this.#sendCompressed(headers, body, coding);
        return;
      }
    }
    this.send(status, headers, body, false);
  }

  /** Answers with the protocol's error body. Extra headers are name, value... */
  refuse(status: number, message: string, extraHeaders: readonly string[] = NO_PARAMS, mustClose = false): void {
    if (this.isAnswered || this.isAborted) {
      // Its status is out: the client learns from the cut that the answer is not whole.
      if (this.stream?.isEnded === false && !this.isAborted) this.cutOff();
      return;
    }
    this.isAnswered = true;
    const { errorBody } = this.owner;
    let headers = ['content-type', errorBody.contentType, ...extraHeaders];
    if (this.allowOrigin !== '') headers = withCrossOrigin(headers, this.allowOrigin);
    this.send(status, headers, errorBody.encode(status, message, this.path), mustClose);
  }

  /** The connection went away. The listener hears of it only while the answer is open. */
  abort(): void {
    if (this.isAborted) return;
    this.isAborted = true;
    const { stream } = this;
    const listener = this.isAnswered && stream?.isEnded !== false ? null : this.abortListener;
    stream?.drop();
    this.owner.release(this);
    if (listener === null) return;
    try {
      listener.onExchangeAborted();
    } catch (error) {
      this.owner.onError(error);
    }
  }

  /** False: the answer is a refusal now. */
  #mayBeSent(headers: readonly string[]): boolean {
    for (let index = 1; index < headers.length; index += 2) {
      if (INVALID_HEADER_VALUE.test(headers[index]!)) {
        this.owner.onError(new Error(`the response header ${headers[index - 1]} has a value that cannot be sent`));
        this.refuse(500, INTERNAL_FAULT);
        return false;
      }
    }
    return true;
  }

  #sendCompressed(headers: readonly string[], body: HttpBody, coding: 'gzip' | 'deflate'): void {
    compressBody(typeof body === 'string' ? body : joinBody(body), coding, (error, compressed) => {
      if (this.isAborted) return;
      if (error === null) {
        this.send(200, [...headers, 'content-encoding', coding], compressed, false);
        return;
      }
      this.owner.onError(error);
      this.isAnswered = false;
      this.refuse(500, INTERNAL_FAULT);
    });
  }
}

export function bodyByteLength(body: HttpBody): number {
  if (typeof body === 'string') return Buffer.byteLength(body);
  if (body instanceof Uint8Array) return body.byteLength;
  let total = 0;
  for (const piece of body) total += piece.byteLength;
  return total;
}

/** An exact-size copy. */
export function joinBody(body: Uint8Array | readonly Uint8Array[]): Buffer {
  const joined = Buffer.allocUnsafe(bodyByteLength(body));
  copyBody(body, joined);
  return joined;
}

/** Copies the pieces to the start of `target`, which must have room. */
export function copyBody(body: Uint8Array | readonly Uint8Array[], target: Uint8Array): void {
  if (body instanceof Uint8Array) {
    target.set(body, 0);
    return;
  }
  let at = 0;
  for (const piece of body) {
    target.set(piece, at);
    at += piece.byteLength;
  }
}
