import type { KnobAxis, KnobSpace } from './knob-space.ts';
import type { Knobs } from './knobs.ts';
import type { Trial, TrialOutcome, TrialPoint } from './trial.ts';

/** A server that is a formula: what is found can be compared with what there is. */
export interface CostModel {
  /** An execution of b rows takes fixedUs + rowUs * b with one thread. */
  readonly fixedUs: number;
  readonly rowUs: number;
  /** Share of an execution that more threads make shorter, 0 to 1. */
  readonly parallel: number;
  /** Of a core, what each further instance is worth, 0 to 1. */
  readonly scaling: number;
  /** Per request, in the server's one loop. */
  readonly gatewayUs: number;
}

export interface SyntheticOptions {
  readonly model: CostModel;
  /** Standard deviation of a measurement, as a share; 0: none. */
  readonly noise: number;
  /** [0, 1). */
  readonly random: () => number;
  readonly costMs: number;
  /** Configurations that cannot be loaded. */
  readonly fails?: (knobs: Knobs) => boolean;
}

/** Answers of the formula, each of which takes `costMs` of a clock of its own. */
export class SyntheticTrial implements Trial {
  readonly calls: { readonly knobs: Knobs; readonly level: number }[] = [];
  nowMs = 0;
  readonly #options: SyntheticOptions;

  constructor(options: SyntheticOptions) {
    this.#options = options;
  }

  async measure(knobs: Knobs, level: number): Promise<TrialOutcome> {
    const { model, noise, costMs, fails } = this.#options;
    this.calls.push({ knobs, level });
    this.nowMs += costMs;
    if (fails?.(knobs) === true) return { point: null, failure: 'not enough memory' };
    return { point: blurred(pointOfModel(model, knobs, level), () => 1 + noise * this.#normal()), failure: null };
  }

  #normal(): number {
    const { random } = this.#options;
    return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  }
}

export function pointOfModel(model: CostModel, knobs: Knobs, level: number): TrialPoint {
  const speedUp = 1 / (1 - model.parallel + model.parallel / knobs.threads);
  const workers = 1 + (knobs.instances - 1) * model.scaling;
  const isBatching = knobs.queueDelayUs >= 0 && knobs.maxBatchSize > 1;
  const delayUs = isBatching ? knobs.queueDelayUs : 0;
  // A batch fills with what comes while the one before it runs, and while it is held.
  const waitUs = (model.fixedUs + model.rowUs) / speedUp + delayUs;
  const full = isBatching ? Math.max(1, Math.min(knobs.maxBatchSize, level / knobs.instances)) : 1;
  const batch = 1 + ((full - 1) * waitUs) / (waitUs + 20 * model.gatewayUs);
  const runUs = (model.fixedUs + model.rowUs * batch) / speedUp;
  // Neither more than all instances do, nor than so many in flight get answered, nor than the loop takes; without a corner between them.
  const perRequestUs = runUs / (workers * batch) + (model.gatewayUs + delayUs + runUs) / level + model.gatewayUs;
  const perSecond = 1e6 / perRequestUs;
  const latencyUs = (level * 1e6) / perSecond;
  return {
    throughput: { value: perSecond, low: perSecond, high: perSecond },
    latencyUs: latencyUs * 1.2,
    p50Us: latencyUs,
    p99Us: latencyUs * 1.2,
    errorShare: 0,
    firstError: '',
    unsent: 0,
    cpuUsPerRequest: 1e6 / perSecond,
    memoryMiB: 50 + 20 * knobs.instances,
    batchSize: batch,
    isSaturated: false,
  };
}

/** All that the space allows. */
export function allKnobs(space: KnobSpace): Knobs[] {
  const product = space.axes.reduce<Knobs[]>(
    (so, axis: KnobAxis) => so.flatMap((knobs) => (axis.values as readonly unknown[]).map((value) => ({ ...knobs, [axis.knob]: value }))),
    [space.present],
  );
  return product.filter((knobs) => space.isAllowed(knobs));
}

function blurred(point: TrialPoint, factor: () => number): TrialPoint {
  const value = point.throughput.value * factor();
  const slower = factor();
  return {
    ...point,
    throughput: { value, low: value * 0.97, high: value * 1.03 },
    latencyUs: point.latencyUs * slower,
    p50Us: point.p50Us * slower,
    p99Us: point.p99Us * slower,
  };
}
