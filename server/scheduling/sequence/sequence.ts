/** @hotpath one object per live sequence; binds each of its requests to the tensors of an execution (measured by sequence-scheduler.bench.ts) */

import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import { encodeCorrelation } from './encode-correlation.ts';
import type { SequenceList } from './sequence-list.ts';
import type { SequencePlan } from './sequence-plan.ts';
import type { SlotLane } from './slot-lane.ts';
import type { StateBudget } from './state-budget.ts';

/** Its id; or its one request, which came without an id (`iterative_sequence`). */
export type SequenceKey = bigint | string | InferenceRequest;

/**
 * A live sequence: its requests in order, its state, and where it is. It has a slot of an instance, or waits in the backlog, or has neither (it lost its instance and nothing of it waits).
 *
 *     pending  [ b c d ]     later requests
 *     active   a             the one that is bound to its tensors: it waits for its instance to run it, or runs (`isRunning`)
 */
export class Sequence {
  readonly id: bigint | string;
  readonly key: SequenceKey;
  lane: SlotLane | null = null;
  /** Row of the lane's batches; direct strategy alone. */
  slot = -1;
  active: InferenceRequest | null = null;
  isRunning = false;
  /** Its last request was taken: nothing joins it any more. */
  isEnding = false;
  /** It has ended; it may still be running, and nobody waits for it. */
  isOver = false;
  /** The instance that had its state is gone. Kept so that its next request hears of it. */
  isLost = false;
  idleSinceNs = 0;

  /** Of {@link SequenceList}. */
  list: SequenceList | null = null;
  previous: Sequence | null = null;
  next: Sequence | null = null;
  /** Of {@link ExpiryHeap}. */
  heapIndex = -1;
  /** When the earliest of its waiting requests gives up; while it is in the backlog. */
  expiresNs: number = Number.POSITIVE_INFINITY;

  /** Inputs of its next execution in the order of the plan; one array for all its requests, as they run one after the other. */
  readonly #inputs: (Tensor | null)[];
  readonly #plan: SequencePlan;
  #pending: (InferenceRequest | undefined)[] = [];
  #head = 0;
  /** What its states take beyond those that all sequences share. */
  #ownBytes = 0;

  constructor(id: bigint | string, key: SequenceKey, plan: SequencePlan) {
    this.id = id;
    this.key = key;
    this.#plan = plan;
    const inputs = new Array<Tensor | null>(plan.signature.inputs.length).fill(null);
    if (plan.ready !== null) inputs[plan.ready.input] = plan.ready.yes;
    if (plan.correlation !== null) {
      const { input, name, datatype } = plan.correlation;
      const shape = plan.signature.maxBatchSize > 0 ? [1, 1] : [1];
      inputs[input] = { name, datatype, shape, data: encodeCorrelation(id, datatype) };
    }
    for (let i = 0; i < plan.states.length; i++) inputs[plan.states[i]!.input] = plan.states[i]!.initial;
    this.#inputs = inputs;
  }

  /** Requests that are not running. */
  get waitingCount(): number {
    return this.#pending.length - this.#head + (this.active !== null && !this.isRunning ? 1 : 0);
  }

  get hasWork(): boolean {
    return this.active !== null || this.#head < this.#pending.length;
  }

  /** The next request that waits begins the sequence anew. */
  get beginsAnew(): boolean {
    return this.#head < this.#pending.length && this.#pending[this.#head]!.sequence?.isStart === true;
  }

  push(request: InferenceRequest): void {
    this.#pending.push(request);
  }

  has(request: InferenceRequest): boolean {
    return this.active === request || this.#pending.indexOf(request, this.#head) >= 0;
  }

  /** Those that are not running. */
  waiting(): InferenceRequest[] {
    const rest = this.#pending.slice(this.#head) as InferenceRequest[];
    return this.active !== null && !this.isRunning ? [this.active, ...rest] : rest;
  }

