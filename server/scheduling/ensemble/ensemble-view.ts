import type { EnsemblePlan } from './ensemble-plan.ts';

/** The part of an ensemble that a request with these outputs needs: what feeds other outputs alone does not run. Arrays are by step or by slot; a request copies those that change. */
export class EnsembleView {
  readonly isActive: readonly boolean[];
  readonly isWanted: readonly boolean[];
  /** Of the plan's outputs, in its order. */
  readonly outputNames: readonly string[];
  readonly outputSlots: readonly number[];
  /** The innermost level of the outputs: there is a response for each of it. */
  readonly level: number;
  /** Outputs, each slot once, that steps make. */
  readonly outputsLeft: number;
  /** By slot: the steps that need it. */
  readonly takers: readonly (readonly number[])[];
  /** By slot: how many steps may make it. */
  readonly makers: readonly number[];
  /** By slot: how many ends of steps it is kept for; one more where it is kept for longer. */
  readonly refs: readonly number[];
  /** By step: slots that it waits for, when the ensemble's inputs are there. */
  readonly waits: readonly number[];
  /** By level + 1: the steps that run there. */
  readonly stepsAt: readonly (readonly number[])[];

  /** `outputSlots`: the wanted ones of the plan's. */
  constructor(plan: Omit<EnsemblePlan, 'whole'>, outputSlots: readonly number[]) {
    const { steps, slotNames, slotLevels, inputCount } = plan;
    const isWanted = slotNames.map(() => false);
    for (const slot of outputSlots) isWanted[slot] = true;
    this.isWanted = isWanted;
    const wanted = plan.outputSlots.map((_, at) => at).filter((at) => isWanted[plan.outputSlots[at]!]);
    this.outputNames = wanted.map((at) => plan.outputNames[at]!);
    this.outputSlots = wanted.map((at) => plan.outputSlots[at]!);

    const isActive = steps.map(() => false);
    const isNeeded = isWanted.slice();
    for (let changes = true; changes; ) {
      changes = false;
      for (const { index, gives, needs } of steps) {
        if (isActive[index] || !gives.some((slot) => isNeeded[slot])) continue;
        isActive[index] = true;
        changes = true;
        for (const slot of needs) isNeeded[slot] = true;
      }
    }
    this.isActive = isActive;
    const active = steps.filter(({ index }) => isActive[index]);
    const depthOf = (level: number): number => (level < 0 ? 0 : 1 + depthOf(steps[level]!.level));
    this.level = this.outputSlots.reduce(
      (deepest, slot) => (depthOf(slotLevels[slot]!) > depthOf(deepest) ? slotLevels[slot]! : deepest),
      -1,
    );
    this.outputsLeft = new Set(this.outputSlots.filter((slot) => slot >= inputCount)).size;
    this.takers = slotNames.map((_, slot) => active.filter(({ needs }) => needs.includes(slot)).map(({ index }) => index));
    this.makers = slotNames.map((_, slot) => active.filter(({ gives }) => gives.includes(slot)).length);
    this.refs = this.takers.map((takers, slot) => {
      const near = takers.filter((step) => steps[step]!.level === slotLevels[slot]).length;
      return near + Number(isWanted[slot]! || near < takers.length);
    });
    this.waits = steps.map(({ needs }) => needs.filter((slot) => slot >= inputCount).length);
    this.stepsAt = [-1, ...steps.keys()].map((level) => active.filter((step) => step.level === level).map(({ index }) => index));
  }
}
