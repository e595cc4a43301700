import type { ModelConfig } from '../../../backends/api/model-config.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { NestedCalls } from '../../inference/nested-calls.ts';
import type { Model } from '../model.ts';
import type { ModelDescription } from '../model-directory.ts';
import type { LoadedState, ModelEntry } from '../model-entry.ts';
import { failureReason, type ModelVersion } from '../model-lifecycle.ts';
import type { ModelLoader } from '../model-loader.ts';
import { isComplete, isUpToDate, modelsOfSteps } from './compose-ensemble.ts';
import { replaceVersion } from './replace-version.ts';

export interface EnsemblesOptions {
  readonly models: ReadonlyMap<string, ModelEntry>;
  readonly loader: ModelLoader;
  readonly calls: NestedCalls;
  /** Loads a model of an ensemble that is being loaded, and nothing that this one consists of; null: what there is to load is loaded without being asked. */
  readonly load: ((modelName: string) => Promise<void>) | null;
  /** What is on disk of it. Rejects as `DiskModels.read`. */
  readonly read: (modelName: string) => Promise<ModelDescription>;
  /** An ensemble that could not be loaded for want of a model may be now. */
  readonly retry: (ensemble: string) => void;
  /** A request would load it. */
  readonly isOnDemand: (modelName: string) => boolean;
  /** Finishes what the model has accepted; nobody is routed to it any more. */
  readonly retire: (model: Model) => void;
  readonly unusable: (modelName: string, reason: string) => void;
}

/**
 * Keeps ensembles to the models that they consist of (reference sections 6.6, 6.6b and 6.7): an ensemble serves while they do and fit it, is put together anew when one takes or gives something else, and
 * comes back when one does. What changes, changes in the same turn of the loop as the model.
 */
export class Ensembles {
  readonly #options: EnsemblesOptions;
  /** The steps of every ensemble that was read last, loaded or not; bounded by what is on disk or loaded. */
  readonly #known: Map<string, ModelConfig> = new Map();

  constructor(options: EnsemblesOptions) {
    this.#options = options;
  }

  /** What a model is, as it is about to be loaded. Null: nothing stands against it; otherwise, it is part of itself. */
  whyNot({ name, config }: ModelDescription): InferenceError | null {
    if (config.ensembleScheduling === null) {
      this.#known.delete(name);
      return null;
    }
    this.#known.set(name, config);
    return this.#circle(name, config);
  }

  /** All that are about to be loaded at start: ensembles behind the models that they consist of. */
  inOrder(states: readonly LoadedState[]): { plain: LoadedState[]; ensembles: LoadedState[] } {
    const plain: LoadedState[] = [];
    const waiting = new Map<string, LoadedState>();
    for (const state of states) {
      const { name, config } = state.description;
      if (config.ensembleScheduling === null) plain.push(state);
      else {
        waiting.set(name, state);
        this.#known.set(name, config);
      }
    }
    const ensembles: LoadedState[] = [];
    const place = (state: LoadedState): void => {
      const { name, config } = state.description;
      // Taken out first: a circle ends here, and is refused when it is loaded.
      if (!waiting.delete(name)) return;
      for (const model of modelsOfSteps(config)) if (waiting.has(model)) place(waiting.get(model)!);
      ensembles.push(state);
    };
    for (const state of [...waiting.values()]) place(state);
    return { plain, ensembles };
  }

  /**
   * Loads what an ensemble consists of, innermost first; none of it is unloaded by the server's own choice until the result is called. Rejects with INVALID_ARGUMENT when one of the models does not
   * load, or the ensemble is part of itself; with UNAVAILABLE where another time may do.
   */
  async loadModels({ name, config }: ModelDescription): Promise<() => void> {
    const { load, models } = this.#options;
    if (load === null || config.ensembleScheduling === null) return () => {};
    const order: string[] = [];
    await this.#collect(config, [name], order);
    const held: ModelEntry[] = [];
    const release = (): void => {
      for (const entry of held.splice(0)) entry.neededBy--;
    };
    try {
      for (const model of order) {
        await this.#loadOne(name, model, load);
        const entry = models.get(model);
        if (entry === undefined) continue;
        entry.neededBy++;
        held.push(entry);
      }
    } catch (error) {
      release();
      throw error;
    }
    return release;
  }

