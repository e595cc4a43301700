import { InferenceError } from '../../proto/inference-error.ts';
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
  /** Something changed, an instance has room for one: look again at the end of this tick. */
  poke(): void;
  /** Ends every waiting request with `error`: no instance will come any more. */
  failPending(error: InferenceError): void;
  /** Refuses new requests and resolves when none is left. */
  stop(): Promise<void>;
}

export function schedulerStopping(modelName: string): InferenceError {
  const text = `Server is stopping, scheduler for model '${modelName}' has stopped accepting new inference requests`;
  return new InferenceError('UNAVAILABLE', text, { retryAfterSeconds: 1 });
}

export function queueFull(modelName: string, maxSize: number): InferenceError {
  const text = `Exceeds maximum queue size: ${maxSize} requests already wait for model '${modelName}'; send fewer at a time, or retry later`;
  return new InferenceError('UNAVAILABLE', text, { failureReason: 'REJECTED', retryAfterSeconds: 1 });
}
