/** @hotpath gives requests of a decoupled model to its instances, in order of arrival, and keeps hold of them until they end */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { DecoupledChannel } from '../execution/decoupled-execution.ts';
import type { Clock } from '../inference/clock.ts';
import type { InferenceRequest, RequestHolder } from '../inference/inference-request.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import type { EngineNumbers } from '../metrics/engine-numbers.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import { TextLatencies } from '../metrics/text-latencies.ts';
import { type DecoupledContext, DecoupledRequest } from './decoupled-request.ts';
import { PendingQueue } from './pending-queue.ts';
import { queueFull, type Scheduler, schedulerStopping } from './scheduler.ts';

/** Where the scheduler gets instances from: an instance group. */
export interface DecoupledInstanceSource {
  take(isComplete: boolean): DecoupledChannel | null;
}

export interface DecoupledSchedulerOptions {
  readonly signature: ModelSignature;
  readonly maxQueueSize: number;
  readonly instances: DecoupledInstanceSource;
  /** Outputs that the model file has; the signature may serve fewer. */
  readonly modelOutputCount: number;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  /** What the instances say of themselves, for the metrics. */
  readonly engine?: EngineNumbers;
  /** Hears of faults that are the server's own; for the log. */
  readonly onFault: (error: unknown) => void;
}

/**
 * Requests are never merged: each runs by itself, beside as many others as the instances take. As in the dynamic batcher, one loop (`#dispatch`) runs at
 * the end of a tick in which something changed.
 */
export class DecoupledScheduler implements Scheduler, DecoupledContext, RequestHolder {
  readonly signature: ModelSignature;
  readonly isPlain: boolean;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
  readonly streamInput: number;
  readonly #instances: DecoupledInstanceSource;
  readonly #queue: PendingQueue;
  /** As many as the instances take, at most. */
  readonly #running: Set<DecoupledRequest> = new Set();
  #isDispatchScheduled = false;
  /** Waiting requests that have ended. */
  #cancelledCount = 0;
  #onStopped: (() => void) | null = null;
  #isStopping = false;
  readonly #runDispatch: () => void;

  constructor(options: DecoupledSchedulerOptions) {
    const { signature } = options;
    this.signature = signature;
    this.isPlain = signature.outputs.length === options.modelOutputCount && signature.outputs.every((output) => output.reshape === null);
    this.reporter = options.reporter;
    this.clock = options.clock;
    this.onFault = options.onFault;
    this.#instances = options.instances;
    this.#queue = new PendingQueue(options.maxQueueSize);
    this.#runDispatch = () => this.#dispatch();
    this.streamInput = streamInputOf(signature);
    if (this.streamInput >= 0) this.reporter.text = new TextLatencies();
    this.reporter.engine = options.engine ?? null;
  }

  get inflightCount(): number {
    return this.#queue.length + this.#running.size;
  }

  get pendingCount(): number {
    return this.#queue.length;
  }

  enqueue(request: InferenceRequest): void {
    if (this.#isStopping) throw schedulerStopping(this.signature.modelName);
    request.queuedNs = this.clock.nowNs();
    if (!this.#queue.push(request)) throw queueFull(this.signature.modelName, this.#queue.maxSize);
    request.holder = this;
    this.reporter.pendingCount = this.#queue.length;
    this.poke();
  }

  poke(): void {
    if (this.#isDispatchScheduled) return;
    this.#isDispatchScheduled = true;
    this.clock.endOfTick(this.#runDispatch);
  }

  /** One that waits. */
  onRequestCancelled(_request: InferenceRequest): void {
    this.#cancelledCount++;
    this.poke();
  }

  onRequestResumed(): void {}

  onLeft(running: DecoupledRequest): void {
    this.#running.delete(running);
    if (this.#onStopped !== null) this.poke();
  }

  stop(): Promise<void> {
    this.#isStopping = true;
    return new Promise((resolve) => {
      const previous = this.#onStopped;
      this.#onStopped = () => {
        previous?.();
        resolve();
      };
      this.#settleStop();
    });
  }

  failPending(error: InferenceError): void {
    while (this.#queue.length > 0) this.#failWaiting(this.#queue.shift(), error);
    this.reporter.pendingCount = 0;
    this.#settleStop();
  }

  #dispatch(): void {
    this.#isDispatchScheduled = false;
    if (this.#cancelledCount > 0) this.#dropEnded();
    while (this.#queue.length > 0) {
      const channel = this.#instances.take(true);
      // A request that ends, or an instance that comes back, pokes again.
      if (channel === null) break;
      const running = new DecoupledRequest(this.#queue.at(0), this);
      const startedNs = this.clock.nowNs();
      const run = channel.start(running);
      if (run === null) break;
      this.#queue.shift();
      this.#running.add(running);
      running.started(run, startedNs);
    }
    this.reporter.pendingCount = this.#queue.length;
    this.#settleStop();
  }

  #dropEnded(): void {
    this.#cancelledCount = 0;
    this.#queue.removeIf(hasEnded, []);
  }

  #failWaiting(request: InferenceRequest, error: InferenceError): void {
    request.holder = null;
    try {
      request.fail(error);
    } catch (fault) {
      this.onFault(fault);
    }
  }

  #settleStop(): void {
    if (this.#onStopped === null || this.inflightCount > 0) return;
    const stopped = this.#onStopped;
    this.#onStopped = null;
    stopped();
  }
}

function hasEnded(request: InferenceRequest): boolean {
  return request.isDone;
}

/** Models that generate text are known by the tensors of Triton's vLLM backend: `stream` says whether each response is a token. -1: it is none. */
function streamInputOf({ inputs, outputIndex }: ModelSignature): number {
  if (!outputIndex.has('text_output')) return -1;
  return inputs.findIndex(({ name, datatype }) => name === 'stream' && datatype === 'BOOL');
}
