import { LatencyHistogram } from '../load/latency-histogram.ts';
import type { HistogramData } from '../load/load-window.ts';
import { SeededRandom } from './seeded-random.ts';

/** Samples of known distributions, for tests of coverage. */
export class SimulatedSamples {
  readonly #random: SeededRandom;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  /** Box and Muller. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.#random.next()));
    return radius * Math.cos(2 * Math.PI * this.#random.next());
  }

  /** Latencies, whole microseconds, with median `median`: exp(normal * spread). */
  logNormal(median: number, spread: number, count: number): number[] {
    return Array.from({ length: count }, () => Math.round(median * Math.exp(this.normal() * spread)));
  }
}

/** How often, of `trials`, `holds` is true. */
export function shareOf(trials: number, holds: () => boolean): number {
  let held = 0;
  for (let i = 0; i < trials; i++) if (holds()) held++;
  return held / trials;
}

/** Latencies, microseconds, as a load process would report them. */
export function histogramOf(values: readonly number[]): HistogramData {
  const histogram = new LatencyHistogram();
  for (const value of values) histogram.record(value);
  return histogram.data();
}
