/** @hotpath one request of uWebSockets.js as an exchange: chunks copied into the body, the answer handed over corked (measured by uws-transport.bench.ts) */

import { STATUS_CODES } from 'node:http';
import type { AnswerStream } from '../answer-stream.ts';
import { BufferedExchange, bodyByteLength, joinBody, NO_BODY } from '../buffered-exchange.ts';
import type { HttpBody, HttpMethod } from '../http-exchange.ts';
import type { RequestIntake } from '../request-intake.ts';
import type { UwsResponse } from './uws-module.ts';

const STATUS_LINES: readonly string[] = Array.from({ length: 600 }, (_, status) => `${status} ${STATUS_CODES[status] ?? 'Unknown'}`);

/** The transport, as its exchanges see it. */
export interface UwsExchangeHost {
  readonly intake: RequestIntake;
  /** Whose answer `writeAnswer` writes. */
  writing: UwsExchange | null;
  readonly writeAnswer: () => void;
  /** The pieces in one view, good until the next call. */
  join(pieces: readonly Uint8Array[], bytes: number): Uint8Array;
  giveBack(callbacks: UwsCallbacks): void;
  /** The engine may still hold the last bytes of it. */
  streamEnded(): void;
  /** The body is in, or not waited for any more. */
  stopClock(exchange: UwsExchange): void;
}

/**
 * The native side calls its handlers without `this`, so each needs to be a closure. A set of them outlives its exchange and serves the next one; the native
 * side forgets its handlers when the answer is complete and the body has ended, or the connection is gone; only then is a set given back.
 */
export class UwsCallbacks {
  exchange: UwsExchange | null = null;
  readonly onAborted: () => void;
  readonly onData: (chunk: ArrayBuffer, isLast: boolean) => void;
  readonly onWritable: () => boolean;

  constructor() {
    // What is thrown into the native side ends the process.
    this.onAborted = () => this.exchange?.onGone();
    this.onData = (chunk, isLast) => {
      const { exchange } = this;
      try {
        exchange?.onChunk(chunk, isLast);
      } catch (error) {
        exchange?.onFault(error);
      }
    };
    this.onWritable = () => {
      const { exchange } = this;
      try {
        return exchange?.writeOn() ?? true;
      } catch (error) {
        exchange?.onFault(error);
        return true;
      }
    };
  }
}

export class UwsExchange extends BufferedExchange {
  readonly #transport: UwsExchangeHost;
  readonly #response: UwsResponse;
  #callbacks: UwsCallbacks | null;
  /** The native side has `onData` and will call it for the rest of the body, even when the answer is complete before. */
  #isBodyOpen = false;
  /** name, value, name, value... of the headers that some route reads. */
  readonly #headers: readonly string[];
  /** While the body comes in: neighbours in order of arrival, and the time it must be there, ms. */
  earlier: UwsExchange | null = null;
  later: UwsExchange | null = null;
  deadlineMs = 0;
  /** The answer, for the shared cork callback. */
  status = 0;
  answerHeaders: readonly string[] = [];
  answer: HttpBody = '';
  mustClose = false;
  /** What the socket did not take yet: our own copy. null: all was taken. */
  #unsent: Buffer | null = null;
  #answerBytes = 0;
  /** What a cork writes of a streamed answer, and what became of it. */
  #part: Uint8Array = NO_BODY;
  #isLastPart = false;
  #isPartTaken = true;
  #hasWrittenHead = false;

  constructor(
    transport: UwsExchangeHost,
    response: UwsResponse,
    callbacks: UwsCallbacks,
    method: HttpMethod,
    path: string,
    query: string,
    headers: readonly string[],
  ) {
    super(transport.intake, method, path, query);
    this.#transport = transport;
    this.#response = response;
    this.#callbacks = callbacks;
    this.#headers = headers;
    callbacks.exchange = this;
    response.onAborted(callbacks.onAborted);
  }

