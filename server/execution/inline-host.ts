/** @hotpath runs a batch on the gateway's own loop: for models that take a few microseconds and are trusted */

import type { Model, ModelInstance, ModelMetadata, ModelSpec } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { ExecutionBatch, ExecutionHost, HostKind, InstanceChannel, LoadedModel } from './execution-host.ts';
import { alignTensor } from './execution-record.ts';
import { createDecoupledInstance } from './hosted-models.ts';
import { InlineDecoupledChannel } from './inline-decoupled-channel.ts';
import { tooLargeBatch } from './instance-channel.ts';
import { KeptRegions } from './kept-regions.ts';
import { BackendLoader } from './load-backend.ts';
import { ModelTensors } from './model-tensors.ts';
import { OutputWriter } from './output-writer.ts';
import { createPrivateMemory } from './shared-memory.ts';
import { TensorArena } from './tensor-arena.ts';

export interface InlineHostOptions {
  /** Tensor memory of the host: bounds one batch. */
  readonly memoryBytes: number;
  /** `--backend-config`: backend name to its settings. */
  readonly backendSettings: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** Where inputs and outputs of inline batches lie: 64-byte aligned and not moving, as in a process. */
interface InlineMemory {
  readonly bytes: Uint8Array;
  readonly arena: TensorArena;
  readonly kept: KeptRegions;
  readonly writer: OutputWriter;
}

/**
 * No isolation: a native fault of the model is the server's, a run that takes long stops every socket, and no deadline can end it.
 */
export class InlineHost implements ExecutionHost {
  readonly kind: HostKind = 'inline';
  readonly pid: number = process.pid;
  readonly #backends: BackendLoader;
  readonly #memory: InlineMemory;
  readonly #models: Set<Model> = new Set();
  readonly #channels: Set<InlineInstanceChannel | InlineDecoupledChannel> = new Set();
  #loadQueue: Promise<unknown> = Promise.resolve();
  #isAlive = true;

  constructor(options: InlineHostOptions) {
    this.#backends = new BackendLoader(options.backendSettings);
    const shared = createPrivateMemory(options.memoryBytes);
    const arena = new TensorArena(0, shared.byteLength);
    this.#memory = {
      bytes: new Uint8Array(shared.buffer),
      arena,
      kept: new KeptRegions(shared, arena),
      writer: new OutputWriter(),
    };
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  load(spec: ModelSpec): Promise<LoadedModel> {
    const loaded = this.#loadQueue.then(() => this.#load(spec));
    this.#loadQueue = loaded.catch(() => {});
    return loaded;
  }

