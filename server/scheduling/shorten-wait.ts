/** @hotpath once per batch that could grow (measured by learned-batching.bench.ts) */

import type { BatchDecision, BatchPolicy, QueueView } from './form-batch.ts';
import type { BatchAdvisor } from './learned/batch-advisor.ts';

/** A decision to wait becomes one to wait shorter, or to run now: a batch is held for what is likely to come, if what is in it can wait. */
export function shortenWait(queue: QueueView, policy: BatchPolicy, advisor: BatchAdvisor, nowNs: number, decision: BatchDecision): void {
  const { requests, rows, waitNs } = decision;
  const first = queue.at(0);
  let holdNs = Math.min(waitNs, advisor.holdNs(first, requests, rows, policy.maxQueueDelayNs - waitNs, waitNs, nowNs));
  if (holdNs > 0) {
    let earliestNs = Number.POSITIVE_INFINITY;
    for (let i = 0; i < requests; i++) earliestNs = Math.min(earliestNs, queue.at(i).deadlineNs);
    // After the wait there should be room for one more.
    if (earliestNs < Number.POSITIVE_INFINITY && advisor.maxRows(first, earliestNs - holdNs, nowNs) <= rows) holdNs = 0;
  }
  if (holdNs > 0) decision.waitNs = holdNs;
  else decision.take = requests;
}
