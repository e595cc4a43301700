import type { Knobs } from './knobs.ts';
import type { TimeBudget } from './time-budget.ts';
import type { Effort, Trial, TrialOutcome } from './trial.ts';

export interface TrialReport {
  readonly knobs: Knobs;
  readonly level: number;
  readonly effort: Effort;
  readonly outcome: TrialOutcome;
  readonly leftMs: number;
}

export interface MeteredTrialOptions {
  readonly trial: Trial;
  readonly budget: TimeBudget;
  readonly signal: AbortSignal;
  readonly onTrial: (report: TrialReport) => void;
}

/** A trial that begins no measurement for which there is no time left, and none after it was told to end. */
export class MeteredTrial {
  readonly #options: MeteredTrialOptions;

  constructor(options: MeteredTrialOptions) {
    this.#options = options;
  }

  get isAborted(): boolean {
    return this.#options.signal.aborted;
  }

  /** Whether `count` measurements fit, with `keepMs` left after them. */
  fits(effort: Effort, count: number, keepMs: number): boolean {
    return !this.isAborted && this.#options.budget.fits(effort, count, keepMs);
  }

  /** How many measurements there is time for, when one takes `factor` times as long as those before. */
  room(effort: Effort, factor: number): number {
    return this.#options.budget.room(effort, factor);
  }

  /** null: it was told to end, and what was measured is not whole. */
  async measure(knobs: Knobs, level: number, effort: Effort): Promise<TrialOutcome | null> {
    if (this.isAborted) return null;
    const { trial, budget, onTrial } = this.#options;
    let outcome: TrialOutcome;
    try {
      outcome = await budget.spend(effort, () => trial.measure(knobs, level, effort));
    } catch (error) {
      if (this.isAborted) return null;
      throw error;
    }
    if (this.isAborted) return null;
    onTrial({ knobs, level, effort, outcome, leftMs: budget.leftMs });
    return outcome;
  }
}
