import type { Estimate } from '../report/bench-report.ts';
import { meanOf, medianOf, varianceOf } from './estimate.ts';
import { SeededRandom } from './seeded-random.ts';
import { NORMAL_95, studentT95 } from './student-t.ts';

export interface BootstrapOptions {
  /** Of each set of windows. */
  readonly statistic: 'mean' | 'median';
  readonly seed: number;
  /** Draws; 4,000 leave the ends of the interval uncertain by about a hundredth of its width. */
  readonly draws: number;
}

const DEFAULTS: BootstrapOptions = { statistic: 'mean', seed: 1, draws: 4_000 };
/** A draw's mean is not taken for less than this share of the set's: the logarithm of 0 is no number to reckon with. */
const LEAST_SHARE = 1e-6;
/** Of more windows than this those in a row are put together, as their mean: the time that it takes is bounded, and neighbours that are alike count once. */
const MAX_WINDOWS = 200;

/**
 * The ratio `other / base` of two sets of windows' means or medians, with its bootstrap 95 % interval. Each draw takes as many windows as there are, with replacement, of either set,
 * and the interval is read from the draws' logarithms. With the few windows of a run it would be too narrow (five hold the true ratio 85 times in 100), so distances from the ratio
 * are stretched by what Student's t and the divisor n - 1 say for so few (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 4).
 *
 * null where there is no telling: fewer than two windows on a side, or a mean that is not above 0. The same seed has the same result.
 */
export function bootstrapRatio(
  baseWindows: readonly number[],
  otherWindows: readonly number[],
  options: Partial<BootstrapOptions> = {},
): Estimate | null {
  const { statistic, seed, draws } = { ...DEFAULTS, ...options };
  const base = inBlocks(baseWindows);
  const other = inBlocks(otherWindows);
  if (base.length < 2 || other.length < 2) return null;
  const take = statistic === 'mean' ? meanOf : sortedMedian;
  const baseCentre = take(Float64Array.from(base));
  const otherCentre = take(Float64Array.from(other));
  if (!(baseCentre > 0 && otherCentre > 0)) return null;
  const random = new SeededRandom(seed);
  const widen = studentT95(degreesOfFreedom(base, other)) / NORMAL_95;
  const widenBase = widen * Math.sqrt(base.length / (base.length - 1));
  const widenOther = widen * Math.sqrt(other.length / (other.length - 1));
  const drawnBase = new Float64Array(base.length);
  const drawnOther = new Float64Array(other.length);
  const distances = new Float64Array(draws);
  for (let i = 0; i < draws; i++) {
    const baseShare = take(draw(base, drawnBase, random)) / baseCentre;
    const otherShare = take(draw(other, drawnOther, random)) / otherCentre;
    distances[i] = widenOther * Math.log(Math.max(LEAST_SHARE, otherShare)) - widenBase * Math.log(Math.max(LEAST_SHARE, baseShare));
  }
  distances.sort();
  const value = otherCentre / baseCentre;
  return { value, low: value * Math.exp(at(distances, 0.025)), high: value * Math.exp(at(distances, 0.975)) };
}

function inBlocks(windows: readonly number[]): readonly number[] {
  if (windows.length <= MAX_WINDOWS) return windows;
  return Array.from({ length: MAX_WINDOWS }, (_, i) => {
    const from = Math.floor((i * windows.length) / MAX_WINDOWS);
    return meanOf(windows.slice(from, Math.floor(((i + 1) * windows.length) / MAX_WINDOWS)));
  });
}

function draw(from: readonly number[], into: Float64Array, random: SeededRandom): Float64Array {
  for (let i = 0; i < into.length; i++) into[i] = from[random.between(0, from.length - 1)]!;
  return into;
}

function sortedMedian(values: Float64Array): number {
  return medianOf(values.sort());
}

/** Welch's, of the difference of the logarithms. */
function degreesOfFreedom(base: readonly number[], other: readonly number[]): number {
  const a = relativeVariance(base);
  const b = relativeVariance(other);
  if (a + b === 0) return base.length + other.length - 2;
  return (a + b) ** 2 / (a ** 2 / (base.length - 1) + b ** 2 / (other.length - 1));
}

/** Of the mean. */
function relativeVariance(values: readonly number[]): number {
  return varianceOf(values) / values.length / meanOf(values) ** 2;
}

function at(sorted: Float64Array, share: number): number {
  const position = share * (sorted.length - 1);
  const low = Math.floor(position);
  const next = sorted[Math.min(low + 1, sorted.length - 1)]!;
  return sorted[low]! + (next - sorted[low]!) * (position - low);
}
