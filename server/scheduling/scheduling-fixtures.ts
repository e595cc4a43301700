import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { ExecutionBatch, InstanceChannel } from '../execution/execution-host.ts';
import { type InferenceCaller, InferenceRequest, type RequestSequence } from '../inference/inference-request.ts';
import type { InferenceResponse } from '../inference/inference-response.ts';
import type { InputSpec, ModelSignature } from '../inference/model-signature.ts';

/** A model of int32 inputs that gives each of them back under the name of an output. */
export function identitySignature(maxBatchSize: number, dims: readonly (readonly number[])[]): ModelSignature {
  const inputs: InputSpec[] = dims.map((one, i) => ({
    name: `IN${i}`,
    datatype: 'INT32',
    byteSize: 4,
    dims: one,
    optional: false,
    reshape: null,
  }));
  const outputs = dims.map((one, i) => ({
    name: `OUT${i}`,
    datatype: 'INT32' as const,
    byteSize: 4,
    dims: one,
    reshape: null,
    labels: null,
  }));
  return {
    modelName: 'identity',
    modelVersion: '1',
    maxBatchSize,
    inputs,
    outputs,
    inputIndex: new Map(inputs.map((spec, i) => [spec.name, i])),
    outputIndex: new Map(outputs.map((spec, i) => [spec.name, i])),
    requiredInputs: inputs.length,
  };
}

export interface Ending {
  readonly id: string;
  readonly error: InferenceError | null;
  /** Copies: the response's own bytes are borrowed. */
  readonly outputs: readonly Tensor[];
}

/** Keeps what each request ended with, in order, so that a test can see one that ended twice or never. */
export class Ledger implements InferenceCaller {
  readonly endings: Ending[] = [];

  onResponse(request: InferenceRequest, response: InferenceResponse): void {
    this.endings.push({
      id: request.id,
      error: null,
      outputs: response.outputs.map((output) => ({ ...output, data: output.data.slice() })),
    });
  }

  onComplete(request: InferenceRequest): void {
    this.endings.push({ id: request.id, error: null, outputs: [] });
  }

  onError(request: InferenceRequest, error: InferenceError): void {
    this.endings.push({ id: request.id, error, outputs: [] });
  }
}

/** A bound request of int32 tensors. */
export function int32Request(
  id: string,
  caller: InferenceCaller,
  tensors: readonly { shape: readonly number[]; values: readonly number[] }[],
  sequence: RequestSequence | null = null,
): InferenceRequest {
  const inputs: Tensor[] = tensors.map(({ shape, values }, i) => ({
    name: `IN${i}`,
    datatype: 'INT32',
    shape,
    data: new Uint8Array(Int32Array.from(values).buffer),
  }));
  const request = new InferenceRequest({
    modelName: 'identity',
    modelVersion: '',
    id,
    inputs,
    outputs: [],
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    sequence,
    caller,
  });
  request.boundInputs = inputs;
  request.batchSize = tensors[0]?.shape[0] ?? 1;
  return request;
}

/** An instance that a test drives: it holds batches until told to answer or fail them. */
export class ManualInstance implements InstanceChannel {
  readonly running: { batch: ExecutionBatch; inputs: Tensor[] }[] = [];
  readonly capacity: number;
  /** Refuse batches as if there were no tensor memory. */
  isOutOfMemory = false;
  isAlive = true;

  constructor(capacity = 1) {
    this.capacity = capacity;
  }

  get hasCapacity(): boolean {
    return this.running.length < this.capacity;
  }

  get isFree(): boolean {
    return this.hasCapacity;
  }

  get inflightCount(): number {
    return this.running.length;
  }

  take(): InstanceChannel | null {
    return this.hasCapacity ? this : null;
  }

  expect(): void {}

  execute(batch: ExecutionBatch): boolean {
    if (this.isOutOfMemory) return false;
    const inputs = batch.inputs.map((input, i) => {
      const data = new Uint8Array(input.byteLength);
      batch.writeInput(i, data);
      return { name: input.name, datatype: input.datatype, shape: input.shape, data };
    });
    this.running.push({ batch, inputs });
    return true;
  }

  /** Answers the oldest running batch with its own inputs. */
  answer(): void {
    const { batch, inputs } = this.running.shift()!;
    batch.complete(
      inputs.map((input) => ({ ...input, name: input.name.replace('IN', 'OUT') })),
      { inferNs: 10, outputNs: 5 },
    );
    // A host takes its memory back as soon as `complete` returns.
    for (const input of inputs) input.data.fill(0xee);
  }

  fail(error: InferenceError, mayDivide = false): void {
    this.running.shift()!.batch.fail(error, mayDivide);
  }

  async release(): Promise<void> {}
}
