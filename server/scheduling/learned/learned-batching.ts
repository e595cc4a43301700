/** @hotpath asked once or twice for each request and each batch of a dynamic batch scheduler */

import { InferenceError } from '../../../proto/inference-error.ts';
import type { Clock } from '../../inference/clock.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import type { ModelReporter } from '../../metrics/model-reporter.ts';
import { ArrivalRate } from './arrival-rate.ts';
import type { BatchAdvisor } from './batch-advisor.ts';
import { DrainRate } from './drain-rate.ts';
import type { LatencyModel } from './latency-model.ts';
import { ShapeModels } from './shape-models.ts';
import { SizeGrid } from './size-grid.ts';

export interface LearnedBatchingOptions {
  readonly signature: ModelSignature;
  /** Rows that requests may have together in one execution; 0: each runs alone. */
  readonly maxBatchSize: number;
  /** Positions of the inputs with an open dimension. */
  readonly variableInputs: readonly number[];
  /** Longest time that a request without a deadline may be expected to wait, ns. */
  readonly maxQueueTimeNs: number;
  readonly instances: { readonly aliveCount: number };
  readonly reporter: ModelReporter;
  readonly clock: Clock;
}

/** Full batches for each instance that may always wait, however slow the model is. */
const ALWAYS_TAKEN = 2;
/** Share of the time to a deadline that is left for what is not foreseen: at least, and at most. */
const LEAST_MARGIN = 0.05;
const MOST_MARGIN = 0.2;
/** An idle model that is thought to be too slow for every deadline is tried again after so many times what it is thought to take. */
const TRY_AFTER = 10;
/** A batch that a deadline keeps so far below the best rows per second costs those behind it too much, */
const POOR_BATCH = 0.7;
/** once so much of the time goes into such batches. */
const MOST_LOSS = 0.1;
const LOSS_MEMORY = 0.95;
/** Where every deadline is short, small batches are all that there is: each request that is given up makes one likelier. */
const LOSS_FORGIVEN = 0.99;

/**
 * Learns how long executions take and says by that how large a batch may be for its deadlines, how long an incomplete one is worth holding, and which requests would wait in vain. Until it knows
 * enough, it caps and refuses nothing.
 */
export class LearnedBatching implements BatchAdvisor {
  readonly #modelName: string;
  readonly #maxRows: number;
  readonly #maxQueueTimeNs: number;
  readonly #instances: { readonly aliveCount: number };
  readonly #reporter: ModelReporter;
  readonly #clock: Clock;
  readonly #shapes: ShapeModels;
  readonly #drain: DrainRate;
  readonly #arrivals: ArrivalRate = new ArrivalRate();
  #rowsWaiting = 0;
  #lastEndNs = Number.NEGATIVE_INFINITY;
  #lastTryNs = Number.NEGATIVE_INFINITY;
  /** Since when something executes, at the latest. */
  #busySinceNs = 0;
  /** Share of the time lost in batches that a deadline made small; a moving average. */
  #loss = 0;

  constructor(options: LearnedBatchingOptions) {
    const { signature, maxBatchSize } = options;
    this.#modelName = signature.modelName;
    // Rows of one request count also where requests are not put together.
    const grid = new SizeGrid(Math.max(1, signature.maxBatchSize));
    this.#maxRows = Math.max(1, maxBatchSize);
    this.#maxQueueTimeNs = options.maxQueueTimeNs;
    this.#instances = options.instances;
    this.#reporter = options.reporter;
    this.#clock = options.clock;
    this.#shapes = new ShapeModels(grid, options.variableInputs, signature.maxBatchSize > 0 ? 1 : 0);
    this.#drain = new DrainRate(maxBatchSize === 0);
  }

