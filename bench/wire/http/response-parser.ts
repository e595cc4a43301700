/** @hotpath every HTTP answer that a load generator gets: its head line by line, its body only counted */

import { ChunkedBody } from './chunked-body.ts';
import { KeptBytes } from './kept-bytes.ts';
import { hasToken, isHeader, isSpace, readDigits } from './read-header.ts';

/** Takes the body of a successful answer as it comes: `bytes[from, to)`, borrowed for the call. */
export interface BodyListener {
  onBody(bytes: Buffer, from: number, to: number): void;
}

/** A head that is larger is no answer of an inference server. */
const MAX_HEAD_BYTES = 64 * 1024;
/** Of the body of an answer that is not 2xx: enough for the text of an error. */
const MAX_ERROR_BYTES = 64 * 1024;
/** Of a body that is kept to be looked at. */
const MAX_BODY_BYTES = 1024 * 1024 * 1024;
const STATUS_LINE_BYTES = 12;

const LF = 10;
const CR = 13;
const ZERO = 48;

const IN_HEAD = 0;
const COUNTED = 1;
const CHUNKED = 2;
const UNTIL_CLOSE = 3;
const DONE = 4;
const BROKEN = 5;

const CONTENT_LENGTH = Buffer.from('content-length');
const TRANSFER_ENCODING = Buffer.from('transfer-encoding');
const CONNECTION = Buffer.from('connection');
const JSON_LENGTH = Buffer.from('inference-header-content-length');

/**
 * Reads HTTP/1.1 answers from bytes that are cut anywhere, one answer after each `begin`. An answer that comes whole in one read, with a content-length, makes no garbage; its body is
 * counted, and kept only when it is asked for or when the status is not 2xx.
 *
 * Source: RFC 9112, sections 2.2, 4, 6.3, 7.1; answers to POST alone, so a content-length is always that of a body.
 */
export class ResponseParser {
  /** Of the last answer; 0: not known yet. */
  status = 0;
  /** The header inference-header-content-length; -1: there was none. */
  jsonBytes = -1;
  /** Whether the connection may carry another request. */
  keepsAlive = true;
  /** Why this is no HTTP answer; '' as long as it is one. */
  fault = '';
  readonly #listener: BodyListener | null;
  /** The lines of a head that came in pieces. */
  readonly #head: KeptBytes = new KeptBytes(MAX_HEAD_BYTES);
  readonly #body: KeptBytes = new KeptBytes(MAX_BODY_BYTES);
  readonly #chunks: ChunkedBody = new ChunkedBody();
  #state = DONE;
  #keepsBody = false;
  /** Of a counted body, bytes to come; -1: no content-length was seen. */
  #left = -1;
  #isChunked = false;
  #hasOtherCoding = false;
  /** Where the next line of the head begins, in the bytes that are read. */
  #lineAt = 0;

  constructor(listener: BodyListener | null) {
    this.#listener = listener;
  }

  /** Whether the answer is complete. */
  get isDone(): boolean {
    return this.#state === DONE;
  }

  /** Expects an answer. `keepsBody`: for `body`. */
  begin(keepsBody: boolean): void {
    this.#state = IN_HEAD;
    this.#keepsBody = keepsBody;
    this.status = 0;
    this.fault = '';
    if (!this.#body.isEmpty) this.#body.clear();
    this.#beginHead();
  }

  /** Reads `bytes[from, to)`. Returns where the answer ended, or `to`. After a fault, which stands in `fault`, nothing more is read. */
  parse(bytes: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to && this.#state < DONE) at = this.#state === IN_HEAD ? this.#readHead(bytes, at, to) : this.#readBody(bytes, at, to);
    return at;
  }

  /** The other side has closed the connection. True: the answer ended by it, as one without any length does; else it is cut. */
  finish(): boolean {
    if (this.#state === UNTIL_CLOSE) this.#state = DONE;
    return this.#state === DONE;
  }

  /** What was kept of the body; borrowed until the next `begin`, or until the call of `parse` that completed it returns to the reader of the socket. */
  get body(): Buffer {
    return this.#body.view;
  }

  /** Whether more came than is kept. */
  get isBodyCut(): boolean {
    return this.#body.isFull;
  }

  #beginHead(): void {
    this.jsonBytes = -1;
    this.keepsAlive = true;
    this.#left = -1;
    this.#isChunked = false;
    this.#hasOtherCoding = false;
    this.#lineAt = 0;
  }

  #break(fault: string): void {
    this.fault = fault;
    this.keepsAlive = false;
    this.#state = BROKEN;
  }

