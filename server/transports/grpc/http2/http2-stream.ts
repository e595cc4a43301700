/** @hotpath one request and its answer on an HTTP/2 connection (measured by grpc-transport.bench.ts) */

import type { RequestHeaders } from './request-headers.ts';

/** Hears of what happens to a stream. */
export interface StreamHandler {
  /** Bytes of the request, which stay as they are for as long as they are referenced. What was read of them is to be told with `returnWindow`. */
  onData(chunk: Buffer, from: number, to: number): void;
  onRequestEnd(): void;
  /** Few bytes of what was sent wait any more. */
  onDrain(): void;
  /** Nothing comes and nothing goes any more: all was sent, a side has reset the stream, or the connection is gone. Called once. */
  onClose(): void;
}

/** What a stream's connection does for it. */
export interface StreamCarrier {
  sendHeaders(stream: Http2Stream, block: Buffer): void;
  sendMessage(stream: Http2Stream, flag: number, bytes: Uint8Array): void;
  sendEnd(stream: Http2Stream, block: Buffer): void;
  sendAnswer(stream: Http2Stream, head: Buffer, flag: number, bytes: Uint8Array, end: Buffer): void;
  reset(stream: Http2Stream, code: number): void;
  returnWindow(stream: Http2Stream): void;
}

/** A message with the flag of its gRPC prefix, behind another one. */
export interface QueuedMessage {
  readonly flag: number;
  readonly bytes: Uint8Array;
}

export class Http2Stream {
  readonly id: number;
  readonly headers: RequestHeaders;
  handler: StreamHandler | null = null;
  hasRequestEnded: boolean;
  hasHeadersSent = false;
  isClosed = false;
  /** It closed because all was sent. */
  isInOrder = false;
  /** Bytes of messages, with their prefixes, that wait for the client. */
  pendingBytes = 0;

  // The connection's: windows, bytes of the request, and what waits to be sent.
  sendWindow: number;
  receiveWindow: number;
  /** Taken from the client's window and not given back. */
  unreturnedBytes = 0;
  /** What content-length promises and has not come; -1: it promises nothing. */
  promisedBytes: number;
  message: Uint8Array | null = null;
  messageFlag = 0;
  /** Bytes of the message and its prefix that are out. */
  messageAt = 0;
  queue: QueuedMessage[] | null = null;
  /** The last header block, which follows the messages. */
  end: Buffer | null = null;
  /** Its handler waits for `onDrain`. */
  wantsDrain = false;
  readonly #carrier: StreamCarrier;

  constructor(
    id: number,
    headers: RequestHeaders,
    hasRequestEnded: boolean,
    sendWindow: number,
    receiveWindow: number,
    carrier: StreamCarrier,
  ) {
    this.id = id;
    this.headers = headers;
    this.hasRequestEnded = hasRequestEnded;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
    this.promisedBytes = headers.contentLength;
    this.#carrier = carrier;
  }

  sendHeaders(block: Buffer): void {
    this.#carrier.sendHeaders(this, block);
  }

  /** The bytes must stay as they are until the stream is closed. `flag`: the first byte of the message's prefix. */
  sendMessage(flag: number, bytes: Uint8Array): void {
    this.#carrier.sendMessage(this, flag, bytes);
  }

  /** The header block that ends the answer, trailers or all there is; what was sent before goes out first. */
  sendEnd(block: Buffer): void {
    this.#carrier.sendEnd(this, block);
  }

  /** Headers, one message, trailers. */
  sendAnswer(head: Buffer, flag: number, bytes: Uint8Array, end: Buffer): void {
    this.#carrier.sendAnswer(this, head, flag, bytes, end);
  }

  reset(code: number): void {
    this.#carrier.reset(this, code);
  }

  /** All that came has been read: the client may send as much again. */
  returnWindow(): void {
    this.#carrier.returnWindow(this);
  }
}
