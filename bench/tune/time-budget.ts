/** Time that is spent in pieces whose cost is learned from those before. */
export class TimeBudget {
  readonly #now: () => number;
  readonly #endMs: number;
  /** Of a piece, a running mean; 0 until one was spent. */
  readonly #costMs: Map<string, number> = new Map();

  /** `now`: milliseconds. */
  constructor(totalMs: number, now: () => number) {
    this.#now = now;
    this.#endMs = now() + totalMs;
  }

  get leftMs(): number {
    return Math.max(0, this.#endMs - this.#now());
  }

  /** Whether `count` more pieces of a kind fit, with `keepMs` left after them; of a kind not spent yet, whether there is any time. */
  fits(kind: string, count: number, keepMs: number): boolean {
    const left = this.leftMs - keepMs;
    return left > 0 && left >= this.costMs(kind) * count;
  }

  /** How many pieces of a kind there is time for, when one takes `factor` times what it took; Infinity for a kind not spent yet. */
  room(kind: string, factor: number): number {
    const costMs = this.costMs(kind) * factor;
    return costMs === 0 ? Number.POSITIVE_INFINITY : Math.floor(this.leftMs / costMs);
  }

  costMs(kind: string): number {
    return this.#costMs.get(kind) ?? 0;
  }

  async spend<T>(kind: string, piece: () => Promise<T>): Promise<T> {
    const fromMs = this.#now();
    try {
      return await piece();
    } finally {
      const tookMs = this.#now() - fromMs;
      const before = this.#costMs.get(kind);
      this.#costMs.set(kind, before === undefined ? tookMs : before * 0.7 + tookMs * 0.3);
    }
  }
}
