import { SeededRandom } from '../statistics/seeded-random.ts';
import type { SequenceStamp } from './lane.ts';
import type { SequencePlan } from './load-plan.ts';

/** A sequence that is being walked. The stamp is the same object for all its requests: lanes read it while they send. */
export interface Sequence {
  readonly stamp: { id: number; isStart: boolean; isEnd: boolean } & SequenceStamp;
  /** Of the request whose stamp it shows; from 0. */
  position: number;
  readonly length: number;
}

/**
 * Sequences, of each of which one request at the most is in flight. Whoever sends takes the one that has waited longest for its next request, and a new one where all are in flight: a closed loop's workers
 * so walk one each, and an open loop has as many live ones as its requests overlap, each of them served often enough to stay alive.
 */
export class SequencePool {
  readonly #plan: SequencePlan;
  readonly #random: SeededRandom;
  /** Between two requests; oldest first, in a ring that `#head` walks. */
  #idle: Sequence[] = [];
  #head = 0;
  #nextId: number;

  constructor(plan: SequencePlan, seed: number) {
    this.#plan = plan;
    this.#random = new SeededRandom(seed ^ 0x5e9ce);
    this.#nextId = plan.firstId;
  }

  /** The sequence to send for; its stamp shows the next request. */
  take(): Sequence {
    const kept = this.#idle[this.#head];
    if (kept === undefined) return this.#begin();
    this.#head++;
    if (this.#head === this.#idle.length) {
      this.#idle.length = 0;
      this.#head = 0;
    } else if (this.#head >= 1024) {
      this.#idle = this.#idle.slice(this.#head);
      this.#head = 0;
    }
    kept.position++;
    kept.stamp.isStart = false;
    kept.stamp.isEnd = kept.position === kept.length - 1;
    return kept;
  }

  /** The request that was sent for it has ended. What is broken, by a refusal or a lost answer, does not go on: nobody knows which requests the server has seen. */
  giveBack(sequence: Sequence, isBroken: boolean): void {
    if (!isBroken && !sequence.stamp.isEnd) this.#idle.push(sequence);
  }

  /** Leaves all sequences where they are: their IDs are not used again. */
  abandonAll(): void {
    this.#idle = [];
    this.#head = 0;
  }

  #begin(): Sequence {
    const length = this.#random.between(this.#plan.minLength, this.#plan.maxLength);
    return { stamp: { id: this.#nextId++, isStart: true, isEnd: length === 1 }, position: 0, length };
  }
}
