/** @hotpath the tensors of a request to an ensemble: one object per request, and per response of a decoupled step (measured by ensemble-scheduler.bench.ts) */

import type { Tensor } from '../../../proto/tensor.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { CallPlan } from './ensemble-plan.ts';
import type { EnsembleRun } from './ensemble-run.ts';
import { KeptResponse } from './kept-response.ts';
import { StepCall } from './step-call.ts';

/**
 * What there is at one level: of the request itself, or of one response of a decoupled step, whose scope reads what is around it. A tensor is settled once: when a step has made it, or when no step
 * will.
 *
 * Ownership: a tensor lies in a response that is kept until the steps that need it have ended, or the scope is over.
 */
export class EnsembleScope {
  readonly run: EnsembleRun;
  readonly level: number;
  /** The decoupled step whose response it is; null: the request's own. */
  readonly source: StepCall | null;
  isOver = false;
  /** Its response has been given; only where `level` is that of the outputs. */
  isAnswered = false;
  /** By slot; null: not made, or not yet. */
  readonly #tensors: (Tensor | null)[];
  /** By slot: steps that may still make it. */
  readonly #left: number[];
  /** By slot: the response that it lies in; null: of none. */
  readonly #responses: (KeptResponse | null)[];
  readonly #refs: number[];
  /** By step. */
  readonly #waits: number[];
  readonly #keeping: KeptResponse[] = [];
  #stepsLeft: number;
  #outputsLeft: number;
  readonly #parent: EnsembleScope | null;
  /** Those that are not over. */
  readonly #children: EnsembleScope[] = [];

  constructor(run: EnsembleRun, parent: EnsembleScope | null, source: StepCall | null) {
    const { view, plan } = run;
    this.run = run;
    this.#parent = parent;
    this.source = source;
    this.level = source === null ? -1 : source.step.index;
    this.#left = view.makers.slice();
    this.#refs = view.refs.slice();
    this.#waits = view.waits.slice();
    this.#tensors = new Array<Tensor | null>(plan.slotNames.length).fill(null);
    this.#responses = new Array<KeptResponse | null>(plan.slotNames.length).fill(null);
    this.#stepsLeft = view.stepsAt[this.level + 1]!.length;
    this.#outputsLeft = view.outputsLeft;
  }

