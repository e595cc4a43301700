/** @hotpath counts every request and execution of a model version */

import type { FailureReason } from '../../proto/inference-error.ts';
import type { EngineNumbers } from './engine-numbers.ts';
import type { TextLatencies } from './text-latencies.ts';

/** count and total nanoseconds, as Triton's statistics have them. */
export class StatisticDuration {
  count = 0;
  ns = 0;

  add(ns: number): void {
    this.count++;
    this.ns += ns;
  }
}

export class BatchStatistics {
  readonly computeInput: StatisticDuration = new StatisticDuration();
  readonly computeInfer: StatisticDuration = new StatisticDuration();
  readonly computeOutput: StatisticDuration = new StatisticDuration();
}

/** What became of the responses of one index, over all requests of a decoupled model (reference 8.5, response_stats). */
export class ResponseStatistics {
  readonly computeInfer: StatisticDuration = new StatisticDuration();
  readonly computeOutput: StatisticDuration = new StatisticDuration();
  readonly success: StatisticDuration = new StatisticDuration();
  readonly fail: StatisticDuration = new StatisticDuration();
  readonly empty: StatisticDuration = new StatisticDuration();
  readonly cancel: StatisticDuration = new StatisticDuration();
}

/** Responses of a request that are told apart; a model may give any number of them, and statistics have a bound. */
const MAX_RESPONSE_STATISTICS = 1024;

/**
 * Statistics of one model version, as plain numbers: the hot path adds, a scrape or a statistics request reads. Labels are bound once, at load.
 * Meanings and what counts when: Triton's metrics and statistics extension.
 */
export class ModelReporter {
  readonly modelName: string;
  readonly modelVersion: string;
  /** Extra metric labels from the model's `metric_tags`. */
  readonly tags: Readonly<Record<string, string>>;

  readonly success: StatisticDuration = new StatisticDuration();
  readonly fail: StatisticDuration = new StatisticDuration();
  readonly queue: StatisticDuration = new StatisticDuration();
  readonly computeInput: StatisticDuration = new StatisticDuration();
  readonly computeInfer: StatisticDuration = new StatisticDuration();
  readonly computeOutput: StatisticDuration = new StatisticDuration();
  readonly failures: Record<FailureReason, number> = { REJECTED: 0, CANCELED: 0, BACKEND: 0, OTHER: 0 };
  /** Requests that ended while an instance worked on them, and the time that it gave to them: their share of a batch. */
  readonly wastedWork: StatisticDuration = new StatisticDuration();
  /** Requests that the response cache answered, and how long that took; and those it did not know, with the time to look and to insert. */
  readonly cacheHit: StatisticDuration = new StatisticDuration();
  readonly cacheMiss: StatisticDuration = new StatisticDuration();
  /** Of the hits, those that got the response to an identical request that was in flight. */
  cacheShared = 0;
  /** Whether the model has a response cache; its scheduler says so. */
  hasResponseCache = false;
  /** Learned of the shape that ran last: what an execution takes whatever its size, and what each row adds, ns; 0: nothing yet. */
  batchFixedNs = 0;
  batchRowNs = 0;
  /** Requests that were refused as they would have come too late, or would have waited for too long. */
  refusedByDeadline = 0;
  refusedByQueueTime = 0;
  /** Inferences: the sum of batch sizes of successful requests. */
  inferenceCount = 0;
  executionCount = 0;
  pendingCount = 0;
  /** Milliseconds since 1970 of the last execution; 0: none yet. */
  lastInferenceMs = 0;
  loadDurationSecs = 0;
  /** By executed batch size; bounded by max_batch_size. */
  readonly batches: Map<number, BatchStatistics> = new Map();
  /** By response index, of a decoupled model; the first 1,024. Empty for any other. */
  readonly responses: ResponseStatistics[] = [];
  /** Of the time to the first response, when the server keeps it; null otherwise. */
  firstResponse: StageHistogram | null = null;
  /** Of a model that generates text; null for any other. Its scheduler sets them. */
  text: TextLatencies | null = null;
  /** What its instances say of themselves; null: they are not asked. */
  engine: EngineNumbers | null = null;
  /** Whether a response is not the whole answer: then `firstResponded` tells of the first one. */
  readonly isDecoupled: boolean;
  /** Histograms by stage, when the server keeps them; null otherwise. */
  histograms: StageHistograms | null = null;

