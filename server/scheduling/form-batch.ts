/** @hotpath decides, once per batch, which waiting requests run together */

import type { InferenceRequest } from '../inference/inference-request.ts';

export interface BatchPolicy {
  /** Largest sum of request batch sizes in one execution; 0: one request an execution, whatever its size. */
  readonly maxBatchSize: number;
  /** Ascending; sizes worth running at once. */
  readonly preferredBatchSizes: readonly number[];
  /** How long an incomplete batch may wait for more, from its oldest request's arrival. */
  readonly maxQueueDelayNs: number;
  /**
   * Positions, in the model's inputs, of those with an open dimension: requests share a batch only when these agree beyond the batch dimension. Empty for
   * most models.
   */
  readonly variableInputs: readonly number[];
  /** The model has optional inputs: requests share a batch only when they leave out the same ones. */
  readonly hasOptionalInputs: boolean;
}

/**
 * Without a scheduler in its configuration a model runs each request alone, in order of arrival, on the next free instance (reference section 7): the
 * same loop under a policy that closes every batch after one request.
 */
export const directPolicy: BatchPolicy = {
  maxBatchSize: 0,
  preferredBatchSizes: [],
  maxQueueDelayNs: 0,
  variableInputs: [],
  hasOptionalInputs: false,
};

export interface QueueView {
  readonly length: number;
  at(index: number): InferenceRequest;
}

/** What to do now; one object is reused for all decisions of a scheduler. */
export interface BatchDecision {
  /** Requests to take from the front; 0: none yet. */
  take: number;
  /** When `take` is 0 and something waits: ask again after this long. */
  waitNs: number;
  /** Nothing that comes later could join what is taken. */
  isComplete: boolean;
  /** When `take` is 0: requests that could run together now, and their rows. */
  requests: number;
  rows: number;
}

/**
 * Triton's rules for a dynamic batch (reference section 7.1), on requests that are all alive: take them in order while they fit; a request that does not
 * fit, or whose shapes differ, closes the batch.
 *
 * In this order: a preferred size that was met is taken, unless the oldest has waited out its delay; a closed or full batch is taken; with no delay
 * configured, or once it has passed, what is there is taken; otherwise wait for the rest of the delay.
 */
export function formBatch(queue: QueueView, policy: BatchPolicy, nowNs: number, decision: BatchDecision): void {
  decision.take = 0;
  decision.waitNs = 0;
  decision.isComplete = false;
  decision.requests = 0;
  decision.rows = 0;
  const waiting = queue.length;
  if (waiting === 0) return;
  const first = queue.at(0);
  if (policy.maxBatchSize === 0) {
    decision.take = 1;
    decision.isComplete = true;
    return;
  }

  const preferred = policy.preferredBatchSizes;
  const largestPreferred = preferred.length === 0 ? policy.maxBatchSize : preferred[preferred.length - 1]!;
  let size = 0;
  let count = 0;
  let bestCount = 0;
  let isClosed = false;
  // Not the first one's, where priorities or delays change the order.
  let oldestNs = first.queuedNs;
  while (count < waiting) {
    const request = queue.at(count);
    const nextSize = size + request.batchSize;
    if (count > 0) {
      if (nextSize > policy.maxBatchSize || !fitsTogether(first, request, policy)) {
        isClosed = true;
        break;
      }
      if (nextSize > largestPreferred && bestCount === 0) bestCount = count;
    }
    size = nextSize;
    count++;
    if (request.queuedNs < oldestNs) oldestNs = request.queuedNs;
    if (preferred.includes(size)) bestCount = count;
    if (size >= policy.maxBatchSize) {
      isClosed = true;
      break;
    }
  }

  const waitedNs = nowNs - oldestNs;
  const isDelayOver = policy.maxQueueDelayNs > 0 && waitedNs >= policy.maxQueueDelayNs;
  if (bestCount > 0 && !isDelayOver) {
    decision.take = bestCount;
    decision.isComplete = true;
  } else if (isClosed || isDelayOver || policy.maxQueueDelayNs === 0 || size >= largestPreferred) {
    decision.take = count;
    decision.isComplete = isClosed;
  } else {
    decision.waitNs = policy.maxQueueDelayNs - waitedNs;
    decision.requests = count;
    decision.rows = size;
  }
}

function fitsTogether(first: InferenceRequest, other: InferenceRequest, policy: BatchPolicy): boolean {
  if (policy.hasOptionalInputs) {
    for (let i = 0; i < first.boundInputs.length; i++) {
      if ((first.boundInputs[i] === null) !== (other.boundInputs[i] === null)) return false;
    }
  }
  for (const index of policy.variableInputs) {
    const a = first.boundInputs[index]?.shape;
    const b = other.boundInputs[index]?.shape;
    if (a === undefined || b === undefined) continue;
    if (a.length !== b.length) return false;
    // Dimension 0 is the batch.
    for (let d = 1; d < a.length; d++) if (a[d] !== b[d]) return false;
  }
  return true;
}
