/** @hotpath once at the start and once at the end of each request that has a deadline; others pay a comparison */

import { InferenceError } from '../../proto/inference-error.ts';
import type { Clock, ClockTimer } from '../inference/clock.ts';

/** Something that ends at a time, if it has not ended before: a request, or the wait for its model. */
export interface Watched {
  /** Does not change while it is watched. */
  readonly deadlineNs: number;
  /** The watch's own: its place there; -1: none. */
  watchIndex: number;
  expire(): void;
}

/** Timers count milliseconds in 31 bits; one that fires too early looks again. */
const LONGEST_TIMER_NS = 0x7fff_ffff * 1e6;
/** Callers hear of their deadlines for so long in one turn of the loop. */
const TURN_NS = 2e6;

/**
 * Calls `expire` of each of its entries at its deadline, never before it. One timer, for the earliest; a binary heap, so that an entry costs O(log n) to come and to go.
 * Whoever ends a request removes it: it holds no more than what is in flight.
 */
export class DeadlineWatch {
  readonly #clock: Clock;
  readonly #onFault: (error: unknown) => void;
  /** entries[i] is due no later than entries[2i + 1] and entries[2i + 2]. */
  readonly #entries: Watched[] = [];
  #timer: ClockTimer | null = null;
  /** When the timer fires. */
  #timerNs = Number.POSITIVE_INFINITY;
  readonly #run: () => void;

  /** `onFault` hears what an entry throws: a caller's fault must not cost the others their end. */
  constructor(clock: Clock, onFault: (error: unknown) => void) {
    this.#clock = clock;
    this.#onFault = onFault;
    this.#run = () => this.#fire();
  }

  get size(): number {
    return this.#entries.length;
  }

  /** Only for one that is not watched yet. */
  add(entry: Watched): void {
    const entries = this.#entries;
    entries.push(entry);
    this.#rise(entry, entries.length - 1);
    if (entry.deadlineNs < this.#timerNs) this.#setTimer(entry.deadlineNs);
  }

  /** Does nothing for one that is not watched. */
  remove(entry: Watched): void {
    if (entry.watchIndex < 0) return;
    this.#take(entry);
    // Otherwise the timer is left as it is: at worst it looks once for nothing.
    if (this.#entries.length === 0) this.#clearTimer();
  }

  #take(entry: Watched): void {
    const entries = this.#entries;
    const index = entry.watchIndex;
    entry.watchIndex = -1;
    const last = entries.pop()!;
    if (last === entry) return;
    if (index > 0 && last.deadlineNs < entries[(index - 1) >> 1]!.deadlineNs) this.#rise(last, index);
    else this.#sink(last, index);
  }

  #rise(entry: Watched, index: number): void {
    const entries = this.#entries;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = entries[above]!;
      if (parent.deadlineNs <= entry.deadlineNs) break;
      entries[index] = parent;
      parent.watchIndex = index;
      index = above;
    }
    entries[index] = entry;
    entry.watchIndex = index;
  }

  #sink(entry: Watched, index: number): void {
    const entries = this.#entries;
    const count = entries.length;
    for (;;) {
      let below = 2 * index + 1;
      if (below >= count) break;
      if (below + 1 < count && entries[below + 1]!.deadlineNs < entries[below]!.deadlineNs) below++;
      const child = entries[below]!;
      if (child.deadlineNs >= entry.deadlineNs) break;
      entries[index] = child;
      child.watchIndex = index;
      index = below;
    }
    entries[index] = entry;
    entry.watchIndex = index;
  }

  #fire(): void {
    this.#clearTimer();
    const startNs = this.#clock.nowNs();
    let nowNs = startNs;
    for (let first = this.#entries[0]; first !== undefined; first = this.#entries[0]) {
      if (first.deadlineNs > nowNs) {
        if (first.deadlineNs < this.#timerNs) this.#setTimer(first.deadlineNs);
        return;
      }
      if (nowNs - startNs > TURN_NS) {
        this.#clearTimer();
        // Nothing that comes meanwhile is due sooner than what is left.
        this.#timerNs = Number.NEGATIVE_INFINITY;
        this.#clock.endOfTick(this.#run);
        return;
      }
      this.#take(first);
      try {
        first.expire();
      } catch (error) {
        this.#onFault(error);
      }
      nowNs = this.#clock.nowNs();
    }
    this.#clearTimer();
  }

  #setTimer(deadlineNs: number): void {
    if (this.#timer !== null) this.#clock.clear(this.#timer);
    this.#timerNs = deadlineNs;
    const delayNs = Math.min(Math.max(0, deadlineNs - this.#clock.nowNs()), LONGEST_TIMER_NS);
    this.#timer = this.#clock.schedule(this.#run, delayNs, true);
  }

  #clearTimer(): void {
    if (this.#timer !== null) this.#clock.clear(this.#timer);
    this.#timer = null;
    this.#timerNs = Number.POSITIVE_INFINITY;
  }
}

/** `what` had not happened when the deadline passed. */
export function deadlinePassed(what: string): InferenceError {
  return new InferenceError('DEADLINE_EXCEEDED', `Request timeout expired before ${what}`, { failureReason: 'REJECTED' });
}
