/** A stream of pseudo-random numbers that is the same on every machine for the same seed (a mixed 32-bit Weyl sequence). */
export class SeededRandom {
  #state: number;

  /** `seed` is any whole number; only its low 32 bits count. */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Evenly spread over [0, 1), in steps of 2^-32. */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 0x1_0000_0000;
  }

  /** A whole number from 0 to `bound` - 1. */
  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  /** Exponentially distributed with mean 1: the gaps of a Poisson process. */
  exponential(): number {
    return -Math.log(1 - this.next());
  }

  /** `length` values evenly spread over (-limit, limit). */
  symmetric(length: number, limit: number): Float32Array {
    const values = new Float32Array(length);
    for (let i = 0; i < length; i++) values[i] = (this.next() * 2 - 1) * limit;
    return values;
  }

  /** Puts `order` into a random order, in place. */
  shuffle(order: Int32Array): void {
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const kept = order[i]!;
      order[i] = order[j]!;
      order[j] = kept;
    }
  }
}
