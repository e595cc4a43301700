import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import { ModelReporter } from '../../metrics/model-reporter.ts';
import { capBatch } from '../cap-batch.ts';
import { ManualClock } from '../manual-clock.ts';
import { identitySignature, int32Request, Ledger } from '../scheduling-fixtures.ts';
import { LearnedBatching, type LearnedBatchingOptions } from './learned-batching.ts';

export interface SimulationOptions {
  readonly maxBatchSize: number;
  readonly instances?: number;
  readonly maxQueueTimeNs?: number;
  /** True time of an execution. */
  readonly timeOf: (rows: number, nowNs: number) => number;
  /** False: nothing is learned; batches are as large as the queue lets them. */
  readonly isLearned?: boolean;
}

export interface Outcome {
  /** In time. */
  served: number;
  /** Ran, and came too late. */
  late: number;
  /** Refused on arrival. */
  refused: number;
  /** Given up in the queue. */
  dropped: number;
  /** Executed batches. */
  batches: number;
  longestWaitNs: number;
}

/** A queue and its instances in pretended time: what a scheduler does with an advisor, without what does not concern it. */
export class QueueSimulation {
  readonly clock: ManualClock = new ManualClock();
  readonly reporter: ModelReporter = new ModelReporter('identity', '1', {});
  readonly signature: ModelSignature;
  readonly advisor: LearnedBatching;
  readonly outcome: Outcome = { served: 0, late: 0, refused: 0, dropped: 0, batches: 0, longestWaitNs: 0 };
  readonly #options: SimulationOptions;
  readonly #queue: InferenceRequest[] = [];
  readonly #ledger: Ledger = new Ledger();
  readonly instances: { aliveCount: number };
  #running = 0;
  #rowsExecuting = 0;

  constructor(options: SimulationOptions, more: Partial<LearnedBatchingOptions> = {}) {
    this.#options = options;
    this.signature = identitySignature(options.maxBatchSize, [[4]]);
    this.instances = { aliveCount: options.instances ?? 1 };
    this.advisor = new LearnedBatching({
      signature: this.signature,
      maxBatchSize: options.maxBatchSize,
      variableInputs: [],
      maxQueueTimeNs: options.maxQueueTimeNs ?? 10e9,
      instances: this.instances,
      reporter: this.reporter,
      clock: this.clock,
      ...more,
    });
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** A request of one row; false: it was refused. */
  arrive(deadlineNs: number = Number.POSITIVE_INFINITY): boolean {
    const nowNs = this.clock.nowNs();
    const request = int32Request('', this.#ledger, [{ shape: [1, 4], values: [1, 2, 3, 4] }]);
    request.queuedNs = nowNs;
    request.deadlineNs = nowNs + deadlineNs;
    if (this.#options.isLearned !== false) {
      const waiting = this.#queue.length;
      if (this.advisor.arrive(request, waiting, waiting, this.#rowsExecuting, nowNs) !== null) {
        this.outcome.refused++;
        return false;
      }
    }
    this.#queue.push(request);
    this.#dispatch();
    return true;
  }

  /** Requests at `perSecond`, at random times from `random`, for so long; then until the queue is empty. */
  load(perSecond: number, durationNs: number, random: () => number, deadline: () => number): Outcome {
    const untilNs = this.clock.nowNs() + durationNs;
    for (;;) {
      const gapNs = (-Math.log(1 - random()) / perSecond) * 1e9;
      if (this.clock.nowNs() + gapNs > untilNs) break;
      this.clock.advance(gapNs);
      this.arrive(deadline());
    }
    while (this.#queue.length > 0 || this.#running > 0) this.clock.advance(1e6);
    return this.outcome;
  }

  #dispatch(): void {
    const { instances = 1, maxBatchSize, isLearned = true, timeOf } = this.#options;
    while (this.#queue.length > 0 && this.#running < instances) {
      const nowNs = this.clock.nowNs();
      for (let i = this.#queue.length - 1; i >= 0; i--) if (this.#queue[i]!.deadlineNs <= nowNs) this.#drop(i);
      let take = Math.min(maxBatchSize, this.#queue.length);
      if (take === 0) return;
      if (isLearned) {
        const hopeless: InferenceRequest[] = [];
        const view = { length: this.#queue.length, at: (index: number) => this.#queue[index]! };
        take = capBatch(view, take, this.advisor, nowNs, hopeless);
        for (const request of hopeless) this.#drop(this.#queue.indexOf(request));
        if (take === 0) continue;
      }
      this.#run(this.#queue.splice(0, take), timeOf(take, nowNs));
    }
  }

  #run(batch: readonly InferenceRequest[], durationNs: number): void {
    this.#running++;
    this.#rowsExecuting += batch.length;
    this.outcome.batches++;
    for (const { queuedNs } of batch) {
      this.outcome.longestWaitNs = Math.max(this.outcome.longestWaitNs, this.clock.nowNs() - queuedNs);
    }
    this.clock.schedule(() => {
      this.#running--;
      this.#rowsExecuting -= batch.length;
      this.advisor.executed(batch[0]!, batch.length, batch.length, durationNs);
      for (const { deadlineNs } of batch) {
        if (deadlineNs >= this.clock.nowNs()) this.outcome.served++;
        else this.outcome.late++;
      }
      this.#dispatch();
    }, durationNs);
  }

  #drop(index: number): void {
    this.#queue.splice(index, 1);
    this.outcome.dropped++;
  }
}
