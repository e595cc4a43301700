/** @hotpath the parts of a streamed answer: each copied once, those of one tick written together */

import type { HttpDrainListener, HttpStream } from './http-exchange.ts';

/** What is gathered of one tick before it is written at once, bytes. */
const MAX_GATHERED_BYTES = 64 * 1024;
const FIRST_BUFFER_BYTES = 512;
const NO_BYTES: Buffer = Buffer.alloc(0);

/** The engine's side of a stream. None of these is called after the exchange was aborted. */
export interface StreamWire {
  /** Puts bytes, which are borrowed, on the wire; the answer's head before the first. False: the socket takes no more, and `AnswerStream.onWritable` will be called. */
  writePart(bytes: Uint8Array): boolean;
  /** The last bytes, which may be none, and the end of the answer. */
  endParts(bytes: Uint8Array): void;
  /** Closes the connection. */
  cutOff(): void;
  onFault(error: unknown): void;
}

export class AnswerStream implements HttpStream {
  drainListener: HttpDrainListener | null = null;
  /** The protocol has said all. */
  isEnded = false;
  readonly #wire: StreamWire;
  #buffer: Buffer = NO_BYTES;
  #used = 0;
  /** The socket takes nothing at the moment. */
  #isBlocked = false;
  /** `write` has said false. */
  #isDrainAwaited = false;
  #isQueued = false;
  /** Nothing more is written. */
  #isOver = false;

  constructor(wire: StreamWire) {
    this.#wire = wire;
  }

  write(part: string | Uint8Array): boolean {
    if (this.isEnded || this.#isOver || part.length === 0) return true;
    if (typeof part === 'string') {
      // No character of UTF-16 takes more than three bytes of UTF-8; the true length is only looked for where that bound is large.
      this.#makeRoom(part.length <= MAX_GATHERED_BYTES / 3 ? part.length * 3 : Buffer.byteLength(part));
      this.#used += this.#buffer.write(part, this.#used, 'utf8');
    } else {
      this.#makeRoom(part.length);
      this.#buffer.set(part, this.#used);
      this.#used += part.length;
    }
    if (!this.#isBlocked) {
      if (this.#used >= MAX_GATHERED_BYTES) this.#flush();
      else this.#queue();
    }
    if (this.#isBlocked) this.#isDrainAwaited = true;
    return !this.#isBlocked;
  }

  end(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    if (!this.#isBlocked && !this.#isOver) this.#queue();
  }

  abort(): void {
    if (this.isEnded || this.#isOver) return;
    this.isEnded = true;
    this.drop();
    this.#wire.cutOff();
  }

  /** The client is gone, or there never was an answer to give. */
  drop(): void {
    this.#isOver = true;
    this.#buffer = NO_BYTES;
    this.#used = 0;
  }

  /** The socket takes bytes again. Returns whether there were any for it. */
  onWritable(): boolean {
    if (!this.#isBlocked || this.#isOver) return false;
    this.#isBlocked = false;
    const hasBytes = this.#used > 0 || this.isEnded;
    if (hasBytes) this.#flush();
    if (!this.#isBlocked && this.#isDrainAwaited) {
      this.#isDrainAwaited = false;
      this.drainListener?.onStreamDrained();
    }
    return hasBytes;
  }

  #makeRoom(bytes: number): void {
    const needed = this.#used + bytes;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2, FIRST_BUFFER_BYTES));
    this.#buffer.copy(grown, 0, 0, this.#used);
    this.#buffer = grown;
  }

  #queue(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    if (waiting.length === 0) setImmediate(flushAll);
    waiting.push(this);
  }

  /** The end of the tick. */
  flushQueued(): void {
    this.#isQueued = false;
    if (!this.#isBlocked && !this.#isOver && (this.#used > 0 || this.isEnded)) this.#flush();
  }

  #flush(): void {
    const buffer = this.#buffer;
    const bytes = this.#used === 0 ? NO_BYTES : buffer.subarray(0, this.#used);
    this.#used = 0;
    if (this.isEnded) {
      this.drop();
      this.#wire.endParts(bytes);
      return;
    }
    // One large part is no reason to keep much for the small ones after it.
    if (buffer.length > 2 * MAX_GATHERED_BYTES) this.#buffer = NO_BYTES;
    this.#isBlocked = !this.#wire.writePart(bytes);
  }

  /** A fault of ours, such as no memory: the connection ends. */
  fault(error: unknown): void {
    this.drop();
    this.#wire.onFault(error);
  }
}

/** Streams that have something to write at the end of the tick. */
let waiting: AnswerStream[] = [];
let flushing: AnswerStream[] = [];

function flushAll(): void {
  const due = waiting;
  waiting = flushing;
  flushing = due;
  for (const stream of due) {
    try {
      stream.flushQueued();
    } catch (error) {
      stream.fault(error);
    }
  }
  due.length = 0;
}
