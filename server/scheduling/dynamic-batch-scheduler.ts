/** @hotpath the one loop that gives waiting requests to instances */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { InstanceChannel } from '../execution/execution-host.ts';
import type { Clock, ClockTimer } from '../inference/clock.ts';
import type { InferenceRequest, RequestHolder } from '../inference/inference-request.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import { Batch, type BatchContext, type BatchResponder } from './batch.ts';
import { type BatchDecision, type BatchPolicy, formBatch } from './form-batch.ts';
import { PendingQueue } from './pending-queue.ts';
import { queueFull, type Scheduler, schedulerStopping } from './scheduler.ts';

/** Where a scheduler gets instances from: an instance group. */
export interface InstanceSource {
  /** An instance that takes a batch now, or null. `isComplete`: the batch cannot grow by waiting, so it may as well wait in the host. */
  take(isComplete: boolean): InstanceChannel | null;
  /** A batch will be formed at the end of this tick. */
  expect(): void;
}

export interface DynamicBatchSchedulerOptions {
  readonly signature: ModelSignature;
  readonly policy: BatchPolicy;
  readonly maxQueueSize: number;
  readonly instances: InstanceSource;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  /** Hears of faults that are the server's own; for the log. */
  readonly onFault: (error: unknown) => void;
}

/** Batches up to this many requests mean ticks of a few microseconds. */
const QUIET_BATCH = 2;

/**
 * One state (a queue), one loop (`#dispatch`), many that poke it: a new request, a finished batch, a timer, an instance that became free. Every poke only
 * asks for one dispatch at the end of the tick, so that all requests which the tick brought are in the queue when a batch is formed; no timer runs unless
 * the configuration asks for a queue delay.
 */
export class DynamicBatchScheduler implements Scheduler, BatchContext, RequestHolder {
  readonly signature: ModelSignature;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
  readonly responder: BatchResponder | null = null;
  readonly #policy: BatchPolicy;
  readonly #instances: InstanceSource;
  readonly #queue: PendingQueue;
  /** Halves of batches that failed whole, to run before anything that waits. As many requests as have been executing, at most. */
  readonly #parts: (readonly InferenceRequest[])[] = [];
  readonly #decision: BatchDecision = { take: 0, waitNs: 0, isComplete: false };
  /** Requests inside executions. */
  #executing = 0;
  #isDispatchScheduled = false;
  /** Requests in the last batch. */
  #lastTake = 1;
  #timer: ClockTimer | null = null;
  /** Waiting requests whose callers have gone. */
  #cancelledCount = 0;
  /** Set while a deadline waits in the queue, so that queues without deadlines are never searched for one. */
  #earliestDeadlineNs = Number.POSITIVE_INFINITY;
  #onStopped: (() => void) | null = null;
  #isStopping = false;
  readonly #runDispatch: () => void;

  constructor(options: DynamicBatchSchedulerOptions) {
    this.signature = options.signature;
    this.reporter = options.reporter;
    this.clock = options.clock;
    this.onFault = options.onFault;
    this.#policy = options.policy;
    this.#instances = options.instances;
    this.#queue = new PendingQueue(options.maxQueueSize);
    this.#runDispatch = () => this.#dispatch();
  }

  get inflightCount(): number {
    return this.#queue.length + this.#executing;
  }

  get pendingCount(): number {
    return this.#queue.length;
  }

