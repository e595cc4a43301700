/** @hotpath once per batch of a model with ragged or server-made inputs: their shapes, and the numbers of the made ones, written in place (measured by batch.bench.ts) */

import { byteSizeOf, elementCount } from '../../proto/datatype.ts';
import type { BatchInput } from '../execution/execution-host.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { type InputSpec, type MadeInput, type ModelSignature, reshaped } from '../inference/model-signature.ts';

/** The concatenation of input `index` of all requests: `[elements]`, whatever their shapes. */
export function raggedInput(spec: InputSpec, index: number, requests: readonly InferenceRequest[]): BatchInput {
  let elements = 0;
  let byteLength = 0;
  for (let r = 0; r < requests.length; r++) {
    const { shape, data } = requests[r]!.boundInputs[index]!;
    elements += elementCount(shape);
    byteLength += data.length;
  }
  return { name: spec.name, datatype: spec.datatype, shape: [elements], byteLength };
}

/** The shape in which the model has input `index` of a request, batch dimension included. Of an input that was left out: no rows and no elements. */
export function modelInputShape(signature: ModelSignature, index: number, request: InferenceRequest): readonly number[] {
  const spec = signature.inputs[index]!;
  const batchDims = signature.maxBatchSize > 0 ? 1 : 0;
  const tensor = request.boundInputs[index];
  if (tensor === null || tensor === undefined) {
    const dims = spec.reshape ?? spec.dims;
    return new Array<number>(batchDims + dims.length).fill(0);
  }
  const { shape } = tensor;
  return spec.reshape === null ? shape : reshaped(shape, Math.min(batchDims, shape.length), spec.dims, spec.reshape);
}

/** Shape and size of an input that the server makes (reference section 5.10). */
export function madeInput(made: MadeInput, signature: ModelSignature, requests: readonly InferenceRequest[]): BatchInput {
  const shape = madeShape(made, signature, requests);
  return { name: made.name, datatype: made.datatype, shape, byteLength: elementCount(shape) * byteSizeOf(made.datatype) };
}

function madeShape(made: MadeInput, signature: ModelSignature, requests: readonly InferenceRequest[]): number[] {
  switch (made.kind) {
    case 'ELEMENT_COUNT':
    case 'ACCUMULATED_ELEMENT_COUNT':
      return [requests.length];
    case 'ACCUMULATED_ELEMENT_COUNT_WITH_ZERO':
      return [requests.length + 1];
    case 'MAX_ELEMENT_COUNT_AS_SHAPE': {
      let most = 0;
      for (let r = 0; r < requests.length; r++) most = Math.max(most, elementsOf(made.source, requests[r]!));
      return [most];
    }
    case 'ITEM_SHAPE':
    case 'ITEM_SHAPE_FLATTEN': {
      const { reshape, dims } = signature.inputs[made.source]!;
      const rank = (reshape ?? dims).length;
      let rows = 0;
      for (let r = 0; r < requests.length; r++) rows += rowsOf(signature, made.source, requests[r]!);
      return made.kind === 'ITEM_SHAPE' ? [rows, rank] : [rows * rank];
    }
  }
}

/** Writes what {@link madeInput} described into `target`, little-endian. */
export function writeMadeInput(
  made: MadeInput,
  signature: ModelSignature,
  requests: readonly InferenceRequest[],
  target: Uint8Array,
): void {
  const view = new DataView(target.buffer, target.byteOffset, target.length);
  const isFloat = made.datatype === 'FP32';
  let at = 0;
  switch (made.kind) {
    case 'ELEMENT_COUNT':
      for (let r = 0; r < requests.length; r++) at = put(view, at, isFloat, elementsOf(made.source, requests[r]!));
      break;
    case 'ACCUMULATED_ELEMENT_COUNT':
    case 'ACCUMULATED_ELEMENT_COUNT_WITH_ZERO': {
      let total = 0;
      if (made.kind === 'ACCUMULATED_ELEMENT_COUNT_WITH_ZERO') at = put(view, at, isFloat, 0);
      for (let r = 0; r < requests.length; r++) {
        total += elementsOf(made.source, requests[r]!);
        at = put(view, at, isFloat, total);
      }
      break;
    }
    case 'MAX_ELEMENT_COUNT_AS_SHAPE':
      // Only the length has a meaning, but what another request left in the memory is not the model's to see.
      target.fill(0);
      break;
    case 'ITEM_SHAPE':
    case 'ITEM_SHAPE_FLATTEN': {
      const first = signature.maxBatchSize > 0 ? 1 : 0;
      for (let r = 0; r < requests.length; r++) {
        const shape = modelInputShape(signature, made.source, requests[r]!);
        const rows = rowsOf(signature, made.source, requests[r]!);
        for (let row = 0; row < rows; row++) {
          for (let d = first; d < shape.length; d++) at = put(view, at, isFloat, shape[d]!);
        }
      }
      break;
    }
  }
}

function put(view: DataView, at: number, isFloat: boolean, value: number): number {
  if (isFloat) view.setFloat32(at, value, true);
  else view.setInt32(at, value, true);
  return at + 4;
}

function elementsOf(index: number, request: InferenceRequest): number {
  const tensor = request.boundInputs[index];
  return tensor === null || tensor === undefined ? 0 : elementCount(tensor.shape);
}

function rowsOf(signature: ModelSignature, index: number, request: InferenceRequest): number {
  const tensor = request.boundInputs[index];
  if (tensor === null || tensor === undefined) return 0;
  return signature.maxBatchSize > 0 ? tensor.shape[0]! : 1;
}
