/** Cuts what a server sends into messages, wherever the bytes of the socket are cut. */

import { BINARY, CLOSE, CONTINUATION, MAX_CONTROL_BYTES, PING, PONG, TEXT } from './frames.ts';

/** What a message begins with is kept in any case; a reader that has seen it may need no more. */
export const KEPT_HEAD_BYTES = 4096;
/** The longest head of a server's frame: it has no mask key. */
const MAX_HEAD_BYTES = 10;
/** A buffer that one large message made is not kept for the next ones. */
const MAX_IDLE_BYTES = 4 * 1024 * 1024;

const FIN = 0x80;
const RESERVED = 0x70;
const OPCODE = 0x0f;
const MASKED = 0x80;
const LENGTH = 0x7f;

/** Bytes are borrowed until the call returns. */
export interface FrameListener {
  /** A message has begun, and more of it than KEPT_HEAD_BYTES is to come: whether all of it is wanted. */
  wantsAll(isText: boolean, bytes: Buffer, start: number, end: number): boolean;
  /** A message has come. Where it was not wanted, `bytes` has its beginning alone. */
  onMessage(isText: boolean, bytes: Buffer, start: number, end: number): void;
  onPing(bytes: Buffer, start: number, end: number): void;
  /** `code` is 1005 where the server gave none. Nothing is read after it. */
  onCloseFrame(code: number, reason: string): void;
  /** The server broke the protocol. Nothing is read after it. */
  onFault(what: string): void;
}

/** Source: RFC 6455, 5. Fragments are put together, control frames between them are told at once. */
export class FrameReader {
  readonly #listener: FrameListener;
  readonly #maxMessageBytes: number;
  readonly #head = Buffer.allocUnsafeSlow(MAX_HEAD_BYTES);
  #headBytes = 0;
  readonly #control = Buffer.allocUnsafeSlow(MAX_CONTROL_BYTES);
  #controlBytes = 0;
  /** Of the frame that is being read. */
  #isInPayload = false;
  #isLastFrame = false;
  #opcode = 0;
  #payloadLeft = 0;
  /** Of the message that is being read; its opcode is 0 between messages. */
  #messageOpcode = 0;
  #message: Buffer = Buffer.allocUnsafeSlow(KEPT_HEAD_BYTES);
  #messageBytes = 0;
  #keptBytes = 0;
  #isKept = true;
  #isAsked = false;
  #isStopped = false;

