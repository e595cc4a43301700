/** @hotpath the one loop that gives waiting requests to instances */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { InstanceChannel } from '../execution/execution-host.ts';
import type { Clock, ClockTimer } from '../inference/clock.ts';
import type { InferenceRequest, RequestHolder } from '../inference/inference-request.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import { Batch, type BatchContext, type BatchResponder } from './batch.ts';
import { BatchRuns, rowsOf } from './batch-runs.ts';
import { capBatch } from './cap-batch.ts';
import { EndInTurns } from './end-in-turns.ts';
import { type BatchDecision, type BatchPolicy, formBatch } from './form-batch.ts';
import type { BatchAdvisor } from './learned/batch-advisor.ts';
import { PendingQueue } from './pending-queue.ts';
import { PolicyQueue } from './policy-queue.ts';
import { type QueuePolicies, timeoutExpired } from './queue-policy.ts';
import { QueueSweep } from './queue-sweep.ts';
import type { RequestQueue } from './request-queue.ts';
import { ResponseOrder } from './response-order.ts';
import { queueFull, type Scheduler, schedulerStopping } from './scheduler.ts';
import { shortenWait } from './shorten-wait.ts';

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
  /** Where `queuePolicies` says nothing. */
  readonly maxQueueSize: number;
  /** Priorities and timeouts of the queue; null: order of arrival, for as long as it takes. */
  readonly queuePolicies?: QueuePolicies | null;
  /** Responses leave in the order in which the requests came. Only without priorities and delayed requests. */
  readonly preservesOrder?: boolean;
  /** What knows how long batches take; null: batches are made by the policy alone. */
  readonly advisor?: BatchAdvisor | null;
  readonly instances: InstanceSource;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  /** Hears of faults that are the server's own; for the log. */
  readonly onFault: (error: unknown) => void;
}

/** Batches up to this many requests mean ticks of a few microseconds. */
const QUIET_BATCH = 2;
/** Batches whose responses may wait for an earlier one's, where order is kept. */
const MAX_EARLY_BATCHES = 8;
/** setTimeout knows no longer delay. */
const LONGEST_TIMER_NS = 2 ** 31 * 1e6 - 1e6;

const isOver = (request: InferenceRequest): boolean => request.isDone;

/**
 * One state (a queue), one loop (`#dispatch`), many that poke it: a new request, a finished batch, a timer, an instance that became free. Every poke only
 * asks for one dispatch at the end of the tick, so that all requests which the tick brought are in the queue when a batch is formed; no timer runs unless
 * the configuration asks for a queue delay, or a request that waits for an instance has a deadline or a queue timeout.
 */
export class DynamicBatchScheduler implements Scheduler, BatchContext, RequestHolder {
  readonly signature: ModelSignature;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
  readonly responder: BatchResponder | null;
  readonly #policy: BatchPolicy;
  readonly #instances: InstanceSource;
  readonly #queue: RequestQueue;
  readonly #order: ResponseOrder | null;
  readonly #advisor: BatchAdvisor | null;
  /** Null without an advisor. */
  readonly #runs: BatchRuns | null;
  /** Halves of batches that failed whole, to run before anything of their priority that waits. As many requests as have been executing, at most. */
  readonly #parts: (readonly InferenceRequest[])[] = [];
  readonly #decision: BatchDecision = { take: 0, waitNs: 0, isComplete: false, requests: 0, rows: 0 };
  /** Empty between two batches. */
  readonly #hopeless: InferenceRequest[] = [];
  /** Requests inside executions, and those in `#parts`. */
  #executing = 0;
  #isDispatchScheduled = false;
  /** Requests in the last batch. */
  #lastTake = 1;
  #delayTimer: ClockTimer | null = null;
  /** For the earliest deadline or timeout, while instances leave requests waiting. */
  #expiryTimer: ClockTimer | null = null;
  #expiryTimerNs = Number.POSITIVE_INFINITY;
  /** Requests in the queue or in `#parts` that have ended since the last look at these. */
  #goneCount = 0;
  readonly #sweep: QueueSweep;
  readonly #ending: EndInTurns;
  #onStopped: (() => void) | null = null;
  #isStopping = false;
  readonly #runDispatch: () => void;
  readonly #runExpiry: () => void;

