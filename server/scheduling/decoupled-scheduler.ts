/** @hotpath gives requests of a decoupled model to its instances, in order of arrival, and keeps hold of them until they end */

import { InferenceError } from '../../proto/inference-error.ts';
import type { DecoupledChannel } from '../execution/decoupled-execution.ts';
import type { Clock, ClockTimer } from '../inference/clock.ts';
import type { InferenceRequest, RequestHolder } from '../inference/inference-request.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
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
  /** Hears of faults that are the server's own; for the log. */
  readonly onFault: (error: unknown) => void;
}

/** Timers count milliseconds in 31 bits; one that fires too early looks again. */
const LONGEST_TIMER_NS = 0x7fff_ffff * 1e6;

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
  readonly #instances: DecoupledInstanceSource;
  readonly #queue: PendingQueue;
  /** As many as the instances take, at most. */
  readonly #running: Set<DecoupledRequest> = new Set();
  /** Running ones whose callers have gone, to be ended at the end of the tick. */
  #cancelled: DecoupledRequest[] = [];
  #isDispatchScheduled = false;
  /** Waiting requests whose callers have gone. */
  #cancelledCount = 0;
  /** No request's deadline is earlier; its own may have ended long since. One timer, however many have one. */
  #earliestDeadlineNs = Number.POSITIVE_INFINITY;
  #timer: ClockTimer | null = null;
  #onStopped: (() => void) | null = null;
  #isStopping = false;
  readonly #runDispatch: () => void;
  readonly #runDeadline: () => void;

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
    this.#runDeadline = () => {
      this.#endLate(this.clock.nowNs());
      this.poke();
    };
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
    if (request.deadlineNs < this.#earliestDeadlineNs) this.#setDeadline(request.deadlineNs);
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

  onCancelled(running: DecoupledRequest): void {
    this.#cancelled.push(running);
    this.poke();
  }

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
    if (this.#cancelled.length > 0) this.#endCancelled();
    const nowNs = this.clock.nowNs();
    if (this.#earliestDeadlineNs <= nowNs) this.#endLate(nowNs);
    else if (this.#cancelledCount > 0) this.#dropWaiting(nowNs);
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

  #endCancelled(): void {
    const cancelled = this.#cancelled;
    this.#cancelled = [];
    for (const running of cancelled) running.fail(callerGone());
  }

  /** Ends what is past its deadline, in the model or before it, and finds the next deadline. */
  #endLate(nowNs: number): void {
    this.#dropWaiting(nowNs);
    let earliestNs = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#queue.length; i++) earliestNs = Math.min(earliestNs, this.#queue.at(i).deadlineNs);
    for (const running of this.#running) {
      const { deadlineNs } = running.request;
      if (deadlineNs > nowNs) earliestNs = Math.min(earliestNs, deadlineNs);
      else running.end(new InferenceError('DEADLINE_EXCEEDED', 'Request timeout expired before the model had given all responses'));
    }
    this.#setDeadline(earliestNs);
  }

  #setDeadline(deadlineNs: number): void {
    this.#earliestDeadlineNs = deadlineNs;
    if (this.#timer !== null) this.clock.clear(this.#timer);
    const leftNs = Math.min(Math.max(0, deadlineNs - this.clock.nowNs()), LONGEST_TIMER_NS);
    this.#timer = deadlineNs === Number.POSITIVE_INFINITY ? null : this.clock.schedule(this.#runDeadline, leftNs);
  }

  #dropWaiting(nowNs: number): void {
    const gone: InferenceRequest[] = [];
    this.#queue.removeIf((request) => request.isCancelled || request.deadlineNs <= nowNs, gone);
    this.#cancelledCount = 0;
    for (const request of gone) {
      const late = 'Request timeout expired before the request could run';
      this.#failWaiting(
        request,
        request.isCancelled ? callerGone() : new InferenceError('DEADLINE_EXCEEDED', late, { failureReason: 'REJECTED' }),
      );
    }
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
    if (this.#timer !== null) this.clock.clear(this.#timer);
    this.#timer = null;
    stopped();
  }
}

function callerGone(): InferenceError {
  return new InferenceError('CANCELLED', 'the caller went away before the request had ended', { failureReason: 'CANCELED' });
}
