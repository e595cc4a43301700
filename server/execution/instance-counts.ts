import { InferenceError } from '../../proto/inference-error.ts';

/** More would be a mistake in a configuration: each holds memory of its own. */
const MAX_INSTANCES = 1024;
/** Each instance of a model that is code is a process. */
const MAX_CODE_INSTANCES = 64;

/** Throws INVALID_ARGUMENT. */
export function requireInstanceCount(model: string, instanceCount: number): void {
  if (Number.isInteger(instanceCount) && instanceCount >= 1 && instanceCount <= MAX_INSTANCES) return;
  const text = `model '${model}' asks for ${instanceCount} instances; instance_group counts must sum up to 1 to ${MAX_INSTANCES}`;
  throw new InferenceError('INVALID_ARGUMENT', text);
}

/** Throws INVALID_ARGUMENT. */
export function requireCodeInstances(model: string, instanceCount: number): void {
  if (instanceCount <= MAX_CODE_INSTANCES) return;
  const text = `model '${model}' asks for ${instanceCount} instances, each of them a process; the counts of its instance_group must sum up to at most ${MAX_CODE_INSTANCES}`;
  throw new InferenceError('INVALID_ARGUMENT', text);
}