  #readHead(bytes: Buffer, from: number, to: number): number {
    const head = this.#head;
    if (head.isEmpty) {
      this.#lineAt = from;
      const end = this.#readLines(bytes, from, to);
      if (end < 0 && this.#state === IN_HEAD) {
        // What is not read yet waits for the rest of its line.
        head.add(bytes, this.#lineAt, to);
        this.#lineAt = 0;
      }
      return end < 0 ? to : end;
    }
    const before = head.view.length;
    // The head's end is in here, and perhaps much of the body behind it: what does not fit is not wanted then.
    head.add(bytes, from, to);
    const held = head.view;
    const end = this.#readLines(held, this.#lineAt, held.length);
    if (end < 0) {
      if (head.isFull && this.#state === IN_HEAD) this.#break(`a head of more than ${MAX_HEAD_BYTES} bytes`);
      return to;
    }
    head.clear();
    return from + end - before;
  }

  /** Reads whole lines from #lineAt on; returns where the head ended, or -1. */
  #readLines(bytes: Buffer, from: number, to: number): number {
    let start = from;
    for (let at = from; at < to; at++) {
      if (bytes[at] !== LF) continue;
      const end = at > start && bytes[at - 1] === CR ? at - 1 : at;
      if (end === start && this.status !== 0) {
        this.#lineAt = at + 1;
        this.#endHead();
        return this.#state === BROKEN ? -1 : at + 1;
      }
      if (this.status === 0) this.#readStatusLine(bytes, start, end);
      else this.#readHeader(bytes, start, end);
      if (this.#state === BROKEN) return -1;
      start = at + 1;
    }
    this.#lineAt = start;
    return -1;
  }

  #readStatusLine(bytes: Buffer, from: number, to: number): void {
    // An empty line before it may be left over from an answer before (RFC 9112, 2.2).
    if (from === to) return;
    const status = to - from >= STATUS_LINE_BYTES && isHttp1(bytes, from) ? readDigits(bytes, from + 9, from + STATUS_LINE_BYTES) : -1;
    if (status < 100 || (to - from > STATUS_LINE_BYTES && !isSpace(bytes[from + STATUS_LINE_BYTES]!))) {
      this.#break(`expected a status line of HTTP/1.1, got ${JSON.stringify(bytes.toString('latin1', from, Math.min(to, from + 60)))}`);
      return;
    }
    this.status = status;
    // HTTP/1.0 closes unless it says otherwise.
    if (bytes[from + 7] === ZERO) this.keepsAlive = false;
  }

