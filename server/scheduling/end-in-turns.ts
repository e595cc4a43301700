import type { InferenceError } from '../../proto/inference-error.ts';
import type { Clock } from '../inference/clock.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';

/** Callers hear of their end for so long in one turn of the loop. */
const TURN_NS = 2e6;

interface Group {
  readonly requests: readonly InferenceRequest[];
  /** Null: their deadline has passed, or cannot be met. */
  readonly error: (() => InferenceError) | null;
  next: number;
}

/** Ends requests that left a queue unanswered, as many in a turn of the loop as do not hold up the others. */
export class EndInTurns {
  readonly #clock: Clock;
  readonly #onFault: (error: unknown) => void;
  readonly #onAllEnded: () => void;
  readonly #groups: Group[] = [];
  #length = 0;
  #isScheduled = false;
  readonly #runNext: () => void;

  /** `onFault` hears what a caller throws: it costs the others nothing. `onAllEnded` is called after a turn of its own that ended the last. */
  constructor(clock: Clock, onFault: (error: unknown) => void, onAllEnded: () => void) {
    this.#clock = clock;
    this.#onFault = onFault;
    this.#onAllEnded = onAllEnded;
    this.#runNext = () => {
      this.#isScheduled = false;
      this.run();
      if (this.#length === 0) this.#onAllEnded();
    };
  }

  /** Requests that were added and have not heard of their end. */
  get length(): number {
    return this.#length;
  }

  /** Nothing ends before {@link run}. */
  add(requests: readonly InferenceRequest[], error: (() => InferenceError) | null): void {
    for (const request of requests) request.holder = null;
    this.#groups.push({ requests, error, next: 0 });
    this.#length += requests.length;
  }

  /** Ends the oldest, and goes on by itself in later turns while there are more. */
  run(): void {
    if (this.#isScheduled) return;
    const startNs = this.#clock.nowNs();
    for (let group = this.#groups[0]; group !== undefined; group = this.#groups[0]) {
      const { requests, error } = group;
      while (group.next < requests.length) {
        if (this.#clock.nowNs() - startNs > TURN_NS) {
          this.#isScheduled = true;
          this.#clock.endOfTick(this.#runNext);
          return;
        }
        const request = requests[group.next++]!;
        this.#length--;
        try {
          if (error === null) request.expire();
          else request.fail(error());
        } catch (fault) {
          this.#onFault(fault);
        }
      }
      if (this.#groups[0] === group) this.#groups.shift();
    }
  }
}