  constructor(options: DynamicBatchSchedulerOptions) {
    this.signature = options.signature;
    this.reporter = options.reporter;
    this.clock = options.clock;
    this.onFault = options.onFault;
    this.#policy = options.policy;
    this.#instances = options.instances;
    this.#advisor = options.advisor ?? null;
    this.#runs = this.#advisor === null ? null : new BatchRuns(this, this.#advisor);
    const queuePolicies = options.queuePolicies ?? null;
    this.#queue = queuePolicies === null ? new PendingQueue(options.maxQueueSize) : new PolicyQueue(queuePolicies);
    this.#ending = new EndInTurns(options.clock, options.onFault, () => this.#settleStop());
    this.#sweep = new QueueSweep(this.#queue, options.clock, this.#ending, options.policy.maxBatchSize);
    const maxEarly = MAX_EARLY_BATCHES * Math.max(1, options.policy.maxBatchSize);
    this.#order = options.preservesOrder === true ? new ResponseOrder(options.signature, maxEarly, options.onFault) : null;
    this.responder = this.#order;
    this.#runDispatch = () => this.#dispatch();
    this.#runExpiry = () => {
      this.#expiryTimer = null;
      this.#expiryTimerNs = Number.POSITIVE_INFINITY;
      this.#dispatch();
    };
  }

  get inflightCount(): number {
    return this.#queue.length + this.#executing + this.#ending.length;
  }

  get pendingCount(): number {
    return this.#queue.length;
  }

  enqueue(request: InferenceRequest): void {
    if (this.#isStopping) throw schedulerStopping(this.signature.modelName);
    if (request.isDone) return;
    const nowNs = this.clock.nowNs();
    request.queuedNs = nowNs;
    const queue = this.#queue;
    if (this.#runs !== null) {
      const { advisor, rowsExecuting } = this.#runs;
      const refusal = advisor.arrive(request, queue.requestsBefore(request), queue.rowsBefore(request), rowsExecuting, nowNs);
      if (refusal !== null) throw refusal;
    }
    if (!queue.push(request)) {
      if (!this.#sweep.run(nowNs)) throw queueFull(this.signature.modelName, queue.maxSizeFor(request));
      this.poke();
      if (!queue.push(request)) throw queueFull(this.signature.modelName, queue.maxSizeFor(request));
    }
    request.holder = this;
    if (request.deadlineNs < this.#sweep.earliestDeadlineNs) this.#sweep.earliestDeadlineNs = request.deadlineNs;
    this.reporter.pendingCount = queue.length;
    this.poke();
  }

  poke(): void {
    if (this.#isDispatchScheduled || (this.#queue.length === 0 && this.#parts.length === 0)) return;
    // In a long tick the host would be asleep again before its batch is there.
    if (this.#lastTake <= QUIET_BATCH && this.#policy.maxQueueDelayNs === 0) this.#instances.expect();
    this.#scheduleDispatch();
  }

  #scheduleDispatch(): void {
    this.#isDispatchScheduled = true;
    this.clock.endOfTick(this.#runDispatch);
  }

  onRequestCancelled(request: InferenceRequest): void {
    request.holder = null;
    this.#goneCount++;
    this.#sweep.hasGone = true;
    this.poke();
  }

  /** Its models answer once. */
  onRequestResumed(): void {}

  /** Those whose responses wait behind its own need not wait for the end of its batch. */
  onRequestGone(): void {
    if (this.#order === null || this.#goneCount++ > 0 || this.#isDispatchScheduled) return;
    this.#scheduleDispatch();
  }

  onBatchEnd(requestCount: number): void {
    this.#executing -= requestCount;
    this.poke();
    this.#settleStop();
  }

  onBatchDivided(requests: readonly InferenceRequest[]): void {
    for (const request of requests) {
      if (request.isDone) this.#goneCount++;
      else request.holder = this;
    }
    const middle = (requests.length + 1) >> 1;
    this.#addPart(requests.slice(middle));
    this.#addPart(requests.slice(0, middle));
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
    while (this.#queue.length > 0) this.#fail(this.#queue.shift(), error);
    for (let part = this.#parts.shift(); part !== undefined; part = this.#parts.shift()) {
      for (const request of part) {
        request.holder = null;
        if (this.#order === null) this.#fail(request, error);
        else this.#order.fail(request, error);
      }
      this.#partLeft(part);
    }
    this.#goneCount = 0;
    this.reporter.pendingCount = 0;
    this.#settleStop();
  }

  #dispatch(): void {
    this.#isDispatchScheduled = false;
    if (this.#delayTimer !== null) {
      this.clock.clear(this.#delayTimer);
      this.#delayTimer = null;
    }
    let nowNs = this.clock.nowNs();
    for (;;) {
      this.#dropExpired(nowNs);
      // An answer may have made its caller cancel others.
      if (this.#goneCount > 0) this.#dropGone();
      if (this.#parts.length > 0 && !this.#isOutranked(this.#parts[0]!)) {
        if (!this.#runPart()) break;
      } else if (!this.#runBatch(nowNs)) {
        break;
      }
      // Instances that answer at once may have taken long.
      if (Math.min(this.#sweep.earliestDeadlineNs, this.#queue.nextExpiryNs) < Number.POSITIVE_INFINITY) nowNs = this.clock.nowNs();
    }
    this.reporter.pendingCount = this.#queue.length;
    if (this.#queue.length > 0) this.#watchExpiry(nowNs);
    this.#settleStop();
  }

  /** A batch from the queue. False: none now. */
  #runBatch(nowNs: number): boolean {
    const queue = this.#queue;
    const decision = this.#decision;
    if (queue.length === 0 || this.#order?.isFull) return false;
    formBatch(queue, this.#policy, nowNs, decision);
    const isHeld = decision.take === 0;
    const instance = this.#instances.take(decision.isComplete && !queue.isReordered);
    // A batch that ends, or an instance that comes back, pokes again.
    if (instance === null) return isHeld && this.#parts.length > 0 && this.#runPart();
    if (isHeld) {
      if (this.#advisor !== null) shortenWait(queue, this.#policy, this.#advisor, nowNs, decision);
      if (decision.take === 0) {
        if (this.#parts.length > 0) return this.#runPart();
        this.#delayTimer = this.clock.schedule(this.#runDispatch, decision.waitNs);
        return false;
      }
    }
    if (this.#advisor !== null && this.#sweep.earliestDeadlineNs < Number.POSITIVE_INFINITY && !this.#cap(this.#advisor, nowNs))
      return true;
    const requests = new Array<InferenceRequest>(decision.take);
    for (let i = 0; i < requests.length; i++) requests[i] = queue.shift();
    this.#lastTake = requests.length;
    this.#order?.begin(requests);
    this.#executing += requests.length;
    const rows = this.#runs === null ? 0 : this.#runs.taken(requests);
    if (new Batch(requests, this.#context(instance, rows)).start(instance)) return true;
    // No tensor memory at the moment. The requests keep their place: they are the oldest.
    this.#executing -= requests.length;
    this.#runs?.left(requests);
    this.#order?.takeBack(requests.length);
    queue.unshift(requests);
    for (const request of requests) request.holder = this;
    return false;
  }

  /** By priority, then by arrival; before those that came at the same time. */
  #addPart(part: readonly InferenceRequest[]): void {
    const parts = this.#parts;
    const first = part[0]!;
    const level = this.#queue.levelOf(first);
    let at = 0;
    for (; at < parts.length; at++) {
      const other = parts[at]![0]!;
      const otherLevel = this.#queue.levelOf(other);
      if (otherLevel > level || (otherLevel === level && other.queuedNs >= first.queuedNs)) break;
    }
    parts.splice(at, 0, part);
  }

  /** A part of a batch that failed. False: none now. */
  #runPart(): boolean {
    const instance = this.#instances.take(!this.#queue.isReordered);
    if (instance === null) return false;
    const part = this.#parts.shift()!;
    const rows = this.#runs === null ? 0 : rowsOf(part);
    if (new Batch(part, this.#context(instance, rows)).start(instance)) return true;
    this.#parts.unshift(part);
    for (const request of part) request.holder = this;
    return false;
  }

  /** Something of a higher priority came after `part` had been begun. A batch's first request is of its highest level. */
  #isOutranked(part: readonly InferenceRequest[]): boolean {
    const queue = this.#queue;
    return queue.isReordered && queue.length > 0 && queue.levelOf(queue.at(0)) < queue.levelOf(part[0]!);
  }

  #context(instance: InstanceChannel, rows: number): BatchContext {
    return this.#runs === null ? this : this.#runs.begin(instance, rows);
  }

  /** Makes the decided batch small enough for the deadlines in it. False: requests that would be late even alone were ended, so decide again. */
  #cap(advisor: BatchAdvisor, nowNs: number): boolean {
    const hopeless = this.#hopeless;
    const { take } = this.#decision;
    this.#decision.take = capBatch(this.#queue, take, advisor, nowNs, hopeless);
    if (hopeless.length === 0) return true;
    const late = new Set(hopeless);
    const gone: InferenceRequest[] = [];
    this.#queue.removeIf((request) => late.has(request), gone, take - hopeless.length);
    hopeless.length = 0;
    this.#ending.add(gone, null);
    this.#ending.run();
    return false;
  }

  /** What waited too long is ended, or moved back; what has ended is taken out. */
  #dropExpired(nowNs: number): void {
    const queue = this.#queue;
    this.#sweep.run(nowNs);
    if (queue.nextExpiryNs <= nowNs) {
      const rejected: InferenceRequest[] = [];
      queue.expire(nowNs, rejected);
      if (rejected.length > 0) this.#ending.add(rejected, () => timeoutExpired(this.signature.modelName));
    }
    if (this.#ending.length === 0) return;
    this.#ending.run();
    // Their callers may have made others end.
    this.#sweep.run(nowNs);
  }

  /** Work that nobody waits for is dropped before it runs. */
  #dropGone(): void {
    this.#goneCount = 0;
    let kept = 0;
    const parts = this.#parts;
    for (const part of parts) {
      const rest = part.some(isOver) ? part.filter((request) => !request.isDone) : part;
      if (rest.length < part.length) this.#partLeft(part.filter(isOver));
      if (rest.length > 0) parts[kept++] = rest;
    }
    parts.length = kept;
    this.#order?.settle();
  }

  #partLeft(requests: readonly InferenceRequest[]): void {
    this.#executing -= requests.length;
    this.#runs?.left(requests);
  }

  /** A caller that throws costs the others nothing. */
  #fail(request: InferenceRequest, error: InferenceError): void {
    request.holder = null;
    try {
      request.fail(error);
    } catch (fault) {
      this.onFault(fault);
    }
  }

  /** While requests wait for an instance, which may be never, one timer runs: for whoever's time is over first. */
  #watchExpiry(nowNs: number): void {
    const atNs = Math.min(this.#sweep.wakeNs(nowNs), this.#queue.nextExpiryNs);
    // One that fires early looks again.
    if (atNs >= this.#expiryTimerNs) return;
    if (this.#expiryTimer !== null) this.clock.clear(this.#expiryTimer);
    this.#expiryTimerNs = atNs;
    this.#expiryTimer = this.clock.schedule(this.#runExpiry, Math.min(Math.max(0, atNs - nowNs), LONGEST_TIMER_NS), true);
  }

  #settleStop(): void {
    if (this.#onStopped === null || this.inflightCount > 0) return;
    if (this.#expiryTimer !== null) this.clock.clear(this.#expiryTimer);
    this.#expiryTimer = null;
    this.#expiryTimerNs = Number.POSITIVE_INFINITY;
    const stopped = this.#onStopped;
    this.#onStopped = null;
    stopped();
  }
}
