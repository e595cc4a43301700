/** @hotpath a comparison per dispatch; more only when requests end while they wait (measured by dynamic-batch-scheduler.bench.ts) */

import type { Clock } from '../inference/clock.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import type { EndInTurns } from './end-in-turns.ts';
import type { RequestQueue } from './request-queue.ts';

/** The whole queue is searched for at most one part in so many of the time. */
const SEARCH_SHARE = 16;
/** So many requests in front are looked at every time. */
const LEAST_FRONT = 64;

/**
 * Takes requests that have ended, or whose deadline has passed, out of a queue. Callers may go away one by one while a hundred thousand wait: the whole queue is searched now and then, what would
 * run next every time.
 */
export class QueueSweep {
  /** A request in the queue has ended. */
  hasGone = false;
  /** No deadline in the queue is earlier, so that queues without deadlines are never searched for one. */
  earliestDeadlineNs: number = Number.POSITIVE_INFINITY;
  readonly #queue: RequestQueue;
  readonly #clock: Clock;
  readonly #ending: EndInTurns;
  readonly #front: number;
  /** Before this time only the front is looked at. */
  #wholeNs = Number.NEGATIVE_INFINITY;

  /** `maxBatchSize`: requests that may run together. */
  constructor(queue: RequestQueue, clock: Clock, ending: EndInTurns, maxBatchSize: number) {
    this.#queue = queue;
    this.#clock = clock;
    this.#ending = ending;
    this.#front = Math.max(LEAST_FRONT, maxBatchSize);
  }

  /** When there is something to take out, if nothing happens before. */
  wakeNs(nowNs: number): number {
    return this.hasGone || this.earliestDeadlineNs <= nowNs ? this.#wholeNs : this.earliestDeadlineNs;
  }

  /** The requests that would run next are alive afterwards. Those taken out late go to `ending`; true: something was taken out. */
  run(nowNs: number): boolean {
    const queue = this.#queue;
    const waiting = queue.length;
    if (!this.hasGone && this.earliestDeadlineNs > nowNs) return false;
    const isWhole = waiting <= this.#front || nowNs >= this.#wholeNs;
    const removed: InferenceRequest[] = [];
    let earliestNs = Number.POSITIVE_INFINITY;
    const startedNs = this.#clock.nowNs();
    queue.removeIf(
      (request) => {
        if (request.isDone || request.deadlineNs <= nowNs) return true;
        if (request.deadlineNs < earliestNs) earliestNs = request.deadlineNs;
        return false;
      },
      removed,
      isWhole ? Number.POSITIVE_INFINITY : this.#front,
    );
    if (isWhole) {
      this.hasGone = false;
      this.earliestDeadlineNs = earliestNs;
      const endedNs = this.#clock.nowNs();
      this.#wholeNs = endedNs + SEARCH_SHARE * (endedNs - startedNs);
    }
    const late = removed.filter(isAlive);
    if (late.length > 0) this.#ending.add(late, null);
    return removed.length > 0;
  }
}

const isAlive = (request: InferenceRequest): boolean => !request.isDone;
