/** A queue of small whole numbers that allocates only when it grows. Its owner bounds it: nothing is in it twice that its owner has once. */
export class IntRing {
  #values: Int32Array;
  #head = 0;
  #length = 0;

  /** `size`: how many it holds before it grows. */
  constructor(size: number) {
    this.#values = new Int32Array(powerOfTwo(size));
  }

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) this.#grow();
    this.#values[(this.#head + this.#length++) & (this.#values.length - 1)] = value;
  }

  /** -1 when it is empty. */
  shift(): number {
    if (this.#length === 0) return -1;
    const value = this.#values[this.#head]!;
    this.#head = (this.#head + 1) & (this.#values.length - 1);
    this.#length--;
    return value;
  }

  /** Takes the first such value out; looks from the front. */
  remove(value: number): void {
    const mask = this.#values.length - 1;
    for (let i = 0; i < this.#length; i++) {
      if (this.#values[(this.#head + i) & mask] !== value) continue;
      for (let j = i; j > 0; j--) this.#values[(this.#head + j) & mask] = this.#values[(this.#head + j - 1) & mask]!;
      this.#head = (this.#head + 1) & mask;
      this.#length--;
      return;
    }
  }

  clear(): void {
    this.#head = 0;
    this.#length = 0;
  }

  #grow(): void {
    const grown = new Int32Array(this.#values.length * 2);
    for (let i = 0; i < this.#length; i++) grown[i] = this.#values[(this.#head + i) & (this.#values.length - 1)]!;
    this.#values = grown;
    this.#head = 0;
  }
}

function powerOfTwo(size: number): number {
  return 2 ** Math.max(3, Math.ceil(Math.log2(size)));
}
