import type { AnswerHeaders } from './answer-headers.ts';

/** Bytes that go into DATA frames, as far and as soon as the server's windows let them. */
export interface StreamBytes {
  readonly length: number;
  /** The stream ends behind them. */
  readonly endsStream: boolean;
  /** Copies `[from, to)` of the bytes to `into[at]`. */
  copyTo(into: Buffer, at: number, from: number, to: number): void;
  /** All bytes are in frames. */
  onSent(): void;
}

/** One stream of a connection, for whoever made it: the connection keeps the numbers and calls the methods. It may be used again for another stream after its end. */
export abstract class Http2Stream {
  /** 0: not open. */
  id = 0;
  /** Bytes that the server takes. */
  sendWindow = 0;
  /** Bytes that came since the server was last given window. */
  unreturned = 0;
  /** What waits for window, oldest first; of the first one, `pendingAt` bytes are out. */
  readonly pending: StreamBytes[] = [];
  pendingAt = 0;

  /** A header block of the answer; `isEnd`: it is the last of the stream. */
  abstract onHeaders(headers: AnswerHeaders, isEnd: boolean): void;
  abstract onData(bytes: Buffer, from: number, to: number, isEnd: boolean): void;
  /** The server broke the stream off, and nothing more comes. The code is HTTP/2's. */
  abstract onReset(code: number): void;
}
