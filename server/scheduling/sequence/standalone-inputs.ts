import type { Tensor } from '../../../proto/tensor.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import { encodeCorrelation } from './encode-correlation.ts';
import type { SequencePlan } from './sequence-plan.ts';

/** For requests that run past the scheduler, as warm-ups do: all inputs of an execution, of which those that the server makes may be left out. */
export function standaloneSignature({ signature, clientInputs }: SequencePlan): ModelSignature {
  const inputs = signature.inputs.map((spec, index) => (index < clientInputs ? spec : { ...spec, optional: true }));
  return { ...signature, inputs, requiredInputs: inputs.filter(({ optional }) => !optional).length };
}

/** `bound`, by that signature, with what was left out: each of its `rows` is the first request of a sequence with the id 1. */
export function standaloneInputs(plan: SequencePlan, bound: readonly (Tensor | null)[], rows: number): readonly (Tensor | null)[] {
  const inputs = plan.signature.inputs.map((_, index) => bound[index] ?? null);
  const { start, ready, end, correlation, states } = plan;
  const fill = (input: number, tensor: Tensor): void => {
    inputs[input] ??= repeated(tensor, plan.signature.maxBatchSize > 0 ? rows : 1);
  };
  if (start !== null) fill(start.input, start.yes);
  if (ready !== null) fill(ready.input, ready.yes);
  if (end !== null) fill(end.input, end.no);
  if (correlation !== null) {
    const shape = plan.signature.maxBatchSize > 0 ? [1, 1] : [1];
    const id = correlation.datatype === 'BYTES' ? '1' : 1n;
    fill(correlation.input, { ...correlation, shape, data: encodeCorrelation(id, correlation.datatype) });
  }
  for (const { input, initial } of states) fill(input, initial);
  return inputs;
}

function repeated(tensor: Tensor, rows: number): Tensor {
  if (rows === 1) return tensor;
  const { name, datatype, shape } = tensor;
  return { name, datatype, shape: [rows, ...shape.slice(1)], data: Buffer.concat(new Array<Uint8Array>(rows).fill(tensor.data)) };
}
