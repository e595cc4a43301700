/** @hotpath merges the inputs of a batch and splits its outputs, once per execution */

import { skipBytesElements } from '../../proto/bytes.ts';
import { elementCount } from '../../proto/datatype.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { BatchInput, ExecutionBatch, ExecutionTiming, InstanceChannel } from '../execution/execution-host.ts';
import type { Clock } from '../inference/clock.ts';
import type { InferenceRequest, RequestHolder } from '../inference/inference-request.ts';
import { InferenceResponse, type ResponseTiming } from '../inference/inference-response.ts';
import { type ModelSignature, type OutputSpec, reshaped } from '../inference/model-signature.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';

/** What all batches of a scheduler share. */
export interface BatchContext {
  readonly signature: ModelSignature;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  /** Hears that a batch of `requestCount` requests has ended and that an instance may be free. */
  onBatchEnd(requestCount: number): void;
  /** A batch ran, `durationNs` after it was made; its requests are not answered yet. */
  onExecuted?(batch: Batch, durationNs: number): void;
  /** Takes back the requests of a batch that failed, to run them in smaller ones; they are still executing. */
  onBatchDivided(requests: readonly InferenceRequest[]): void;
  /** Null: each request is answered at once, with the outputs that it wants. */
  readonly responder: BatchResponder | null;
  /** A caller threw on its answer: a fault of the server's that must not cost the batch's other callers theirs. */
  onFault(error: unknown): void;
}

/** Answers in the place of the batch: for schedulers that keep some of the outputs, or keep an order. */
export interface BatchResponder {
  /** `outputs`: all of the model's, whatever the request wants; borrowed until this returns. The request may have ended already. */
  respond(request: InferenceRequest, outputs: readonly Tensor[], timing: ResponseTiming): void;
  fail(request: InferenceRequest, error: InferenceError): void;
}

/**
 * Requests that run in one execution. Rows lie in the batch in request order:
 *
 *     request A [2, 16]   request B [1, 16]        input of the batch [3, 16]:  A0 A1 B0
 *
 * Inputs are copied once, from the request's body into the host's tensor memory. Outputs are not copied: each request gets views of its rows.
 */
export class Batch implements ExecutionBatch, RequestHolder {
  readonly requests: readonly InferenceRequest[];
  readonly inputs: readonly BatchInput[];
  readonly batchSize: number;
  readonly #context: BatchContext;
  /** For each of `inputs`, its position in the model's inputs. */
  readonly #inputIndexes: readonly number[];
  readonly #startedNs: number;
  #instance: InstanceChannel | null = null;

  /** `requests`: at least one, bound and validated; more than one only when the model batches and their shapes agree. */
  constructor(requests: readonly InferenceRequest[], context: BatchContext) {
    this.requests = requests;
    this.#context = context;
    this.#startedNs = context.clock.nowNs();
    const { signature } = context;
    const first = requests[0]!;
    let batchSize = 0;
    for (const request of requests) batchSize += request.batchSize;
    this.batchSize = batchSize;

    const inputs = new Array<BatchInput>(signature.inputs.length);
    const inputIndexes = new Array<number>(signature.inputs.length);
    let count = 0;
    for (let i = 0; i < signature.inputs.length; i++) {
      const tensor = first.boundInputs[i];
      if (tensor === null || tensor === undefined) continue;
      const spec = signature.inputs[i]!;
      const batchDims = signature.maxBatchSize > 0 ? 1 : 0;
      let shape: readonly number[] = tensor.shape;
      if (spec.reshape !== null) shape = reshaped(shape, Math.min(batchDims, shape.length), spec.dims, spec.reshape);
      let byteLength = tensor.data.length;
      if (requests.length > 1) {
        const merged = shape.slice();
        merged[0] = batchSize;
        shape = merged;
        for (let r = 1; r < requests.length; r++) byteLength += requests[r]!.boundInputs[i]!.data.length;
      }
      inputs[count] = { name: spec.name, datatype: spec.datatype, shape, byteLength };
      inputIndexes[count++] = i;
    }
    if (count < inputs.length) inputs.length = count;
    this.inputs = inputs;
    this.#inputIndexes = inputIndexes;
  }