  /** What `modelName` serves has changed: it was loaded, swapped, unloaded, or lost its instances. */
  changed(modelName: string): void {
    const { models, retry } = this.#options;
    const own = models.get(modelName);
    if (own?.loaded?.description.config.ensembleScheduling) this.#refresh(own);
    for (const name of this.#known.keys()) {
      const entry = models.get(name);
      const config = this.#configOf(name);
      if (name === modelName || entry === undefined || config === null || !modelsOfSteps(config).includes(modelName)) continue;
      if (entry.loaded !== null) this.#refresh(entry);
      else if (isComplete(config, this.#options.calls)) retry(name);
    }
  }

  /** No directory has it any more, and nothing of it serves. */
  forget(modelName: string): void {
    this.#known.delete(modelName);
  }

  /** Those that are loaded, in groups, none of which is part of one in a later group. */
  outermostFirst(): ModelEntry[][] {
    const { models } = this.#options;
    const depths = new Map<string, number>();
    const depthOf = (name: string): number => {
      const known = depths.get(name);
      if (known !== undefined) return known;
      const config = models.get(name)?.loaded?.description.config;
      if (config === undefined || config.ensembleScheduling === null) return 0;
      depths.set(name, 1);
      const depth = 1 + Math.max(...modelsOfSteps(config).map(depthOf));
      depths.set(name, depth);
      return depth;
    };
    const groups: ModelEntry[][] = [];
    for (const entry of models.values()) {
      const depth = depthOf(entry.name);
      if (depth === 0) continue;
      groups[depth] ??= [];
      groups[depth].push(entry);
    }
    return groups.reverse().filter((group) => group !== undefined);
  }

  /** Models that were loaded for this ensemble, and that no other one needs. */
  orphansOf(config: ModelConfig): string[] {
    return modelsOfSteps(config).filter((model) => {
      if (this.#options.models.get(model)?.isForEnsembles !== true) return false;
      for (const { loaded } of this.#options.models.values()) {
        if (loaded !== null && modelsOfSteps(loaded.description.config).includes(model)) return false;
      }
      return true;
    });
  }

  #refresh(entry: ModelEntry): void {
    const { calls, loader, isOnDemand, unusable } = this.#options;
    const { description } = entry.loaded!;
    const { config } = description;
    if (!isComplete(config, calls) && modelsOfSteps(config).some((model) => calls.find(model, '') === null && isOnDemand(model))) return;
    let isChanged = false;
    for (const file of description.versions) {
      const version = entry.version(file.version);
      const { model, state, reason } = version;
      if (state === 'LOADING' || state === 'UNLOADING') continue;
      if (model !== null && isUpToDate(model.config, model.plan!, calls)) continue;
      try {
        const circle = this.#circle(entry.name, config);
        if (circle !== null) throw circle;
        const fresh = loader.compose(description, file);
        this.#replace(entry, version, fresh);
      } catch (error) {
        const why = failureReason(InferenceError.from(error));
        if (model === null && why === reason) continue;
        const isWell = model !== null || version.isWell;
        this.#replace(entry, version, null);
        // The model that is missing, or has changed, says for itself whether that was wanted.
        version.unavailable(why, isWell);
        unusable(entry.name, why);
      }
      isChanged = true;
    }
    if (!isChanged) return;
    entry.settle();
    this.changed(entry.name);
  }

  async #loadOne(ensemble: string, model: string, load: (modelName: string) => Promise<void>): Promise<void> {
    try {
      await load(model);
    } catch (error) {
      // What serves of it goes on.
      if (this.#options.calls.find(model, '') !== null) return;
      const failure = InferenceError.from(error);
      throw new InferenceError(
        failure.code === 'UNAVAILABLE' ? 'UNAVAILABLE' : 'INVALID_ARGUMENT',
        `ensemble '${ensemble}' depends on '${model}', which could not be loaded: ${failure.message}`,
        { cause: failure, retryAfterSeconds: failure.retryAfterSeconds },
      );
    }
  }

  #replace(entry: ModelEntry, version: ModelVersion, model: Model | null): void {
    const replaced = replaceVersion(entry, version, model);
    if (replaced !== null) this.#options.retire(replaced);
  }

  async #collect(config: ModelConfig, path: readonly string[], order: string[]): Promise<void> {
    for (const model of modelsOfSteps(config)) {
      if (path.includes(model)) throw invalidArgument(circular([...path.slice(path.indexOf(model)), model]));
      if (order.includes(model)) continue;
      // One that cannot be read says so when it is loaded.
      const inner = await this.#options.read(model).catch(() => null);
      if (inner !== null) await this.#collect(inner.config, [...path, model], order);
      order.push(model);
    }
  }

  /** Why an ensemble of this configuration would be part of itself; null: it would not. */
  #circle(name: string, config: ModelConfig): InferenceError | null {
    const path = this.#pathTo(name, config, new Set());
    return path === null ? null : invalidArgument(circular([name, ...path]));
  }

  /** The ensembles on the way to `target`, that one included; null: there is none. */
  #pathTo(target: string, config: ModelConfig, seen: Set<string>): string[] | null {
    for (const model of modelsOfSteps(config)) {
      if (model === target) return [model];
      const inner = seen.has(model) ? null : this.#configOf(model);
      seen.add(model);
      const path = inner === null ? null : this.#pathTo(target, inner, seen);
      if (path !== null) return [model, ...path];
    }
    return null;
  }

  /** Of an ensemble: what is loaded, which may be older than what was read last; null: it is none. */
  #configOf(name: string): ModelConfig | null {
    const loaded = this.#options.models.get(name)?.loaded?.description.config;
    return loaded?.ensembleScheduling ? loaded : (this.#known.get(name) ?? null);
  }
}

function circular(path: readonly string[]): string {
  return `circular dependency between ensembles: ${path.join(' -> ')}; break the circle`;
}
