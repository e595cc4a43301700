/** @hotpath messages that an engine delivers although it was asked to pause (measured by web-socket-session.bench.ts) */

/** A hostile peer's messages of two bytes cost more than their bytes. */
const MAX_MESSAGES = 4_096;

/** What a connection may put aside on its own account, bytes. */
const OWN_BYTES = 1024 * 1024;

/** What the backlogs of all connections may hold together beyond {@link OWN_BYTES} each. */
export class BacklogBudget {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#left += bytes;
  }
}

/** A bounded queue, in the order of arrival. */
export class MessageBacklog {
  readonly #maxBytes: number;
  readonly #budget: BacklogBudget;
  readonly #messages: Uint8Array[] = [];
  readonly #isBinary: boolean[] = [];
  #bytes = 0;
  /** Taken from the budget. */
  #borrowed = 0;

  constructor(maxBytes: number, budget: BacklogBudget) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0;
  }

  /** False, and nothing is kept, when there is no room. One message alone is always let in: its size has its own bound, at the transport. */
  push(message: Uint8Array, isBinary: boolean): boolean {
    const bytes = this.#bytes + message.length;
    if (!this.isEmpty && !this.#hasRoom(bytes)) return false;
    this.#messages.push(message);
    this.#isBinary.push(isBinary);
    this.#bytes = bytes;
    return true;
  }

  get nextIsBinary(): boolean {
    return this.#isBinary[0]!;
  }

  /** Takes the oldest; there must be one. */
  shift(): Uint8Array {
    const message = this.#messages.shift()!;
    this.#isBinary.shift();
    this.#bytes -= message.length;
    if (this.#bytes <= OWN_BYTES) this.#giveBack();
    return message;
  }

  clear(): void {
    this.#messages.length = 0;
    this.#isBinary.length = 0;
    this.#bytes = 0;
    this.#giveBack();
  }

  #hasRoom(bytes: number): boolean {
    if (this.#messages.length >= MAX_MESSAGES || bytes > Math.max(this.#maxBytes, OWN_BYTES)) return false;
    const needed = bytes - OWN_BYTES - this.#borrowed;
    if (needed <= 0) return true;
    if (!this.#budget.take(needed)) return false;
    this.#borrowed += needed;
    return true;
  }

  #giveBack(): void {
    this.#budget.giveBack(this.#borrowed);
    this.#borrowed = 0;
  }
}
