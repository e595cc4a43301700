import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { Model } from './model.ts';
import type { ModelDescription, ModelVersionFile } from './model-directory.ts';
import type { LoadedState, ModelEntry, PreviousVersions } from './model-entry.ts';
import { failureReason, type ModelVersion, UNLOADED } from './model-lifecycle.ts';
import type { LoadStage, ModelLoader } from './model-loader.ts';
import { hasSameInstances, needsNewLoad } from './needs-new-load.ts';

/** Hears of every step, for the log and the metrics. */
export interface LifecycleEvents {
  loading(modelName: string, version: number): void;
  /** It is ready beside what serves. */
  loaded(modelName: string, version: number): void;
  refused(modelName: string, version: number, stage: LoadStage, error: InferenceError): void;
  /** In one step, from the versions that served to those that serve now. */
  switched(modelName: string, from: readonly number[], to: readonly number[]): void;
  unloaded(modelName: string, version: number): void;
  /** What serves goes on. */
  updateRefused(modelName: string, reason: string): void;
}

export interface ModelSwapOptions {
  readonly loader: ModelLoader;
  /** A load that failed is tried so many times more. */
  readonly retryCount: number;
  /** How long what was replaced is kept for a rollback, ms; 0: not at all. */
  readonly keepPreviousMs: number;
  readonly events: LifecycleEvents;
  /** Why what is described must not be loaded, whatever its files are; null: nothing stands against it. */
  readonly whyNot?: (description: ModelDescription) => InferenceError | null;
  /** In the turn in which the versions that serve are others. */
  readonly onServed?: (modelName: string) => void;
  readonly unusable: (modelName: string, reason: string) => void;
  readonly onFault: (error: unknown) => void;
}

/** A version that is loaded and not yet in service, or the reason why it lost its instances meanwhile. */
interface FreshVersion {
  readonly version: ModelVersion;
  readonly model: Model;
  lost: InferenceError | null;
}

/** Hears of the first load of a model, version by version. */
export interface FirstLoadProgress {
  loading(version: number): void;
  /** `error` is null when it worked. */
  ended(version: number, error: InferenceError | null): void;
}

/** What is ready to take over. */
export interface PreparedSwap {
  readonly loaded: LoadedState;
  readonly fresh: readonly FreshVersion[];
}

/**
 * Takes a model from one set of versions to another without losing a request: the new ones are loaded beside the old, warmed up and checked; then all of them take over
 * in one step; then what was replaced finishes what it accepted. A failure at any step before leaves everything as it was.
 */
export class ModelSwap {
  readonly #options: ModelSwapOptions;

  constructor(options: ModelSwapOptions) {
    this.#options = options;
  }

  /**
   * Loads what `loaded` describes and does not serve already. Rejects with INVALID_ARGUMENT, or UNAVAILABLE where another time may do, naming each version that failed and why
   * (reference section 6.6); the versions that serve go on.
   */
  async prepare(entry: ModelEntry, loaded: LoadedState, signal: AbortSignal): Promise<PreparedSwap> {
    const hasServed = entry.current !== null;
    const { fresh, failures } = await this.#loadVersions(entry, loaded, null, signal);
    if (failures.size === 0 && !signal.aborted) {
      await this.#resize(entry, loaded, failures, signal);
      for (const { version, lost } of fresh) if (lost !== null) failures.set(version, lost);
      if (failures.size === 0 && !signal.aborted) return { loaded, fresh };
    }
    this.discard({ loaded, fresh });
    for (const { version: number } of loaded.description.versions) {
      const version = entry.version(number);
      if (version.state !== 'LOADING') continue;
      const failure = failures.get(version);
      if (failure === undefined || signal.aborted) version.unavailable(UNLOADED, true);
      else version.refused(failureReason(failure));
    }
    if (signal.aborted) throw signal.reason;
    const texts = [...failures].map(([version, error]) => `version ${version.version} is at UNAVAILABLE state: ${failureReason(error)};`);
    if (!hasServed) this.#options.unusable(entry.name, texts.join(' '));
    // What may be different another time is told from what the files or their author must change.
    const mayPass = [...failures.values()].some(({ code }) => code === 'UNAVAILABLE' || code === 'RESOURCE_EXHAUSTED');
    const message = `load failed for model '${entry.name}': ${texts.join(' ')}`;
    throw mayPass
      ? new InferenceError('UNAVAILABLE', message, { failureReason: 'BACKEND', retryAfterSeconds: 1 })
      : invalidArgument(message);
  }