  /** Forgets the requests that are not running: they are ended by whoever calls. */
  clear(): void {
    this.#pending = [];
    this.#head = 0;
    if (!this.isRunning) this.active = null;
  }

  /** The next request becomes the active one, with all inputs of its execution. Only while there is no active one and something is pending. */
  activate(budget: StateBudget): InferenceRequest {
    const request = this.#shift();
    const plan = this.#plan;
    const isStart = request.sequence === null || request.sequence.isStart;
    if (isStart) this.#resetStates(budget);
    const inputs = this.#inputs;
    const { boundInputs } = request;
    for (let i = 0; i < plan.clientInputs; i++) inputs[i] = boundInputs[i] ?? null;
    if (plan.start !== null) inputs[plan.start.input] = isStart ? plan.start.yes : plan.start.no;
    if (plan.end !== null) inputs[plan.end.input] = request.sequence?.isEnd === true ? plan.end.yes : plan.end.no;
    request.boundInputs = inputs;
    this.active = request;
    return request;
  }

  /**
   * Keeps the states that an execution gave, copied; `outputs`: all of the model's, for one request. Returns null, or why they cannot be kept, RESOURCE_EXHAUSTED when there is no room for them.
   */
  advance(outputs: readonly Tensor[], budget: StateBudget): InferenceError | null {
    const { states, signature } = this.#plan;
    for (let i = 0; i < states.length; i++) {
      const { outputName, input, initial } = states[i]!;
      const output = findOutput(outputs, outputName);
      if (output === null) return stateMissing(signature, outputName);
      const current = this.#inputs[input]!;
      if (current !== initial && current.data.length === output.data.length && isSameShape(current.shape, output.shape)) {
        current.data.set(output.data);
        continue;
      }
      const before = current === initial ? 0 : current.data.length;
      if (!budget.resize(before, output.data.length)) return statesFull(signature, budget);
      this.#ownBytes += output.data.length - before;
      this.#inputs[input] = {
        name: initial.name,
        datatype: initial.datatype,
        shape: output.shape.slice(),
        data: new Uint8Array(output.data),
      };
    }
    return null;
  }

  /** Gives its memory back; at its end. */
  release(budget: StateBudget): void {
    this.#resetStates(budget);
  }

  #resetStates(budget: StateBudget): void {
    const { states } = this.#plan;
    for (let i = 0; i < states.length; i++) this.#inputs[states[i]!.input] = states[i]!.initial;
    budget.resize(this.#ownBytes, 0);
    this.#ownBytes = 0;
  }

  #shift(): InferenceRequest {
    const pending = this.#pending;
    const request = pending[this.#head]!;
    // An answered request must not be kept alive by those that still wait.
    pending[this.#head++] = undefined;
    if (this.#head === pending.length) {
      pending.length = 0;
      this.#head = 0;
    } else if (this.#head >= 32 && this.#head * 2 >= pending.length) {
      this.#pending = pending.slice(this.#head);
      this.#head = 0;
    }
    return request;
  }
}

function stateMissing({ modelName, modelVersion }: ModelSignature, output: string): InferenceError {
  const text = `model '${modelName}' version ${modelVersion} did not give the output '${output}', the state of its sequences: this one has ended; begin it again with sequence_start`;
  return new InferenceError('INTERNAL', text, { failureReason: 'BACKEND' });
}

function statesFull({ modelName }: ModelSignature, { maxBytes }: StateBudget): InferenceError {
  return new InferenceError(
    'RESOURCE_EXHAUSTED',
    `the states of all live sequences of model '${modelName}' would pass ${maxBytes} bytes, as many as they may take: this sequence has ended; end others with sequence_end, then start it again`,
    { failureReason: 'REJECTED', retryAfterSeconds: 1 },
  );
}

function findOutput(outputs: readonly Tensor[], name: string): Tensor | null {
  for (let i = 0; i < outputs.length; i++) if (outputs[i]!.name === name) return outputs[i]!;
  return null;
}

function isSameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
