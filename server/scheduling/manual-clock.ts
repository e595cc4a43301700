import type { Clock, ClockTimer } from '../inference/clock.ts';

interface Timer {
  readonly atNs: number;
  readonly callback: () => void;
}

/** A clock that a test turns by hand: nothing happens until `tick` or `advance` says so. */
export class ManualClock implements Clock {
  #nowNs = 1_000_000;
  #timers: Timer[] = [];
  #endOfTick: (() => void)[] = [];

  nowNs(): number {
    return this.#nowNs;
  }

  schedule(callback: () => void, delayNs: number): ClockTimer {
    const timer = { atNs: this.#nowNs + delayNs, callback };
    this.#timers.push(timer);
    return timer;
  }

  clear(timer: ClockTimer): void {
    this.#timers = this.#timers.filter((one) => one !== timer);
  }

  endOfTick(callback: () => void): void {
    this.#endOfTick.push(callback);
  }

  get timerCount(): number {
    return this.#timers.length;
  }

  /** Ends this tick, and those that its end asks for. */
  tick(): void {
    while (this.#endOfTick.length > 0) {
      const callbacks = this.#endOfTick;
      this.#endOfTick = [];
      for (const callback of callbacks) callback();
    }
  }

  /** Time passes; timers fire in order, each with a tick of its own. */
  advance(ns: number): void {
    const untilNs = this.#nowNs + ns;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.atNs <= untilNs).sort((a, b) => a.atNs - b.atNs)[0];
      if (due === undefined) break;
      this.#nowNs = due.atNs;
      this.clear(due);
      due.callback();
      this.tick();
    }
    this.#nowNs = untilNs;
  }
}
