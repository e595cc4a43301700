/** @hotpath two entries per batch, one each way: their words are copied, one Atomics store publishes them; nothing is allocated */

/**
 * Ring of fixed-size descriptors between two processes: one pushes, one pops. In the shared region, in 32-bit words:
 *
 *   0  head: entries pushed so far (written by the producer)      a cache line each, so that the two sides do not take
 *   16 tail: entries popped so far (written by the consumer)      each other's line at every step
 *   32 entries, `capacity` of `wordsPerEntry` words
 *
 * Both counters run through 2^32 and wrap; hence the capacity is a power of two. V8 performs Atomics on any typed array, shared or not, as sequentially
 * consistent machine accesses and never moves other accesses across them; so an entry is complete when its head is seen, and a producer that pushes and
 * then reads a "consumer sleeps" word cannot miss a consumer that wrote this word and then looked at `isEmpty`.
 *
 * Each side keeps its own counter outside the shared memory and trusts only that one.
 */

const LINE_BYTES = 64;
const HEAD = 0;
const TAIL = LINE_BYTES / 4;
const ENTRIES = 2 * TAIL;

function checkShape(capacity: number, wordsPerEntry: number): void {
  if (!Number.isSafeInteger(capacity) || capacity < 1 || capacity > 0x1000000 || (capacity & (capacity - 1)) !== 0) {
    throw new RangeError(`ring capacity must be a power of two up to 2^24, got ${capacity}`);
  }
  if (!Number.isSafeInteger(wordsPerEntry) || wordsPerEntry < 1 || wordsPerEntry > 0x10000) {
    throw new RangeError(`wordsPerEntry must lie in 1 to 65536, got ${wordsPerEntry}`);
  }
}

/** One side of a ring. An object is used to push or to pop, never both. */
export class DescriptorRing {
  readonly capacity: number;
  readonly #words: Int32Array;
  readonly #mask: number;
  readonly #wordsPerEntry: number;
  /** The producer's own count, or what the consumer last saw of it; the other way round for tail. Unsigned. */
  #head: number;
  #tail: number;

  /** Bytes of shared memory that a ring takes, a multiple of 64. */
  static byteLength(capacity: number, wordsPerEntry: number): number {
    checkShape(capacity, wordsPerEntry);
    return Math.ceil((ENTRIES * 4 + capacity * wordsPerEntry * 4) / LINE_BYTES) * LINE_BYTES;
  }

  /** `byteOffset` is a multiple of 64; the region is all zero when the first side attaches. */
  constructor(buffer: ArrayBuffer, byteOffset: number, capacity: number, wordsPerEntry: number) {
    const byteLength = DescriptorRing.byteLength(capacity, wordsPerEntry);
    if (!Number.isSafeInteger(byteOffset) || byteOffset < 0 || byteOffset % LINE_BYTES !== 0) {
      throw new RangeError(`a ring starts at a multiple of ${LINE_BYTES} bytes, got ${byteOffset}`);
    }
    this.capacity = capacity;
    this.#words = new Int32Array(buffer, byteOffset, byteLength / 4);
    this.#mask = capacity - 1;
    this.#wordsPerEntry = wordsPerEntry;
    this.#head = Atomics.load(this.#words, HEAD) >>> 0;
    this.#tail = Atomics.load(this.#words, TAIL) >>> 0;
    if ((this.#head - this.#tail) >>> 0 > capacity) this.#broken();
  }

  /** False when full. Throws when the consumer's counter is impossible. */
  push(entry: Int32Array): boolean {
    const length = this.#wordsPerEntry;
    if (entry.length < length) throw new RangeError(`an entry has ${length} words, got ${entry.length}`);
    const head = this.#head;
    if ((head - this.#tail) >>> 0 === this.capacity) {
      // The other side's line is read only when what is known of it no longer does.
      const tail = Atomics.load(this.#words, TAIL) >>> 0;
      const used = (head - tail) >>> 0;
      if (used > this.capacity) this.#broken();
      if (used === this.capacity) return false;
      this.#tail = tail;
    }
    const words = this.#words;
    const start = ENTRIES + (head & this.#mask) * length;
    for (let word = 0; word < length; word++) words[start + word] = entry[word]!;
    this.#head = (head + 1) >>> 0;
    Atomics.store(words, HEAD, (head + 1) | 0);
    return true;
  }

  /** False when empty. Throws when the producer's counter is impossible; the entry's words are the caller's to check. */
  pop(into: Int32Array): boolean {
    const length = this.#wordsPerEntry;
    if (into.length < length) throw new RangeError(`an entry has ${length} words, room for ${into.length}`);
    const tail = this.#tail;
    if (this.#head === tail) {
      const head = Atomics.load(this.#words, HEAD) >>> 0;
      if (head === tail) return false;
      if ((head - tail) >>> 0 > this.capacity) this.#broken();
      this.#head = head;
    }
    const words = this.#words;
    const start = ENTRIES + (tail & this.#mask) * length;
    for (let word = 0; word < length; word++) into[word] = words[start + word]!;
    this.#tail = (tail + 1) >>> 0;
    Atomics.store(words, TAIL, (tail + 1) | 0);
    return true;
  }

  /** As the shared counters have it now, from either side. */
  get isEmpty(): boolean {
    return Atomics.load(this.#words, HEAD) === Atomics.load(this.#words, TAIL);
  }

  #broken(): never {
    const head = Atomics.load(this.#words, HEAD) >>> 0;
    const tail = Atomics.load(this.#words, TAIL) >>> 0;
    throw new Error(`descriptor ring is broken: ${head} entries pushed, ${tail} popped, capacity ${this.capacity}`);
  }
}