  arrive(
    request: InferenceRequest,
    _requestsWaiting: number,
    rowsWaiting: number,
    rowsExecuting: number,
    nowNs: number,
  ): InferenceError | null {
    this.#arrivals.arrived(nowNs);
    this.#rowsWaiting = rowsWaiting;
    if (rowsExecuting === 0) this.#busySinceNs = nowNs;
    const slackNs = request.deadlineNs - nowNs;
    if (slackNs === Number.POSITIVE_INFINITY) {
      if (rowsWaiting < ALWAYS_TAKEN * this.#maxRows * this.#instanceCount() || !this.#drain.isKnown) return null;
      const waitNs = (rowsWaiting + rowsExecuting) / (this.#drain.rowsPerNs * this.#instanceCount());
      return waitNs > this.#maxQueueTimeNs ? this.#refuseLongWait(waitNs, rowsWaiting + rowsExecuting) : null;
    }
    // One that is over already is told so by whoever keeps the queue.
    if (slackNs <= 0) return null;
    const model = this.#shapes.find(request);
    if (model === null || !model.isKnown || !this.#drain.isKnown) return null;
    if (rowsWaiting + rowsExecuting === 0) {
      const ownNs = model.predict(request.batchSize);
      return ownNs <= slackNs || this.#mayTry(ownNs, nowNs) ? null : this.#refuseDeadline(ownNs, slackNs, 0, 0);
    }
    const maxRows = this.#maxRows;
    const beforeNs = this.#executingNs(model, rowsExecuting, nowNs);
    let waitNs = beforeNs;
    let ownRows = maxRows;
    if (rowsWaiting >= maxRows) {
      waitNs += (rowsWaiting - (rowsWaiting % maxRows)) / (this.#drain.rowsPerNs * this.#instanceCount());
    } else {
      // Those that will be in the same batch are not waited for, but make it longer.
      const joining = this.#arrivals.perNs(nowNs, 1) * beforeNs * request.batchSize;
      ownRows = Math.min(maxRows, rowsWaiting + request.batchSize + joining);
    }
    const ownNs = model.predict(Math.max(request.batchSize, ownRows));
    if (waitNs + ownNs <= slackNs * (1 - margin(model))) return null;
    return this.#refuseDeadline(waitNs + ownNs, slackNs, waitNs, rowsWaiting + rowsExecuting);
  }

  maxRows(first: InferenceRequest, earliestDeadlineNs: number, nowNs: number): number {
    const slackNs = earliestDeadlineNs - nowNs;
    const model = slackNs === Number.POSITIVE_INFINITY ? null : this.#shapes.find(first);
    if (model === null || !model.isKnown) {
      this.#loss *= LOSS_MEMORY;
      return Number.POSITIVE_INFINITY;
    }
    const rows = model.rowsWithin(slackNs * (1 - margin(model)));
    const { batchSize } = first;
    // A request that runs alone may be larger than what is put together.
    if (rows >= Math.max(this.#maxRows, batchSize)) {
      this.#loss *= LOSS_MEMORY;
      return Number.POSITIVE_INFINITY;
    }
    if (rows < batchSize) {
      const ownNs = model.predict(batchSize);
      if (ownNs > slackNs) {
        if (!this.#mayTry(ownNs, nowNs)) return 0;
        this.#lastTryNs = nowNs;
        return batchSize;
      }
    }
    const allowed = Math.max(rows, batchSize);
    if (allowed >= this.#rowsWaiting) return allowed;
    const yieldShare = allowed / model.predict(allowed) / model.bestRowsPerNs;
    // One that has little time may have a small batch for itself. Where all have little, as many as possible are served only if batches stay large: the first are given up for those behind.
    if (yieldShare < POOR_BATCH && this.#loss > MOST_LOSS) {
      this.#loss *= LOSS_FORGIVEN;
      return 0;
    }
    this.#loss = this.#loss * LOSS_MEMORY + (1 - LOSS_MEMORY) * (1 - yieldShare);
    return allowed;
  }

  holdNs(first: InferenceRequest, requests: number, rows: number, waitedNs: number, maxWaitNs: number, nowNs: number): number {
    const model = this.#shapes.find(first);
    if (model === null || !model.isKnown) return maxWaitNs;
    // What a request like these costs alone, less what it adds to this batch.
    const each = rows / requests;
    const savedNs = model.predict(each) + model.predict(rows) - model.predict(rows + each);
    if (this.#arrivals.perNs(nowNs, requests) * savedNs <= requests) return 0;
    // Held for longer than a run of its own takes, a request has nothing to gain.
    return Math.max(0, Math.min(maxWaitNs, savedNs - waitedNs));
  }

  executed(first: InferenceRequest, rows: number, _requests: number, durationNs: number): void {
    const model = this.#shapes.of(first);
    const takenNs = model.observe(rows, durationNs);
    this.#drain.executed(model, rows, takenNs, this.#rowsWaiting >= this.#maxRows);
    this.#lastEndNs = this.#clock.nowNs();
    this.#reporter.batchFixedNs = model.fixedNs;
    this.#reporter.batchRowNs = model.rowNs;
  }

  /** Until an instance is through with the executions that are under way, or wait in its host. */
  #executingNs(model: LatencyModel, rowsExecuting: number, nowNs: number): number {
    const instances = this.#instanceCount();
    const rowsEach = rowsExecuting / instances;
    const full = Math.floor(rowsEach / this.#maxRows);
    const rest = rowsEach - full * this.#maxRows;
    const wholeNs = full * model.predict(this.#maxRows) + (rest > 0 ? model.predict(rest) : 0);
    const elapsedNs = Math.max(0, nowNs - Math.max(this.#lastEndNs, this.#busySinceNs));
    // Several end one after the other.
    return Math.max(0, wholeNs / instances - elapsedNs);
  }

  #instanceCount(): number {
    return Math.max(1, this.#instances.aliveCount);
  }

  /** What is refused is not run, and what is not run teaches nothing: so that a slow hour is not believed for ever, one is let through now and then. */
  #mayTry(ownNs: number, nowNs: number): boolean {
    // One dispatch may ask several times.
    return nowNs === this.#lastTryNs || nowNs - Math.max(this.#lastEndNs, this.#lastTryNs) > TRY_AFTER * ownNs;
  }

  #refuseDeadline(predictedNs: number, slackNs: number, waitNs: number, rowsBefore: number): InferenceError {
    this.#reporter.refusedByDeadline++;
    return refusal(
      `model '${this.#modelName}' would answer in about ${milliseconds(predictedNs)} ms${before(rowsBefore)}, and the request's deadline is in ${milliseconds(slackNs)} ms; retry later, or give it more time`,
      waitNs,
    );
  }

  #refuseLongWait(waitNs: number, rowsBefore: number): InferenceError {
    this.#reporter.refusedByQueueTime++;
    return refusal(
      `a request for model '${this.#modelName}' would wait for about ${milliseconds(waitNs)} ms${before(rowsBefore)}, longer than the ${milliseconds(this.#maxQueueTimeNs)} ms that it may (--max-queue-time-ms, learned_batching.max_queue_time_microseconds); retry later`,
      waitNs,
    );
  }
}

function margin(model: LatencyModel): number {
  return Math.min(MOST_MARGIN, LEAST_MARGIN + model.deviation);
}

/** `waitNs`: until what is there now has run. */
function refusal(text: string, waitNs: number): InferenceError {
  return new InferenceError('UNAVAILABLE', text, { failureReason: 'REJECTED', retryAfterSeconds: Math.max(0.001, waitNs / 1e9) });
}

function before(rows: number): string {
  return rows === 0 ? '' : `, behind ${rows} ${rows === 1 ? 'row' : 'rows'}`;
}

function milliseconds(ns: number): string {
  return (ns / 1e6).toFixed(ns < 1e8 ? 1 : 0);
}
