const FIRST_BYTES = 4 * 1024;
/** A buffer that one large answer made is not kept past it. */
const MAX_REUSED_BYTES = 1024 * 1024;
/** What is made room for at once because a server says that as many bytes will come. */
const MAX_TOLD_BYTES = 64 * 1024 * 1024;
const NOTHING: Buffer = Buffer.alloc(0);

/** Pieces of bytes as one, up to a bound; its memory is used again. */
export class KeptBytes {
  readonly #limit: number;
  #buffer: Buffer = NOTHING;
  #length = 0;
  #borrowed: Buffer = NOTHING;
  #isFull = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get isEmpty(): boolean {
    return this.#length === 0 && this.#borrowed.length === 0 && !this.#isFull;
  }

  /** Whether more came than the bound lets through: what is kept is its beginning. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** What is kept, until the next call of any other method. */
  get view(): Buffer {
    return this.#borrowed.length > 0 ? this.#borrowed : this.#length === 0 ? NOTHING : this.#buffer.subarray(0, this.#length);
  }

  /** Takes `bytes[from, to)` as all there is, without a copy. */
  borrow(bytes: Buffer, from: number, to: number): void {
    if (to - from > this.#limit) this.#isFull = true;
    this.#borrowed = bytes.subarray(from, Math.min(to, from + this.#limit));
  }

  add(bytes: Buffer, from: number, to: number): void {
    this.addOf(bytes, from, to, 0);
  }

  /** The same, where `total` bytes are to come, these among them; 0: not known. */
  addOf(bytes: Buffer, from: number, to: number, total: number): void {
    const room = this.#limit - this.#length;
    if (to - from > room) {
      this.#isFull = true;
      to = from + room;
    }
    const length = this.#length + to - from;
    if (length > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(
        Math.min(this.#limit, Math.max(FIRST_BYTES, Math.min(total, MAX_TOLD_BYTES), 2 * this.#buffer.length, length)),
      );
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    bytes.copy(this.#buffer, this.#length, from, to);
    this.#length = length;
  }

  clear(): void {
    this.#length = 0;
    this.#borrowed = NOTHING;
    this.#isFull = false;
    if (this.#buffer.length > MAX_REUSED_BYTES) this.#buffer = NOTHING;
  }
}