  /** The load at the server's start, where nothing can be lost: a version that fails is UNAVAILABLE, and the others serve. */
  async prepareFirst(entry: ModelEntry, loaded: LoadedState, progress: FirstLoadProgress): Promise<PreparedSwap> {
    const { fresh, failures } = await this.#loadVersions(entry, loaded, progress, null);
    for (const [version, failure] of failures) version.unavailable(failureReason(failure));
    return { loaded, fresh: fresh.filter(({ version }) => !failures.has(version)) };
  }

  async #loadVersions(
    entry: ModelEntry,
    loaded: LoadedState,
    progress: FirstLoadProgress | null,
    signal: AbortSignal | null,
  ): Promise<{ fresh: FreshVersion[]; failures: Map<ModelVersion, InferenceError> }> {
    const fresh: FreshVersion[] = [];
    const failures = new Map<ModelVersion, InferenceError>();
    entry.reason = '';
    entry.refusal = '';
    const refusal = this.#options.whyNot?.(loaded.description) ?? null;
    for (const file of loaded.description.versions) {
      if (signal?.aborted === true) break;
      const version = entry.version(file.version);
      if (refusal !== null) {
        failures.set(version, refusal);
        progress?.ended(file.version, refusal);
        continue;
      }
      if (version.model !== null && !needsNewLoad(entry.loaded!, loaded, file.version)) continue;
      if (version.model === null) version.loading();
      progress?.loading(file.version);
      try {
        fresh.push(await this.#loadVersion(entry, loaded, file, version, signal));
        progress?.ended(file.version, null);
      } catch (error) {
        const failure = InferenceError.from(error);
        failures.set(version, failure);
        progress?.ended(file.version, failure);
      }
    }
    for (const { version, lost } of fresh) if (lost !== null && !failures.has(version)) failures.set(version, lost);
    return { fresh, failures };
  }

  /** Gives those that stay the instances that the configuration says now: all of them, or none. */
  async #resize(entry: ModelEntry, loaded: LoadedState, failures: Map<ModelVersion, InferenceError>, signal: AbortSignal): Promise<void> {
    const { config } = loaded.description;
    const resized: Model[] = [];
    for (const { version: number } of loaded.description.versions) {
      if (signal.aborted || failures.size > 0) break;
      const version = entry.version(number);
      const { model } = version;
      if (model === null || needsNewLoad(entry.loaded!, loaded, number) || hasSameInstances(model.config, config)) continue;
      try {
        resized.push(model);
        await this.#options.loader.resize(model, config);
      } catch (error) {
        failures.set(version, InferenceError.from(error));
      }
    }
    if (signal.aborted || failures.size > 0) for (const model of resized) this.#restoreInstances(model);
  }

  /** As many instances as the model's configuration says, in the background; those that there are serve meanwhile. */
  #restoreInstances(model: Model): void {
    this.#options.loader.resize(model, model.config).catch((error: unknown) => {
      // One that is being unloaded needs none.
      if (!(error instanceof InferenceError)) this.#options.onFault(error);
    });
  }

  /** It is not wanted any more. */
  discard({ fresh }: PreparedSwap): void {
    for (const { model } of fresh) this.retire(model);
  }

  /** The step in which everything changes: no turn of the loop within. */
  commit(entry: ModelEntry, { loaded, fresh }: PreparedSwap): void {
    const before = modelsOf(entry);
    const served = new Set(loaded.description.versions.map(({ version }) => version));
    const old = entry.loaded;
    for (const { version, model, lost } of fresh) {
      if (lost !== null) {
        this.refuse(version, lost);
        this.retire(model);
        continue;
      }
      version.ready(model);
      model.enterService();
    }
    const { config } = loaded.description;
    for (const [number, version] of entry.versions) {
      if (version.model === null) {
        // It came to nothing in a state of the disk that is over: there is no such version any more.
        if ((version.isFailed || version.isRefusedUpdate) && !served.has(version.version)) entry.versions.delete(number);
      } else if (served.has(version.version)) {
        version.model.adopt(config);
      } else {
        version.unloading();
      }
    }
    entry.forgetUnloaded();
    entry.loaded = loaded;
    entry.labels = new Map(Object.entries(config.versionLabels).map(([label, version]) => [label, String(version)]));
    entry.settle();
    const now = modelsOf(entry);
    if (now.size !== before.size || [...now].some(([version, model]) => before.get(version) !== model)) {
      this.#options.events.switched(entry.name, [...before.keys()], [...now.keys()]);
    }
    this.#putAside(entry, old, before);
    this.#options.onServed?.(entry.name);
  }

  /** Back to what served before the last swap. Throws INVALID_ARGUMENT when it is not kept (any more). */
  rollback(entry: ModelEntry): readonly string[] {
    const { previous, loaded } = entry;
    if (previous === null || loaded === null) {
      const kept =
        this.#options.keepPreviousMs === 0
          ? 'nothing is kept (--rollback-keep-secs 0)'
          : `what a load replaces is kept for ${this.#options.keepPreviousMs / 1000} s (--rollback-keep-secs)`;
      throw invalidArgument(`model '${entry.name}': no previous version is kept warm: ${kept}; load the version that you want instead`);
    }
    clearTimeout(previous.timer);
    entry.previous = null;
    const before = modelsOf(entry);
    const { config } = previous.loaded.description;
    // A later load may have forgotten their numbers.
    for (const number of previous.models.keys()) entry.version(number);
    for (const version of entry.versions.values()) {
      const model = previous.models.get(version.version) ?? null;
      if (model !== null && model !== version.model) {
        version.ready(model);
        model.enterService();
      } else if (model === null && version.model !== null) {
        version.unloading();
      } else if (version.isFailed) {
        // It is not wanted any more, and nothing is missing without it.
        version.isRefusedUpdate = true;
      }
      if (model === null) continue;
      const isResized = !hasSameInstances(model.config, config);
      model.adopt(config);
      if (isResized) this.#restoreInstances(model);
    }
    entry.loaded = previous.loaded;
    entry.labels = new Map(Object.entries(config.versionLabels).map(([label, version]) => [label, String(version)]));
    entry.settle();
    const now = modelsOf(entry);
    for (const [version, model] of before) {
      if (now.get(version) !== model) entry.rejected.set(version, loaded.tree.versions.get(version) ?? '');
    }
    for (const version of now.keys()) {
      if (entry.rejected.get(version) === previous.loaded.tree.versions.get(version)) entry.rejected.delete(version);
    }
    this.#options.events.switched(entry.name, [...before.keys()], [...now.keys()]);
    this.#putAside(entry, loaded, before);
    this.#options.onServed?.(entry.name);
    return [...now.keys()].map(String);
  }

  /** Takes everything out of service; what was accepted is finished. Resolves when that is done. */
  async unload(entry: ModelEntry): Promise<void> {
    const dropped = this.dropPrevious(entry);
    const { loaded } = entry;
    entry.loaded = null;
    entry.labels = new Map();
    const stopped: Promise<void>[] = [];
    for (const version of entry.versions.values()) {
      const { model } = version;
      if (version.isFailed) version.unavailable(UNLOADED);
      if (model === null) continue;
      version.unloading();
      stopped.push(this.#stop(model, version));
    }
    entry.settle();
    this.#options.onServed?.(entry.name);
    await Promise.all([dropped, ...stopped]);
    if (loaded !== null) await this.#release(loaded);
  }

  /** A model lost its instances for good: whoever waits, and whoever asks its version from now on, hears why. */
  quarantine(entry: ModelEntry, version: ModelVersion, model: Model, error: InferenceError): void {
    model.failPending(error);
    if (version.model === model) {
      this.refuse(version, error);
      entry.settle();
      this.#options.onServed?.(entry.name);
      this.retire(model);
      // No rollback may bring it back.
      if (entry.previous?.models.delete(version.version) === true && entry.previous.models.size === 0) void this.dropPrevious(entry);
    } else if (entry.previous !== null && [...entry.previous.models.values()].includes(model)) {
      void this.dropPrevious(entry);
    }
    // Otherwise it is not in service yet, or not any more: whoever loads it, or has replaced it, sees to the rest.
  }

  refuse(version: ModelVersion, error: InferenceError): void {
    version.unavailable(failureReason(error));
    this.#options.unusable(version.modelName, version.reason);
  }

  retire(model: Model): void {
    model.stop().catch(this.#options.onFault);
  }

  /** Ends the keeping of what was replaced. */
  async dropPrevious(entry: ModelEntry): Promise<void> {
    const { previous } = entry;
    if (previous === null) return;
    entry.previous = null;
    clearTimeout(previous.timer);
    const now = modelsOf(entry);
    const gone = [...previous.models].filter(([number, model]) => now.get(number) !== model);
    await Promise.all(gone.map(([number, model]) => this.#stop(model, entry.versions.get(String(number)))));
    if (previous.loaded !== entry.loaded) await this.#release(previous.loaded);
  }

  /** What served before: kept warm for a while, instead of what was kept until now, or unloaded at once. */
  #putAside(entry: ModelEntry, old: LoadedState | null, before: Map<number, Model>): void {
    const { keepPreviousMs } = this.#options;
    const now = modelsOf(entry);
    const replaced = [...before].filter(([version, model]) => now.get(version) !== model);
    if (old === null) return;
    if (replaced.length === 0 && before.size === now.size) {
      void this.#release(old);
      return;
    }
    void this.dropPrevious(entry);
    if (keepPreviousMs === 0) {
      for (const [number, model] of replaced) void this.#stop(model, entry.versions.get(String(number)));
      void this.#release(old);
      return;
    }
    for (const [number, model] of replaced) {
      model.leaveService();
      const version = entry.versions.get(String(number));
      if (version?.state === 'UNLOADING') version.unavailable(UNLOADED);
    }
    const timer = setTimeout(() => {
      if (entry.previous === previous) void this.dropPrevious(entry);
    }, keepPreviousMs).unref();
    const previous: PreviousVersions = { models: before, loaded: old, timer };
    entry.previous = previous;
  }

  /** `version`: undefined where it is not listed any more. */
  async #stop(model: Model, version: ModelVersion | undefined): Promise<void> {
    try {
      await model.stop();
    } catch (error) {
      this.#options.onFault(error);
    }
    if (version?.state === 'UNLOADING' && version.model === null) version.unavailable(UNLOADED);
    this.#options.events.unloaded(model.name, Number(model.version));
  }

  async #release({ release }: LoadedState): Promise<void> {
    await release?.().catch(this.#options.onFault);
  }

  async #loadVersion(
    entry: ModelEntry,
    loaded: LoadedState,
    file: ModelVersionFile,
    version: ModelVersion,
    signal: AbortSignal | null,
  ): Promise<FreshVersion> {
    const { events, loader, retryCount } = this.#options;
    let stage: LoadStage = 'files';
    for (let attempt = 0; ; attempt++) {
      let fresh: FreshVersion | null = null;
      let lost: InferenceError | null = null;
      const onFailed = (error: InferenceError): void => {
        lost = error;
        if (fresh === null) return;
        fresh.lost = error;
        this.quarantine(entry, version, fresh.model, error);
      };
      events.loading(entry.name, file.version);
      try {
        const onStage = (next: LoadStage): void => {
          stage = next;
        };
        const model = await loader.load(loaded.description, file, onFailed, onStage, signal);
        fresh = { version, model, lost };
        events.loaded(entry.name, file.version);
        return fresh;
      } catch (error) {
        const failure = InferenceError.from(error);
        if (signal?.aborted === true) throw failure;
        if (failure.code === 'INTERNAL') this.#options.onFault(error);
        if (attempt < retryCount) continue;
        events.refused(entry.name, file.version, stage, failure);
        throw failure;
      }
    }
  }
}

/** In service now, by version, ascending. */
function modelsOf(entry: ModelEntry): Map<number, Model> {
  const models = new Map<number, Model>();
  for (const { version, model } of entry.versions.values()) if (model !== null) models.set(version, model);
  return models;
}