  header(name: string): string {
    return joinedHeader(this.#headers, name);
  }

  receiveBody(): void {
    this.#isBodyOpen = true;
    this.#response.onData(this.#callbacks!.onData);
  }

  onChunk(chunk: ArrayBuffer, isLast: boolean): void {
    const { intake } = this.#transport;
    if (chunk.byteLength !== 0) intake.receive(this, new Uint8Array(chunk), false);
    if (!isLast) return;
    this.#isBodyOpen = false;
    this.#transport.stopClock(this);
    intake.complete(this);
  }

  /** The connection is gone; the response must not be touched any more. */
  onGone(): void {
    this.#isBodyOpen = false;
    this.#finish();
    this.abort();
  }

  /** A fault of ours, such as no memory for a body: the connection ends, the process does not. */
  onFault(error: unknown): void {
    this.owner.onError(error);
    if (!this.isAborted && !this.isReleased) this.#response.close();
  }

  protected send(status: number, headers: readonly string[], body: HttpBody, mustClose: boolean): void {
    this.#transport.stopClock(this);
    this.status = status;
    this.answerHeaders = headers;
    this.mustClose = mustClose || this.#transport.intake.isDraining;
    if (mustClose) {
      // In this tick the parser would go on to read the rest of its buffer as requests. While this one is unanswered it closes the connection instead.
      this.answer = typeof body === 'string' ? body : joinBody(body);
      setImmediate(() => {
        if (!this.isAborted) this.#cork();
      });
      return;
    }
    this.answer = body;
    this.#cork();
  }

  protected beginStream(status: number, headers: readonly string[]): void {
    this.#transport.stopClock(this);
    this.status = status;
    this.answerHeaders = headers;
    if (!this.#isBodiless) this.#response.onWritable(this.#callbacks!.onWritable);
  }

  writePart(bytes: Uint8Array): boolean {
    if (this.#isBodiless) return true;
    this.#part = bytes;
    this.#isPartTaken = true;
    this.#cork();
    this.#part = NO_BODY;
    return this.#isPartTaken;
  }

  endParts(bytes: Uint8Array): void {
    this.#part = bytes;
    this.#isLastPart = true;
    this.#cork();
    this.#part = NO_BODY;
    this.#transport.streamEnded();
    this.#settle();
  }

  cutOff(): void {
    this.#response.close();
  }

  get #isBodiless(): boolean {
    return this.method === 'HEAD' || this.status === 204 || this.status === 304;
  }

  #writeHead(): void {
    const response = this.#response;
    const headers = this.answerHeaders;
    // 200 is what the engine writes by itself.
    if (this.status !== 200) response.writeStatus(STATUS_LINES[this.status] ?? `${this.status} Unknown`);
    for (let index = 0; index < headers.length; index += 2) response.writeHeader(headers[index]!, headers[index + 1]!);
  }

  /** Runs corked. */
  #writePart(): void {
    const response = this.#response;
    const part = this.#part;
    if (!this.#hasWrittenHead && (part.length > 0 || this.#isLastPart)) {
      this.#hasWrittenHead = true;
      this.#writeHead();
      if (this.#transport.intake.isDraining) response.writeHeader('connection', 'close');
    }
    if (this.#isLastPart && this.#isBodiless) response.endWithoutBody();
    else if (this.#isLastPart) response.end(part);
    else if (part.length > 0) this.#isPartTaken = response.write(part);
  }

  #cork(): void {
    this.#transport.writing = this;
    this.#response.cork(this.#transport.writeAnswer);
  }

  /** Runs corked. */
  write(): void {
    if (this.stream !== null) {
      this.#writePart();
      return;
    }
    const response = this.#response;
    const body = this.answer;
    this.answer = '';
    this.#writeHead();
    const isBodiless = this.#isBodiless;
    if (this.mustClose) {
      // No other call closes in every build; it costs an answer to HEAD its true Content-Length.
      response.end(isBodiless ? '' : typeof body === 'string' || body instanceof Uint8Array ? body : joinBody(body), true);
      this.#settle();
      return;
    }
    if (isBodiless) {
      // The length goes as a header of ours: given one itself, endWithoutBody leaves the answer unfinished in older builds.
      if (this.method === 'HEAD') response.writeHeader('content-length', String(bodyByteLength(body)));
      response.endWithoutBody();
      this.#settle();
      return;
    }
    const bytes = bodyByteLength(body);
    const whole = typeof body === 'string' || body instanceof Uint8Array ? body : this.#transport.join(body, bytes);
    // tryEnd rather than end: end would keep what the socket does not take in memory without a bound while the client sends further requests.
    const isComplete = response.tryEnd(whole, bytes)[1];
    if (isComplete) {
      this.#settle();
      return;
    }
    this.#answerBytes = bytes;
    const unsent = typeof whole === 'string' ? Buffer.from(whole) : whole;
    this.#unsent = Buffer.from(unsent.subarray(response.getWriteOffset()));
    response.onWritable(this.#callbacks!.onWritable);
  }

  /** The socket takes more. False: not all was taken. The engine itself closes a connection that takes nothing for some 10 s. */
  writeOn(): boolean {
    if (this.stream !== null) return this.#streamOn(this.stream);
    const unsent = this.#unsent;
    if (unsent === null) return true;
    const response = this.#response;
    const before = response.getWriteOffset();
    const [isTaken, isComplete] = response.tryEnd(unsent, this.#answerBytes);
    if (isComplete) {
      this.#unsent = null;
      this.#settle();
    } else this.#unsent = unsent.subarray(response.getWriteOffset() - before);
    return isTaken;
  }

  /**
   * The end of an empty cork makes the engine write what it holds back. Always false: some builds would go on to give the client 10 s for the next part, and a stream may be silent
   * for longer.
   */
  #streamOn(stream: AnswerStream): boolean {
    if (!stream.onWritable() && !this.isAborted && !this.isReleased) this.#cork();
    return false;
  }

  #settle(): void {
    this.#finish();
    this.owner.release(this);
  }

  #finish(): void {
    this.#transport.stopClock(this);
    const callbacks = this.#callbacks;
    if (callbacks === null) return;
    this.#callbacks = null;
    // What the native side may still call must never come to serve another exchange: the rest of this body would land in the other one's.
    if (this.#isBodyOpen) callbacks.exchange = null;
    else this.#transport.giveBack(callbacks);
  }
}

/** `headers` are name, value, name, value... */
export function joinedHeader(headers: readonly string[], name: string): string {
  let value = '';
  let isFound = false;
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index] !== name) continue;
    value = isFound ? `${value}, ${headers[index + 1]}` : headers[index + 1]!;
    isFound = true;
  }
  return value;
}
