/** @hotpath once per batch and once per request: cuts the outputs of a batch into views, each request's own (measured by batch.bench.ts) */

import { skipBytesElements } from '../../proto/bytes.ts';
import { elementCount } from '../../proto/datatype.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { type ModelSignature, type OutputSpec, reshaped } from '../inference/model-signature.ts';
import { modelInputShape } from './batch-inputs.ts';

/** Of a batch of one request, which gets every output whole. */
const unused: number[] = [];

/** Walks a batch's outputs, one request after the other. */
export class BatchSplit {
  readonly #signature: ModelSignature;
  readonly #outputs: readonly Tensor[];
  readonly #specs: readonly OutputSpec[];
  /** What one row of each output has: bytes, or elements for BYTES. */
  readonly #rowSizes: readonly number[];
  /** How far each output has been given out, bytes. */
  readonly #offsets: number[];
  readonly #batchSize: number;
  /** Null where every output has rows. */
  readonly #scatterBy: readonly number[] | null;

  /** Throws INTERNAL when the outputs are not of this batch: a name nobody knows, other rows, other elements than the requests' shapes ask for. */
  constructor(outputs: readonly Tensor[], signature: ModelSignature, batchSize: number, requests: readonly InferenceRequest[]) {
    this.#signature = signature;
    this.#outputs = outputs;
    this.#batchSize = batchSize;
    const batchTensors = signature.batchTensors ?? null;
    const count = outputs.length;
    const specs = new Array<OutputSpec>(count);
    const isWhole = requests.length === 1 && batchTensors === null;
    const rowSizes = isWhole ? unused : new Array<number>(count);
    const offsets = isWhole ? unused : new Array<number>(count);
    const scatterBy = batchTensors === null ? null : new Array<number>(count);
    for (let i = 0; i < count; i++) {
      const output = outputs[i]!;
      const index = signature.outputIndex.get(output.name) ?? -1;
      const spec = signature.outputs[index];
      if (spec === undefined) throw modelFault(signature, `gave an output '${output.name}' that its configuration does not have`);
      specs[i] = spec;
      if (scatterBy !== null) {
        const source = batchTensors!.scatterBy[index]!;
        scatterBy[i] = source;
        if (source >= 0) {
          rowSizes[i] = 0;
          offsets[i] = 0;
          checkScattered(output, spec, source, signature, requests);
          continue;
        }
      }
      if (signature.maxBatchSize > 0 && output.shape[0] !== batchSize) throw wrongRows(output, signature, batchSize);
      if (isWhole) continue;
      offsets[i] = 0;
      rowSizes[i] = batchSize === 0 ? 0 : (spec.byteSize === 0 ? elementCount(output.shape) : output.data.length) / batchSize;
    }
    this.#specs = specs;
    this.#rowSizes = rowSizes;
    this.#offsets = offsets;
    this.#scatterBy = scatterBy;
  }

  /** The next request's part of the outputs: those that it wants, or all of them. To be called for each request of the batch, in their order. */
  take(request: InferenceRequest, wantsAll: boolean): Tensor[] {
    // At its full length from the start: an array that is pushed to takes room for 17.
    const tensors = new Array<Tensor>(this.#outputs.length);
    let count = 0;
    for (let i = 0; i < this.#outputs.length; i++) {
      const source = this.#scatterBy === null ? -1 : this.#scatterBy[i]!;
      const tensor = source < 0 ? this.#takeRows(i, request.batchSize) : this.#takeScattered(i, source, request);
      if (wantsAll || isWanted(request, tensor.name)) tensors[count++] = tensor;
    }
    if (count < tensors.length) tensors.length = count;
    return tensors;
  }

  #takeRows(index: number, rows: number): Tensor {
    const output = this.#outputs[index]!;
    const spec = this.#specs[index]!;
    const isBatched = this.#signature.maxBatchSize > 0;
    const isPart = isBatched && rows !== this.#batchSize;
    const data = isPart ? this.#advance(index, rows * this.#rowSizes[index]!) : output.data;
    let shape = output.shape;
    if (spec.reshape !== null) shape = reshaped(shape, isBatched ? 1 : 0, spec.reshape, spec.dims);
    if (isPart) {
      const own = shape.slice();
      own[0] = rows;
      shape = own;
    }
    return { name: output.name, datatype: output.datatype, shape, data };
  }

  #takeScattered(index: number, source: number, request: InferenceRequest): Tensor {
    const output = this.#outputs[index]!;
    const spec = this.#specs[index]!;
    let shape = scatteredShape(spec, source, this.#signature, request);
    const data = this.#advance(index, elementCount(shape) * Math.max(1, spec.byteSize));
    if (spec.reshape !== null) shape = reshaped(shape, this.#signature.maxBatchSize > 0 ? 1 : 0, spec.reshape, spec.dims);
    return { name: output.name, datatype: output.datatype, shape, data };
  }

  /** `size`: bytes, or elements for BYTES. */
  #advance(index: number, size: number): Uint8Array {
    const { data } = this.#outputs[index]!;
    const start = this.#offsets[index]!;
    const end = this.#specs[index]!.byteSize === 0 ? skipBytesElements(data, start, size) : start + size;
    this.#offsets[index] = end;
    return data.subarray(start, end);
  }
}

/** Whether the request's answer is to have the output `name`. */
export function isWanted(request: InferenceRequest, name: string): boolean {
  const { outputs } = request;
  if (outputs.length === 0) return true;
  for (let i = 0; i < outputs.length; i++) if (outputs[i]!.name === name) return true;
  return false;
}

/** As the model has it: every open dimension is that of the source input at the same place (BATCH_SCATTER_WITH_INPUT_SHAPE). */
function scatteredShape(spec: OutputSpec, source: number, signature: ModelSignature, request: InferenceRequest): number[] {
  const from = modelInputShape(signature, source, request);
  const dims = spec.reshape ?? spec.dims;
  const skip = signature.maxBatchSize > 0 ? 1 : 0;
  const shape = new Array<number>(skip + dims.length);
  if (skip === 1) shape[0] = from[0]!;
  for (let d = 0; d < dims.length; d++) shape[d + skip] = dims[d]! >= 0 ? dims[d]! : from[d + skip]!;
  return shape;
}

function checkScattered(
  output: Tensor,
  spec: OutputSpec,
  source: number,
  signature: ModelSignature,
  requests: readonly InferenceRequest[],
): void {
  let expected = 0;
  for (let r = 0; r < requests.length; r++) expected += elementCount(scatteredShape(spec, source, signature, requests[r]!));
  const got = elementCount(output.shape);
  if (got === expected) return;
  throw modelFault(
    signature,
    `gave ${got} elements of output '${output.name}', but by the shapes of input '${signature.inputs[source]!.name}' its requests have ${expected} together`,
  );
}

function wrongRows(output: Tensor, signature: ModelSignature, batchSize: number): InferenceError {
  const got = output.shape.length === 0 ? 'a scalar' : `${output.shape[0]} of ${JSON.stringify(output.shape)}`;
  const hint = signature.batchTensors ? '; where the requests of a batch lie one behind the other, say so with batch_output' : '';
  return modelFault(
    signature,
    `was given a batch of ${batchSize}, but output '${output.name}' came back with a first dimension of ${got}${hint}`,
  );
}

function modelFault(signature: ModelSignature, what: string): InferenceError {
  return new InferenceError('INTERNAL', `model '${signature.modelName}' version ${signature.modelVersion} ${what}`, {
    failureReason: 'BACKEND',
  });
}
