/** @hotpath one object per batch where speed is learned (measured by dynamic-batch-scheduler.bench.ts) */

import type { InstanceChannel } from '../execution/execution-host.ts';
import type { Clock } from '../inference/clock.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import type { Batch, BatchContext, BatchResponder } from './batch.ts';
import type { BatchAdvisor } from './learned/batch-advisor.ts';

/** When an instance last ended a batch, on the scheduler's clock. */
interface InstanceTimes {
  endedNs: number;
}

/** What a scheduler with an advisor has begun: counts its rows, and tells the advisor how long batches take. */
export class BatchRuns {
  readonly scheduler: BatchContext;
  readonly advisor: BatchAdvisor;
  /** Rows that have been taken from the queue and not ended. */
  rowsExecuting = 0;
  readonly #times: WeakMap<InstanceChannel, InstanceTimes> = new WeakMap();

  constructor(scheduler: BatchContext, advisor: BatchAdvisor) {
    this.scheduler = scheduler;
    this.advisor = advisor;
  }

  /** They leave the queue; returns their rows. */
  taken(requests: readonly InferenceRequest[]): number {
    const rows = rowsOf(requests);
    this.rowsExecuting += rows;
    return rows;
  }

  /** What was taken does not execute, after all. */
  left(requests: readonly InferenceRequest[]): void {
    this.rowsExecuting -= rowsOf(requests);
  }

  /** The context of a batch of so many rows on `instance`. */
  begin(instance: InstanceChannel, rows: number): BatchContext {
    let times = this.#times.get(instance);
    if (times === undefined) {
      times = { endedNs: 0 };
      this.#times.set(instance, times);
    }
    return new BatchRun(this, times, rows);
  }
}

export function rowsOf(requests: readonly InferenceRequest[]): number {
  let rows = 0;
  for (const request of requests) rows += request.batchSize;
  return rows;
}

/** One batch, as it knows its scheduler: times it from when its instance was free for it. */
class BatchRun implements BatchContext {
  readonly #runs: BatchRuns;
  readonly #instance: InstanceTimes;
  readonly #rows: number;
  #isTimed = false;

  constructor(runs: BatchRuns, instance: InstanceTimes, rows: number) {
    this.#runs = runs;
    this.#instance = instance;
    this.#rows = rows;
  }

  get signature(): ModelSignature {
    return this.#runs.scheduler.signature;
  }

  get reporter(): ModelReporter {
    return this.#runs.scheduler.reporter;
  }

  get clock(): Clock {
    return this.#runs.scheduler.clock;
  }

  get responder(): BatchResponder | null {
    return this.#runs.scheduler.responder;
  }

  onExecuted(batch: Batch, durationNs: number): void {
    const endedNs = this.clock.nowNs();
    const beganNs = Math.max(endedNs - durationNs, this.#instance.endedNs);
    this.#ended(endedNs);
    this.#runs.advisor.executed(batch.requests[0]!, batch.batchSize, batch.requests.length, endedNs - beganNs);
  }

  onBatchEnd(requestCount: number): void {
    if (!this.#isTimed) this.#ended(this.clock.nowNs());
    this.#runs.rowsExecuting -= this.#rows;
    this.#runs.scheduler.onBatchEnd(requestCount);
  }

  /** Its rows are executing still. */
  onBatchDivided(requests: readonly InferenceRequest[]): void {
    this.#ended(this.clock.nowNs());
    this.#runs.scheduler.onBatchDivided(requests);
  }

  onRequestGone(): void {
    this.#runs.scheduler.onRequestGone?.();
  }

  onFault(error: unknown): void {
    this.#runs.scheduler.onFault(error);
  }

  #ended(nowNs: number): void {
    this.#isTimed = true;
    this.#instance.endedNs = nowNs;
  }
}
