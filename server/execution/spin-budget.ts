/** @hotpath decides before every wait of a host, and after every submission to one, whether to spin for what comes (measured by instance-channel.bench.ts) */

/** At most this many waits pass between two tries. */
const MAX_SKIP = 64;

/**
 * Spinning pays while the other side runs on another core and answers soon; where both sides share a core, or it answers late, a spin only keeps the core from
 * whoever has the work. So tries are made rarer by half each time one fails, and one that succeeds restores them.
 */
export class SpinBudget {
  #skip = 0;
  #left = 0;

  /** Whether to spin this time. */
  take(): boolean {
    if (this.#left === 0) return true;
    this.#left--;
    return false;
  }

  succeeded(): void {
    this.#skip = 0;
    this.#left = 0;
  }

  failed(): void {
    this.#skip = this.#skip === 0 ? 1 : Math.min(this.#skip * 2, MAX_SKIP);
    this.#left = this.#skip;
  }
}
