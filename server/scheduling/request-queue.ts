import type { InferenceRequest } from '../inference/inference-request.ts';
import type { QueueView } from './form-batch.ts';

/** Requests that wait for an instance, in the order in which they are to run. */
export interface RequestQueue extends QueueView {
  /** False, and nothing done, when there is no room for the request. Reads its `queuedNs`. */
  push(request: InferenceRequest): boolean;
  /** How many may wait where this request would. */
  maxSizeFor(request: InferenceRequest): number;
  /** The request at 0 leaves. Only while `length` > 0. */
  shift(): InferenceRequest;
  /** Puts requests back in front, in their order; they were just taken, so no bound applies to them. */
  unshift(requests: readonly InferenceRequest[]): void;
  /**
   * Takes out every request that `isGone` says is; they are appended to `removed`, in order. It looks no further than `limit` requests that stay, and returns how many of these it saw.
   */
  removeIf(isGone: (request: InferenceRequest) => boolean, removed: InferenceRequest[], limit?: number): number;
  /** No timeout of a queue policy passes before this time; Infinity: none is running. */
  readonly nextExpiryNs: number;
  /** Acts on the timeouts that have passed: requests are moved behind others, or taken out and appended to `rejected`. */
  expire(nowNs: number, rejected: InferenceRequest[]): void;
  /** What comes later may have to run before what waits, so nothing is given to an instance that is busy. */
  readonly isReordered: boolean;
  /** Lower levels run first. */
  levelOf(request: InferenceRequest): number;
  /** Waiting requests that run before this one, were it pushed now, and their rows. */
  requestsBefore(request: InferenceRequest): number;
  rowsBefore(request: InferenceRequest): number;
}
