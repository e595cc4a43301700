import { InferenceError } from '../../../proto/inference-error.ts';

export function cancelled(): InferenceError {
  return new InferenceError('CANCELLED', 'the request was cancelled', { failureReason: 'CANCELED' });
}

export function unloaded(): InferenceError {
  return new InferenceError('UNAVAILABLE', 'the model is unloaded');
}

/** What native code threw: sentences of the addon, which hold no path. */
export function nativeFailure(error: unknown): InferenceError {
  if (error instanceof InferenceError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new InferenceError('INTERNAL', `llama.cpp: ${text.slice(0, 300)}`, { cause: error, failureReason: 'BACKEND' });
}
