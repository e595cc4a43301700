/** @hotpath asked when a state gets memory of another size (measured by sequence-scheduler.bench.ts) */

/** Bounds what the implicit states of all sequences of a model version take together. */
export class StateBudget {
  readonly maxBytes: number;
  #usedBytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** False, and nothing done, when `after` bytes in the place of `before` pass the bound. */
  resize(before: number, after: number): boolean {
    if (after > before && this.#usedBytes - before + after > this.maxBytes) return false;
    this.#usedBytes += after - before;
    return true;
  }
}
