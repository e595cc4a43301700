import type { ModelSpec } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';

export function stopping(): InferenceError {
  return new InferenceError('UNAVAILABLE', 'the server is stopping');
}

/** The signal's reason where that is one of ours. */
export function calledOff(spec: ModelSpec, signal: AbortSignal): InferenceError {
  if (signal.reason instanceof InferenceError) return signal.reason;
  return new InferenceError('CANCELLED', `the load of model '${spec.name}' version ${spec.version} was called off`, {
    failureReason: 'CANCELED',
  });
}