  async stop(): Promise<void> {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    for (const channel of this.#channels) await channel.dispose();
    for (const model of this.#models) await model.unload();
    this.#models.clear();
    await this.#backends.close();
    this.#memory.kept.close();
  }

  async #load(spec: ModelSpec): Promise<LoadedModel> {
    if (!this.#isAlive) throw new InferenceError('UNAVAILABLE', 'the inline execution host was stopped');
    const backend = await this.#backends.backend(spec.config.backend);
    const model = await backend.load(spec);
    this.#models.add(model);
    const tensors = new ModelTensors(`${spec.name}:${spec.version}`, model.metadata);
    return {
      metadata: model.metadata,
      memoryBytes: 0,
      createInstance: async (onCapacity) => {
        const instance = await model.createInstance();
        const channel = new InlineInstanceChannel(instance, spec.name, tensors, this.#memory, onCapacity, () =>
          this.#channels.delete(channel),
        );
        this.#channels.add(channel);
        return channel;
      },
      createDecoupledInstance: async (onCapacity) => {
        const instance = await createDecoupledInstance(model, spec.name);
        const hosted = { instance, metadata: model.metadata, modelName: spec.name };
        const channel = new InlineDecoupledChannel(hosted, tensors, onCapacity, () => this.#channels.delete(channel));
        this.#channels.add(channel);
        return channel;
      },
      unload: async () => {
        if (this.#models.delete(model)) await model.unload();
      },
    };
  }
}

class InlineInstanceChannel implements InstanceChannel {
  readonly #instance: ModelInstance;
  readonly #modelName: string;
  readonly #tensors: ModelTensors;
  readonly #metadata: ModelMetadata;
  readonly #memory: InlineMemory;
  readonly #onCapacity: () => void;
  readonly #onDisposed: () => void;
  #isRunning = false;
  #isAlive = true;
  #isTellScheduled = false;
  #onIdle: (() => void) | null = null;

  constructor(
    instance: ModelInstance,
    modelName: string,
    tensors: ModelTensors,
    memory: InlineMemory,
    onCapacity: () => void,
    onDisposed: () => void,
  ) {
    this.#instance = instance;
    this.#modelName = modelName;
    this.#tensors = tensors;
    this.#metadata = tensors.metadata;
    this.#memory = memory;
    this.#onCapacity = onCapacity;
    this.#onDisposed = onDisposed;
  }

  get hasCapacity(): boolean {
    return !this.#isRunning && this.#isAlive;
  }

  get isFree(): boolean {
    return this.hasCapacity;
  }

  get inflightCount(): number {
    return this.#isRunning ? 1 : 0;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  expect(): void {}

  execute(batch: ExecutionBatch): boolean {
    if (!this.hasCapacity) throw new Error('execute was called on an instance without capacity');
    const wrong = this.#tensors.inputError(batch.inputs);
    this.#isRunning = true;
    try {
      if (wrong !== null) batch.fail(wrong);
      else this.#run(batch);
    } finally {
      this.#isRunning = false;
      this.#onIdle?.();
    }
    // Once for all batches of this turn: whoever hears of it may execute at once.
    if (!this.#isTellScheduled) {
      this.#isTellScheduled = true;
      setImmediate(this.#tell);
    }
    return true;
  }

  async release(): Promise<void> {
    if (this.#isRunning) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    this.dispose();
  }

  dispose(): void {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    this.#onDisposed();
    this.#instance.dispose();
  }

  readonly #tell = (): void => {
    this.#isTellScheduled = false;
    if (this.#isAlive) this.#onCapacity();
  };

  /** The region is laid out as in shared memory, without the records: nothing crosses a boundary. */
  #run(batch: ExecutionBatch): void {
    const { arena, bytes, kept } = this.#memory;
    let inputBytes = 0;
    for (let i = 0; i < batch.inputs.length; i++) inputBytes += alignTensor(batch.inputs[i]!.byteLength);
    let outputBytes = this.#tensors.outputBytes(batch);
    let region = arena.allocate(inputBytes + outputBytes);
    if (region < 0) {
      outputBytes = 0;
      region = arena.allocate(inputBytes);
      if (region < 0) {
        // What is kept may be kept for this very batch.
        if (kept.keptBytes > 0 && inputBytes <= arena.byteLength) {
          this.#runApart(batch, inputBytes);
          return;
        }
        batch.fail(tooLargeBatch(this.#tensors.key, inputBytes, arena.byteLength), true);
        return;
      }
    }
    const outer = kept.enter(region);
    try {
      this.#runIn(batch, bytes, region, outputBytes);
    } finally {
      kept.leave(outer);
      kept.free(region);
    }
  }

  /** In memory of its own, for this batch alone. */
  #runApart(batch: ExecutionBatch, inputBytes: number): void {
    const memory = createPrivateMemory(inputBytes);
    try {
      this.#runIn(batch, new Uint8Array(memory.buffer), 0, 0);
    } finally {
      memory.close();
    }
  }

  /** `start`: where the inputs begin; the outputs have `outputBytes` behind them. */
  #runIn(batch: ExecutionBatch, bytes: Uint8Array, start: number, outputBytes: number): void {
    const { writer } = this.#memory;
    const inputs = new Array<Tensor>(batch.inputs.length);
    let offset = start;
    for (let i = 0; i < batch.inputs.length; i++) {
      const { name, datatype, shape, byteLength } = batch.inputs[i]!;
      const data = bytes.subarray(offset, offset + byteLength);
      batch.writeInput(i, data);
      inputs[i] = { name, datatype, shape, data };
      offset += alignTensor(byteLength);
    }
    writer.begin(this.#metadata, this.#modelName, bytes, offset, outputBytes);
    const error = this.#execute(inputs, writer);
    if (error !== null) {
      batch.fail(error, true);
      return;
    }
    const timing = { inferNs: writer.inferNs, outputNs: writer.outputNs() };
    batch.complete(this.#outputs(writer, bytes), timing);
  }

  #execute(inputs: readonly Tensor[], writer: OutputWriter): InferenceError | null {
    try {
      this.#instance.execute(inputs, writer);
      writer.assertComplete();
      return null;
    } catch (error) {
      if (error instanceof InferenceError) return error;
      const reason = error instanceof Error ? error.message : String(error);
      return new InferenceError('INTERNAL', `model '${this.#modelName}' failed: ${reason}`, { cause: error, failureReason: 'BACKEND' });
    }
  }

  #outputs(writer: OutputWriter, bytes: Uint8Array): Tensor[] {
    const outputs = new Array<Tensor>(this.#metadata.outputs.length);
    for (let i = 0; i < outputs.length; i++) {
      const { name, datatype } = this.#metadata.outputs[i]!;
      const { shape, large, offset, byteLength } = writer.outputAt(i);
      outputs[i] = { name, datatype, shape, data: large ?? bytes.subarray(offset, offset + byteLength) };
    }
    if (writer.overflowCount > 0) this.#tensors.learn(outputs);
    return outputs;
  }
}
