/** @hotpath one model instance of a process host, seen from the gateway: counts what is in flight, hands batches to the link */

import { InferenceError } from '../../proto/inference-error.ts';
import type { ExecutionBatch, InstanceChannel } from './execution-host.ts';
import type { BatchLink } from './host-link.ts';
import type { ModelTensors } from './model-tensors.ts';
import { ProcessChannel } from './process-channel.ts';

/** One batch runs and one waits. */
const MIN_INFLIGHT = 2;
/** More may wait while all of them together are over within this: a tick that brings several batches of a quick model hands them over at once. */
const SOON_NS = 200_000;
const MAX_INFLIGHT = 16;

export class ProcessInstanceChannel extends ProcessChannel implements InstanceChannel {
  readonly #link: BatchLink;

  constructor(
    link: BatchLink,
    tensors: ModelTensors,
    instance: number,
    onCapacity: () => void,
    dispose: (instance: number) => Promise<void>,
  ) {
    super(tensors, instance, onCapacity, dispose);
    this.#link = link;
  }

  get hasCapacity(): boolean {
    return (this.inflightCount < MIN_INFLIGHT && this.takesWork) || this.isFree;
  }

  get isFree(): boolean {
    const count = this.inflightCount;
    return (count === 0 || (count < MAX_INFLIGHT && count * this.tensors.lastRunNs < SOON_NS)) && this.takesWork;
  }

  expect(): void {
    if (this.isAlive) this.#link.expect();
  }

  execute(batch: ExecutionBatch): boolean {
    if (!this.hasCapacity) throw new Error('execute was called on an instance without capacity');
    const error = this.tensors.inputError(batch.inputs);
    if (error !== null) {
      this.failSoon(batch, error);
      return true;
    }
    return this.#link.submit(this, batch);
  }

  abandon(batch: ExecutionBatch, index: number): void {
    const { requests } = batch;
    if (requests === undefined) return;
    for (let i = 0; i < requests.length; i++) if (i !== index && !requests[i]!.isDone) return;
    this.#link.abandon(batch);
  }

  /** Fails a batch that never reached the host, outside `execute`. */
  failSoon(batch: ExecutionBatch, error: InferenceError): void {
    this.submitted();
    setImmediate(() => {
      this.settled();
      batch.fail(error, true);
      this.tellCapacity();
    });
  }
}

/** A batch that no tensor memory of this size can hold. */
export function tooLargeBatch(key: string, wantedBytes: number, memoryBytes: number): InferenceError {
  return new InferenceError(
    'RESOURCE_EXHAUSTED',
    `a batch of model '${key}' needs ${wantedBytes} bytes of tensor memory, its execution host has ${memoryBytes}; send smaller requests, or give hosts more tensor memory`,
  );
}
