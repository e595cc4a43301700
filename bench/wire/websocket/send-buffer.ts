import type { LoadSocket } from '../../load/socket-loop.ts';

const CHUNK_BYTES = 64 * 1024;
const NOTHING = new Uint8Array(0);

/**
 * Collects what goes out, so that the requests that one read of the socket sets off are one write. The socket borrows what it is given until the kernel has it: until then new bytes go
 * behind those, or into another chunk.
 */
export class SendBuffer {
  readonly #socket: LoadSocket;
  readonly #onSent: (bytes: number) => void;
  #chunk: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  /** Handed to the socket up to here; written up to there. */
  #flushed = 0;
  #end = 0;

  /** `onSent` hears of every byte that is handed to the socket. */
  constructor(socket: LoadSocket, onSent: (bytes: number) => void) {
    this.#socket = socket;
    this.#onSent = onSent;
  }

  /** Room for so many bytes, at `position` of `chunk`. They count as written. */
  reserve(bytes: number): number {
    if (this.#flushed === this.#end && this.#end > 0 && this.#socket.queuedBytes === 0) {
      this.#flushed = 0;
      this.#end = 0;
    }
    if (bytes > this.#chunk.length - this.#end) {
      this.flush();
      // A chunk that the socket still has is left to it.
      if (this.#socket.queuedBytes > 0 || bytes > this.#chunk.length) this.#chunk = Buffer.allocUnsafeSlow(Math.max(bytes, CHUNK_BYTES));
      this.#flushed = 0;
      this.#end = 0;
    }
    const at = this.#end;
    this.#end += bytes;
    return at;
  }

  /** Valid until the next `reserve`. */
  get chunk(): Buffer {
    return this.#chunk;
  }

  flush(): void {
    this.flushWith(NOTHING);
  }

  /** Hands over what was collected, and `rest` behind it, which is borrowed. */
  flushWith(rest: Uint8Array): void {
    const { length } = rest;
    const collected = this.#end - this.#flushed;
    if (collected === 0 && length === 0) return;
    const first = this.#chunk.subarray(this.#flushed, this.#end);
    this.#flushed = this.#end;
    this.#onSent(collected + length);
    if (length === 0) this.#socket.write(first);
    else if (collected === 0) this.#socket.write(rest);
    else this.#socket.writeTwo(first, rest);
  }
}
