/** @hotpath once per inference request, at its end (measured by infer.bench.ts) */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { cachedTiming, type InferenceResponse } from '../inference/inference-response.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';

/** What a request that ended counts for in its model's statistics, whoever sent it. */
export function settleStatistics(
  reporter: ModelReporter,
  request: InferenceRequest,
  durationNs: number,
  response: InferenceResponse | null,
  error: InferenceError | null,
): void {
  const timing = response === null ? request.timing : response.timing;
  if (error !== null || timing === null) {
    reporter.requestFailed(error === null ? 'OTHER' : error.failureReason, durationNs);
    return;
  }
  if (timing === cachedTiming) {
    reporter.requestSucceededFromCache(durationNs);
    return;
  }
  const { queueNs, computeInputNs, computeInferNs, computeOutputNs } = timing;
  reporter.requestSucceeded(request.batchSize, durationNs, queueNs, computeInputNs, computeInferNs, computeOutputNs);
}
