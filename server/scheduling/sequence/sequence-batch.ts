/** @hotpath one per execution: hands each answer to the sequence that it is of (measured by sequence-scheduler.bench.ts) */

import type { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { Clock } from '../../inference/clock.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { ResponseTiming } from '../../inference/inference-response.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import type { ModelReporter } from '../../metrics/model-reporter.ts';
import { Batch, type BatchContext, type BatchResponder } from '../batch.ts';
import type { Sequence } from './sequence.ts';
import type { SequencePlan } from './sequence-plan.ts';
import type { SlotLane } from './slot-lane.ts';

/** What runs share, and who hears of their ends: the scheduler. */
export interface RunOwner {
  readonly plan: SequencePlan;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  /** The active request of the sequence has run. `outputs`: all of the model's, borrowed until this returns. */
  onAnswer(sequence: Sequence, request: InferenceRequest, outputs: readonly Tensor[], timing: ResponseTiming): void;
  onFailure(sequence: Sequence, request: InferenceRequest, error: InferenceError): void;
  onFault(error: unknown): void;
  poke(): void;
}

/** Requests of different sequences that run in one execution, at most one of each. */
export class SequenceBatch extends Batch {
  /** Rows that are somebody's. */
  readonly #count: number;
  readonly #isDivisible: boolean;

  /**
   * `sequences`: for each of `requests` its sequence, null for a row that only fills its place. `isDivisible`: the model keeps nothing between runs, so that a run may be repeated.
   */
  constructor(
    requests: readonly InferenceRequest[],
    sequences: readonly (Sequence | null)[],
    lane: SlotLane,
    owner: RunOwner,
    isDivisible: boolean,
  ) {
    super(requests, new RunContext(requests, sequences, lane, owner));
    let count = 0;
    for (let i = 0; i < sequences.length; i++) if (sequences[i] !== null) count++;
    this.#count = count;
    this.#isDivisible = isDivisible;
  }

  override fail(error: InferenceError, mayDivide = false): void {
    super.fail(error, mayDivide && this.#isDivisible && this.#count > 1);
  }
}

class RunContext implements BatchContext, BatchResponder {
  readonly signature: ModelSignature;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly responder: BatchResponder = this;
  readonly #owner: RunOwner;
  readonly #lane: SlotLane;
  readonly #requests: readonly InferenceRequest[];
  readonly #sequences: readonly (Sequence | null)[];
  /** Answers come in the order of the requests. */
  #next = 0;

  constructor(requests: readonly InferenceRequest[], sequences: readonly (Sequence | null)[], lane: SlotLane, owner: RunOwner) {
    this.signature = owner.plan.signature;
    this.reporter = owner.reporter;
    this.clock = owner.clock;
    this.#owner = owner;
    this.#lane = lane;
    this.#requests = requests;
    this.#sequences = sequences;
  }

  respond(request: InferenceRequest, outputs: readonly Tensor[], timing: ResponseTiming): void {
    const sequence = this.#sequenceOf(request);
    if (sequence !== null) this.#owner.onAnswer(sequence, request, outputs, timing);
  }

  fail(request: InferenceRequest, error: InferenceError): void {
    const sequence = this.#sequenceOf(request);
    if (sequence !== null) this.#owner.onFailure(sequence, request, error);
  }

  onBatchEnd(): void {
    this.#lane.onRunEnd();
    this.#owner.poke();
  }

  onBatchDivided(): void {
    const sequences: Sequence[] = [];
    for (const sequence of this.#sequences) if (sequence !== null) sequences.push(sequence);
    this.#lane.onRunEnd();
    this.#lane.divide(sequences);
    this.#owner.poke();
  }

  onFault(error: unknown): void {
    this.#owner.onFault(error);
  }

  #sequenceOf(request: InferenceRequest): Sequence | null {
    let at = this.#next++;
    // The same request may fill several rows: it is nobody's then, whichever it is found in.
    if (this.#requests[at] !== request) at = this.#requests.indexOf(request);
    return this.#sequences[at] ?? null;
  }
}
