import type { ModelMetadata } from '../../backends/api/backend.ts';
import { byteSizeOf } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { ExecutionBatch, InstanceChannel } from '../../server/execution/execution-host.ts';
import { InstanceGroup } from '../../server/execution/instance-group.ts';
import { type Clock, systemClock } from '../../server/inference/clock.ts';
import { type InferenceCaller, InferenceRequest } from '../../server/inference/inference-request.ts';
import { noNestedCalls } from '../../server/inference/nested-calls.ts';
import { ModelReporter } from '../../server/metrics/model-reporter.ts';
import { autoCompleteConfig } from '../../server/model-config/auto-complete-config.ts';
import { emptyModelConfig } from '../../server/model-config/parse-model-config.ts';
import { Model } from '../../server/repository/model.ts';

export const COLUMNS = 16;
export const MAX_BATCH_SIZE = 8;

/** add_sub: two inputs, two outputs, FP32 [batch, 16]. */
export const ADD_SUB: ModelMetadata = {
  inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'FP32', shape: [-1, COLUMNS], optional: false })),
  outputs: ['OUTPUT0', 'OUTPUT1'].map((name) => ({ name, datatype: 'FP32', shape: [-1, COLUMNS], optional: false })),
};

/** The process's time; the tick ends when the benchmark says so, not when the loop comes round. */
export class TickClock implements Clock {
  readonly nowNs: () => number = systemClock.nowNs;
  readonly schedule: Clock['schedule'] = systemClock.schedule;
  readonly clear: Clock['clear'] = systemClock.clear;
  #next: (() => void) | null = null;

  /** A scheduler asks once a tick. */
  endOfTick(callback: () => void): void {
    if (this.#next !== null) throw new Error('this clock keeps one callback');
    this.#next = callback;
  }

  tick(): void {
    while (this.#next !== null) {
      const next = this.#next;
      this.#next = null;
      next();
    }
  }
}

/** Takes a batch's inputs as a host would and answers inside `execute`, from memory that is there already: what is left is the server's own work. */
class AnsweringInstance implements InstanceChannel {
  readonly hasCapacity = true;
  readonly isFree = true;
  readonly inflightCount = 0;
  readonly isAlive = true;
  readonly #memory = new Uint8Array(64 * 1024);
  /** By batch size. */
  readonly #outputs: readonly (readonly Tensor[])[];

  constructor({ outputs }: ModelMetadata) {
    this.#outputs = Array.from({ length: MAX_BATCH_SIZE + 1 }, (_, rows) =>
      outputs.map(({ name, datatype }) => ({
        name,
        datatype,
        shape: [rows, COLUMNS],
        data: new Uint8Array(rows * COLUMNS * byteSizeOf(datatype)),
      })),
    );
  }

  expect(): void {}

  execute(batch: ExecutionBatch): boolean {
    const { inputs } = batch;
    for (let i = 0; i < inputs.length; i++) batch.writeInput(i, this.#memory.subarray(0, inputs[i]!.byteLength));
    batch.complete(this.#outputs[inputs[0]!.shape[0]!]!, { inferNs: 100, outputNs: 50 });
    return true;
  }

  async release(): Promise<void> {}
}

/** A served model as the loader makes it, with `instanceCount` instances that answer at once. */
export function answeredModel(clock: Clock, instanceCount = 1): Model {
  const onFault = (error: unknown): never => {
    throw error;
  };
  const metadata = ADD_SUB;
  const instances = new InstanceGroup({
    key: 'add_sub:1',
    metadata,
    onCapacity: () => {},
    onFailed: onFault,
    onStop: () => Promise.resolve(),
  });
  instances.add(Array.from({ length: instanceCount }, () => new AnsweringInstance(metadata)));
  return new Model({
    version: 1,
    config: autoCompleteConfig({ ...emptyModelConfig(), name: 'add_sub' }, metadata, { defaultMaxBatchSize: MAX_BATCH_SIZE }),
    labels: new Map(),
    instances,
    reporter: new ModelReporter('add_sub', '1', {}),
    defaultMaxQueueSize: 4096,
    clock,
    nestedCalls: noNestedCalls,
    onFault,
    onStopped: () => {},
  });
}

/** Counts answers; an error ends the benchmark. */
export class CountingCaller implements InferenceCaller {
  count = 0;

  onResponse(): void {
    this.count++;
  }

  onComplete(): void {
    throw new Error('the end of a decoupled model came to a caller of one that is not');
  }

  onError(_request: InferenceRequest, error: Error): void {
    throw error;
  }
}

const rowData = [0, 1].map((value) => new Uint8Array(new Float32Array(COLUMNS).fill(value).buffer));

/** One row for add_sub, made anew as a protocol would. */
export function addSubRequest(caller: InferenceCaller): InferenceRequest {
  return new InferenceRequest({
    modelName: 'add_sub',
    modelVersion: '',
    id: '',
    inputs: [
      { name: 'INPUT0', datatype: 'FP32', shape: [1, COLUMNS], data: rowData[0]! },
      { name: 'INPUT1', datatype: 'FP32', shape: [1, COLUMNS], data: rowData[1]! },
    ],
    outputs: [],
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller,
  });
}