  constructor(listener: FrameListener, maxMessageBytes: number) {
    this.#listener = listener;
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** Nothing is told any more, not even what is left of the bytes that are being read. */
  stop(): void {
    this.#isStopped = true;
  }

  /** `bytes[at, end)` are next on the socket. */
  push(bytes: Buffer, at: number, end: number): void {
    while (at < end && !this.#isStopped) at = this.#isInPayload ? this.#readPayload(bytes, at, end) : this.#readHead(bytes, at, end);
  }

  #readHead(bytes: Buffer, at: number, end: number): number {
    // Almost always all of it is there; what is not waits in #head.
    if (this.#headBytes === 0 && end - at >= MAX_HEAD_BYTES) return this.#takeHead(bytes, at, at, bytes, end);
    const had = this.#headBytes;
    const wanted = headBytes(had > 1 ? this.#head[1]! : had === 1 ? bytes[at]! : end - at > 1 ? bytes[at + 1]! : 0);
    const taken = Math.min(wanted - had, end - at);
    bytes.copy(this.#head, had, at, at + taken);
    this.#headBytes += taken;
    if (this.#headBytes < 2 || this.#headBytes < wanted) return at + taken;
    this.#headBytes = 0;
    return this.#takeHead(this.#head, 0, at + taken - headBytes(this.#head[1]!), bytes, end);
  }

  /** `head[from]` is a whole head. `origin`: where it would begin in `bytes`, which have the payload. */
  #takeHead(head: Buffer, from: number, origin: number, bytes: Buffer, end: number): number {
    const first = head[from]!;
    const second = head[from + 1]!;
    this.#opcode = first & OPCODE;
    this.#isLastFrame = (first & FIN) !== 0;
    let length = second & LENGTH;
    if (length === 126) length = head.readUInt16BE(from + 2);
    else if (length === 127) length = head.readUInt32BE(from + 2) * 2 ** 32 + head.readUInt32BE(from + 6);
    const fault = this.#faultOf(first, second, length);
    if (fault !== '') {
      this.#isStopped = true;
      this.#listener.onFault(fault);
      return end;
    }
    const at = origin + headBytes(second);
    if (this.#opcode < CLOSE) {
      if (this.#opcode !== CONTINUATION) this.#beginMessage(this.#opcode);
      // A message of one frame that is here already is told where it lies.
      if (this.#opcode !== CONTINUATION && this.#isLastFrame && length <= end - at) {
        this.#messageOpcode = 0;
        this.#listener.onMessage(this.#opcode === TEXT, bytes, at, at + length);
        return at + length;
      }
    } else {
      this.#controlBytes = 0;
    }
    this.#isInPayload = true;
    this.#payloadLeft = length;
    if (length === 0) this.#endFrame();
    return at;
  }

  /** '' where there is none. */
  #faultOf(first: number, second: number, length: number): string {
    if ((first & RESERVED) !== 0) return 'a frame with reserved bits, which no extension was agreed on for';
    if ((second & MASKED) !== 0) return 'a masked frame, which only clients send';
    switch (this.#opcode) {
      case CLOSE:
      case PING:
      case PONG:
        if (!this.#isLastFrame) return 'a control frame in fragments';
        return length > MAX_CONTROL_BYTES ? `a control frame of ${length} bytes, more than ${MAX_CONTROL_BYTES}` : '';
      case CONTINUATION:
        if (this.#messageOpcode === 0) return 'a continuation of no message';
        break;
      case TEXT:
      case BINARY:
        if (this.#messageOpcode !== 0) return 'a message within the fragments of another';
        break;
      default:
        return `a frame of the reserved opcode ${this.#opcode}`;
    }
    const total = (this.#opcode === CONTINUATION ? this.#messageBytes : 0) + length;
    return total > this.#maxMessageBytes ? `a message of ${total} bytes, more than the ${this.#maxMessageBytes} that are read` : '';
  }

  #beginMessage(opcode: number): void {
    this.#messageOpcode = opcode;
    this.#messageBytes = 0;
    this.#keptBytes = 0;
    this.#isKept = true;
    this.#isAsked = false;
  }

  #readPayload(bytes: Buffer, at: number, end: number): number {
    const count = Math.min(this.#payloadLeft, end - at);
    if (this.#opcode < CLOSE) {
      this.#messageBytes += count;
      this.#keep(bytes, at, at + count);
    } else {
      bytes.copy(this.#control, this.#controlBytes, at, at + count);
      this.#controlBytes += count;
    }
    this.#payloadLeft -= count;
    if (this.#payloadLeft === 0) this.#endFrame();
    return at + count;
  }

  #keep(bytes: Buffer, at: number, end: number): void {
    if (!this.#isKept) return;
    if (!this.#isAsked) {
      const headEnd = Math.min(end, at + KEPT_HEAD_BYTES - this.#keptBytes);
      this.#append(bytes, at, headEnd);
      at = headEnd;
      if (this.#keptBytes < KEPT_HEAD_BYTES) return;
      this.#isAsked = true;
      this.#isKept = this.#listener.wantsAll(this.#messageOpcode === TEXT, this.#message, 0, this.#keptBytes);
    }
    if (this.#isKept) this.#append(bytes, at, end);
  }

  #append(bytes: Buffer, at: number, end: number): void {
    const needed = this.#keptBytes + end - at;
    if (needed > this.#message.length) {
      // By what has come, not by what the frame says that will.
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#message.length));
      this.#message.copy(grown, 0, 0, this.#keptBytes);
      this.#message = grown;
    }
    bytes.copy(this.#message, this.#keptBytes, at, end);
    this.#keptBytes = needed;
  }

  #endFrame(): void {
    this.#isInPayload = false;
    if (this.#opcode >= CLOSE) {
      this.#endControl();
      return;
    }
    if (!this.#isLastFrame) return;
    const isText = this.#messageOpcode === TEXT;
    this.#messageOpcode = 0;
    this.#listener.onMessage(isText, this.#message, 0, this.#keptBytes);
    if (this.#message.length > MAX_IDLE_BYTES) this.#message = Buffer.allocUnsafeSlow(KEPT_HEAD_BYTES);
  }

  #endControl(): void {
    if (this.#opcode === PING) this.#listener.onPing(this.#control, 0, this.#controlBytes);
    if (this.#opcode !== CLOSE) return;
    this.#isStopped = true;
    const isBare = this.#controlBytes < 2;
    this.#listener.onCloseFrame(
      isBare ? 1005 : this.#control.readUInt16BE(0),
      isBare ? '' : this.#control.toString('utf8', 2, this.#controlBytes),
    );
  }
}

/** Of a server's frame whose second byte is `second`. */
function headBytes(second: number): number {
  const length = second & LENGTH;
  return length < 126 ? 2 : length === 126 ? 4 : MAX_HEAD_BYTES;
}
