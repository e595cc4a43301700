/** One at a time, first come first served: whoever takes a turn for each of its texts shares with the others evenly, however many texts it has. */
export class Turns {
  #isTaken = false;
  readonly #waiting: (() => void)[] = [];

  /** Resolves when it is the caller's turn, which lasts until {@link end}. */
  take(): Promise<void> | null {
    if (!this.#isTaken) {
      this.#isTaken = true;
      return null;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  end(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#isTaken = false;
    else next();
  }
}
