/** @hotpath bytes on their way out of connections: what a tick writes on one of them leaves in one write (measured by grpc-transport.bench.ts) */

import type { Socket } from 'node:net';

export const BLOCK_BYTES: number = 64 * 1024;
/** Blocks kept for the next ticks, of all connections together. */
const MAX_FREE_BLOCKS = 64;
/** Handed to a socket and not taken by it: from here on messages wait in their streams. */
const MAX_UNSENT_BYTES = 256 * 1024;
/** And from here on they are asked for again. */
const FEW_UNSENT_BYTES = 128 * 1024;
/** What has to be answered at once (pings, settings, resets) has filled this much: the client sends and does not read (CVE-2019-9512, CVE-2019-9515). */
const MAX_BACKLOG_BYTES = 1024 * 1024;
const NO_BLOCK: Buffer = Buffer.alloc(0);

/** Of all connections of a transport. */
export class OutputBlocks {
  readonly #free: Buffer[] = [];
  readonly #dirty: ConnectionOutput[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
  }

  give(block: Buffer): void {
    if (this.#free.length < MAX_FREE_BLOCKS) this.#free.push(block);
  }

  /** Sends what is in the output when this tick's work is done: the answers to a socket's bytes, or to a batch, go out together. */
  flushLater(output: ConnectionOutput): void {
    if (this.#dirty.push(output) === 1) process.nextTick(flushAll, this);
  }

  flush(): void {
    for (let i = 0; i < this.#dirty.length; i++) this.#dirty[i]!.flush();
    this.#dirty.length = 0;
  }
}

function flushAll(blocks: OutputBlocks): void {
  blocks.flush();
}

export interface OutputListener {
  /** It is no longer full. */
  onOutputTaken(): void;
}

export class ConnectionOutput {
  /** Where the next bytes go, after `reserve`: from `at` on, which whoever writes moves on. */
  buffer: Buffer = NO_BLOCK;
  at = 0;
  /** Handed to the socket, and not yet with the operating system. */
  unsentBytes = 0;
  /** Those that are. */
  takenBytes = 0;
  readonly #socket: Socket;
  readonly #blocks: OutputBlocks;
  readonly #listener: OutputListener;
  /** Blocks at the socket and how much of each it was given, the oldest first. */
  readonly #atSocket: Buffer[] = [];
  readonly #lengths: number[] = [];
  readonly #onWritten: (error?: Error | null) => void;
  #isDirty = false;
  #wasFull = false;

  constructor(socket: Socket, blocks: OutputBlocks, listener: OutputListener) {
    this.#socket = socket;
    this.#blocks = blocks;
    this.#listener = listener;
    this.#onWritten = (error) => this.#written(error !== undefined && error !== null);
  }

  /** Messages must wait; the listener hears when it is over. */
  get isFull(): boolean {
    if (this.unsentBytes < MAX_UNSENT_BYTES) return false;
    this.#wasFull = true;
    return true;
  }

  /** Far more waits than messages alone can make wait. */
  get isOverrun(): boolean {
    return this.unsentBytes > MAX_BACKLOG_BYTES;
  }

  /** Bytes free at `at`, without another block. */
  get room(): number {
    return this.buffer.length - this.at;
  }

  /** Room for so many bytes, of at most a block. */
  reserve(bytes: number): void {
    if (this.buffer.length - this.at < bytes) {
      this.#push();
      this.buffer = this.#blocks.take();
    }
    if (this.#isDirty) return;
    this.#isDirty = true;
    this.#blocks.flushLater(this);
  }

  flush(): void {
    this.#isDirty = false;
    this.#push();
  }

  #push(): void {
    const { buffer, at } = this;
    this.buffer = NO_BLOCK;
    this.at = 0;
    if (at === 0 || !this.#socket.writable) {
      if (buffer !== NO_BLOCK) this.#blocks.give(buffer);
      return;
    }
    this.#atSocket.push(buffer);
    this.#lengths.push(at);
    this.unsentBytes += at;
    this.#socket.write(at === buffer.length ? buffer : buffer.subarray(0, at), this.#onWritten);
  }

  #written(hasFailed: boolean): void {
    const block = this.#atSocket.shift()!;
    const length = this.#lengths.shift()!;
    this.unsentBytes -= length;
    // A socket that was destroyed calls back in another order, and may still look at any of them.
    if (hasFailed || this.#socket.destroyed) return;
    this.takenBytes += length;
    this.#blocks.give(block);
    if (!this.#wasFull || this.unsentBytes > FEW_UNSENT_BYTES) return;
    this.#wasFull = false;
    this.#listener.onOutputTaken();
  }
}