  #readHeader(bytes: Buffer, from: number, to: number): void {
    // Only four headers matter, and their first letters rule out most of the others.
    switch (bytes[from]! | 0x20) {
      case 0x63: // c
        if (isHeader(bytes, from, to, CONTENT_LENGTH)) this.#readContentLength(bytes, from + CONTENT_LENGTH.length + 1, to);
        else if (isHeader(bytes, from, to, CONNECTION)) {
          if (hasToken(bytes, from + CONNECTION.length + 1, to, 'close')) this.keepsAlive = false;
          else if (hasToken(bytes, from + CONNECTION.length + 1, to, 'keep-alive')) this.keepsAlive = true;
        }
        break;
      case 0x74: // t
        if (isHeader(bytes, from, to, TRANSFER_ENCODING)) {
          if (hasToken(bytes, from + TRANSFER_ENCODING.length + 1, to, 'chunked')) this.#isChunked = true;
          else this.#hasOtherCoding = true;
        }
        break;
      case 0x69: // i
        if (isHeader(bytes, from, to, JSON_LENGTH)) {
          this.jsonBytes = readDigits(bytes, from + JSON_LENGTH.length + 1, to);
          if (this.jsonBytes < 0) this.#break('inference-header-content-length is no number');
        }
        break;
      default:
    }
  }

  #readContentLength(bytes: Buffer, from: number, to: number): void {
    const length = readDigits(bytes, from, to);
    if (length < 0 || (this.#left >= 0 && this.#left !== length)) {
      this.#break(
        `content-length: expected one number, got ${JSON.stringify(bytes.toString('latin1', from, Math.min(to, from + 40)).trim())}`,
      );
      return;
    }
    this.#left = length;
  }

  #endHead(): void {
    const { status } = this;
    if (status < 200) {
      if (status === 101) {
        this.#break('the server changed protocols, which nobody asked for');
        return;
      }
      // An interim answer: the real one follows.
      this.status = 0;
      this.#beginHead();
      return;
    }
    if (status === 204 || status === 304) this.#state = DONE;
    else if (this.#isChunked) {
      this.#chunks.begin();
      this.#state = CHUNKED;
    } else if (this.#left >= 0 && !this.#hasOtherCoding) this.#state = this.#left === 0 ? DONE : COUNTED;
    else {
      this.keepsAlive = false;
      this.#state = UNTIL_CLOSE;
    }
  }

  #readBody(bytes: Buffer, from: number, to: number): number {
    if (this.#state === COUNTED) {
      const end = this.#left < to - from ? from + this.#left : to;
      this.#left -= end - from;
      if (this.#left === 0) this.#state = DONE;
      this.#take(bytes, from, end);
      return end;
    }
    if (this.#state === UNTIL_CLOSE) {
      this.#take(bytes, from, to);
      return to;
    }
    const chunks = this.#chunks;
    let at = from;
    while (at < to) {
      at = chunks.next(bytes, at, to);
      if (chunks.dataEnd > chunks.dataFrom) this.#take(bytes, chunks.dataFrom, chunks.dataEnd);
      if (chunks.isDone) {
        this.#state = DONE;
        return at;
      }
      if (chunks.fault !== '') {
        this.#break(chunks.fault);
        return at;
      }
    }
    return at;
  }

  #take(bytes: Buffer, from: number, to: number): void {
    const isSuccess = this.status < 300;
    if (this.#listener !== null && isSuccess) this.#listener.onBody(bytes, from, to);
    if (this.#keepsBody && isSuccess) {
      // A body that is whole needs no copy: it is looked at before the bytes are read over.
      if (this.#state === DONE && this.#body.isEmpty) this.#body.borrow(bytes, from, to);
      else if (this.#left > 0 && this.#body.isEmpty) this.#body.addOf(bytes, from, to, this.#left + to - from);
      else this.#body.add(bytes, from, to);
    } else if (!isSuccess) {
      const room = MAX_ERROR_BYTES - this.#body.view.length;
      if (room > 0) this.#body.add(bytes, from, Math.min(to, from + room));
    }
  }
}

/** `HTTP/1.x `. */
function isHttp1(bytes: Buffer, at: number): boolean {
  return (
    bytes[at] === 0x48 &&
    bytes[at + 1] === 0x54 &&
    bytes[at + 2] === 0x54 &&
    bytes[at + 3] === 0x50 &&
    bytes[at + 4] === 0x2f &&
    bytes[at + 5] === 0x31 &&
    bytes[at + 6] === 0x2e &&
    isSpace(bytes[at + 8]!)
  );
}
