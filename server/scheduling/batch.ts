/** @hotpath merges the inputs of a batch and splits its outputs, once per execution */

import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { BatchInput, ExecutionBatch, ExecutionTiming, InstanceChannel } from '../execution/execution-host.ts';
import type { Clock } from '../inference/clock.ts';
import type { InferenceRequest, RequestHolder } from '../inference/inference-request.ts';
import { InferenceResponse, type ResponseTiming } from '../inference/inference-response.ts';
import { type ModelSignature, reshaped } from '../inference/model-signature.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import { madeInput, raggedInput, writeMadeInput } from './batch-inputs.ts';
import { BatchSplit, isWanted } from './batch-outputs.ts';

export { isWanted } from './batch-outputs.ts';

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
  /** The caller of one that executes has gone. */
  onRequestGone?(): void;
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
 * Inputs are copied once, from the request's body into the host's tensor memory. Outputs are not copied: each request gets views of its rows. Where the configuration says so, an input has
 * no rows (ragged, batch-inputs.ts), or an output (scattered, batch-outputs.ts).
 */
export class Batch implements ExecutionBatch, RequestHolder {
  readonly requests: readonly InferenceRequest[];
  readonly inputs: readonly BatchInput[];
  readonly batchSize: number;
  readonly #context: BatchContext;
  /** For each of `inputs`, its position in the model's inputs; -1 - m for the one that the server makes as the signature's `made[m]`. */
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

    const batchTensors = signature.batchTensors ?? null;
    const inputs = new Array<BatchInput>(signature.inputs.length + (batchTensors === null ? 0 : batchTensors.made.length));
    const inputIndexes = new Array<number>(inputs.length);
    let count = 0;
    for (let i = 0; i < signature.inputs.length; i++) {
      const tensor = first.boundInputs[i];
      if (tensor === null || tensor === undefined) continue;
      const spec = signature.inputs[i]!;
      if (batchTensors !== null && batchTensors.ragged[i]!) {
        inputs[count] = raggedInput(spec, i, requests);
        inputIndexes[count++] = i;
        continue;
      }
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
    if (batchTensors !== null) {
      for (let m = 0; m < batchTensors.made.length; m++) {
        inputs[count] = madeInput(batchTensors.made[m]!, signature, requests);
        inputIndexes[count++] = -1 - m;
      }
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
    this.#context.onRequestGone?.();
  }

  /** Models that run in batches answer once. */
  onRequestResumed(): void {}

  writeInput(index: number, target: Uint8Array): void {
    const input = this.#inputIndexes[index]!;
    if (input < 0) {
      const { signature } = this.#context;
      writeMadeInput(signature.batchTensors!.made[-1 - input]!, signature, this.requests, target);
      return;
    }
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
    const { reporter, clock, responder, signature } = this.#context;
    const endedNs = clock.nowNs();
    const computeInferNs = timing.inferNs;
    const computeOutputNs = timing.outputNs;
    const computeInputNs = Math.max(0, endedNs - this.#startedNs - computeInferNs - computeOutputNs);
    reporter.executed(this.batchSize, computeInputNs, computeInferNs, computeOutputNs);
    this.#context.onExecuted?.(this, endedNs - this.#startedNs);
    let split: BatchSplit;
    try {
      split = new BatchSplit(outputs, signature, this.batchSize, this.requests);
    } catch (error) {
      this.fail(InferenceError.from(error));
      return;
    }
    for (const request of this.requests) {
      request.holder = null;
      if (request.isDone) reporter.wasted(this.#shareOf(request, computeInferNs));
      const queueNs = this.#startedNs - request.queuedNs;
      let tensors: readonly Tensor[] | null = null;
      try {
        tensors = split.take(request, responder !== null);
        answer(request, tensors, { queueNs, computeInputNs, computeInferNs, computeOutputNs }, signature, responder);
      } catch (error) {
        this.#context.onFault(error);
        // Rows that cannot be taken out; what a caller throws on its answer is that caller's end.
        if (tensors === null) this.#failOne(request, InferenceError.from(error));
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
      const result =
        results[i] ??
        new InferenceError('INTERNAL', `the model gave no answer to request ${i + 1} of the batch`, { failureReason: 'BACKEND' });
      request.holder = null;
      if (request.isDone) reporter.wasted(this.#shareOf(request, computeInferNs));
      const queueNs = this.#startedNs - request.queuedNs;
      try {
        if (result instanceof InferenceError) this.#failOne(request, result);
        else {
          const wanted =
            responder !== null || request.outputs.length === 0 ? result : result.filter((output) => isWanted(request, output.name));
          answer(request, wanted, { queueNs, computeInputNs, computeInferNs, computeOutputNs }, signature, responder);
        }
      } catch (error) {
        this.#context.onFault(error);
      }
    }
    this.#context.onBatchEnd(this.requests.length);
  }

  /** What of the execution's time was this request's, by rows. */
  #shareOf(request: InferenceRequest, inferNs: number): number {
    return this.batchSize === 0 ? inferNs / this.requests.length : (inferNs * request.batchSize) / this.batchSize;
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

function answer(
  request: InferenceRequest,
  outputs: readonly Tensor[],
  timing: ResponseTiming,
  signature: ModelSignature,
  responder: BatchResponder | null,
): void {
  if (responder !== null) responder.respond(request, outputs, timing);
  else request.respond(new InferenceResponse(signature.modelName, signature.modelVersion, outputs, null, timing));
}