  enqueue(request: InferenceRequest): void {
    if (this.#isStopping) throw schedulerStopping(this.signature.modelName);
    request.queuedNs = this.clock.nowNs();
    if (!this.#queue.push(request)) throw queueFull(this.signature.modelName, this.#queue.maxSize);
    request.holder = this;
    if (request.deadlineNs < this.#earliestDeadlineNs) this.#earliestDeadlineNs = request.deadlineNs;
    this.reporter.pendingCount = this.#queue.length;
    this.poke();
  }

  poke(): void {
    if (this.#isDispatchScheduled || (this.#queue.length === 0 && this.#parts.length === 0)) return;
    this.#isDispatchScheduled = true;
    // In a long tick the host would be asleep again before its batch is there.
    if (this.#lastTake <= QUIET_BATCH && this.#policy.maxQueueDelayNs === 0) this.#instances.expect();
    this.clock.endOfTick(this.#runDispatch);
  }

  onRequestCancelled(_request: InferenceRequest): void {
    this.#cancelledCount++;
    this.poke();
  }

  /** Its models answer once. */
  onRequestResumed(): void {}

  onBatchEnd(requestCount: number): void {
    this.#executing -= requestCount;
    this.poke();
    this.#settleStop();
  }

  onBatchDivided(requests: readonly InferenceRequest[]): void {
    const middle = (requests.length + 1) >> 1;
    this.#parts.push(requests.slice(0, middle), requests.slice(middle));
    this.poke();
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
    while (this.#queue.length > 0) this.#leaveQueue(this.#queue.shift()).fail(error);
    for (const part of this.#parts.splice(0)) new Batch(part, this).fail(error);
    this.reporter.pendingCount = 0;
    this.#settleStop();
  }

  #dispatch(): void {
    this.#isDispatchScheduled = false;
    if (this.#timer !== null) {
      this.clock.clear(this.#timer);
      this.#timer = null;
    }
    const nowNs = this.clock.nowNs();
    if (this.#cancelledCount > 0 || this.#earliestDeadlineNs <= nowNs) this.#dropGone(nowNs);

    if (this.#parts.length > 0) this.#runParts();
    while (this.#queue.length > 0) {
      formBatch(this.#queue, this.#policy, nowNs, this.#decision);
      if (this.#decision.take === 0) {
        this.#timer = this.clock.schedule(this.#runDispatch, this.#decision.waitNs);
        break;
      }
      const instance = this.#instances.take(this.#decision.isComplete);
      // A batch that ends, or an instance that comes back, pokes again.
      if (instance === null) break;
      const batch = this.#takeBatch(this.#decision.take);
      this.#executing += batch.requests.length;
      if (!batch.start(instance)) {
        // No tensor memory at the moment. The requests keep their place: they are the oldest.
        this.#executing -= batch.requests.length;
        this.#queue.unshift(batch.requests);
        for (const request of batch.requests) request.holder = this;
        break;
      }
    }
    this.reporter.pendingCount = this.#queue.length;
    this.#settleStop();
  }

  #runParts(): void {
    for (let part = this.#parts[0]; part !== undefined; part = this.#parts[0]) {
      const instance = this.#instances.take(true);
      if (instance === null) return;
      this.#parts.shift();
      if (!new Batch(part, this).start(instance)) {
        this.#parts.unshift(part);
        return;
      }
    }
  }

  #takeBatch(count: number): Batch {
    const requests = new Array<InferenceRequest>(count);
    for (let i = 0; i < count; i++) requests[i] = this.#leaveQueue(this.#queue.shift());
    this.#lastTake = count;
    return new Batch(requests, this);
  }

  #leaveQueue(request: InferenceRequest): InferenceRequest {
    request.holder = null;
    return request;
  }

  /** Work that nobody waits for, or that comes too late, is dropped before it runs. */
  #dropGone(nowNs: number): void {
    const gone: InferenceRequest[] = [];
    this.#queue.removeIf((request) => request.isDone || request.deadlineNs <= nowNs, gone);
    this.#cancelledCount = 0;
    this.#earliestDeadlineNs = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#queue.length; i++) {
      this.#earliestDeadlineNs = Math.min(this.#earliestDeadlineNs, this.#queue.at(i).deadlineNs);
    }
    for (const request of gone) this.#leaveQueue(request).expire();
  }

  #settleStop(): void {
    if (this.#onStopped === null || this.inflightCount > 0) return;
    const stopped = this.#onStopped;
    this.#onStopped = null;
    stopped();
  }
}
