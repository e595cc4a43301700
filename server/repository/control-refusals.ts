import { InferenceError } from '../../proto/inference-error.ts';

/** Of a load: another configuration, and other files than those on disk. */
export function noLoadParameters(): InferenceError {
  return new InferenceError(
    'UNIMPLEMENTED',
    "load parameters ('config' and 'file:...') are not supported by this server yet: what is on disk is loaded",
  );
}

/** Loading and unloading over the network. */
export function noModelControl(): InferenceError {
  return new InferenceError(
    'UNAVAILABLE',
    "explicit model load / unload is not allowed: model control mode is 'none', the models on disk at start are served until the end",
  );
}
