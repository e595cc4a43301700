/** @hotpath one instance of a decoupled model in a process host, and one object per request in it */

import type { InferenceError } from '../../proto/inference-error.ts';
import { InstanceNumbers } from '../metrics/engine-numbers.ts';
import { type DecoupledChannel, type DecoupledExecution, type DecoupledRun, MAX_REQUESTS_PER_INSTANCE } from './decoupled-execution.ts';
import type { DecoupledLink } from './decoupled-link.ts';
import type { CreatedInstance } from './host-requests.ts';
import type { ModelTensors } from './model-tensors.ts';
import { ProcessChannel } from './process-channel.ts';

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

export class ProcessDecoupledChannel extends ProcessChannel implements DecoupledChannel {
  /** What the instance says of itself. */
  readonly numbers: InstanceNumbers = new InstanceNumbers();
  readonly #link: DecoupledLink;
  readonly #maxRequests: number;

  constructor(
    link: DecoupledLink,
    tensors: ModelTensors,
    { instance, maxRequests, statistics }: Omit<CreatedInstance, 'memoryBytes'>,
    onCapacity: () => void,
    dispose: (instance: number) => Promise<void>,
  ) {
    super(tensors, instance, onCapacity, dispose);
    this.#link = link;
    this.#maxRequests = boundedRequests(maxRequests);
    // Numbers that can't be are none.
    if (typeof statistics === 'object' && statistics !== null) this.numbers.take(statistics as Record<string, unknown>);
    link.adopt(this);
  }

  get hasCapacity(): boolean {
    return this.inflightCount < this.#maxRequests && this.takesWork;
  }

  get isFree(): boolean {
    return this.hasCapacity;
  }

  /** Its host waits in its event loop, which only a frame wakes. */
  expect(): void {}

  start(execution: DecoupledExecution): DecoupledRun | null {
    if (!this.hasCapacity) throw new Error('start was called on an instance without capacity');
    const error = this.tensors.inputError(execution.inputs);
    return error === null ? this.#link.start(this, execution) : this.failSoon(execution, error);
  }

  override hostEnded(): void {
    super.hostEnded();
    this.#leave();
  }

  override async release(): Promise<void> {
    await super.release();
    this.#leave();
  }

  #leave(): void {
    this.numbers.leave();
    this.#link.forget(this);
  }

  /** Fails a request that never reached the host, outside `start`. */
  failSoon(execution: DecoupledExecution, error: InferenceError): DecoupledRun {
    this.submitted();
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
}

/** A backend's own bound, or ours where it has none or names one that can't be. */
export function boundedRequests(maxRequests: number): number {
  return maxRequests >= 1 ? Math.min(Math.floor(maxRequests), MAX_REQUESTS_PER_INSTANCE) : MAX_REQUESTS_PER_INSTANCE;
}
