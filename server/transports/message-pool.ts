/** @hotpath memory for large messages, used again (measured by grpc-transport.bench.ts) */

/** Smaller ones are cheap to allocate. */
export const MIN_POOLED_BYTES: number = 64 * 1024;
/** Larger ones are rare, and too much to keep. */
const MAX_POOLED_BYTES = 16 * 1024 * 1024;
/** What the pool keeps, at most. */
const MAX_KEPT_BYTES = 64 * 1024 * 1024;

/**
 * V8 counts memory outside its heap, and collects the whole heap whenever some tens of megabytes of it are new: with an assembled request and an encoded response of 600 KB
 * each, a tenth of a second's calls cost a collection of several milliseconds. So these two are taken from here, in sizes of powers of two, and given back when the call has
 * ended in order: request answered, answer written. One that was cut short is left to the collector, since somebody may still read from it.
 */
export class MessagePool {
  readonly #free = new Map<number, Buffer[]>();
  #keptBytes = 0;

  /** At least `bytes` long, with whatever was in it before. */
  take(bytes: number): Buffer {
    if (bytes < MIN_POOLED_BYTES || bytes > MAX_POOLED_BYTES) return Buffer.allocUnsafeSlow(bytes);
    const size = 2 ** Math.ceil(Math.log2(bytes));
    const free = this.#free.get(size)?.pop();
    if (free === undefined) return Buffer.allocUnsafeSlow(size);
    this.#keptBytes -= size;
    return free;
  }

  /** A buffer that `take` gave, whole. */
  give(buffer: Buffer): void {
    const size = buffer.length;
    // Of a size that is never asked for, or more than is kept.
    if (size < MIN_POOLED_BYTES || size > MAX_POOLED_BYTES || (size & (size - 1)) !== 0 || this.#keptBytes + size > MAX_KEPT_BYTES) return;
    let free = this.#free.get(size);
    if (free === undefined) {
      free = [];
      this.#free.set(size, free);
    }
    free.push(buffer);
    this.#keptBytes += size;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }
}
