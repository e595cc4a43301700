/** @hotpath takes the messages of a call out of its DATA frames; a message inside one frame is a view of it, others are copied once (measured by grpc-transport.bench.ts) */

import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';

const PREFIX_BYTES = 5;
/** Frames of one message kept as they came. Past it they are copied together, so that tiny frames cost no more than their bytes. */
const MAX_PARTS = 128;
const EMPTY: Buffer = Buffer.alloc(0);

export interface MessageSink {
  /** Memory for so many more bytes of a message. False: there is none; the sink has ended the call. */
  reserve(bytes: number): boolean;
  /** The parts of a message as one, `bytes` long. */
  assemble(parts: readonly Buffer[], bytes: number): Buffer;
  onMessage(message: Buffer, isCompressed: boolean): void;
  /** Nothing is read after it. */
  onBadFraming(error: InferenceError): void;
}

export class MessageReader {
  /** Of the whole call, prefixes included. */
  receivedBytes = 0;
  /** While true no message is given out; bytes that come are kept. */
  isHeld = false;
  readonly #sink: MessageSink;
  readonly #maxMessageBytes: number;
  #isStopped = false;
  #isParsing = false;
  /** Bytes of the prefix read; 0: between messages. */
  #prefixBytes = 0;
  #isCompressed = false;
  #length = 0;
  /** Bytes of the message read. */
  #at = 0;
  #parts: Buffer[] | null = null;
  #grown: Buffer | null = null;
  /** What was not parsed yet: a view of a piece, or a copy of several. */
  #rest: Buffer | null = null;
  #restBytes = 0;
  #isRestCopied = false;

  constructor(sink: MessageSink, maxMessageBytes: number) {
    this.#sink = sink;
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** False: the call ended inside a message. */
  get isBetweenMessages(): boolean {
    return this.#prefixBytes === 0 && this.#rest === null;
  }

  /** Keeps nothing, reads nothing more. */
  stop(): void {
    this.#isStopped = true;
    this.#parts = null;
    this.#grown = null;
    this.#rest = null;
  }

  /** `chunk[from, to)` are new. */
  read(chunk: Buffer, from = 0, to: number = chunk.length): void {
    this.receivedBytes += to - from;
    if (this.#isStopped) return;
    if (this.isHeld || this.#isParsing) this.#keep(chunk, from, to);
    else this.#parse(chunk, from, to);
  }

  release(): void {
    this.isHeld = false;
    const rest = this.#rest;
    if (this.#isParsing || rest === null) return;
    this.#rest = null;
    this.#parse(rest, 0, this.#restBytes);
  }

  /** One piece as it came; with a second one they are copied together, into twice the room, so that many small ones cost little more than their bytes. */
  #keep(chunk: Buffer, from: number, to: number): void {
    const rest = this.#rest;
    if (rest === null) {
      this.#rest = chunk.subarray(from, to);
      this.#restBytes = to - from;
      this.#isRestCopied = false;
      return;
    }
    const bytes = this.#restBytes + to - from;
    if (!this.#isRestCopied || bytes > rest.length) {
      const grown = Buffer.allocUnsafeSlow(2 * bytes);
      rest.copy(grown, 0, 0, this.#restBytes);
      this.#rest = grown;
      this.#isRestCopied = true;
    }
    chunk.copy(this.#rest!, this.#restBytes, from, to);
    this.#restBytes = bytes;
  }

  #parse(chunk: Buffer, from: number, to: number): void {
    this.#isParsing = true;
    let at = from;
    while (at < to && !this.#isStopped) {
      if (this.isHeld) {
        this.#keep(chunk, at, to);
        break;
      }
      if (this.#prefixBytes < PREFIX_BYTES) {
        this.#readPrefixByte(chunk[at]!);
        at += 1;
        continue;
      }
      const take = Math.min(this.#length - this.#at, to - at);
      if (!this.#sink.reserve(take)) {
        this.stop();
        break;
      }
      this.#take(chunk.subarray(at, at + take));
      at += take;
    }
    this.#isParsing = false;
  }

  #readPrefixByte(byte: number): void {
    if (this.#prefixBytes === 0) {
      if (byte > 1) {
        this.#refuse(invalidArgument(`the first byte of a message's prefix is 0 (as it is) or 1 (compressed), got ${byte}`));
        return;
      }
      this.#isCompressed = byte === 1;
      this.#length = 0;
    } else this.#length = this.#length * 256 + byte;
    this.#prefixBytes += 1;
    if (this.#prefixBytes < PREFIX_BYTES) return;
    if (this.#length > this.#maxMessageBytes) this.#refuse(requestTooLarge(this.#length, this.#maxMessageBytes));
    else if (this.#length === 0) this.#deliver(EMPTY);
  }

  #take(piece: Buffer): void {
    if (piece.length === this.#length) {
      this.#deliver(piece);
      return;
    }
    const at = this.#at;
    this.#at += piece.length;
    if (this.#grown === null) {
      this.#parts ??= [];
      this.#parts.push(piece);
      if (this.#at === this.#length) this.#deliver(this.#sink.assemble(this.#parts, this.#length));
      else if (this.#parts.length === MAX_PARTS) {
        this.#grown = this.#grow(this.#parts, this.#at);
        this.#parts = null;
      }
      return;
    }
    if (this.#at > this.#grown.length) this.#grown = this.#grow([this.#grown.subarray(0, at)], this.#at);
    piece.copy(this.#grown, at);
    if (this.#at === this.#length) this.#deliver(this.#grown);
  }

  /** Twice as large as need be, and never larger than the message: what has not come yet is not paid for in full. */
  #grow(parts: readonly Buffer[], neededBytes: number): Buffer {
    const grown = Buffer.allocUnsafeSlow(Math.min(this.#length, neededBytes * 2));
    let at = 0;
    for (const part of parts) at += part.copy(grown, at);
    return grown;
  }

  #deliver(message: Buffer): void {
    this.#prefixBytes = 0;
    this.#at = 0;
    this.#parts = null;
    this.#grown = null;
    this.#sink.onMessage(message, this.#isCompressed);
  }

  #refuse(error: InferenceError): void {
    this.stop();
    this.#sink.onBadFraming(error);
  }
}

/** `bytes` -1: not known, but more. */
export function requestTooLarge(bytes: number, maxBytes: number): InferenceError {
  const size = bytes < 0 ? 'the request message, decompressed, is larger than' : `the request message is ${bytes} bytes long, more than`;
  return new InferenceError('RESOURCE_EXHAUSTED', `${size} the ${maxBytes} bytes that this server takes`);
}
