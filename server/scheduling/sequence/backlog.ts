/** @hotpath sequences that wait for a slot (measured by sequence-scheduler.bench.ts) */

import type { InferenceRequest } from '../../inference/inference-request.ts';
import { ExpiryHeap } from './expiry-heap.ts';
import type { Sequence } from './sequence.ts';
import { SequenceList } from './sequence-list.ts';

/** Sequences without a slot whose requests wait for one, in order; each gives up with the first of its requests that does. */
export class Backlog {
  readonly #list: SequenceList = new SequenceList();
  readonly #expiries: ExpiryHeap = new ExpiryHeap();

  get first(): Sequence | null {
    return this.#list.first;
  }

  /** The first to give up; null: none will. */
  get firstToExpire(): Sequence | null {
    return this.#expiries.first;
  }

  append(sequence: Sequence): void {
    this.#list.append(sequence);
    for (const request of sequence.waiting()) this.#expect(sequence, request);
  }

  prepend(sequence: Sequence): void {
    this.#list.prepend(sequence);
    for (const request of sequence.waiting()) this.#expect(sequence, request);
  }

  /** A request was added to a sequence that may be here. */
  joined(sequence: Sequence, request: InferenceRequest): void {
    if (sequence.list === this.#list) this.#expect(sequence, request);
  }

  /** If it is here. */
  remove(sequence: Sequence): void {
    if (sequence.list !== this.#list) return;
    this.#list.remove(sequence);
    this.#expiries.remove(sequence);
    sequence.expiresNs = Number.POSITIVE_INFINITY;
  }

  #expect(sequence: Sequence, request: InferenceRequest): void {
    const timeoutNs = request.timeoutUs > 0 ? request.queuedNs + request.timeoutUs * 1000 : Number.POSITIVE_INFINITY;
    const expiresNs = Math.min(timeoutNs, request.deadlineNs);
    if (expiresNs >= sequence.expiresNs) return;
    sequence.expiresNs = expiresNs;
    this.#expiries.put(sequence);
  }
}
