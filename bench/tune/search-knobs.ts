import { InferenceError } from '../../proto/inference-error.ts';
import { Candidate } from './candidate.ts';
import type { KnobAxis, KnobSpace } from './knob-space.ts';
import { type Knobs, keyOf } from './knobs.ts';
import type { MeteredTrial } from './metered-trial.ts';
import { meanPoint, type TrialPoint } from './trial.ts';
import { objectionTo, type TuneGoal, worthOf } from './tune-goal.ts';

export interface SearchOptions {
  readonly space: KnobSpace;
  /** null: a multiple of what the present configuration takes under the lowest load. */
  readonly latencyLimitUs: number | null;
  readonly goal: Omit<TuneGoal, 'latencyLimitUs'>;
  /** Ascending: requests in flight, or one rate. */
  readonly levels: readonly number[];
  readonly trial: MeteredTrial;
  /** Of the time, what is left for the comparison of the best. */
  readonly keepMs: number;
}

export interface SearchResult {
  readonly goal: TuneGoal;
  /** The present configuration first. */
  readonly candidates: readonly Candidate[];
}

/** Where nobody sets a limit: so many times the latency of the present configuration under the lowest load. */
export const DEFAULT_LIMIT_FACTOR = 4;
/** Less is taken for noise. */
const GAIN = 1.01;
/** More load is tried while it brings as much more. */
const LEVEL_GAIN = 1.03;
/** One that is as little behind is stepped over, twice in a row at the most: what comes after it may be better. */
const PLATEAU = 0.97;
const PLATEAU_STEPS = 2;
/** One that is further behind is not tried under more load. */
const FAR_BEHIND = 0.8;

/**
 * Looks for the best configuration, one knob at a time from the present one: along a knob as long as that gains; when none gains any more, two knobs at once (twice the instances with half the
 * threads); until nothing gains or the time is up. Each configuration is measured under the load that was best for the one before it, and from there under more or less. What is measured once is
 * not measured again, but for what leads. Throws InferenceError when the present configuration cannot be loaded.
 */
export async function searchKnobs(options: SearchOptions): Promise<SearchResult> {
  return new KnobSearch(options).run();
}

class KnobSearch {
  readonly #options: SearchOptions;
  readonly #candidates: Map<string, Candidate> = new Map();
  /** Measured twice under the load that suits them. */
  readonly #lookedAt: Set<Candidate> = new Set();
  #goal: TuneGoal;
  #isOver = false;

  constructor(options: SearchOptions) {
    this.#options = options;
    this.#goal = { ...options.goal, latencyLimitUs: options.latencyLimitUs ?? Number.POSITIVE_INFINITY };
  }

  async run(): Promise<SearchResult> {
    const present = await this.#measurePresent();
    const { axes } = this.#options.space;
    await this.#improve(present, axes);
    // Many instances of small batches, or large batches in one: what is turned first decides which of two hills is climbed.
    await this.#improve(present, [...axes].reverse());
    const isTried = ({ points, failure }: Candidate): boolean => points.size > 0 || failure !== '';
    return { goal: this.#goal, candidates: [...this.#candidates.values()].filter((one) => one === present || isTried(one)) };
  }

  async #measurePresent(): Promise<Candidate> {
    const { levels, space, latencyLimitUs } = this.#options;
    const present = this.#candidate(space.present);
    const lowest = await this.#point(present, 0);
    if (present.failure !== '') {
      throw new InferenceError('UNAVAILABLE', `the model cannot be loaded as it is: ${present.failure}; 'nereid check' says more`);
    }
    if (lowest !== null && latencyLimitUs === null && levels.length > 1) {
      this.#goal = { ...this.#goal, latencyLimitUs: lowest.latencyUs * DEFAULT_LIMIT_FACTOR };
    }
    await this.#climb(present, 0, 0);
    return present;
  }

  async #improve(from: Candidate, axes: readonly KnobAxis[]): Promise<void> {
    for (let current: Candidate | null = from; current !== null && !this.#isOver; ) {
      current =
        (await this.#alongEachKnob(current, axes)) ?? (await this.#lookAgain(current)) ?? (await this.#acrossTwoKnobs(current, axes));
    }
  }

