/** @hotpath asked after each run, and seldom has to do anything (measured by sequence-scheduler.bench.ts) */

import type { Clock, ClockTimer } from '../../inference/clock.ts';

/** What a timer can count. */
const LONGEST_TIMER_NS = 0x7fff_ffff * 1e6;

/** One timer for many times: it calls back at the earliest, or before; whoever is called looks what is due and asks again. */
export class WakeTimer {
  readonly #clock: Clock;
  readonly #onWake: () => void;
  #timer: ClockTimer | null = null;
  #atNs = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, onWake: () => void) {
    this.#clock = clock;
    this.#onWake = () => {
      this.#timer = null;
      this.#atNs = Number.POSITIVE_INFINITY;
      onWake();
    };
  }

  /** A later time than it has is left to whoever it wakes. Infinity: never. */
  wakeBy(atNs: number): void {
    if (atNs >= this.#atNs) return;
    this.stop();
    this.#atNs = atNs;
    this.#timer = this.#clock.schedule(this.#onWake, Math.min(Math.max(0, atNs - this.#clock.nowNs()), LONGEST_TIMER_NS));
  }

  stop(): void {
    if (this.#timer !== null) this.#clock.clear(this.#timer);
    this.#timer = null;
    this.#atNs = Number.POSITIVE_INFINITY;
  }
}
