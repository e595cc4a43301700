import type { Knobs } from './knobs.ts';
import type { TrialPoint } from './trial.ts';
import { objectionTo, type TuneGoal, worthOf } from './tune-goal.ts';

/** A configuration that was tried, with what was measured of it. */
export class Candidate {
  readonly knobs: Knobs;
  /** By level of load. */
  readonly points: Map<number, TrialPoint> = new Map();
  /** Why it could not be loaded; ''. */
  failure = '';

  constructor(knobs: Knobs) {
    this.knobs = knobs;
  }

  /** The point that is worth most of those that may be chosen; null: there is none. */
  best(goal: TuneGoal): { readonly level: number; readonly point: TrialPoint } | null {
    let best: { readonly level: number; readonly point: TrialPoint } | null = null;
    for (const [level, point] of this.points) {
      if (objectionTo(goal, point) !== '') continue;
      if (best === null || worthOf(goal, point) > worthOf(goal, best.point)) best = { level, point };
    }
    return best;
  }

  /** Why it cannot be chosen; '' when it can. */
  objection(goal: TuneGoal): string {
    if (this.failure !== '') return this.failure;
    let objection = 'not measured';
    for (const point of this.points.values()) {
      objection = objectionTo(goal, point);
      if (objection === '') return '';
    }
    return objection;
  }

  /** The lowest latency that it had; Infinity when it had none. What leads the search while nothing keeps the limits. */
  lowestLatencyUs(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...[...this.points.values()].map((point) => point.latencyUs));
  }
}