  /** Of the request itself: its inputs are there. */
  begin(): void {
    const { run } = this;
    const { boundInputs } = run.request;
    for (let slot = 0; slot < run.plan.inputCount; slot++) this.#tensors[slot] = boundInputs[slot] ?? null;
    const steps = run.view.stepsAt[0]!;
    for (let i = 0; i < steps.length; i++) if (this.#waits[steps[i]!] === 0) run.ready(this, steps[i]!);
    if (run.view.level === this.level && this.#outputsLeft === 0) run.answerable(this);
  }

  /** The tensor, from where it is; null: it was not made. */
  lookUp(slot: number): Tensor | null {
    return this.#owner(slot).#tensors[slot]!;
  }

  hasInputs({ inputSlots, isOptional }: CallPlan): boolean {
    for (let i = 0; i < inputSlots.length; i++) if (!isOptional[i] && this.lookUp(inputSlots[i]!) === null) return false;
    return true;
  }

  /** All that the step needs is settled: it runs, or is passed over. */
  launch(index: number): void {
    const step = this.run.plan.steps[index]!;
    const { conditions, call } = step;
    let runs = this.hasInputs(call);
    for (let i = 0; runs && i < conditions.length; i++) runs = conditions[i]!.holds(this.lookUp(conditions[i]!.slot));
    if (runs) this.run.begin(new StepCall(this, step));
    else {
      this.#settleGiven(null, step.gives);
      this.stepEnded(index);
    }
  }

  /** The one response of a step. */
  take(call: StepCall, response: InferenceResponse): void {
    const kept = this.#place(call, response);
    this.#settleGiven(kept, call.step.gives);
    this.#keep(call, response, kept);
    this.stepEnded(call.step.index);
  }

  /** A response of a decoupled step: what comes after it has a scope of its own. */
  openChild(call: StepCall, response: InferenceResponse): void {
    const child = new EnsembleScope(this.run, this, call);
    this.#children.push(child);
    call.children!.push(child);
    child.#open(call, response);
  }

  /** The step at this level has ended, or was passed over: what it needed is kept for the others alone. */
  stepEnded(index: number): void {
    const { needs } = this.run.plan.steps[index]!;
    for (let i = 0; i < needs.length; i++) {
      const slot = needs[i]!;
      if (this.run.plan.slotLevels[slot] === this.level && --this.#refs[slot]! === 0) this.#responses[slot]?.dropSlot();
    }
    this.#stepsLeft--;
    this.settleOver();
  }

  /** Nothing more will happen in it, or because of it. */
  settleOver(): void {
    if (this.isOver || this.#stepsLeft > 0 || this.#children.length > 0) return;
    if (this.run.view.level === this.level && !this.isAnswered) return;
    this.release();
    if (this.#parent === null) {
      this.run.rootOver();
      return;
    }
    const siblings = this.#parent.#children;
    siblings.splice(siblings.indexOf(this), 1);
    this.source!.childOver(this);
    this.#parent.settleOver();
  }

  /** Gives back what is kept, here and below. */
  release(): void {
    this.isOver = true;
    for (let i = 0; i < this.#keeping.length; i++) this.#keeping[i]!.release();
    this.#keeping.length = 0;
    for (let i = 0; i < this.#children.length; i++) this.#children[i]!.release();
  }

  #open(call: StepCall, response: InferenceResponse): void {
    const { view, plan } = this.run;
    const kept = this.#place(call, response);
    const steps = view.stepsAt[this.level + 1]!;
    for (let i = 0; i < steps.length; i++) {
      const { index, needs } = plan.steps[steps[i]!]!;
      this.#waits[index] = this.#openAmong(needs);
      if (this.#waits[index] === 0) this.run.ready(this, index);
    }
    if (view.level === this.level) {
      this.#outputsLeft = this.#openAmong(view.outputSlots);
      if (this.#outputsLeft === 0) this.run.answerable(this);
    }
    this.#keep(call, response, kept);
    this.settleOver();
  }

  /** Of `slots`, those that are not settled. A step's own response settles all that the step gives. */
  #openAmong(slots: readonly number[]): number {
    const { inputCount, slotLevels, steps } = this.run.plan;
    let open = 0;
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[i]!;
      if (slot < inputCount) continue;
      const owner = this.#owner(slot);
      const isOwn = slotLevels[slot] === this.level && steps[this.level]!.gives.includes(slot);
      if (!isOwn && owner.#tensors[slot] === null && owner.#left[slot]! > 0) open++;
    }
    return open;
  }

  /** What is there is borrowed until `#keep`. */
  #place(call: StepCall, { outputs }: InferenceResponse): KeptResponse {
    const { outputNames, outputSlots } = call.plan;
    const kept = new KeptResponse();
    for (let i = 0; i < outputs.length; i++) {
      const at = outputNames[i] === outputs[i]!.name ? i : outputNames.indexOf(outputs[i]!.name);
      if (at < 0) continue;
      const slot = outputSlots[at]!;
      // Another step may have made it before.
      if (this.#tensors[slot] !== null) continue;
      this.#tensors[slot] = outputs[i]!;
      this.#responses[slot] = kept;
    }
    return kept;
  }

  /** Where nobody but the answer that goes out now reads the response, it is never kept. */
  #keep(call: StepCall, response: InferenceResponse, kept: KeptResponse): void {
    const isLast = this.source === null || this.#stepsLeft === (this.source === call ? 0 : 1);
    if (isLast && this.run.answersNow(this)) return;
    const { outputSlots } = call.plan;
    let count = 0;
    for (let i = 0; i < outputSlots.length; i++) {
      if (this.#responses[outputSlots[i]!] === kept && this.#refs[outputSlots[i]!]! > 0) count++;
    }
    if (count === 0) return;
    const { tensors } = kept.keep(response, count);
    this.#keeping.push(kept);
    const { outputs } = response;
    for (let slot = 0; slot < this.#tensors.length; slot++) {
      if (this.#responses[slot] !== kept) continue;
      for (let i = 0; i < outputs.length; i++) if (this.#tensors[slot] === outputs[i]) this.#tensors[slot] = tensors[i]!;
    }
  }

  /** One step less may make these; `kept` null: it was passed over. */
  #settleGiven(kept: KeptResponse | null, gives: readonly number[]): void {
    for (let i = 0; i < gives.length; i++) {
      const slot = gives[i]!;
      // What a decoupled step gives is settled in its responses' scopes.
      if (this.run.plan.slotLevels[slot] !== this.level) continue;
      const left = --this.#left[slot]!;
      const isMade = this.#tensors[slot] !== null;
      if (isMade ? kept !== null && this.#responses[slot] === kept : left === 0) this.#settle(slot);
    }
  }

  #settle(slot: number): void {
    const { view, plan } = this.run;
    const takers = view.takers[slot]!;
    for (let i = 0; i < takers.length; i++) {
      const { level } = plan.steps[takers[i]!]!;
      if (level === this.level) this.#arrive(takers[i]!);
      else this.#tellBelow(level, takers[i]!);
    }
    if (!view.isWanted[slot]) return;
    if (view.level === this.level) this.#arrive(OUTPUT);
    else this.#tellBelow(view.level, OUTPUT);
  }

  #tellBelow(level: number, taker: number): void {
    for (let i = 0; i < this.#children.length; i++) {
      const child = this.#children[i]!;
      if (child.level === level) child.#arrive(taker);
      else child.#tellBelow(level, taker);
    }
  }

  #arrive(taker: number): void {
    if (taker === OUTPUT) {
      if (--this.#outputsLeft === 0) this.run.answerable(this);
    } else if (--this.#waits[taker]! === 0) this.run.ready(this, taker);
  }

  #owner(slot: number): EnsembleScope {
    const level = this.run.plan.slotLevels[slot]!;
    let scope: EnsembleScope = this;
    while (scope.level !== level) scope = scope.#parent!;
    return scope;
  }
}

/** In the place of a step: the response waits. */
const OUTPUT = -1;