  /**
   * Gives the batch to an instance. False, and nothing done, when that has no tensor memory now. While it runs, the batch holds its requests: one that ends before the batch does is made known to the
   * instance.
   */
  start(instance: InstanceChannel): boolean {
    // Before: an inline instance is through with it when `execute` returns.
    this.#instance = instance;
    for (const request of this.requests) request.holder = this;
    if (instance.execute(this)) return true;
    this.#instance = null;
    for (const request of this.requests) request.holder = null;
    return false;
  }

  onRequestCancelled(request: InferenceRequest): void {
    request.holder = null;
    const instance = this.#instance;
    if (instance?.abandon !== undefined) instance.abandon(this, this.requests.indexOf(request));
  }

  /** Models that run in batches answer once. */
  onRequestResumed(): void {}

  writeInput(index: number, target: Uint8Array): void {
    const input = this.#inputIndexes[index]!;
    if (this.requests.length === 1) {
      target.set(this.requests[0]!.boundInputs[input]!.data);
      return;
    }
    let at = 0;
    for (const request of this.requests) {
      const { data } = request.boundInputs[input]!;
      target.set(data, at);
      at += data.length;
    }
  }

  complete(outputs: readonly Tensor[], timing: ExecutionTiming): void {
    const { reporter, clock } = this.#context;
    const endedNs = clock.nowNs();
    const computeInferNs = timing.inferNs;
    const computeOutputNs = timing.outputNs;
    const computeInputNs = Math.max(0, endedNs - this.#startedNs - computeInferNs - computeOutputNs);
    reporter.executed(this.batchSize, computeInputNs, computeInferNs, computeOutputNs);
    this.#context.onExecuted?.(this, endedNs - this.#startedNs);
    let split: BatchSplit;
    try {
      split = new BatchSplit(outputs, this.#context.signature, this.batchSize);
    } catch (error) {
      this.fail(InferenceError.from(error));
      return;
    }
    const { responder } = this.#context;
    for (const request of this.requests) {
      request.holder = null;
      if (request.isDone) reporter.wasted((computeInferNs * request.batchSize) / this.batchSize);
      const queueNs = this.#startedNs - request.queuedNs;
      try {
        split.answer(request, { queueNs, computeInputNs, computeInferNs, computeOutputNs }, responder);
      } catch (error) {
        this.#context.onFault(error);
      }
    }
    this.#context.onBatchEnd(this.requests.length);
  }

  completeEach(results: readonly (readonly Tensor[] | InferenceError)[], timing: ExecutionTiming): void {
    const { reporter, clock, responder, signature } = this.#context;
    const endedNs = clock.nowNs();
    const computeInferNs = timing.inferNs;
    const computeOutputNs = timing.outputNs;
    const computeInputNs = Math.max(0, endedNs - this.#startedNs - computeInferNs - computeOutputNs);
    reporter.executed(this.batchSize, computeInputNs, computeInferNs, computeOutputNs);
    this.#context.onExecuted?.(this, endedNs - this.#startedNs);
    for (let i = 0; i < this.requests.length; i++) {
      const request = this.requests[i]!;
      const result = results[i]!;
      request.holder = null;
      if (request.isDone) reporter.wasted((computeInferNs * request.batchSize) / this.batchSize);
      const queueNs = this.#startedNs - request.queuedNs;
      try {
        if (result instanceof InferenceError) this.#failOne(request, result);
        else respond(request, result, { queueNs, computeInputNs, computeInferNs, computeOutputNs }, signature, responder);
      } catch (error) {
        this.#context.onFault(error);
      }
    }
    this.#context.onBatchEnd(this.requests.length);
  }

  #failOne(request: InferenceRequest, error: InferenceError): void {
    const { responder } = this.#context;
    if (responder === null) request.fail(error);
    else responder.fail(request, error);
  }

  /** One request that the model cannot take must not cost the others theirs: a batch that may be divided is, and only what fails alone fails. */
  fail(error: InferenceError, mayDivide = false): void {
    if (mayDivide && this.requests.length > 1) {
      for (const request of this.requests) request.holder = null;
      this.#context.onBatchDivided(this.requests);
      return;
    }
    for (const request of this.requests) {
      request.holder = null;
      try {
        this.#failOne(request, error);
      } catch (fault) {
        this.#context.onFault(fault);
      }
    }
    this.#context.onBatchEnd(this.requests.length);
  }
}

/** Walks a batch's outputs row by row, one request after the other. */
class BatchSplit {
  readonly #signature: ModelSignature;
  readonly #outputs: readonly Tensor[];
  readonly #specs: readonly OutputSpec[];
  /** What one row of each output has: bytes, or elements for BYTES. */
  readonly #rowSizes: readonly number[];
  /** How far each output has been given out, bytes. */
  readonly #offsets: number[];
  readonly #batchSize: number;

  constructor(outputs: readonly Tensor[], signature: ModelSignature, batchSize: number) {
    this.#signature = signature;
    this.#outputs = outputs;
    this.#batchSize = batchSize;
    const count = outputs.length;
    const specs = new Array<OutputSpec>(count);
    const rowSizes = new Array<number>(count);
    const offsets = new Array<number>(count);
    for (let i = 0; i < count; i++) {
      const output = outputs[i]!;
      const spec = signature.outputs[signature.outputIndex.get(output.name) ?? -1];
      if (spec === undefined) throw modelFault(signature, `gave an output '${output.name}' that its configuration does not have`);
      if (signature.maxBatchSize > 0 && output.shape[0] !== batchSize) {
        const got = output.shape.length === 0 ? 'a scalar' : `${output.shape[0]} of ${JSON.stringify(output.shape)}`;
        throw modelFault(
          signature,
          `was given a batch of ${batchSize}, but output '${output.name}' came back with a first dimension of ${got}`,
        );
      }
      specs[i] = spec;
      rowSizes[i] = batchSize === 0 ? 0 : (spec.byteSize === 0 ? elementCount(output.shape) : output.data.length) / batchSize;
      offsets[i] = 0;
    }
    this.#specs = specs;
    this.#rowSizes = rowSizes;
    this.#offsets = offsets;
  }

  answer(request: InferenceRequest, timing: ResponseTiming, responder: BatchResponder | null): void {
    // At its full length from the start: an array that is pushed to takes room for 17.
    const tensors = new Array<Tensor>(this.#outputs.length);
    let count = 0;
    for (let i = 0; i < this.#outputs.length; i++) {
      const data = this.#take(i, request.batchSize);
      if (responder !== null || isWanted(request, this.#outputs[i]!.name)) tensors[count++] = this.#tensor(i, request.batchSize, data);
    }
    if (count < tensors.length) tensors.length = count;
    if (responder !== null) {
      responder.respond(request, tensors, timing);
      return;
    }
    const { modelName, modelVersion } = this.#signature;
    request.respond(new InferenceResponse(modelName, modelVersion, tensors, null, timing));
  }

  #take(index: number, rows: number): Uint8Array {
    const { data } = this.#outputs[index]!;
    if (rows === this.#batchSize || this.#signature.maxBatchSize === 0) return data;
    const start = this.#offsets[index]!;
    const size = rows * this.#rowSizes[index]!;
    const end = this.#specs[index]!.byteSize === 0 ? skipBytesElements(data, start, size) : start + size;
    this.#offsets[index] = end;
    return data.subarray(start, end);
  }

  #tensor(index: number, rows: number, data: Uint8Array): Tensor {
    const output = this.#outputs[index]!;
    const spec = this.#specs[index]!;
    const isBatched = this.#signature.maxBatchSize > 0;
    let shape = output.shape;
    if (spec.reshape !== null) shape = reshaped(shape, isBatched ? 1 : 0, spec.reshape, spec.dims);
    if (isBatched && rows !== this.#batchSize) {
      const own = shape.slice();
      own[0] = rows;
      shape = own;
    }
    return { name: output.name, datatype: output.datatype, shape, data };
  }
}

function respond(
  request: InferenceRequest,
  outputs: readonly Tensor[],
  timing: ResponseTiming,
  signature: ModelSignature,
  responder: BatchResponder | null,
): void {
  if (responder !== null) {
    responder.respond(request, outputs, timing);
    return;
  }
  const wanted = request.outputs.length === 0 ? outputs : outputs.filter((output) => isWanted(request, output.name));
  request.respond(new InferenceResponse(signature.modelName, signature.modelVersion, wanted, null, timing));
}

/** Whether the request's answer is to have the output `name`. */
export function isWanted(request: InferenceRequest, name: string): boolean {
  const { outputs } = request;
  if (outputs.length === 0) return true;
  for (let i = 0; i < outputs.length; i++) if (outputs[i]!.name === name) return true;
  return false;
}

function modelFault(signature: ModelSignature, what: string): InferenceError {
  return new InferenceError('INTERNAL', `model '${signature.modelName}' version ${signature.modelVersion} ${what}`, {
    failureReason: 'BACKEND',
  });
}
