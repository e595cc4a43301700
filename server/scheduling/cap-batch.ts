/** @hotpath once per batch while a deadline waits in the queue (measured by learned-batching.bench.ts) */

import type { InferenceRequest } from '../inference/inference-request.ts';
import type { QueueView } from './form-batch.ts';
import type { BatchAdvisor } from './learned/batch-advisor.ts';

/**
 * How many of the first `take` requests may run together so that the one with the earliest deadline is in time. Those that would be late even alone are appended to `hopeless`; 0: there are some, take
 * them out and ask again.
 */
export function capBatch(queue: QueueView, take: number, advisor: BatchAdvisor, nowNs: number, hopeless: InferenceRequest[]): number {
  let earliestNs = Number.POSITIVE_INFINITY;
  let maxRows = Number.POSITIVE_INFINITY;
  let rows = 0;
  let count = 0;
  let isClosed = false;
  for (let i = 0; i < take; i++) {
    const request = queue.at(i);
    const { batchSize, deadlineNs } = request;
    if (deadlineNs < earliestNs) {
      const own = advisor.maxRows(request, deadlineNs, nowNs);
      if (batchSize > own) {
        hopeless.push(request);
        continue;
      }
      // What does not fit in time with those before it begins the next batch, and still shows here what it would be late for alone.
      if (rows + batchSize > own) isClosed = true;
      earliestNs = deadlineNs;
      maxRows = own;
    }
    if (isClosed || rows + batchSize > maxRows) {
      isClosed = true;
      continue;
    }
    rows += batchSize;
    count++;
  }
  return hopeless.length > 0 ? 0 : count;
}
