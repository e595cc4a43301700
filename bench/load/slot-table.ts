/** Requests in flight or due, a row each in typed arrays, and in a list by age: the oldest is the next to time out, so that no request needs a timer. */
export class SlotTable {
  readonly size: number;
  /** When the request was meant to be sent. */
  readonly intendedMs: Float64Array;
  /** When it was; 0: not yet. */
  readonly sentMs: Float64Array;
  /** When the caller's patience began: the list's order. */
  readonly sinceMs: Float64Array;
  /** Of streamed answers: parts so far, times of the first and the last one, tokens after the first. */
  readonly parts: Uint32Array;
  readonly firstPartMs: Float64Array;
  readonly lastPartMs: Float64Array;
  readonly laterTokens: Uint32Array;
  readonly #isUsed: Uint8Array;
  readonly #older: Int32Array;
  readonly #younger: Int32Array;
  #oldest = -1;
  #youngest = -1;
  #used = 0;

  constructor(size: number) {
    this.size = size;
    this.intendedMs = new Float64Array(size);
    this.sentMs = new Float64Array(size);
    this.sinceMs = new Float64Array(size);
    this.parts = new Uint32Array(size);
    this.firstPartMs = new Float64Array(size);
    this.lastPartMs = new Float64Array(size);
    this.laterTokens = new Uint32Array(size);
    this.#isUsed = new Uint8Array(size);
    this.#older = new Int32Array(size);
    this.#younger = new Int32Array(size);
  }

  /** Rows in use. */
  get used(): number {
    return this.#used;
  }

  /** -1: none. */
  get oldest(): number {
    return this.#oldest;
  }

  isUsed(slot: number): boolean {
    return this.#isUsed[slot] === 1;
  }

  /** Takes a row for a request; `sinceMs` must not be before that of the youngest. */
  begin(slot: number, intendedMs: number, sinceMs: number): void {
    this.#isUsed[slot] = 1;
    this.#used++;
    this.intendedMs[slot] = intendedMs;
    this.sentMs[slot] = 0;
    this.parts[slot] = 0;
    this.laterTokens[slot] = 0;
    this.#append(slot, sinceMs);
  }

  end(slot: number): void {
    this.#isUsed[slot] = 0;
    this.#used--;
    this.#unlink(slot);
  }

  /** Its patience begins anew. */
  renew(slot: number, sinceMs: number): void {
    this.#unlink(slot);
    this.#append(slot, sinceMs);
  }

  #append(slot: number, sinceMs: number): void {
    this.sinceMs[slot] = sinceMs;
    this.#older[slot] = this.#youngest;
    this.#younger[slot] = -1;
    if (this.#youngest === -1) this.#oldest = slot;
    else this.#younger[this.#youngest] = slot;
    this.#youngest = slot;
  }

  #unlink(slot: number): void {
    const older = this.#older[slot]!;
    const younger = this.#younger[slot]!;
    if (older === -1) this.#oldest = younger;
    else this.#younger[older] = younger;
    if (younger === -1) this.#youngest = older;
    else this.#older[younger] = older;
  }
}