  /** What leads may do so by a lucky measurement. Returns one that is better than it is after a second one; null: there is none, or that was done before. */
  async #lookAgain(leader: Candidate): Promise<Candidate | null> {
    const best = leader.best(this.#goal);
    if (best === null || this.#lookedAt.has(leader) || !this.#options.trial.fits('brief', 1, this.#options.keepMs)) return null;
    this.#lookedAt.add(leader);
    const outcome = await this.#options.trial.measure(leader.knobs, best.level, 'brief');
    if (outcome === null) this.#isOver = true;
    if (outcome === null || outcome.point === null) return null;
    leader.points.set(best.level, meanPoint([best.point, outcome.point]));
    let better: Candidate | null = null;
    for (const other of this.#candidates.values()) {
      if (this.#isBetter(other, better ?? leader, GAIN)) better = other;
    }
    return better;
  }

  /** Returns the best that it came to; null: where it began. */
  async #alongEachKnob(from: Candidate, axes: readonly KnobAxis[]): Promise<Candidate | null> {
    let current = from;
    for (const axis of axes) {
      const up = await this.#along(current, axis, 1);
      current = up ?? (await this.#along(current, axis, -1)) ?? current;
      if (this.#isOver) break;
    }
    return current === from ? null : current;
  }

  async #along(from: Candidate, axis: KnobAxis, step: 1 | -1): Promise<Candidate | null> {
    let best = from;
    let at = from.knobs;
    let stepsOver = 0;
    for (;;) {
      const next = neighbour(at, axis, step);
      if (next === null || !this.#options.space.isAllowed(next)) break;
      const candidate = await this.#evaluate(next, best);
      if (candidate === null) break;
      if (this.#isBetter(candidate, best, GAIN)) {
        best = candidate;
        stepsOver = 0;
      } else if (++stepsOver > PLATEAU_STEPS || !this.#isBetter(candidate, best, PLATEAU)) break;
      at = next;
    }
    return best === from ? null : best;
  }

  async #acrossTwoKnobs(from: Candidate, axes: readonly KnobAxis[]): Promise<Candidate | null> {
    const { isAllowed } = this.#options.space;
    for (const [i, first] of axes.entries()) {
      for (const second of axes.slice(i + 1)) {
        for (const [a, b] of [
          [1, -1],
          [-1, 1],
          [1, 1],
          [-1, -1],
        ] as const) {
          const half = neighbour(from.knobs, first, a);
          const next = half === null ? null : neighbour(half, second, b);
          if (next === null || !isAllowed(next) || this.#candidates.has(keyOf(next))) continue;
          const candidate = await this.#evaluate(next, from);
          if (candidate === null) return null;
          if (this.#isBetter(candidate, from, GAIN)) return candidate;
        }
      }
    }
    return null;
  }

  /** Measures it under the load that is best for `beside`, and from there where it leads. null: no time. */
  async #evaluate(knobs: Knobs, beside: Candidate): Promise<Candidate | null> {
    const candidate = this.#candidate(knobs);
    if (candidate.points.size > 0 || candidate.failure !== '') return candidate;
    const best = beside.best(this.#goal);
    const start = best === null ? 0 : this.#options.levels.indexOf(best.level);
    const bar = best === null ? 0 : worthOf(this.#goal, best.point) * FAR_BEHIND;
    const point = await this.#point(candidate, start);
    if (point === null) return candidate.failure === '' ? null : candidate;
    if (objectionTo(this.#goal, point) === '') await this.#climb(candidate, start, bar);
    else await this.#descend(candidate, start);
    return candidate;
  }

  async #climb(candidate: Candidate, from: number, bar: number): Promise<void> {
    const { levels } = this.#options;
    for (let i = from; i + 1 < levels.length; i++) {
      const here = candidate.points.get(levels[i]!);
      if (here === undefined || objectionTo(this.#goal, here) !== '' || worthOf(this.#goal, here) < bar) return;
      const next = await this.#point(candidate, i + 1);
      if (next === null || worthOf(this.#goal, next) < worthOf(this.#goal, here) * LEVEL_GAIN) return;
    }
  }

  async #descend(candidate: Candidate, from: number): Promise<void> {
    for (let i = from - 1; i >= 0; i--) {
      const point = await this.#point(candidate, i);
      if (point === null || objectionTo(this.#goal, point) === '') return;
    }
  }

  /** null: it cannot be loaded, or there is no time. */
  async #point(candidate: Candidate, index: number): Promise<TrialPoint | null> {
    const level = this.#options.levels[index]!;
    const known = candidate.points.get(level);
    if (known !== undefined) return known;
    // The very first is measured in any case: without it there is nothing to say.
    const isFirst = this.#candidates.size === 1 && candidate.points.size === 0;
    if (!isFirst && !this.#options.trial.fits('brief', 1, this.#options.keepMs)) {
      this.#isOver = true;
      return null;
    }
    const outcome = await this.#options.trial.measure(candidate.knobs, level, 'brief');
    if (outcome === null) this.#isOver = true;
    else if (outcome.point === null) candidate.failure = outcome.failure;
    else candidate.points.set(level, outcome.point);
    return outcome?.point ?? null;
  }

  #candidate(knobs: Knobs): Candidate {
    const key = keyOf(knobs);
    const known = this.#candidates.get(key);
    if (known !== undefined) return known;
    const candidate = new Candidate(knobs);
    this.#candidates.set(key, candidate);
    return candidate;
  }

  /** By a factor. While neither keeps the limits, the one that is nearer to them is better. */
  #isBetter(candidate: Candidate, than: Candidate, factor: number): boolean {
    const mine = candidate.best(this.#goal);
    const theirs = than.best(this.#goal);
    if (mine === null && theirs === null) return candidate.lowestLatencyUs() * factor < than.lowestLatencyUs();
    if (mine === null || theirs === null) return mine !== null;
    return worthOf(this.#goal, mine.point) > worthOf(this.#goal, theirs.point) * factor;
  }
}

function neighbour(knobs: Knobs, axis: KnobAxis, step: 1 | -1): Knobs | null {
  const values: readonly unknown[] = axis.values;
  const at = values.indexOf(knobs[axis.knob]);
  const value = values[at + step];
  return value === undefined ? null : { ...knobs, [axis.knob]: value };
}
