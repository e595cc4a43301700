/**
 * The models that run on the server's own loop: one inline host, made when the first model asks for it.
 */

import type { ModelSpec } from '../../backends/api/backend.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { InstanceHandle, LoadedModel } from './execution-host.ts';
import { InlineHost, type InlineHostOptions } from './inline-host.ts';
import { InstanceGroup } from './instance-group.ts';
import { modelKey } from './process-host.ts';

export interface InlineModelOptions {
  readonly instanceCount: number;
  readonly onCapacity: () => void;
  readonly onFailed: (error: InferenceError) => void;
}

interface InlineModel {
  readonly loaded: LoadedModel;
  readonly isDecoupled: boolean;
  channels: InstanceHandle[];
  /** What changes its instances, one after the other. */
  changes: Promise<unknown>;
}

export class InlineModels {
  readonly #options: InlineHostOptions;
  readonly #models: Map<InstanceGroup<InstanceHandle>, InlineModel> = new Map();
  #host: InlineHost | null = null;

  constructor(options: InlineHostOptions) {
    this.#options = options;
  }

  has(group: InstanceGroup<InstanceHandle>): boolean {
    return this.#models.has(group);
  }

  async load(spec: ModelSpec, options: InlineModelOptions, isDecoupled: boolean): Promise<InstanceGroup<InstanceHandle>> {
    this.#host ??= new InlineHost(this.#options);
    const model: InlineModel = { loaded: await this.#host.load(spec), isDecoupled, channels: [], changes: Promise.resolve() };
    const group = new InstanceGroup<InstanceHandle>({
      key: modelKey(spec),
      metadata: model.loaded.metadata,
      onCapacity: options.onCapacity,
      onFailed: options.onFailed,
      onStop: async () => {
        await model.changes;
        this.#models.delete(group);
        group.remove(model.channels);
        await Promise.all(model.channels.map((channel) => channel.release()));
        await model.loaded.unload();
      },
    });
    this.#models.set(group, model);
    try {
      await this.resize(group, options.instanceCount);
    } catch (error) {
      await group.stop();
      throw error;
    }
    return group;
  }

  /** As the pool's; `group` is one of these. */
  resize(group: InstanceGroup<InstanceHandle>, instanceCount: number): Promise<void> {
    const model = this.#models.get(group)!;
    const resized = model.changes.then(() => this.#resize(group, model, instanceCount));
    model.changes = resized.catch(() => {});
    return resized;
  }

  async stop(): Promise<void> {
    await this.#host?.stop();
  }

  async #resize(group: InstanceGroup<InstanceHandle>, model: InlineModel, instanceCount: number): Promise<void> {
    const { channels, isDecoupled, loaded } = model;
    const added: InstanceHandle[] = [];
    try {
      for (let i = channels.length; i < instanceCount; i++) {
        added.push(await (isDecoupled ? loaded.createDecoupledInstance(group.tellCapacity) : loaded.createInstance(group.tellCapacity)));
      }
    } catch (error) {
      await Promise.all(added.map((channel) => channel.release()));
      throw error;
    }
    const gone = channels.slice(instanceCount);
    model.channels = [...channels.slice(0, instanceCount), ...added];
    group.add(added);
    group.remove(gone);
    await Promise.all(gone.map((channel) => channel.release()));
  }
}
