import type { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';

/**
 * What a dynamic batch scheduler asks about speed. The scheduler knows the queue; the advisor knows how long batches take, and how often requests come. All times are the scheduler's clock's,
 * nanoseconds; rows are request batch sizes added up.
 */
export interface BatchAdvisor {
  /**
   * A request is about to be queued behind `rowsWaiting` rows in `requestsWaiting` requests, while `rowsExecuting` rows run or wait in hosts. Null: take it. An error (UNAVAILABLE, with
   * `retryAfterSeconds`, failure reason REJECTED): its deadline cannot be met, or it would wait longer than the model may let requests wait. Also tells the advisor of the arrival.
   */
  arrive(
    request: InferenceRequest,
    requestsWaiting: number,
    rowsWaiting: number,
    rowsExecuting: number,
    nowNs: number,
  ): InferenceError | null;
  /**
   * Rows that a batch which begins with `first` may have now, so that it ends before `earliestDeadlineNs` (of those in it; Infinity: none). At least 1 where it is not known; 0: not even a single row
   * would be in time.
   */
  maxRows(first: InferenceRequest, earliestDeadlineNs: number, nowNs: number): number;
  /**
   * An incomplete batch of `requests` requests, the oldest waiting for `waitedNs`, may be held for `maxWaitNs` more: for how long it should be. 0: run it now. Only asked where the model's
   * configuration gives a queue delay.
   */
  holdNs(first: InferenceRequest, requests: number, rows: number, waitedNs: number, maxWaitNs: number, nowNs: number): number;
  /** An execution that began with `first` took so long, from the moment it was given to an idle instance, or the one before it had ended there, to its end. */
  executed(first: InferenceRequest, rows: number, requests: number, durationNs: number): void;
}
