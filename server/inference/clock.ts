/**
 * Monotonic time, as an argument wherever time decides something: queues and batchers are tested on a clock that the test turns.
 * Nanoseconds as a double: exact to a fraction of a microsecond for as long as a process lives.
 */
export interface Clock {
  nowNs(): number;
  /**
   * Calls back once, not before `delayNs` have passed. Returns a handle for {@link clear}. `mayBeLate`: a millisecond more does no harm, as with deadlines, of which
   * one may pass in every millisecond; the loop sleeps meanwhile.
   */
  schedule(callback: () => void, delayNs: number, mayBeLate?: boolean): ClockTimer;
  clear(timer: ClockTimer): void;
  /** Calls back once the event loop has collected what is already there to be read: the end of this tick. */
  endOfTick(callback: () => void): void;
}

export type ClockTimer = object | number;

/** What setTimeout cannot count: it looks at the time once a turn of the loop, which does not sleep meanwhile. Queue delays are such, some hundred microseconds. */
class ShortTimer {
  readonly #callback: () => void;
  readonly #atNs: number;
  #turn: NodeJS.Immediate;

  constructor(callback: () => void, delayNs: number) {
    this.#callback = callback;
    this.#atNs = systemClock.nowNs() + delayNs;
    this.#turn = setImmediate(this.#look);
  }

  clear(): void {
    clearImmediate(this.#turn);
  }

  readonly #look = (): void => {
    if (systemClock.nowNs() >= this.#atNs) this.#callback();
    else this.#turn = setImmediate(this.#look);
  };
}

const SHORT_NS = 1e6;

/** The process's monotonic clock. Delays of a millisecond and more are rounded up to what setTimeout can do. */
export const systemClock: Clock = {
  nowNs: () => performance.now() * 1e6,
  schedule: (callback, delayNs, mayBeLate = false) =>
    delayNs < SHORT_NS && !mayBeLate ? new ShortTimer(callback, delayNs) : setTimeout(callback, Math.ceil(delayNs / 1e6)),
  clear: (timer) => {
    if (timer instanceof ShortTimer) timer.clear();
    else clearTimeout(timer as NodeJS.Timeout);
  },
  endOfTick: (callback) => {
    setImmediate(callback);
  },
};
