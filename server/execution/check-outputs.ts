/** @hotpath holds what a model gave against what it says of itself, in the host (measured by instance-worker.bench.ts) */

import type { ModelMetadata, TensorMetadata } from '../../backends/api/backend.ts';
import { byteSizeOf, type Datatype, elementCount, MAX_TENSOR_BYTES } from '../../proto/datatype.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';

/** What is wrong with an output, to follow "model 'x' "; null when nothing is. A model file may state shapes that its run doesn't keep to. */
export function outputFault(expected: TensorMetadata, datatype: Datatype, shape: readonly number[], byteLength: number): string | null {
  if (datatype !== expected.datatype) return `gave output '${expected.name}' as ${datatype}, its metadata says ${expected.datatype}`;
  let matches = shape.length === expected.shape.length;
  for (let i = 0; matches && i < shape.length; i++) matches = expected.shape[i]! < 0 || expected.shape[i] === shape[i];
  const count = elementCount(shape);
  if (!matches || count < 0) {
    return `gave output '${expected.name}' the shape [${shape.join(',')}], its metadata says [${expected.shape.join(',')}]`;
  }
  const elementBytes = byteSizeOf(datatype);
  const isRightSize = elementBytes === 0 ? byteLength >= count * 4 && byteLength <= MAX_TENSOR_BYTES : byteLength === count * elementBytes;
  if (isRightSize) return null;
  return `gave output '${expected.name}' ${byteLength} bytes, ${count} elements of ${datatype} don't have that many`;
}

/** One response of a model: every output, in the metadata's order; optional ones may be missing. Throws INTERNAL, which ends the request and not the host. */
export function checkOutputs(modelName: string, metadata: ModelMetadata, outputs: readonly Tensor[]): void {
  const expected = metadata.outputs;
  let fault: string | null = null;
  let given = 0;
  for (let i = 0; fault === null && i < expected.length; i++) {
    const output = outputs[given];
    if (output?.name === expected[i]!.name) {
      fault = outputFault(expected[i]!, output.datatype, output.shape, output.data.length);
      given++;
    } else if (!expected[i]!.optional) {
      fault =
        output === undefined
          ? `gave no output '${expected[i]!.name}'`
          : `gave output '${output.name}' where '${expected[i]!.name}' is next`;
    }
  }
  if (fault === null && given < outputs.length)
    fault = `gave output '${outputs[given]!.name}', which is not its next one, or none of its own`;
  if (fault !== null) throw modelFault(modelName, fault);
}

export function modelFault(modelName: string, what: string): InferenceError {
  return new InferenceError('INTERNAL', `model '${modelName}' ${what}`, { failureReason: 'BACKEND' });
}
