import { InferenceError } from '../../../proto/inference-error.ts';
import { shown } from './check-sequence-request.ts';

export function sequenceCancelled(id: bigint | string): InferenceError {
  const text = `sequence ${shown(id)}: an earlier or later request of it was cancelled, which ended the sequence; begin it again with sequence_start`;
  return new InferenceError('CANCELLED', text, { failureReason: 'CANCELED' });
}

export function sequenceNotBegun(id: bigint | string, modelName: string): InferenceError {
  const text = `sequence ${shown(id)} of model '${modelName}' has not begun: the run of its first request failed; begin it again with sequence_start`;
  return new InferenceError('UNAVAILABLE', text, { failureReason: 'BACKEND' });
}

export function backlogExpired(modelName: string): InferenceError {
  const text = `timeout of the corresponding sequence has been expired: no slot of model '${modelName}' became free in time; begin the sequence again with sequence_start`;
  return new InferenceError('UNAVAILABLE', text, { failureReason: 'REJECTED', retryAfterSeconds: 1 });
}

export function sequenceLost(id: bigint | string, modelName: string): InferenceError {
  const text = `sequence ${shown(id)} is lost: the instance of model '${modelName}' that held its state is gone; begin it again with sequence_start`;
  return new InferenceError('UNAVAILABLE', text, { failureReason: 'BACKEND' });
}

export function tooManySequences(modelName: string, count: number): InferenceError {
  const text = `${count} sequences of model '${modelName}' are live, as many as may be: end some with sequence_end, or retry later`;
  return new InferenceError('UNAVAILABLE', text, { failureReason: 'REJECTED', retryAfterSeconds: 1 });
}
