/** What a client may do on one connection that costs the server more than it costs the client. */

/** Each event takes one of them; the cheap ones. */
const MOST = 1000;
const PER_SECOND = 33;

/**
 * Resets, empty frames, changed settings, refused calls. No honest client does none of it, and none does much more of it than calls: a call that ends in order pays one back, so a client that
 * cancels half of what it starts never runs out, whatever its rate. Compare CVE-2023-44487 (rapid reset), CVE-2019-9512 to 9518.
 */
export class AbuseBudget {
  #left = MOST;
  #lookedAtMs = 0;

  /** False: there is none left. */
  spend(count: number): boolean {
    if (this.#left < count) this.#refill();
    this.#left -= count;
    return this.#left >= 0;
  }

  earn(): void {
    if (this.#left < MOST) this.#left += 1;
  }

  #refill(): void {
    const nowMs = performance.now();
    if (this.#lookedAtMs > 0) this.#left = Math.min(MOST, this.#left + ((nowMs - this.#lookedAtMs) / 1000) * PER_SECOND);
    this.#lookedAtMs = nowMs;
  }
}
