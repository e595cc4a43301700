import { ArrivalTimes } from './arrival-times.ts';
import type { OpenPace } from './load-plan.ts';
import type { Pacing, RequestStarter } from './pacing.ts';

/** Requests sent in a row after a stall before answers are read again. */
const BURST = 64;

/** Requests have times, and keep them: each is measured from its own, whether or not it could be sent then. */
export class OpenLoop implements Pacing {
  readonly slots: number;
  readonly isOpen = true;
  readonly #arrivals: ArrivalTimes;
  readonly #free: Int32Array;
  #freeCount: number;

  constructor(pace: OpenPace, seed: number) {
    this.slots = pace.maxInFlight;
    this.#arrivals = new ArrivalTimes(pace, seed);
    this.#free = Int32Array.from({ length: this.slots }, (_, i) => this.slots - 1 - i);
    this.#freeCount = this.slots;
  }

  start(_starter: RequestStarter, nowMs: number): void {
    this.#arrivals.start(nowMs);
  }

  nextMs(): number {
    return this.#arrivals.nextMs;
  }

  due(starter: RequestStarter): void {
    const arrivals = this.#arrivals;
    let nowMs = starter.now();
    for (let begun = 0; arrivals.nextMs <= nowMs && begun < BURST; arrivals.advance()) {
      if (this.#freeCount === 0) {
        starter.unsent();
        continue;
      }
      starter.begin(this.#free[--this.#freeCount]!, arrivals.nextMs, nowMs);
      begun++;
      nowMs = starter.now();
    }
  }

  ended(_starter: RequestStarter, slot: number): void {
    this.#free[this.#freeCount++] = slot;
  }
}
