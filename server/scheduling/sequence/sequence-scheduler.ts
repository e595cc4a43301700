/** @hotpath every request of a sequence: to its sequence, to a slot, to an execution and back */

import type { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { InstanceChannel } from '../../execution/execution-host.ts';
import type { Clock } from '../../inference/clock.ts';
import type { InferenceRequest, RequestHolder } from '../../inference/inference-request.ts';
import { InferenceResponse, type ResponseTiming } from '../../inference/inference-response.ts';
import type { ModelReporter } from '../../metrics/model-reporter.ts';
import { queueFull, type Scheduler, schedulerStopping } from '../scheduler.ts';
import { Backlog } from './backlog.ts';
import { checkSequenceRequest, startRequired } from './check-sequence-request.ts';
import { LaneSet, type SequenceInstances } from './lane-set.ts';
import { LiveSequences } from './live-sequences.ts';
import { returnedOutputs } from './returned-outputs.ts';
import { Sequence } from './sequence.ts';
import { SequenceList } from './sequence-list.ts';
import type { SequencePlan } from './sequence-plan.ts';
import { backlogExpired, sequenceCancelled, sequenceLost, sequenceNotBegun, tooManySequences } from './sequence-refusals.ts';
import type { LaneOwner, SlotLane } from './slot-lane.ts';
import { StateBudget } from './state-budget.ts';
import { WakeTimer } from './wake-timer.ts';

export interface SequenceSchedulerOptions {
  readonly plan: SequencePlan;
  readonly instances: SequenceInstances;
  readonly createLane: (channel: InstanceChannel, owner: LaneOwner) => SlotLane;
  /** Nanoseconds without a request after which a sequence ends. */
  readonly maxIdleNs: number;
  /** Requests that may wait. A sequence in the backlog has one at least, so with the slots this bounds the live sequences too. */
  readonly maxQueueSize: number;
  /** Of the implicit states of all sequences together. */
  readonly maxStateBytes: number;
  /** Requests without an id are a sequence each (`iterative_sequence`). */
  readonly isIterative: boolean;
  /** The model keeps nothing between runs: its sequences outlive their instance. */
  readonly isStateOurs: boolean;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
}

/**
 * Triton's sequence batcher (reference 7.2). A sequence is always in one of these places; each of its requests is answered before the next one runs:
 *
 *     START ---> backlog ---> a slot of a lane: ready ---> running ---> ready, idle, or ended
 *                (FIFO)                           ^______________________|
 *
 * It keeps its slot until its END is answered, until it was idle for too long, or until one of its requests is cancelled. A run that fails does not change its state: its request gets the error, and the
 * sequence goes on; but where it failed to begin, it has ended.
 */
export class SequenceScheduler implements Scheduler, RequestHolder, LaneOwner {
  readonly plan: SequencePlan;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
  readonly #options: SequenceSchedulerOptions;
  readonly #budget: StateBudget;
  readonly #live: LiveSequences = new LiveSequences();
  readonly #backlog: Backlog = new Backlog();
  /** In order of `idleSinceNs`. */
  readonly #idle: SequenceList = new SequenceList();
  readonly #lanes: LaneSet;
  readonly #timer: WakeTimer;
  #nextAnonymousId = 1n;
  /** Requests not executing. */
  #waiting = 0;
  #executing = 0;
  #lastStarted = 1;
  #isServing = false;
  #isDispatchScheduled = false;
  #isStopping = false;
  #isStopped = false;
  #onStopped: (() => void) | null = null;
  readonly #runDispatch: () => void;

  constructor(options: SequenceSchedulerOptions) {
    this.#options = options;
    this.plan = options.plan;
    this.reporter = options.reporter;
    this.clock = options.clock;
    this.onFault = options.onFault;
    this.#budget = new StateBudget(options.maxStateBytes);
    this.#runDispatch = () => this.#dispatch();
    this.#lanes = new LaneSet(options.instances, (channel) => options.createLane(channel, this));
    this.#timer = new WakeTimer(options.clock, () => this.#scheduleDispatch());
  }

  get inflightCount(): number {
    return this.#waiting + this.#executing;
  }

  get pendingCount(): number {
    return this.#waiting;
  }

  /** Sequences that have not ended; those that lost their instance and do not know it yet among them. */
  get liveCount(): number {
    return this.#live.count;
  }

  /** Taken by implicit states. */
  get stateBytes(): number {
    return this.#budget.usedBytes;
  }

  enqueue(request: InferenceRequest): void {
    const { modelName } = this.plan.signature;
    if (this.#isStopped) throw schedulerStopping(modelName);
    checkSequenceRequest(request, this.plan, this.#options.isIterative);
    if (!this.#isServing) {
      this.#isServing = true;
      this.#options.instances.beginService();
      this.#followInstances();
    }
    const sequence = this.#sequenceFor(request);
    request.queuedNs = this.clock.nowNs();
    request.holder = this;
    const wasIdle = !sequence.hasWork;
    sequence.push(request);
    this.#waiting++;
    if (request.sequence?.isEnd === true) sequence.isEnding = true;
    if (wasIdle) this.#place(sequence);
    else this.#backlog.joined(sequence, request);
    this.reporter.pendingCount = this.#waiting;
    if (this.#lastStarted <= 2 && sequence.lane !== null) sequence.lane.channel.expect();
    this.#scheduleDispatch();
  }

  poke(): void {
    if (this.#waiting > 0 || this.#lanes.hasChanged) this.#scheduleDispatch();
  }

  /** One that waits: what follows it in its sequence would no longer follow it. */
  onRequestCancelled(request: InferenceRequest): void {
    const sequence = this.#live.holderOf(request);
    if (sequence === null) return;
    const waiting = this.#end(sequence);
    this.#failAll(waiting, sequenceCancelled(sequence.id), request);
    this.#scheduleDispatch();
  }

  /** Its models answer once. */
  onRequestResumed(): void {}

  onStarted(count: number): void {
    this.#waiting -= count;
    this.#executing += count;
    this.#lastStarted = count;
  }

  onReturned(sequence: Sequence): boolean {
    const request = sequence.active!;
    sequence.isRunning = false;
    this.#waiting++;
    this.#executing--;
    request.holder = this;
    if (!sequence.isOver && !request.isDone) return true;
    // It was cancelled, or another request of its sequence was, while it ran.
    if (sequence.isOver) {
      this.#waiting--;
      this.#detach(sequence);
      sequence.clear();
      request.holder = null;
      this.#failAll([request], sequenceCancelled(sequence.id));
    } else this.#failAll(this.#end(sequence), sequenceCancelled(sequence.id));
    return false;
  }

  onLate(sequence: Sequence): void {
    sequence.active!.expire();
  }

  onAnswer(sequence: Sequence, request: InferenceRequest, outputs: readonly Tensor[], timing: ResponseTiming): void {
    const error = sequence.isOver ? null : sequence.advance(outputs, this.#budget);
    this.#settle(sequence, request, error, false);
    if (request.isDone) return;
    if (error !== null) {
      request.fail(error);
      return;
    }
    const { modelName, modelVersion } = this.plan.signature;
    request.respond(new InferenceResponse(modelName, modelVersion, returnedOutputs(request, outputs, this.plan), null, timing));
  }

  onFailure(sequence: Sequence, request: InferenceRequest, error: InferenceError): void {
    const { lane } = sequence;
    const isLost = !this.#options.isStateOurs && (lane!.isGone || !lane!.channel.isAlive) && sequence.key !== request;
    this.#settle(sequence, request, null, true);
    // To try again, as the host's own error says, would not help.
    request.fail(isLost ? sequenceLost(sequence.id, this.plan.signature.modelName) : error);
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
    for (const sequence of this.#live.all()) this.#failAll(this.#end(sequence), error);
    this.reporter.pendingCount = this.#waiting;
    this.#settleStop();
  }

  /** The live sequence that the request belongs to, or the one that it begins. Throws why there is none. */
  #sequenceFor(request: InferenceRequest): Sequence {
    const { modelName } = this.plan.signature;
    const { sequence: flags } = request;
    const key = flags === null ? request : flags.id;
    const known = this.#live.get(key);
    const isLive = known !== undefined && !known.isEnding && !known.isLost;
    if (flags !== null && !flags.isStart && !isLive) {
      if (known?.isLost !== true) throw startRequired(flags.id, modelName);
      this.#end(known);
      throw sequenceLost(flags.id, modelName);
    }
    if (this.#isStopping && (flags === null || flags.isStart)) throw schedulerStopping(modelName);
    if (this.#waiting >= this.#options.maxQueueSize) throw queueFull(modelName, this.#options.maxQueueSize);
    if (isLive) return known;
    if (this.liveCount >= this.#lanes.slotCount + this.#options.maxQueueSize) throw tooManySequences(modelName, this.liveCount);
    if (known?.isLost === true) this.#end(known);
    const sequence = new Sequence(flags === null ? this.#anonymousId() : flags.id, key, this.plan);
    this.#live.add(sequence);
    return sequence;
  }

  #anonymousId(): bigint | string {
    const id = this.#nextAnonymousId++;
    return this.plan.correlation?.datatype === 'BYTES' ? String(id) : id;
  }

  /** It has something to run, and is in no list but that of the idle ones. */
  #place(sequence: Sequence): void {
    if (sequence.list !== null) sequence.list.remove(sequence);
    const { lane } = sequence;
    if (lane !== null) {
      if (sequence.active === null) sequence.activate(this.#budget);
      lane.ready(sequence);
      return;
    }
    this.#backlog.append(sequence);
  }

  #dispatch(): void {
    this.#isDispatchScheduled = false;
    if (this.#isStopped) return;
    const nowNs = this.clock.nowNs();
    this.#followInstances();
    this.#expireBacklog(nowNs);
    this.#endIdle(nowNs);
    this.#fillSlots();
    let wakeNs = this.#lanes.run(nowNs);
    const first = this.#backlog.firstToExpire;
    if (first !== null) wakeNs = Math.min(wakeNs, first.expiresNs);
    const idle = this.#idle.first;
    if (idle !== null) wakeNs = Math.min(wakeNs, idle.idleSinceNs + this.#options.maxIdleNs);
    this.#timer.wakeBy(wakeNs);
    this.reporter.pendingCount = this.#waiting;
    this.#settleStop();
  }

  #followInstances(): void {
    for (const lane of this.#lanes.follow()) {
      // Last to first, as each goes to the front of the backlog.
      for (const sequence of lane.members().reverse()) if (!sequence.isRunning) this.#leaveLane(sequence, false);
    }
  }

  /** Its instance is gone. `isHeard`: a request of it ended in an error already. */
  #leaveLane(sequence: Sequence, isHeard: boolean): void {
    sequence.lane!.release(sequence);
    if (this.#options.isStateOurs) {
      if (!sequence.hasWork) return;
      this.#backlog.prepend(sequence);
      return;
    }
    const { modelName } = this.plan.signature;
    const waiting = sequence.waiting();
    if (isHeard || waiting.length > 0) {
      this.#failAll(this.#end(sequence), sequenceLost(sequence.id, modelName));
      return;
    }
    sequence.isLost = true;
    sequence.release(this.#budget);
  }

  #expireBacklog(nowNs: number): void {
    for (let first = this.#backlog.firstToExpire; first !== null && first.expiresNs <= nowNs; first = this.#backlog.firstToExpire) {
      const late = first.waiting().find(({ deadlineNs }) => deadlineNs <= nowNs);
      // Which ends its sequence.
      if (late !== undefined) late.expire();
      else this.#failAll(this.#end(first), backlogExpired(this.plan.signature.modelName));
    }
  }

  #endIdle(nowNs: number): void {
    const { maxIdleNs } = this.#options;
    for (let first = this.#idle.first; first !== null && first.idleSinceNs + maxIdleNs <= nowNs; first = this.#idle.first) this.#end(first);
  }

  #fillSlots(): void {
    for (let first = this.#backlog.first; first !== null; first = this.#backlog.first) {
      const best = this.#lanes.freest();
      if (best === null) {
        // Whoever might go on with an idle sequence has hardly a way left to do so.
        const idle = this.#isStopping && !this.#lanes.isEmpty ? this.#idle.first : null;
        if (idle === null) return;
        this.#end(idle);
        continue;
      }
      this.#backlog.remove(first);
      best.admit(first);
      this.#place(first);
    }
  }

  /** The active request has run. `ending`: why its sequence cannot go on; null: it can. */
  #settle(sequence: Sequence, request: InferenceRequest, ending: InferenceError | null, hasFailed: boolean): void {
    sequence.isRunning = false;
    sequence.active = null;
    this.#executing--;
    if (sequence.isOver) this.#detach(sequence);
    else if (ending !== null) this.#failAll(this.#end(sequence), ending);
    else if (request.isCancelled) this.#failAll(this.#end(sequence), sequenceCancelled(sequence.id));
    else if (hasFailed && request.sequence?.isStart === true && !sequence.beginsAnew) {
      // The model has not seen the start: what it or we have kept under this row may be another's.
      this.#failAll(this.#end(sequence), sequenceNotBegun(sequence.id, this.plan.signature.modelName));
    } else this.#goOn(sequence, request, hasFailed);
    if (this.#onStopped !== null) this.#scheduleDispatch();
  }

  #goOn(sequence: Sequence, request: InferenceRequest, hasFailed: boolean): void {
    if (!sequence.hasWork && (sequence.isEnding || sequence.key === request)) {
      this.#end(sequence);
      return;
    }
    const { lane } = sequence;
    if (lane!.isGone || !lane!.channel.isAlive) this.#leaveLane(sequence, hasFailed);
    else if (sequence.hasWork) this.#place(sequence);
    if (sequence.hasWork || sequence.isOver) return;
    sequence.idleSinceNs = this.clock.nowNs();
    this.#idle.append(sequence);
    this.#timer.wakeBy(sequence.idleSinceNs + this.#options.maxIdleNs);
  }

  /** Returns its requests that waited, for the caller to end them. One that runs is answered all the same, and keeps the slot until then. */
  #end(sequence: Sequence): readonly InferenceRequest[] {
    const waiting = sequence.waiting();
    this.#waiting -= waiting.length;
    for (const request of waiting) request.holder = null;
    sequence.isOver = true;
    this.#backlog.remove(sequence);
    if (sequence.list !== null) sequence.list.remove(sequence);
    this.#live.delete(sequence);
    if (!sequence.isRunning) this.#detach(sequence);
    sequence.clear();
    return waiting;
  }

  #detach(sequence: Sequence): void {
    if (sequence.lane !== null) sequence.lane.release(sequence);
    sequence.release(this.#budget);
    if (this.#waiting > 0) this.#scheduleDispatch();
  }

  #failAll(requests: readonly InferenceRequest[], error: InferenceError, except: InferenceRequest | null = null): void {
    for (const request of requests) {
      if (request === except) continue;
      try {
        request.fail(error);
      } catch (fault) {
        this.onFault(fault);
      }
    }
  }

  #scheduleDispatch(): void {
    if (this.#isDispatchScheduled) return;
    this.#isDispatchScheduled = true;
    this.clock.endOfTick(this.#runDispatch);
  }

  #settleStop(): void {
    if (this.#onStopped === null || this.inflightCount > 0) return;
    this.#isStopped = true;
    for (const sequence of this.#live.all()) this.#end(sequence);
    this.#timer.stop();
    const stopped = this.#onStopped;
    this.#onStopped = null;
    stopped();
  }
}
