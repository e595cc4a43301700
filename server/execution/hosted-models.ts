/**
 * The models and instances of one execution host, by the numbers that the gateway gave them.
 */

import type { Model, ModelMetadata } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { InstanceWorker } from './instance-worker.ts';
import type { BackendLoader } from './load-backend.ts';
import type { CreateInstanceMessage, DisposeInstanceMessage, LoadMessage, UnloadMessage } from './messages.ts';

export class HostedModels {
  readonly #backends: BackendLoader;
  readonly #worker: InstanceWorker;
  readonly #models: Map<number, { readonly model: Model; readonly name: string }> = new Map();

  constructor(backends: BackendLoader, worker: InstanceWorker) {
    this.#backends = backends;
    this.#worker = worker;
  }

  async load(message: LoadMessage): Promise<ModelMetadata> {
    const backend = await this.#backends.backend(message.spec.config.backend);
    const model = await backend.load(message.spec);
    this.#models.set(message.model, { model, name: message.spec.name });
    return model.metadata;
  }

  async unload(message: UnloadMessage): Promise<void> {
    const hosted = this.#models.get(message.model);
    if (hosted === undefined) throw new InferenceError('NOT_FOUND', `the execution host has no model ${message.model}`);
    this.#models.delete(message.model);
    await hosted.model.unload();
  }

  async createInstance(message: CreateInstanceMessage): Promise<void> {
    const hosted = this.#models.get(message.model);
    if (hosted === undefined) throw new InferenceError('NOT_FOUND', `the execution host has no model ${message.model}`);
    const instance = await hosted.model.createInstance();
    this.#worker.instances.set(message.instance, { instance, metadata: hosted.model.metadata, modelName: hosted.name });
  }

  disposeInstance(message: DisposeInstanceMessage): void {
    const hosted = this.#worker.instances.get(message.instance);
    if (hosted === undefined) throw new InferenceError('NOT_FOUND', `the execution host has no instance ${message.instance}`);
    this.#worker.instances.delete(message.instance);
    hosted.instance.dispose();
  }
}
