import { InferenceError } from '../../proto/inference-error.ts';

/** Loading and unloading over the network. */
export function noModelControl(mode: 'none' | 'poll' | 'explicit'): InferenceError {
  const why = mode === 'poll' ? 'the repository itself says what is served' : 'the models on disk at start are served until the end';
  return new InferenceError('UNAVAILABLE', `explicit model load / unload is not allowed: model control mode is '${mode}', ${why}`);
}
