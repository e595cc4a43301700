/** Lets so many loads run at once; the others wait for their turn, in order. Callers bound how many wait. */
export class LoadTurns {
  readonly #waiting: (() => void)[] = [];
  readonly #onEnded: (() => void)[] = [];
  readonly #limit: number;
  #running = 0;

  /** Throws RangeError unless `limit` is 1 to 64. */
  constructor(limit: number) {
    if (!(Number.isInteger(limit) && limit >= 1 && limit <= 64)) throw new RangeError(`loadConcurrency must be 1 to 64, got ${limit}`);
    this.#limit = limit;
  }

  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    // Whoever waits is given the place of one that ended.
    if (this.#running < this.#limit) this.#running++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next !== undefined) next();
      else if (--this.#running === 0) for (const resolve of this.#onEnded.splice(0)) resolve();
    }
  }

  /** Resolves when nothing runs and nothing waits. */
  async ended(): Promise<void> {
    if (this.#running > 0) await new Promise<void>((resolve) => this.#onEnded.push(resolve));
  }
}
