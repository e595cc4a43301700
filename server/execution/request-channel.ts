/** @hotpath one instance of a model that is code, seen from the gateway: its batches keep their requests apart */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { ExecutionBatch, InstanceChannel } from './execution-host.ts';
import type { ModelTensors } from './model-tensors.ts';
import { ProcessChannel } from './process-channel.ts';
import type { RequestLink } from './request-link.ts';

/** Batches that wait for something in the model at the same time, and those that have yet to begin. */
export const MAX_BATCHES_PER_INSTANCE = 64;
/** As in {@link ProcessInstanceChannel}: one computes and one waits for it, or more where all together take no time. */
const MIN_UNBEGUN = 2;
const MAX_UNBEGUN = 16;
const SOON_NS = 200_000;

export class RequestChannel extends ProcessChannel implements InstanceChannel {
  readonly #link: RequestLink;
  readonly maxBatches: number;
  /** Of those in flight, the ones whose code waits for something else than this instance. */
  waitingCount = 0;

  /** `maxBatches`: what the model takes at once; 0: it does not say. */
  constructor(
    link: RequestLink,
    tensors: ModelTensors,
    instance: number,
    maxBatches: number,
    onCapacity: () => void,
    dispose: (instance: number) => Promise<void>,
  ) {
    super(tensors, instance, onCapacity, dispose);
    this.#link = link;
    this.maxBatches = maxBatches >= 1 ? Math.min(Math.floor(maxBatches), MAX_BATCHES_PER_INSTANCE) : MAX_BATCHES_PER_INSTANCE;
  }

  get hasCapacity(): boolean {
    const count = this.inflightCount;
    return (count < this.maxBatches && count - this.waitingCount < MIN_UNBEGUN && this.takesWork) || this.isFree;
  }

  get isFree(): boolean {
    const count = this.inflightCount;
    const unbegun = count - this.waitingCount;
    const isSoon = unbegun === 0 || (unbegun < MAX_UNBEGUN && unbegun * this.tensors.lastRunNs < SOON_NS);
    return isSoon && count < this.maxBatches && this.takesWork;
  }

  /** Its host waits in its event loop, which only a frame wakes. */
  expect(): void {}

  execute(batch: ExecutionBatch): boolean {
    if (!this.hasCapacity) throw new Error('execute was called on an instance without capacity');
    const error = this.tensors.inputError(batch.inputs);
    if (error === null) return this.#link.submit(this, batch);
    this.failSoon(batch, error);
    return true;
  }

  abandon(batch: ExecutionBatch, index: number): void {
    this.#link.abandon(batch, index);
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
