/** @hotpath forms the executions of an instance whose sequences have rows of their own (measured by sequence-scheduler.bench.ts) */

import type { Tensor } from '../../../proto/tensor.ts';
import type { InstanceChannel } from '../../execution/execution-host.ts';
import { InferenceRequest } from '../../inference/inference-request.ts';
import type { Sequence } from './sequence.ts';
import { SequenceBatch } from './sequence-batch.ts';
import { type SequencePlan, zeroTensor } from './sequence-plan.ts';
import type { LaneOwner, SlotLane } from './slot-lane.ts';

export interface DirectPolicy {
  /** Rows: max_batch_size, or 1. */
  readonly slotCount: number;
  /** How long a run may wait for more of its slots to have a request; 0: not at all. */
  readonly maxQueueDelayNs: number;
  /** Share of the slots that is worth running at once. */
  readonly minimumSlotUtilization: number;
  /** The model keeps nothing between runs. */
  readonly isDivisible: boolean;
}

/** Rows that are nobody's answer to nobody. */
const noCaller = { onResponse: (): void => {}, onComplete: (): void => {}, onError: (): void => {} };

/**
 * Triton's direct strategy (reference 7.2): the slot of a sequence is its row in every execution, and one execution runs at a time. A row without a request is a null request, whose READY is false:
 *
 *     slots   [ A  B  -  D ]     ready: A, D      batch  [ A  null  null  D ]
 */
export class DirectLane implements SlotLane {
  readonly channel: InstanceChannel;
  readonly slotCount: number;
  isGone = false;
  readonly #owner: LaneOwner;
  readonly #policy: DirectPolicy;
  readonly #slots: (Sequence | null)[];
  #freeSlots: number;
  #isRunning = false;
  #parts: (readonly Sequence[])[] = [];
  /** Of models all of whose shapes are fixed; made once. */
  #nullRequest: InferenceRequest | null = null;

  constructor(channel: InstanceChannel, owner: LaneOwner, policy: DirectPolicy) {
    this.channel = channel;
    this.#owner = owner;
    this.#policy = policy;
    this.slotCount = policy.slotCount;
    this.#slots = new Array<Sequence | null>(policy.slotCount).fill(null);
    this.#freeSlots = policy.slotCount;
  }

  get freeSlots(): number {
    return this.#freeSlots;
  }

  admit(sequence: Sequence): void {
    // The lowest: rows up to the highest ready one are computed.
    const slot = this.#slots.indexOf(null);
    this.#slots[slot] = sequence;
    this.#freeSlots--;
    sequence.lane = this;
    sequence.slot = slot;
  }

  release(sequence: Sequence): void {
    this.#slots[sequence.slot] = null;
    this.#freeSlots++;
    sequence.lane = null;
    sequence.slot = -1;
  }

  ready(): void {}

