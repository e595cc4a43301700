/** @hotpath what a request must have to be of a sequence (measured by sequence-scheduler.bench.ts) */

import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { SequencePlan } from './sequence-plan.ts';

/**
 * Throws INVALID_ARGUMENT: more than one row, no correlation id (unless `mayBeAnonymous`), or an id of the other kind than the model takes. Whether it starts a sequence or belongs to a live one is the
 * scheduler's to say. Source: Triton's sequence batcher (reference 7.2).
 */
export function checkSequenceRequest(request: InferenceRequest, plan: SequencePlan, mayBeAnonymous: boolean): void {
  const { modelName } = plan.signature;
  if (request.batchSize !== 1) {
    throw invalidArgument(
      `inference request to model '${modelName}' must specify batch-size 1 due to requirements of sequence batcher, got ${request.batchSize}: send each row as a request of its own sequence`,
    );
  }
  const { sequence } = request;
  if (sequence === null) {
    if (mayBeAnonymous) return;
    throw invalidArgument(
      `inference request to model '${modelName}' must specify a non-zero or non-empty correlation ID: give the parameter sequence_id, a number or a string`,
    );
  }
  const { correlation } = plan;
  if (correlation === null) return;
  const isText = typeof sequence.id === 'string';
  if (isText === (correlation.datatype === 'BYTES')) return;
  throw invalidArgument(
    `sequence batching control '${correlation.name}' data-type is '${correlation.datatype}' for model '${modelName}', so sequence_id: expected ${isText ? 'a number' : 'a string'}, got ${isText ? `the string ${JSON.stringify(sequence.id)}` : `the number ${sequence.id}`}`,
  );
}

export function startRequired(id: bigint | string, modelName: string): InferenceError {
  return invalidArgument(
    `inference request for sequence ${shown(id)} to model '${modelName}' must specify the START flag on the first request of the sequence: it is not live; it never began, has ended, or was idle for too long (max_sequence_idle_microseconds). Begin it with sequence_start`,
  );
}

/** As messages have it. */
export function shown(id: bigint | string): string {
  return typeof id === 'string' ? JSON.stringify(id) : String(id);
}
