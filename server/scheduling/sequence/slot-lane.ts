import type { InstanceChannel } from '../../execution/execution-host.ts';
import type { RequestHolder } from '../../inference/inference-request.ts';
import type { Sequence } from './sequence.ts';
import type { RunOwner } from './sequence-batch.ts';

/** What lanes tell the scheduler besides the ends of runs. */
export interface LaneOwner extends RunOwner, RequestHolder {
  /** So many requests that waited are about to execute. */
  onStarted(count: number): void;
  /** Its active request, which `onStarted` counted, waits again: it could not be started, or its run failed and is repeated. False: the sequence has ended meanwhile, and left its lane. */
  onReturned(sequence: Sequence): boolean;
  /** The deadline of its active request, which waits, has passed: the sequence ends, and leaves its lane, before this returns. */
  onLate(sequence: Sequence): void;
}

/** The slots of one instance, and the rule by which the sequences in them run together: `direct` or `oldest`. */
export interface SlotLane {
  readonly channel: InstanceChannel;
  readonly slotCount: number;
  readonly freeSlots: number;
  /** Its instance is gone: nothing is run here any more. Set by the scheduler. */
  isGone: boolean;
  /** Gives the sequence a slot; only while there is a free one. */
  admit(sequence: Sequence): void;
  /** Takes the slot back. The sequence is not running. */
  release(sequence: Sequence): void;
  /** Its active request may run now. */
  ready(sequence: Sequence): void;
  /** Starts what may start. Returns when to look again, on the clock; Infinity: when something happens. */
  run(nowNs: number): number;
  /** A run ended. */
  onRunEnd(): void;
  /** These were in a run that failed whole, and wait again: they are to run in two smaller ones, before anything else. */
  divide(sequences: readonly Sequence[]): void;
  /** All that have a slot; a copy. */
  members(): Sequence[];
}
