/** @hotpath each step of several sequences: how many of them it takes (measured by step-loop.bench.ts) */

/** Measurements of a width before its cost is believed. */
const TRIALS = 2;
/** Another width than the best one is measured again once in so many steps. */
const RETRY_STEPS = 128;
/** A width must be so much cheaper than taking all sequences. */
const GAIN = 0.92;
/** How far a measurement moves what is believed: a longer one may be somebody else's work in between, a shorter one cannot. */
const UP = 0.1;
const DOWN = 0.6;

/**
 * Learns how many sequences are best computed together. Mostly all of them; but kernels for few tokens at once can cost more than one run for each (seen: two tokens of a Q8_0 model in one run, four
 * times the time of one), and others are best at four. So the widths 1, 2, 4 ... and "all" are measured while they run, and the cheapest one for a token is taken, the sequences in turns.
 */
export class StepWidth {
  /** ms of a step, by its width. */
  readonly #costs: Float64Array;
  readonly #trials: Uint8Array;
  #steps = 0;
  #retry = 1;

  constructor(sequences: number) {
    this.#costs = new Float64Array(sequences + 1);
    this.#trials = new Uint8Array(sequences + 1);
  }

  /** Of `generating` sequences, how many the next step takes. */
  choose(generating: number): number {
    if (generating === 1) return 1;
    if (this.#trials[generating]! < TRIALS) return generating;
    for (let width = 1; width < generating; width *= 2) if (this.#trials[width]! < TRIALS) return width;
    if (++this.#steps % RETRY_STEPS === 0) return this.#retryOf(generating);
    const all = this.#costs[generating]! / generating;
    let best = generating;
    let bestCost = all * GAIN;
    for (let width = 1; width < generating; width *= 2) {
      const cost = this.#costs[width]! / width;
      if (cost < bestCost) {
        best = width;
        bestCost = cost;
      }
    }
    return best;
  }

  /** A step of that many sequences, and of nothing else, took so long. */
  record(width: number, ms: number): void {
    const cost = this.#costs[width]!;
    if (this.#trials[width]! < TRIALS) {
      this.#trials[width]!++;
      // The first one may have waited for memory.
      this.#costs[width] = cost === 0 ? ms : Math.min(cost, ms);
      return;
    }
    this.#costs[width] = cost + (ms < cost ? (ms - cost) * DOWN : (Math.min(ms, 3 * cost) - cost) * UP);
  }

  #retryOf(generating: number): number {
    const width = this.#retry < generating ? this.#retry : generating;
    this.#retry = this.#retry < generating ? this.#retry * 2 : 1;
    return width;
  }
}
