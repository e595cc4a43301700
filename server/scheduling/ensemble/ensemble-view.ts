import type { EnsemblePlan, StepPlan } from './ensemble-plan.ts';

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
    const makersOf = stepsBySlot(steps, slotNames.length, ({ gives }) => gives);
    // Each slot is looked at once: an ensemble of thousands of steps is no reason to stop for.
    const open = [...outputSlots];
    for (let slot = open.pop(); slot !== undefined; slot = open.pop()) {
      for (const { index, needs } of makersOf[slot]!) {
        if (isActive[index]) continue;
        isActive[index] = true;
        for (const need of needs) {
          if (!isNeeded[need]) open.push(need);
          isNeeded[need] = true;
        }
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
    this.takers = stepsBySlot(active, slotNames.length, ({ needs }) => needs).map((takers) => takers.map(({ index }) => index));
    this.makers = stepsBySlot(active, slotNames.length, ({ gives }) => gives).map(({ length }) => length);
    this.refs = this.takers.map((takers, slot) => {
      const near = takers.filter((step) => steps[step]!.level === slotLevels[slot]).length;
      return near + Number(isWanted[slot]! || near < takers.length);
    });
    this.waits = steps.map(({ needs }) => needs.filter((slot) => slot >= inputCount).length);
    const stepsAt = [-1, ...steps.keys()].map((): number[] => []);
    for (const { index, level } of active) stepsAt[level + 1]!.push(index);
    this.stepsAt = stepsAt;
  }
}

/** In order of the steps. */
function stepsBySlot(steps: readonly StepPlan[], slotCount: number, slotsOf: (step: StepPlan) => readonly number[]): StepPlan[][] {
  const bySlot = Array.from({ length: slotCount }, (): StepPlan[] => []);
  for (const step of steps) for (const slot of slotsOf(step)) bySlot[slot]!.push(step);
  return bySlot;
}
