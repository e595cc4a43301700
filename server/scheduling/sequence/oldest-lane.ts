/** @hotpath forms the executions of an instance from whichever of its sequences have a request (measured by sequence-scheduler.bench.ts) */

import type { InstanceChannel } from '../../execution/execution-host.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import { type BatchDecision, type BatchPolicy, formBatch } from '../form-batch.ts';
import { ReadyQueue } from './ready-queue.ts';
import type { Sequence } from './sequence.ts';
import { SequenceBatch } from './sequence-batch.ts';
import type { LaneOwner, SlotLane } from './slot-lane.ts';

export interface OldestPolicy {
  /** max_candidate_sequences. */
  readonly slotCount: number;
  readonly batch: BatchPolicy;
  /** One execution at a time, so that responses leave in the order in which their requests were ready. */
  readonly preserveOrdering: boolean;
  /** The model keeps nothing between runs. */
  readonly isDivisible: boolean;
}

/** Triton's oldest strategy (reference 7.2): one request of each sequence at a time goes to a dynamic batcher. */
export class OldestLane implements SlotLane {
  readonly channel: InstanceChannel;
  readonly slotCount: number;
  isGone = false;
  readonly #owner: LaneOwner;
  readonly #policy: OldestPolicy;
  readonly #members: Set<Sequence> = new Set();
  readonly #ready: ReadyQueue = new ReadyQueue();
  readonly #parts: (readonly Sequence[])[] = [];
  readonly #decision: BatchDecision = { take: 0, waitNs: 0, isComplete: false, requests: 0, rows: 0 };
  #running = 0;
  #earliestDeadlineNs = Number.POSITIVE_INFINITY;
  /** Something left while it was ready. */
  #hasGaps = false;

  constructor(channel: InstanceChannel, owner: LaneOwner, policy: OldestPolicy) {
    this.channel = channel;
    this.#owner = owner;
    this.#policy = policy;
    this.slotCount = policy.slotCount;
  }

  get freeSlots(): number {
    return this.#policy.slotCount - this.#members.size;
  }

  admit(sequence: Sequence): void {
    this.#members.add(sequence);
    sequence.lane = this;
  }

  release(sequence: Sequence): void {
    this.#members.delete(sequence);
    if (sequence.active !== null) this.#hasGaps = true;
    sequence.lane = null;
  }

  ready(sequence: Sequence): void {
    this.#ready.push(sequence);
    const { deadlineNs } = sequence.active!;
    if (deadlineNs < this.#earliestDeadlineNs) this.#earliestDeadlineNs = deadlineNs;
  }

  run(nowNs: number): number {
    const { channel } = this;
    if (this.#hasGaps) this.#closeGaps();
    if (!channel.isAlive) return Number.POSITIVE_INFINITY;
    if (this.#earliestDeadlineNs <= nowNs) this.#dropLate(nowNs);
    const { preserveOrdering, batch } = this.#policy;
    while (this.#parts.length > 0) {
      if (!channel.hasCapacity || (preserveOrdering && this.#running > 0)) return Number.POSITIVE_INFINITY;
      const live = this.#parts[0]!.filter((one) => one.lane === this && one.active !== null && !one.isRunning);
      if (live.length > 0 && !this.#start(live)) return Number.POSITIVE_INFINITY;
      this.#parts.shift();
    }
    while (this.#ready.length > 0 && channel.hasCapacity && !(preserveOrdering && this.#running > 0)) {
      formBatch(this.#ready, batch, nowNs, this.#decision);
      const { take, waitNs, isComplete } = this.#decision;
      if (take === 0) return nowNs + waitNs;
      if (!isComplete && !channel.isFree) break;
      const sequences = new Array<Sequence>(take);
      for (let i = 0; i < take; i++) sequences[i] = this.#ready.shift();
      if (this.#start(sequences)) continue;
      // No tensor memory at the moment.
      this.#ready.unshift(sequences);
      break;
    }
    return Number.POSITIVE_INFINITY;
  }

  onRunEnd(): void {
    this.#running--;
  }

  divide(sequences: readonly Sequence[]): void {
    const again = sequences.filter((sequence) => this.#owner.onReturned(sequence));
    const middle = (again.length + 1) >> 1;
    this.#parts.push(again.slice(0, middle), again.slice(middle));
  }

  members(): Sequence[] {
    return [...this.#members];
  }

  #start(sequences: readonly Sequence[]): boolean {
    const requests = new Array<InferenceRequest>(sequences.length);
    for (let i = 0; i < sequences.length; i++) {
      const sequence = sequences[i]!;
      requests[i] = sequence.active!;
      sequence.isRunning = true;
    }
    this.#running++;
    this.#owner.onStarted(sequences.length);
    if (new SequenceBatch(requests, sequences, this, this.#owner, this.#policy.isDivisible).start(this.channel)) return true;
    this.#running--;
    for (let i = 0; i < sequences.length; i++) this.#owner.onReturned(sequences[i]!);
    return false;
  }

  #closeGaps(): void {
    this.#hasGaps = false;
    this.#ready.keepIf((sequence) => sequence.lane === this);
  }

  #dropLate(nowNs: number): void {
    this.#earliestDeadlineNs = Number.POSITIVE_INFINITY;
    const late: Sequence[] = [];
    for (let i = 0; i < this.#ready.length; i++) {
      const { deadlineNs } = this.#ready.at(i);
      if (deadlineNs <= nowNs) late.push(this.#ready.sequenceAt(i));
      else if (deadlineNs < this.#earliestDeadlineNs) this.#earliestDeadlineNs = deadlineNs;
    }
    for (const sequence of late) this.#owner.onLate(sequence);
    this.#closeGaps();
  }
}