  run(nowNs: number): number {
    const { channel } = this;
    if (this.#isRunning || !channel.isAlive) return Number.POSITIVE_INFINITY;
    for (let part = this.#parts[0]; part !== undefined; part = this.#parts[0]) {
      const live = part.filter((one) => one.lane === this && isReady(one));
      const first = this.#oldest(live);
      if (first === null || (channel.hasCapacity && this.#start(first, live))) this.#parts.shift();
      if (first !== null) return Number.POSITIVE_INFINITY;
    }
    this.#dropLate(nowNs);
    const oldest = this.#oldest(this.#slots);
    if (oldest === null) return Number.POSITIVE_INFINITY;
    const { maxQueueDelayNs, minimumSlotUtilization, slotCount } = this.#policy;
    if (maxQueueDelayNs > 0 && minimumSlotUtilization > 0) {
      const untilNs = oldest.active!.queuedNs + maxQueueDelayNs;
      if (nowNs < untilNs && this.#readyCount() / slotCount < minimumSlotUtilization) return untilNs;
    }
    // Asked last: who asks for room waits for the resources that it takes.
    if (channel.hasCapacity) this.#start(oldest, null);
    return Number.POSITIVE_INFINITY;
  }

  onRunEnd(): void {
    this.#isRunning = false;
  }

  divide(sequences: readonly Sequence[]): void {
    const again = sequences.filter((sequence) => this.#owner.onReturned(sequence));
    const middle = (again.length + 1) >> 1;
    this.#parts.push(again.slice(0, middle), again.slice(middle));
  }

  members(): Sequence[] {
    return this.#slots.filter((one) => one !== null);
  }

  #dropLate(nowNs: number): void {
    for (let i = 0; i < this.#slots.length; i++) {
      const sequence = this.#slots[i]!;
      if (isReady(sequence) && sequence!.active!.deadlineNs <= nowNs) this.#owner.onLate(sequence!);
    }
  }

  #readyCount(): number {
    let count = 0;
    for (let i = 0; i < this.#slots.length; i++) if (isReady(this.#slots[i]!)) count++;
    return count;
  }

  /** The longest waiting decides the shapes, so that nothing waits for ever. */
  #oldest(sequences: readonly (Sequence | null)[]): Sequence | null {
    let oldest: Sequence | null = null;
    for (let i = 0; i < sequences.length; i++) {
      const sequence = sequences[i]!;
      if (isReady(sequence) && (oldest === null || sequence!.active!.queuedNs < oldest.active!.queuedNs)) oldest = sequence;
    }
    return oldest;
  }

  /** `only`: the others' rows are null this time; null: all that are ready and fit. */
  #start(reference: Sequence, only: readonly Sequence[] | null): boolean {
    const { plan } = this.#owner;
    const model = reference.active!;
    const rows = this.#slots.slice();
    let rowCount = 0;
    for (let i = 0; i < rows.length; i++) {
      const sequence = rows[i]!;
      const runs = isReady(sequence) && (only === null || only.includes(sequence!)) && fitsTogether(model, sequence!.active!, plan);
      if (runs) rowCount = i + 1;
      else rows[i] = null;
    }
    rows.length = rowCount;
    const requests = new Array<InferenceRequest>(rowCount);
    let count = 0;
    let filler: InferenceRequest | null = null;
    for (let i = 0; i < rowCount; i++) {
      const sequence = rows[i]!;
      if (sequence === null) {
        filler ??= this.#nullRequestLike(model);
        requests[i] = filler;
      } else {
        requests[i] = sequence.active!;
        count++;
      }
    }
    this.#isRunning = true;
    for (let i = 0; i < rowCount; i++) if (rows[i] !== null) rows[i]!.isRunning = true;
    this.#owner.onStarted(count);
    if (new SequenceBatch(requests, rows, this, this.#owner, this.#policy.isDivisible).start(this.channel)) return true;
    this.#isRunning = false;
    for (let i = 0; i < rowCount; i++) if (rows[i] !== null) this.#owner.onReturned(rows[i]!);
    return false;
  }

  #nullRequestLike(model: InferenceRequest): InferenceRequest {
    const { plan } = this.#owner;
    const isFixed = plan.variableInputs.length === 0 && !plan.hasOptionalInputs;
    if (isFixed && this.#nullRequest !== null) return this.#nullRequest;
    const request = nullRequest(model, plan);
    if (isFixed) this.#nullRequest = request;
    return request;
  }
}

function isReady(sequence: Sequence | null): boolean {
  return sequence !== null && sequence.active !== null && !sequence.isRunning;
}

function fitsTogether(a: InferenceRequest, b: InferenceRequest, plan: SequencePlan): boolean {
  if (plan.hasOptionalInputs) {
    for (let i = 0; i < plan.clientInputs; i++) if ((a.boundInputs[i] === null) !== (b.boundInputs[i] === null)) return false;
  }
  for (let v = 0; v < plan.variableInputs.length; v++) {
    const index = plan.variableInputs[v]!;
    const one = a.boundInputs[index]?.shape;
    const other = b.boundInputs[index]?.shape;
    if (one === undefined || other === undefined) continue;
    if (one.length !== other.length) return false;
    for (let d = 0; d < one.length; d++) if (one[d] !== other[d]) return false;
  }
  return true;
}

/** Zeros in the shapes of another request; READY, START and END false, no correlation id. */
function nullRequest(model: InferenceRequest, plan: SequencePlan): InferenceRequest {
  const inputs = model.boundInputs.map((tensor): Tensor | null =>
    tensor === null ? null : zeroTensor(tensor.name, tensor.datatype, tensor.shape),
  );
  for (const control of [plan.start, plan.ready, plan.end]) if (control !== null) inputs[control.input] = control.no;
  const request = new InferenceRequest({
    modelName: model.modelName,
    modelVersion: model.modelVersion,
    id: '',
    inputs: [],
    outputs: [],
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller: noCaller,
  });
  request.boundInputs = inputs;
  return request;
}
