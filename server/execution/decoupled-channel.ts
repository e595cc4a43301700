/** @hotpath one instance of a decoupled model in a process host, and one object per request in it */

import type { InferenceError } from '../../proto/inference-error.ts';
import { type DecoupledChannel, type DecoupledExecution, type DecoupledRun, MAX_REQUESTS_PER_INSTANCE } from './decoupled-execution.ts';
import type { DecoupledLink } from './decoupled-link.ts';
import type { ModelTensors } from './model-tensors.ts';

/** A request in a process host. */
export class ProcessDecoupledRun implements DecoupledRun {
  readonly channel: ProcessDecoupledChannel;
  readonly execution: DecoupledExecution;
  readonly sequence: number;
  /** Of its start frame. */
  readonly byteLength: number;
  readonly #link: DecoupledLink;
  /** Responses that came since the last credit; the window has room for RESPONSE_WINDOW. */
  unacknowledged = 0;
  isCancelled = false;
  /** Since when the host owes the next response or the end: `performance.now()`. */
  sinceMs: number = performance.now();

  constructor(link: DecoupledLink, channel: ProcessDecoupledChannel, execution: DecoupledExecution, sequence: number, byteLength: number) {
    this.#link = link;
    this.channel = channel;
    this.execution = execution;
    this.sequence = sequence;
    this.byteLength = byteLength;
  }

  cancel(): void {
    this.#link.cancel(this);
  }

  resume(): void {
    this.#link.acknowledge(this);
  }
}

export class ProcessDecoupledChannel implements DecoupledChannel {
  readonly tensors: ModelTensors;
  /** The instance's number in its host. */
  readonly instance: number;
  readonly #link: DecoupledLink;
  readonly #maxRequests: number;
  readonly #onCapacity: () => void;
  readonly #dispose: (instance: number) => Promise<void>;
  #inflightCount = 0;
  #isAlive = true;
  #isReleased = false;
  #onDrained: (() => void) | null = null;
  isToBeTold = false;

  /** `maxRequests`: what the backend takes at once; 0: it does not say. */
  constructor(
    link: DecoupledLink,
    tensors: ModelTensors,
    instance: number,
    maxRequests: number,
    onCapacity: () => void,
    dispose: (instance: number) => Promise<void>,
  ) {
    this.#link = link;
    this.tensors = tensors;
    this.instance = instance;
    this.#maxRequests = boundedRequests(maxRequests);
    this.#onCapacity = onCapacity;
    this.#dispose = dispose;
  }

  get hasCapacity(): boolean {
    return this.#inflightCount < this.#maxRequests && this.#isAlive && !this.#isReleased;
  }

  get isFree(): boolean {
    return this.hasCapacity;
  }

  get inflightCount(): number {
    return this.#inflightCount;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** Its host waits in its event loop, which only a frame wakes. */
  expect(): void {}

  start(execution: DecoupledExecution): DecoupledRun | null {
    if (!this.hasCapacity) throw new Error('start was called on an instance without capacity');
    const error = this.tensors.inputError(execution.inputs);
    return error === null ? this.#link.start(this, execution) : this.failSoon(execution, error);
  }

  /** The link: a request is on its way. */
  started(): void {
    this.#inflightCount++;
  }

  /** Fails a request that never reached the host, outside `start`. */
  failSoon(execution: DecoupledExecution, error: InferenceError): DecoupledRun {
    this.#inflightCount++;
    let isCancelled = false;
    setImmediate(() => {
      this.settled();
      if (!isCancelled) execution.fail(error);
      this.tellCapacity();
    });
    return {
      cancel: () => {
        isCancelled = true;
      },
      resume: () => {},
    };
  }

  /** The link: a request left the host. */
  settled(): void {
    this.#inflightCount--;
    if (this.#inflightCount === 0) this.#onDrained?.();
  }

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

/** A backend's own bound, or ours where it has none or names one that can't be. */
export function boundedRequests(maxRequests: number): number {
  return maxRequests >= 1 ? Math.min(Math.floor(maxRequests), MAX_REQUESTS_PER_INSTANCE) : MAX_REQUESTS_PER_INSTANCE;
}
