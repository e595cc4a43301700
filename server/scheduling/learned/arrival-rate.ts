/** @hotpath counts each request of a model with a queue delay (measured by learned-batching.bench.ts) */

/** Over how long the rate looks back, ns. */
const MEMORY_NS = 100e6;

/**
 * How often requests come, by a count that fades: a burst counts as the requests that it has, however close together, and a long silence is no rate at all. Without allocation or timer.
 */
export class ArrivalRate {
  #count = 0;
  #atNs = 0;

  arrived(nowNs: number): void {
    this.#count = this.#count * this.#fade(nowNs) + 1;
    this.#atNs = Math.max(this.#atNs, nowNs);
  }

  /** Requests per nanosecond, without the last `own`, which have only just come. */
  perNs(nowNs: number, own: number): number {
    return Math.max(0, this.#count * this.#fade(nowNs) - own) / MEMORY_NS;
  }

  #fade(nowNs: number): number {
    return nowNs <= this.#atNs ? 1 : Math.exp((this.#atNs - nowNs) / MEMORY_NS);
  }
}
