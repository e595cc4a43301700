/**
 * The models and instances of one execution host, by the numbers that the gateway gave them.
 */

import type { DecoupledModelInstance, Model, ModelMetadata } from '../../backends/api/backend.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { type DecoupledWorker, readStatistics } from './decoupled-worker.ts';
import { privateMemoryBytes } from './execution-watch.ts';
import type { InstanceWorker } from './instance-worker.ts';
import type { BackendLoader } from './load-backend.ts';
import type { CreateInstanceMessage, DisposeInstanceMessage, DoneMessage, LoadMessage, UnloadMessage } from './messages.ts';
import type { RequestWorker } from './request-worker.ts';

export class HostedModels {
  readonly #backends: BackendLoader;
  readonly #worker: InstanceWorker;
  readonly #decoupled: DecoupledWorker;
  /** Null: the host runs no models' own code. */
  readonly #requests: RequestWorker | null;
  readonly #models: Map<number, { readonly model: Model; readonly name: string }> = new Map();

  constructor(backends: BackendLoader, worker: InstanceWorker, decoupled: DecoupledWorker, requests: RequestWorker | null = null) {
    this.#backends = backends;
    this.#worker = worker;
    this.#decoupled = decoupled;
    this.#requests = requests;
  }

  async load(message: LoadMessage): Promise<{ readonly metadata: ModelMetadata; readonly memoryBytes: number }> {
    const backend = await this.#backends.backend(message.spec.config.backend);
    // The backend's own memory is not the model's.
    const before = privateMemoryBytes(process.pid);
    const model = await backend.load(message.spec);
    this.#models.set(message.model, { model, name: message.spec.name });
    return { metadata: model.metadata, memoryBytes: grownBytes(before) };
  }

  async unload(message: UnloadMessage): Promise<void> {
    const hosted = this.#models.get(message.model);
    if (hosted === undefined) throw new InferenceError('NOT_FOUND', `the execution host has no model ${message.model}`);
    this.#models.delete(message.model);
    await hosted.model.unload();
  }

  /** `maxRequests`: how many a decoupled instance takes at once; 0: it has no bound of its own. */
  async createInstance(message: CreateInstanceMessage): Promise<Omit<DoneMessage, 'id'>> {
    const hosted = this.#models.get(message.model);
    if (hosted === undefined) throw new InferenceError('NOT_FOUND', `the execution host has no model ${message.model}`);
    const { model, name: modelName } = hosted;
    const { metadata } = model;
    const before = privateMemoryBytes(process.pid);
    if (message.isDecoupled) {
      const decoupled = await createDecoupledInstance(model, modelName);
      this.#decoupled.instances.set(message.instance, { instance: decoupled, metadata, modelName });
      const statistics = readStatistics(decoupled);
      const created = { maxRequests: decoupled.maxRequests ?? 0, memoryBytes: grownBytes(before) };
      return statistics === null ? created : { ...created, statistics };
    }
    if (this.#requests !== null) {
      const requestInstance = await model.createRequestInstance!();
      this.#requests.instances.set(message.instance, { instance: requestInstance, metadata, modelName });
      return { maxRequests: requestInstance.maxBatches ?? 0, memoryBytes: grownBytes(before) };
    }
    const instance = await model.createInstance();
    this.#worker.instances.set(message.instance, { instance, metadata, modelName });
    return { maxRequests: 0, memoryBytes: grownBytes(before) };
  }

  async disposeInstance({ instance }: DisposeInstanceMessage): Promise<void> {
    const hosted =
      this.#worker.instances.get(instance) ?? this.#decoupled.instances.get(instance) ?? this.#requests?.instances.get(instance);
    if (hosted === undefined) throw new InferenceError('NOT_FOUND', `the execution host has no instance ${instance}`);
    this.#worker.instances.delete(instance);
    this.#decoupled.instances.delete(instance);
    this.#requests?.instances.delete(instance);
    await hosted.instance.dispose();
  }
}

function grownBytes(beforeBytes: number): number {
  return Math.max(0, privateMemoryBytes(process.pid) - beforeBytes);
}

/** Rejects with INVALID_ARGUMENT when the model's backend has no such instances. */
export async function createDecoupledInstance(model: Model, modelName: string): Promise<DecoupledModelInstance> {
  if (model.createDecoupledInstance === undefined) {
    throw invalidArgument(
      `model '${modelName}': model_transaction_policy.decoupled is true, but its backend answers each request once; remove it, or choose a backend that streams`,
    );
  }
  return model.createDecoupledInstance();
}