  constructor(modelName: string, modelVersion: string, tags: Readonly<Record<string, string>>, isDecoupled = false) {
    this.isDecoupled = isDecoupled;
    this.modelName = modelName;
    this.modelVersion = modelVersion;
    this.tags = tags;
  }

  /** A request succeeded: whole time and its four parts; the parts of a batch count in full for each of its requests. */
  requestSucceeded(
    batchSize: number,
    requestNs: number,
    queueNs: number,
    computeInputNs: number,
    computeInferNs: number,
    computeOutputNs: number,
  ): void {
    this.success.add(requestNs);
    this.queue.add(queueNs);
    this.computeInput.add(computeInputNs);
    this.computeInfer.add(computeInferNs);
    this.computeOutput.add(computeOutputNs);
    this.inferenceCount += batchSize;
    if (this.firstResponse !== null && !this.isDecoupled) this.firstResponse.observe(requestNs);
    if (this.histograms !== null) {
      this.histograms.request.observe(requestNs);
      this.histograms.queue.observe(queueNs);
      this.histograms.computeInput.observe(computeInputNs);
      this.histograms.computeInfer.observe(computeInferNs);
      this.histograms.computeOutput.observe(computeOutputNs);
    }
  }

  /** A request succeeded by a response that the model had given before: it counts as one, and as nothing that was inferred. */
  requestSucceededFromCache(requestNs: number): void {
    this.success.add(requestNs);
    this.queue.add(0);
    if (this.firstResponse !== null) this.firstResponse.observe(requestNs);
    if (this.histograms !== null) this.histograms.request.observe(requestNs);
  }

  /** The first response to a decoupled model's request, since its arrival. */
  firstResponded(ns: number): void {
    if (this.firstResponse !== null) this.firstResponse.observe(ns);
  }

  /** A response was given: the model's time for it, and the caller's to take it. */
  responded(index: number, inferNs: number, outputNs: number): void {
    const statistics = this.#response(index);
    if (statistics === null) return;
    statistics.computeInfer.add(inferNs);
    statistics.computeOutput.add(outputNs);
    statistics.success.add(inferNs + outputNs);
  }

  /** The end came where response `index` would have been. */
  endedWithoutResponse(index: number, inferNs: number): void {
    this.#response(index)?.empty.add(inferNs);
  }

  responseFailed(index: number, isCancelled: boolean, inferNs: number): void {
    const statistics = this.#response(index);
    if (statistics !== null) (isCancelled ? statistics.cancel : statistics.fail).add(inferNs);
  }

  /** An instance worked so long on what nobody waited for any more. */
  wasted(ns: number): void {
    this.wastedWork.add(ns);
  }

  requestFailed(reason: FailureReason, requestNs: number): void {
    this.fail.add(requestNs);
    this.failures[reason]++;
  }

  executed(batchSize: number, computeInputNs: number, computeInferNs: number, computeOutputNs: number): void {
    this.executionCount++;
    this.lastInferenceMs = Date.now();
    let batch = this.batches.get(batchSize);
    if (batch === undefined) {
      batch = new BatchStatistics();
      this.batches.set(batchSize, batch);
    }
    batch.computeInput.add(computeInputNs);
    batch.computeInfer.add(computeInferNs);
    batch.computeOutput.add(computeOutputNs);
  }

  #response(index: number): ResponseStatistics | null {
    const { responses } = this;
    if (index >= MAX_RESPONSE_STATISTICS) return null;
    // Indexes of a request follow one another, so those before are there.
    while (responses.length <= index) responses.push(new ResponseStatistics());
    return responses[index]!;
  }
}

export interface StageHistogram {
  observe(ns: number): void;
}

export interface StageHistograms {
  readonly request: StageHistogram;
  readonly queue: StageHistogram;
  readonly computeInput: StageHistogram;
  readonly computeInfer: StageHistogram;
  readonly computeOutput: StageHistogram;
}
