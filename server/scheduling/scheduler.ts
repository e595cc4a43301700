import type { InferenceRequest } from '../inference/inference-request.ts';

/**
 * Decides which requests run together, and when. One per model version.
 */
export interface Scheduler {
  /**
   * Takes the request, or throws InferenceError (UNAVAILABLE) when the queue is full or the scheduler is stopping. After a return the scheduler owns the
   * request and will end it exactly once; after a throw the caller still owns it.
   */
  enqueue(request: InferenceRequest): void;
  /** Requests taken and not yet ended. */
  readonly inflightCount: number;
  /** Requests waiting, not yet given to an instance. */
  readonly pendingCount: number;
  /** Refuses new requests and resolves when none is left. */
  stop(): Promise<void>;
}
