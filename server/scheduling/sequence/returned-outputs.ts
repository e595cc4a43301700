/** @hotpath once per answer (measured by sequence-scheduler.bench.ts) */

import type { Tensor } from '../../../proto/tensor.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import { isWanted } from '../batch.ts';
import type { SequencePlan } from './sequence-plan.ts';

/** What the request's caller may have of the model's outputs, and wants: states only where the configuration lists them. */
export function returnedOutputs(request: InferenceRequest, outputs: readonly Tensor[], { returned }: SequencePlan): readonly Tensor[] {
  if (returned === null && request.outputs.length === 0) return outputs;
  const wanted: Tensor[] = [];
  for (let i = 0; i < outputs.length; i++) {
    const output = outputs[i]!;
    if ((returned === null || returned.has(output.name)) && isWanted(request, output.name)) wanted.push(output);
  }
  return wanted;
}
