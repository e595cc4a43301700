/** @hotpath finds the sequence of each request (measured by sequence-scheduler.bench.ts) */

import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { Sequence, SequenceKey } from './sequence.ts';

/** The sequences of a scheduler that have not ended, by id. */
export class LiveSequences {
  /** A sequence without an id by its only request. */
  readonly #byKey: Map<SequenceKey, Sequence> = new Map();
  /** Their END was taken, and before it was answered a new one began under their id. */
  readonly #displaced: Set<Sequence> = new Set();

  get count(): number {
    return this.#byKey.size + this.#displaced.size;
  }

  get(key: SequenceKey): Sequence | undefined {
    return this.#byKey.get(key);
  }

  /** One that has its id already runs out beside it. */
  add(sequence: Sequence): void {
    const known = this.#byKey.get(sequence.key);
    if (known !== undefined) this.#displaced.add(known);
    this.#byKey.set(sequence.key, sequence);
  }

  delete(sequence: Sequence): void {
    if (!this.#displaced.delete(sequence)) this.#byKey.delete(sequence.key);
  }

  /** The one that has the request, which is not answered. */
  holderOf(request: InferenceRequest): Sequence | null {
    const known = this.#byKey.get(request.sequence === null ? request : request.sequence.id);
    if (known?.has(request) === true) return known;
    for (const sequence of this.#displaced) if (sequence.has(request)) return sequence;
    return null;
  }

  all(): Sequence[] {
    return [...this.#byKey.values(), ...this.#displaced];
  }
}
