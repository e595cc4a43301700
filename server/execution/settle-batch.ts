/** @hotpath turns a checked response into the end of its batch, whichever way it came (measured by instance-channel.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';
import { type ResponseArea, readOutputs, readResponseError, wasSkipped } from './check-response.ts';
import { RESPONSE_INFER_NS, RESPONSE_OUTPUT_NS } from './execution-record.ts';
import type { InflightBatch, InflightBatches } from './inflight-batches.ts';

/**
 * Ends the oldest batch with what the record in `area` says. False, and nothing done, while one of its outputs is still on its way. Throws HostFault; the
 * batch is then still in flight. Calls `complete` or `fail`, which may submit the next batch: the caller's state must be in order.
 */
export function settleHead(inflight: InflightBatches, head: InflightBatch, area: ResponseArea): boolean {
  const { batch, channel } = head;
  const { tensors } = channel;
  if (head.isAbandoned && wasSkipped(area, head.sequence)) {
    inflight.shift();
    channel.settled();
    batch.fail(new InferenceError('CANCELLED', 'nobody waited for it when its turn came', { failureReason: 'CANCELED' }));
    return true;
  }
  const error = readResponseError(area, head.sequence);
  if (error !== null) {
    inflight.shift();
    channel.settled();
    batch.fail(error, true);
    return true;
  }
  const outputs = readOutputs(area, tensors.metadata, head.large);
  if (outputs === null) return false;
  if (head.large !== null) tensors.learn(outputs);
  // Durations are for statistics: a host that says nonsense gets its time cut to what has really passed.
  const elapsedNs = (performance.now() - head.submittedMs) * 1e6;
  const inferNs = within(area.words[area.at + RESPONSE_INFER_NS]!, elapsedNs);
  const outputNs = within(area.words[area.at + RESPONSE_OUTPUT_NS]!, elapsedNs - inferNs);
  tensors.lastRunNs = inferNs;
  inflight.shift();
  channel.settled();
  batch.complete(outputs, { inferNs, outputNs });
  return true;
}

function within(ns: number, limitNs: number): number {
  return ns >= 0 ? Math.min(ns, limitNs) : 0;
}
