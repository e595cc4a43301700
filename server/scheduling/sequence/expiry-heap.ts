/** @hotpath a waiting sequence with a timeout passes once (measured by sequence-scheduler.bench.ts) */

import type { Sequence } from './sequence.ts';

/** Sequences by `expiresNs`, the earliest first: a binary heap in which each sequence knows its place, so that it can leave from anywhere. */
export class ExpiryHeap {
  readonly #items: Sequence[] = [];

  get first(): Sequence | null {
    return this.#items[0] ?? null;
  }

  /** Adds it, or finds its new place after `expiresNs` has changed. */
  put(sequence: Sequence): void {
    if (sequence.heapIndex < 0) {
      sequence.heapIndex = this.#items.length;
      this.#items.push(sequence);
    }
    this.#settle(sequence);
  }

  remove(sequence: Sequence): void {
    const at = sequence.heapIndex;
    if (at < 0) return;
    sequence.heapIndex = -1;
    const last = this.#items.pop()!;
    if (last === sequence) return;
    last.heapIndex = at;
    this.#items[at] = last;
    this.#settle(last);
  }

  #settle(sequence: Sequence): void {
    const items = this.#items;
    let at = sequence.heapIndex;
    while (at > 0) {
      const parent = items[(at - 1) >> 1]!;
      if (parent.expiresNs <= sequence.expiresNs) break;
      items[at] = parent;
      parent.heapIndex = at;
      at = (at - 1) >> 1;
    }
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && items[child + 1]!.expiresNs < items[child]!.expiresNs) child++;
      if (items[child]!.expiresNs >= sequence.expiresNs) break;
      items[at] = items[child]!;
      items[at]!.heapIndex = at;
      at = child;
    }
    items[at] = sequence;
    sequence.heapIndex = at;
  }
}
