/** @hotpath links and unlinks a sequence, a few times per request (measured by sequence-scheduler.bench.ts) */

import type { Sequence } from './sequence.ts';

/** Sequences in an order, linked through themselves: each is in one list at most, and leaves it from anywhere at no cost. */
export class SequenceList {
  first: Sequence | null = null;
  #last: Sequence | null = null;

  append(sequence: Sequence): void {
    sequence.list = this;
    sequence.previous = this.#last;
    sequence.next = null;
    if (this.#last === null) this.first = sequence;
    else this.#last.next = sequence;
    this.#last = sequence;
  }

  prepend(sequence: Sequence): void {
    sequence.list = this;
    sequence.previous = null;
    sequence.next = this.first;
    if (this.first === null) this.#last = sequence;
    else this.first.previous = sequence;
    this.first = sequence;
  }

  /** Only for one that is in it. */
  remove(sequence: Sequence): void {
    const { previous, next } = sequence;
    if (previous === null) this.first = next;
    else previous.next = next;
    if (next === null) this.#last = previous;
    else next.previous = previous;
    sequence.list = null;
    sequence.previous = null;
    sequence.next = null;
  }
}
