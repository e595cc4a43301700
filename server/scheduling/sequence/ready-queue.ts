/** @hotpath sequences whose next request may run, in the order in which they became ready (measured by sequence-scheduler.bench.ts) */

import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { QueueView } from '../form-batch.ts';
import type { Sequence } from './sequence.ts';

/** A ring that doubles; bounded by the slots of its lane. To a batch policy it looks like a queue of the sequences' active requests. */
export class ReadyQueue implements QueueView {
  #slots: (Sequence | undefined)[] = new Array<Sequence | undefined>(16);
  #mask = 15;
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  at(index: number): InferenceRequest {
    return this.sequenceAt(index).active!;
  }

  sequenceAt(index: number): Sequence {
    return this.#slots[(this.#head + index) & this.#mask]!;
  }

  push(sequence: Sequence): void {
    if (this.#length > this.#mask) this.#grow();
    this.#slots[(this.#head + this.#length) & this.#mask] = sequence;
    this.#length++;
  }

  /** Only while `length` > 0. */
  shift(): Sequence {
    const sequence = this.sequenceAt(0);
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) & this.#mask;
    this.#length--;
    return sequence;
  }

  /** Puts sequences that were just taken back in front, in their order. */
  unshift(sequences: readonly Sequence[]): void {
    for (let i = sequences.length - 1; i >= 0; i--) {
      this.#head = (this.#head - 1) & this.#mask;
      this.#slots[this.#head] = sequences[i];
      this.#length++;
    }
  }

  keepIf(isKept: (sequence: Sequence) => boolean): void {
    let kept = 0;
    for (let i = 0; i < this.#length; i++) {
      const sequence = this.sequenceAt(i);
      if (isKept(sequence)) this.#slots[(this.#head + kept++) & this.#mask] = sequence;
    }
    for (let i = kept; i < this.#length; i++) this.#slots[(this.#head + i) & this.#mask] = undefined;
    this.#length = kept;
  }

  #grow(): void {
    const slots = new Array<Sequence | undefined>(this.#slots.length * 2);
    for (let i = 0; i < this.#length; i++) slots[i] = this.sequenceAt(i);
    this.#slots = slots;
    this.#mask = slots.length - 1;
    this.#head = 0;
  }
}
