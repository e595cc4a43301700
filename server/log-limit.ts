/** Log lines that callers can bring about at will: the first of each second is written, the others are counted. */
export class LogLimit {
  #nextMs = 0;
  #leftOut = 0;

  /** Lines left out since the last one, or -1 when this one is to be left out too. `nowMs`: monotonic. */
  pass(nowMs: number): number {
    if (nowMs < this.#nextMs) {
      this.#leftOut++;
      return -1;
    }
    const leftOut = this.#leftOut;
    this.#leftOut = 0;
    this.#nextMs = nowMs + 1000;
    return leftOut;
  }
}
