/**
 * Monotonic time, as an argument wherever time decides something: queues and batchers are tested on a clock that the test turns.
 * Nanoseconds as a double: exact to a fraction of a microsecond for as long as a process lives.
 */
export interface Clock {
  nowNs(): number;
  /** Calls back once, not before `delayNs` have passed. Returns a handle for {@link clear}. */
  schedule(callback: () => void, delayNs: number): ClockTimer;
  clear(timer: ClockTimer): void;
  /** Calls back once the event loop has collected what is already there to be read: the end of this tick. */
  endOfTick(callback: () => void): void;
}

export type ClockTimer = object | number;

/** The process's monotonic clock. setTimeout counts in milliseconds: shorter delays are rounded up to what it can do. */
export const systemClock: Clock = {
  nowNs: () => performance.now() * 1e6,
  schedule: (callback, delayNs) => setTimeout(callback, Math.max(1, Math.ceil(delayNs / 1e6))),
  clear: (timer) => clearTimeout(timer as NodeJS.Timeout),
  endOfTick: (callback) => {
    setImmediate(callback);
  },
};
