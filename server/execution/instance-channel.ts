/** @hotpath one model instance of a process host, seen from the gateway: counts what is in flight, hands batches to the link */

import { InferenceError } from '../../proto/inference-error.ts';
import type { ExecutionBatch, InstanceChannel } from './execution-host.ts';
import type { BatchLink } from './host-link.ts';
import type { ModelTensors } from './model-tensors.ts';

/** One batch runs and one waits. */
const MIN_INFLIGHT = 2;
/** More may wait while all of them together are over within this: a tick that brings several batches of a quick model hands them over at once. */
const SOON_NS = 200_000;
const MAX_INFLIGHT = 16;

export class ProcessInstanceChannel implements InstanceChannel {
  readonly tensors: ModelTensors;
  /** The instance's number in its host. */
  readonly instance: number;
  readonly #link: BatchLink;
  readonly #onCapacity: () => void;
  readonly #dispose: (instance: number) => Promise<void>;
  #inflightCount = 0;
  #isAlive = true;
  #isReleased = false;
  #onDrained: (() => void) | null = null;
  /** Already in a list of channels to be told of capacity. */
  isToBeTold = false;

  constructor(
    link: BatchLink,
    tensors: ModelTensors,
    instance: number,
    onCapacity: () => void,
    dispose: (instance: number) => Promise<void>,
  ) {
    this.#link = link;
    this.tensors = tensors;
    this.instance = instance;
    this.#onCapacity = onCapacity;
    this.#dispose = dispose;
  }

  get hasCapacity(): boolean {
    return (this.#inflightCount < MIN_INFLIGHT && this.#isAlive && !this.#isReleased) || this.isFree;
  }

  get isFree(): boolean {
    const count = this.#inflightCount;
    return (count === 0 || (count < MAX_INFLIGHT && count * this.tensors.lastRunNs < SOON_NS)) && this.#isAlive && !this.#isReleased;
  }

  get inflightCount(): number {
    return this.#inflightCount;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  expect(): void {
    if (this.#isAlive) this.#link.expect();
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

  /** The link: a batch of this channel is on its way. */
  submitted(): void {
    this.#inflightCount++;
  }

  /** Fails a batch that never reached the host, outside `execute`. */
  failSoon(batch: ExecutionBatch, error: InferenceError): void {
    this.#inflightCount++;
    setImmediate(() => {
      this.settled();
      batch.fail(error, true);
      this.tellCapacity();
    });
  }

  /** The link: a batch of this channel left the host. */
  settled(): void {
    this.#inflightCount--;
    if (this.#inflightCount === 0) this.#onDrained?.();
  }

  /** The link: `hasCapacity` may have changed. */
  tellCapacity(): void {
    this.isToBeTold = false;
    this.#onCapacity();
  }

  /** The host: it has ended. */
  hostEnded(): void {
    this.#isAlive = false;
    this.#onDrained?.();
  }

  async release(): Promise<void> {
    if (this.#isReleased) return;
    this.#isReleased = true;
    if (this.#inflightCount > 0 && this.#isAlive) {
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
      });
    }
    if (!this.#isAlive) return;
    this.#isAlive = false;
    await this.#dispose(this.instance);
  }
}

/** A batch that no tensor memory of this size can hold. */
export function tooLargeBatch(key: string, wantedBytes: number, memoryBytes: number): InferenceError {
  return new InferenceError(
    'RESOURCE_EXHAUSTED',
    `a batch of model '${key}' needs ${wantedBytes} bytes of tensor memory, its execution host has ${memoryBytes}; send smaller requests, or give hosts more tensor memory`,
  );
}
