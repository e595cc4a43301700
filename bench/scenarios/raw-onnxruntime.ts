/**
 * The control of what a model itself takes: ONNX Runtime with one thread, in a process that does nothing else. `c-api`: its C API, by the server's own backend, into memory that is used again; `binding`:
 * `session.run` of onnxruntime-node. A loop process (loop-task.ts); a run of batch n counts n times.
 */

import koffi from 'koffi';
import { Tensor as BindingTensor, InferenceSession } from 'onnxruntime-node';
import type { ModelInstance, OutputSink } from '../../backends/api/backend.ts';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { createBackend } from '../../backends/onnxruntime/index.ts';
import type { InputTensor } from '../../clients/typescript/src/transport.ts';
import { decodeBytes } from '../../proto/bytes.ts';
import type { Datatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { type LoopTask, runFor, serveLoop } from './loop-task.ts';

/** What the process is told. */
export interface RawOnnxRuntimeOptions {
  readonly modelFile: string;
  readonly through: 'c-api' | 'binding';
  /** Rows of a run; 'best': whichever of BATCHES takes least for a row. */
  readonly batch: number | 'best';
  /** The inputs of each request, batch dimension first and 1; they are run in turn. */
  readonly requests: readonly (readonly InputTensor[])[];
}

const BATCHES = [1, 2, 4, 8, 16, 32, 64];
/** Of each batch, where the best is looked for; at least one run. */
const TRIAL_MS = 150;
/** As tensors lie in the server's hosts. */
const ALIGNMENT = 64;

/** Hands out the same memory in every run, as a host's ring does. */
class SameMemory implements OutputSink {
  #outputs: Uint8Array[] = [];
  #next = 0;

  allocate(_name: string, _datatype: Datatype, _shape: readonly number[], byteLength: number): Uint8Array {
    const at = this.#next++;
    let memory = this.#outputs[at];
    if (memory === undefined || memory.length < byteLength) {
      memory = alignedMemory(byteLength);
      this.#outputs[at] = memory;
    }
    return memory.length === byteLength ? memory : memory.subarray(0, byteLength);
  }

  inferStarted(): void {}

  inferEnded(): void {}

  reset(): void {
    this.#next = 0;
  }
}

class NativeTask implements LoopTask {
  readonly itemsPerRun: number;
  readonly #instance: ModelInstance;
  readonly #requests: readonly (readonly Tensor[])[];
  readonly #sink = new SameMemory();
  #next = 0;

  constructor(instance: ModelInstance, requests: readonly (readonly Tensor[])[], batch: number) {
    this.#instance = instance;
    this.#requests = requests;
    this.itemsPerRun = batch;
  }

  run(): void {
    this.#sink.reset();
    this.#instance.execute(this.#requests[this.#next]!, this.#sink);
    this.#next = (this.#next + 1) % this.#requests.length;
  }
}

class BindingTask implements LoopTask {
  readonly itemsPerRun: number;
  readonly #session: InferenceSession;
  readonly #requests: readonly Record<string, BindingTensor>[];
  #next = 0;

  constructor(session: InferenceSession, requests: readonly (readonly Tensor[])[], batch: number) {
    this.#session = session;
    this.#requests = requests.map((inputs) => Object.fromEntries(inputs.map((input) => [input.name, bindingTensor(input)])));
    this.itemsPerRun = batch;
  }

  run(): Promise<unknown> {
    const feeds = this.#requests[this.#next]!;
    this.#next = (this.#next + 1) % this.#requests.length;
    return this.#session.run(feeds);
  }
}

serveLoop(async ({ modelFile, through, batch, requests }: RawOnnxRuntimeOptions) => {
  const make = through === 'c-api' ? await nativeTasks(modelFile) : await bindingTasks(modelFile);
  const taskOf = (rows: number): LoopTask =>
    make(
      requests.map((inputs) => inputs.map((input) => repeated(input, rows))),
      rows,
    );
  if (batch !== 'best') return [taskOf(batch), ''];
  let best = taskOf(1);
  let bestRate = 0;
  for (const rows of BATCHES) {
    const task = taskOf(rows);
    await runFor(task, TRIAL_MS / 3);
    const { itemsPerSecond } = await runFor(task, TRIAL_MS);
    if (itemsPerSecond > bestRate) [best, bestRate] = [task, itemsPerSecond];
  }
  return [best, `batch ${best.itemsPerRun}`];
});

type MakeTask = (requests: readonly (readonly Tensor[])[], batch: number) => LoopTask;

async function nativeTasks(modelPath: string): Promise<MakeTask> {
  const backend = await createBackend({ settings: {} });
  // What a backend reads of a configuration; none of it is set, so that all is as in a server that was told nothing.
  const config = {
    parameters: {},
    instanceGroup: [],
    optimization: null,
    input: [],
    output: [],
    maxBatchSize: 0,
  } as unknown as ModelConfig;
  const model = await backend.load({ name: 'raw', version: 1, modelPath, config });
  const instance = await model.createInstance();
  return (requests, batch) => new NativeTask(instance, requests, batch);
}

async function bindingTasks(modelFile: string): Promise<MakeTask> {
  const session = await InferenceSession.create(modelFile, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  return (requests, batch) => new BindingTask(session, requests, batch);
}

/** The same row so many times. */
function repeated({ name, datatype, shape, data }: InputTensor, rows: number): Tensor {
  if (!(data instanceof Uint8Array)) throw new RangeError(`inputs.${name}: a tensor in shared memory has no bytes to run a model with`);
  if (shape[0] !== 1) throw new RangeError(`inputs.${name}: expected a first dimension of 1, got [${shape.join(', ')}]`);
  const memory = alignedMemory(data.length * rows);
  for (let row = 0; row < rows; row++) memory.set(data, row * data.length);
  return { name, datatype, shape: [rows, ...shape.slice(1)], data: memory };
}

/** Memory that does not move. */
function alignedMemory(byteLength: number): Uint8Array {
  const whole = Buffer.allocUnsafeSlow(byteLength + ALIGNMENT);
  const beyond = Number(koffi.address(whole)) % ALIGNMENT;
  const start = beyond === 0 ? 0 : ALIGNMENT - beyond;
  return whole.subarray(start, start + byteLength);
}

function bindingTensor({ name, datatype, shape, data }: Tensor): BindingTensor {
  const { buffer, byteOffset, byteLength } = data;
  switch (datatype) {
    case 'FP32':
      return new BindingTensor('float32', new Float32Array(buffer as ArrayBuffer, byteOffset, byteLength / 4), shape);
    case 'INT32':
      return new BindingTensor('int32', new Int32Array(buffer as ArrayBuffer, byteOffset, byteLength / 4), shape);
    case 'INT64':
      return new BindingTensor('int64', new BigInt64Array(buffer as ArrayBuffer, byteOffset, byteLength / 8), shape);
    case 'BYTES':
      return new BindingTensor(
        'string',
        decodeBytes(data, name).map((text) => Buffer.from(text).toString()),
        shape,
      );
    default:
      throw new RangeError(`inputs.${name}: this control has no ${datatype}; it has FP32, INT32, INT64 and BYTES`);
  }
}
