import { SeededRandom } from '../statistics/seeded-random.ts';
import type { OpenPace } from './load-plan.ts';

/** When the requests of an open loop are due. It goes on counting whatever becomes of them: after a stall all that fell into it are due at once, each since its own time. */
export class ArrivalTimes {
  readonly #gapMs: number;
  readonly #random: SeededRandom | null;
  #startMs = 0;
  #count = 0;
  /** The next one; not before `start`. */
  nextMs = 0;

  constructor(pace: OpenPace, seed: number) {
    this.#gapMs = 1000 / pace.perSecond;
    this.#random = pace.schedule === 'poisson' ? new SeededRandom(seed) : null;
  }

  start(nowMs: number): void {
    this.#startMs = nowMs;
    this.nextMs = this.#random === null ? nowMs : nowMs + this.#random.exponential() * this.#gapMs;
  }

  advance(): void {
    // Evenly spaced times are multiplied, not added up: a sum of a million fractions drifts.
    if (this.#random === null) this.nextMs = this.#startMs + ++this.#count * this.#gapMs;
    else this.nextMs += this.#random.exponential() * this.#gapMs;
  }
}
