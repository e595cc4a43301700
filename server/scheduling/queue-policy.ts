import { InferenceError } from '../../proto/inference-error.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';

/** How the requests of one priority level wait (reference 7.1). */
export interface QueuePolicy {
  /** Requests of this level that may wait, delayed ones among them. */
  readonly maxSize: number;
  /** How long a request may wait; 0: for ever. */
  readonly timeoutNs: number;
  /** A request may bring a shorter timeout. Without effect while `timeoutNs` is 0. */
  readonly allowsOverride: boolean;
  /** What waited too long is served after the others of its level; otherwise it is refused. */
  readonly isDelayed: boolean;
}

/** `dynamic_batching` as far as it is about waiting. */
export interface QueuePolicies {
  /** Levels are 1 to this; 0: no priorities. */
  readonly levels: number;
  /** Level of a request that names none, or one that does not exist; 0 without priorities. */
  readonly defaultLevel: number;
  readonly defaultPolicy: QueuePolicy;
  readonly byLevel: ReadonlyMap<number, QueuePolicy>;
}

/** When the policy's timeout for a queued request passes. */
export function expiryNs(request: InferenceRequest, policy: QueuePolicy): number {
  if (policy.timeoutNs === 0) return Number.POSITIVE_INFINITY;
  const own = request.timeoutUs * 1000;
  return request.queuedNs + (policy.allowsOverride && own > 0 && own < policy.timeoutNs ? own : policy.timeoutNs);
}

export function timeoutExpired(modelName: string): InferenceError {
  const text = `Request timeout expired: no instance of model '${modelName}' was free in the time that its queue policy, or the request's timeout parameter, allows; retry later`;
  return new InferenceError('UNAVAILABLE', text, { failureReason: 'REJECTED', retryAfterSeconds: 1 });
}
