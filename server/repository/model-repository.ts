import { InferenceError } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { noNestedCalls } from '../inference/nested-calls.ts';
import { noModelControl } from './control-refusals.ts';
import { DiskModels, DUPLICATE } from './disk-models.ts';
import { Ensembles } from './ensembles/ensembles.ts';
import type { LoadParameters } from './load-parameters.ts';
import type { Model } from './model.ts';
import { checkModelName, NotWholeYet } from './model-directory.ts';
import { type LoadedState, ModelEntry, noneReady, noSuchVersion } from './model-entry.ts';
import type { ModelVersion } from './model-lifecycle.ts';
import type { LoadProgress, ModelRepositoryOptions } from './model-repository-options.ts';
import { type LifecycleEvents, ModelSwap, type PreparedSwap } from './model-swap.ts';
import type { ModelTree } from './model-tree.ts';
import { ModelUpdates } from './model-updates.ts';
import { OnDemandLoads, type OnDemandModels, type OnDemandOptions } from './on-demand/on-demand-loads.ts';
import { readFirstModels } from './read-first-models.ts';
import { indexLines, type ModelIndexEntry } from './repository-index.ts';
import { thenWaiting, type Waiting } from './waiting.ts';

const NO_EVENTS: LifecycleEvents = { loading() {}, loaded() {}, refused() {}, switched() {}, unloaded() {}, updateRefused() {} };
const REFRESH_MS = 1000;

/** What is on disk and what of it is in service. */
export class ModelRepository {
  readonly #options: ModelRepositoryOptions;
  readonly #disk: DiskModels;
  readonly #swap: ModelSwap;
  readonly #updates: ModelUpdates;
  readonly #ensembles: Ensembles;
  readonly #onDemand: OnDemandLoads | null;
  readonly #models: Map<string, ModelEntry> = new Map();
  /** On disk as far as it is known, by name, with the repositories that have it; those in `#models` among them. */
  #onDisk: Map<string, readonly string[]> = new Map();
  /** New models that are being written, and what they lack. */
  readonly #notWhole: Map<string, string> = new Map();
  #listedMs = Number.NEGATIVE_INFINITY;
  #isFirstLoaded = false;
  #isStopping = false;

  constructor(options: ModelRepositoryOptions) {
    this.#options = options;
    const events = options.events ?? NO_EVENTS;
    this.#swap = new ModelSwap({
      loader: options.loader,
      retryCount: options.retryCount ?? 0,
      keepPreviousMs: options.keepPreviousMs ?? 0,
      events,
      whyNot: (description) => this.#ensembles.whyNot(description),
      onServed: (name) => this.#ensembles.changed(name),
      unusable: options.unusable,
      onFault: options.onFault,
    });
    this.#disk = new DiskModels({
      directories: options.directories,
      modelFiles: options.modelFiles,
      configName: options.configName ?? '',
      allowOutsideLinks: options.allowOutsideLinks ?? false,
      whyIncomplete: options.controlMode === 'poll' ? (options.whyIncomplete ?? null) : null,
      allowUploadedCode: options.allowUploadedCode ?? false,
      maxOverrideBytes: options.maxOverrideBytes ?? 2 ** 31,
      onFault: options.onFault,
    });
    this.#updates = new ModelUpdates({
      disk: this.#disk,
      swap: this.#swap,
      events,
      warn: options.warn,
      unusable: options.unusable,
      onRead: (name, home) => {
        this.#notWhole.delete(name);
        this.#onDisk.set(name, [home]);
      },
      withModels: (description) => this.#ensembles.loadModels(description),
      onTaken: (name) => {
        this.#onDemand?.forget(name);
        this.#onDemand?.modelsChanged();
      },
    });
    this.#onDemand = options.onDemand == null ? null : this.#openOnDemand(options.onDemand);
    this.#ensembles = this.#openEnsembles();
  }

  /**
   * Reads the repositories and loads every version that a policy serves. A model that cannot be used is UNAVAILABLE with its reason, and the others serve.
   * Rejects only when a repository itself cannot be read.
   */
  async loadAll(progress: LoadProgress): Promise<void> {
    const states = await this.#describeAll();
    const { plain, ensembles } = this.#ensembles.inOrder(states);
    progress.started(states.reduce((total, { description }) => total + description.versions.length, 0));
    // First loads happen in hosts that serve nothing else, so nothing is READY before everything is loaded: a file that takes its host down costs no request.
    const prepared = await Promise.all(plain.map((state) => this.#prepareFirst(state, progress)));
    for (const [entry, swap] of prepared) this.#swap.commit(entry, swap);
    for (const state of ensembles) this.#swap.commit(...(await this.#prepareFirst(state, progress)));
    this.#isFirstLoaded = true;
    this.#onDemand?.modelsChanged();
  }

  async #prepareFirst(state: LoadedState, progress: LoadProgress): Promise<[ModelEntry, PreparedSwap]> {
    const { name, warnings } = state.description;
    const entry = this.#entry(name);
    for (const warning of warnings) this.#options.warn(name, warning);
    const swap = await this.#swap.prepareFirst(entry, state, {
      loading: (version) => progress.loading(name, version),
      ended: (version, error) => progress.loaded(name, version, error),
    });
    return [entry, swap];
  }

  /**
   * Loads a model, or loads it again when its files or what the request brings differ from what serves: every version that its policy serves beside what serves now, then all of them take
   * over in one step, and what they replace finishes what it accepted. If anything fails nothing changes. Rejects with INVALID_ARGUMENT (not a name; a configuration that cannot be used; a
   * version that does not load) or NOT_FOUND (no such directory); with UNAVAILABLE where the control mode is not `explicit`, or where another time may do.
   */
  async load(name: string, parameters: LoadParameters | null): Promise<void> {
    this.#requireControl();
    checkModelName(name);
    if (parameters === null) await this.#enqueue(name, 'load', (entry, signal) => this.#updates.fromDisk(entry, true, signal));
    else await this.#enqueue(name, '', (entry, signal) => this.#updates.fromRequest(entry, parameters, signal));
    const entry = this.#models.get(name);
    if (entry !== undefined) entry.isForEnsembles = false;
  }

  /**
   * Takes a model out of service, and calls off a load of it that is under way. Resolves before what it accepted is finished. One that is not loaded is as it should be. `unloadDependents`: of an
   * ensemble, its models too that were loaded for it alone.
   */
  async unload(name: string, options?: { readonly unloadDependents: boolean }): Promise<void> {
    this.#requireControl();
    // One that is loaded on demand, and was not asked for yet, shall not be.
    const entry = this.#onDemand !== null && this.#onDisk.has(name) ? this.#entry(name) : this.#models.get(name);
    if (entry === undefined) return;
    entry.isOnDemand = false;
    entry.isSinceStart = false;
    entry.reason = '';
    entry.overtake();
    const config = entry.loaded?.description.config;
    const isUnused = entry.inflightCount === 0;
    const unloaded = this.#unload(entry);
    if (options?.unloadDependents !== true || config === undefined) return;
    // What it has accepted still needs them.
    const unloadModels = async (): Promise<void> => {
      for (const model of this.#ensembles.orphansOf(config)) await this.unload(model, options);
    };
    if (isUnused) await unloadModels();
    else unloaded.then(unloadModels).catch(this.#options.onFault);
  }

  /**
   * Back to the versions that served before the last swap, while they are kept, whatever load is under way. Throws INVALID_ARGUMENT when they are not; UNAVAILABLE in control mode `none`.
   */
  async rollback(name: string): Promise<{ versions: readonly string[] }> {
    if (this.#options.controlMode === 'none') throw noModelControl(this.#options.controlMode);
    const entry = this.#models.get(name);
    if (entry === undefined) throw this.#unknownModel(name);
    if (entry.previous !== null) entry.overtake();
    return { versions: this.#swap.rollback(entry) };
  }

  /**
   * The directory of a model is stable in a new form, or gone (`homes` empty); with control mode `poll`. Resolves when it was acted on: to false when the same may work another time without any
   * change on disk.
   */
  async follow(name: string, homes: readonly string[], tree: ModelTree | null): Promise<boolean> {
    if (homes.length > 0) this.#onDisk.set(name, homes);
    else {
      this.#onDisk.delete(name);
      this.#notWhole.delete(name);
      this.#forget(name);
      return true;
    }
    const known = this.#models.get(name);
    if (this.#onDemand !== null && (known === undefined || known.loaded === null)) return true;
    if (homes.length > 1) {
      // What serves goes on: which of the two is meant cannot be known.
      this.#options.unusable(name, DUPLICATE);
      if (known === undefined || known.loaded === null) this.#entry(name).reason = DUPLICATE;
      return true;
    }
    if (known !== undefined && known.seenTree === tree?.whole && known.loaded !== null) return true;
    let mayPass = false;
    await this.#enqueue(name, '', async (entry, signal) => {
      entry.seenTree = tree?.whole ?? '';
      try {
        await this.#updates.fromDisk(entry, false, signal);
      } catch (error) {
        const failure = InferenceError.from(error);
        // What overtook it is to stay as it is.
        if (signal.aborted) return;
        mayPass = failure.code === 'UNAVAILABLE' && !(error instanceof NotWholeYet);
        if (error instanceof NotWholeYet) this.#notWhole.set(name, `waiting: ${failure.message}`);
      }
    });
    const entry = this.#models.get(name);
    // One that never was there is no model before it is whole: a directory that is being copied in must not make the server unready.
    const isNothing = entry !== undefined && entry.loaded === null && entry.versions.size === 0 && entry.isIdle;
    if (isNothing && this.#notWhole.has(name)) this.#models.delete(name);
    return !mayPass;
  }

  #requireControl(): void {
    if (this.#options.controlMode !== 'explicit') throw noModelControl(this.#options.controlMode);
  }

  #enqueue(name: string, kind: string, operation: (entry: ModelEntry, signal: AbortSignal) => Promise<void>): Promise<void> {
    if (this.#isStopping) return Promise.reject(stopping());
    const entry = this.#entry(name);
    return entry
      .enqueue(kind, (signal) => operation(entry, signal))
      .catch((error: unknown) => {
        this.#dropUnknown(entry);
        throw error;
      });
  }

  /** A name that led to nothing leaves nothing behind, when no operation on it waits: names are the caller's to choose. */
  #dropUnknown(entry: ModelEntry): void {
    if (entry.loaded !== null || !entry.isIdle || entry.isSinceStart || this.#models.get(entry.name) !== entry) return;
    for (const { state } of entry.versions.values()) if (state === 'UNLOADING') return;
    const isKnown = this.#onDisk.has(entry.name) && (entry.versions.size > 0 || entry.reason !== '');
    if (!isKnown) this.#models.delete(entry.name);
  }

  /** Its directory is gone: it is unloaded, and unknown when that is done. */
  #forget(name: string): void {
    const entry = this.#models.get(name);
    if (entry === undefined) return;
    entry.overtake();
    entry.seenTree = '';
    entry.reason = 'its directory was removed';
    this.#unload(entry).catch(this.#options.onFault);
  }

  /** What was accepted is finished in the background. A name that is not on disk is forgotten then: load requests may bring any. */
  #unload(entry: ModelEntry): Promise<void> {
    return this.#swap.unload(entry).then(() => {
      if (entry.loaded === null && entry.isIdle && !this.#onDisk.has(entry.name) && this.#models.get(entry.name) === entry) {
        this.#models.delete(entry.name);
        this.#ensembles.forget(entry.name);
      }
    });
  }

  #openEnsembles(): Ensembles {
    const { controlMode, loader, unusable } = this.#options;
    const loadOne = (name: string): Promise<void> => {
      const entry = this.#entry(name);
      if (entry.loaded === null && !entry.isSinceStart) entry.isForEnsembles = true;
      return this.#enqueue(name, '', (one, signal) => this.#updates.fromDisk(one, true, signal, false));
    };
    return new Ensembles({
      models: this.#models,
      loader,
      calls: this.#options.nestedCalls ?? noNestedCalls,
      load: controlMode === 'explicit' || this.#onDemand !== null ? loadOne : null,
      read: (name) => this.#disk.read(name, false).then(({ description }) => description),
      retry: (name) => {
        if (controlMode !== 'poll' || !this.#isFirstLoaded || this.#isStopping || this.#onDemand !== null) return;
        // Why it failed is in the index and in the log.
        this.#enqueue(name, '', (entry, signal) => this.#updates.fromDisk(entry, false, signal)).catch(() => {});
      },
      isOnDemand: (name) => this.#isOnDemand(name, this.#models.get(name) ?? null),
      retire: (model) => this.#swap.retire(model),
      unusable,
    });
  }

  #openOnDemand(limits: Omit<OnDemandOptions, 'models'>): OnDemandLoads {
    const models: OnDemandModels = {
      load: (name) =>
        this.#enqueue(name, 'demand', (entry, signal) =>
          entry.loaded === null ? this.#updates.fromDisk(entry, false, signal) : Promise.resolve(),
        ),
      unload: (name) =>
        this.#enqueue(name, '', async (entry) => {
          // It may have come into use since it was chosen.
          if (entry.inflightCount === 0 && entry.neededBy === 0) await this.#swap.unload(entry);
        }),
      loaded: () => [...this.#models.values()].filter((entry) => entry.loaded !== null).map((entry) => entry.use),
      // What cannot be read is the load's to say.
      estimateBytes: (name) =>
        this.#disk.read(name, false).then(
          ({ description }) => this.#options.loader.estimateBytes(description),
          () => 0,
        ),
    };
    return new OnDemandLoads({ ...limits, models });
  }

  /**
   * The version that is to answer a request; see `InferenceDoor.route`. A promise where the model has to be loaded first, which is what the request waits for. Texts as the reference's
   * section 0 has them.
   */
  route(modelName: string, version: string): Model | Waiting<Model> {
    const entry = this.#models.get(modelName);
    if (entry === undefined) return this.#routeOnDemand(modelName, version, null);
    if (version === '') return entry.current ?? this.#routeOnDemand(modelName, version, entry);
    const found = entry.versions.get(entry.labels.get(version) ?? version);
    return found?.model ?? this.#routeOnDemand(modelName, version, entry);
  }

  #routeOnDemand(name: string, version: string, entry: ModelEntry | null): Waiting<Model> {
    if (this.#isOnDemand(name, entry)) return thenWaiting(this.#onDemand!.wait(name), () => this.#routeLoaded(name, version));
    if (entry === null) throw this.#unknownModel(name);
    throw version === '' ? noneReady(entry) : noSuchVersion(entry, version);
  }

  #routeLoaded(name: string, version: string): Model {
    const entry = this.#models.get(name);
    if (entry === undefined) throw this.#unknownModel(name);
    const model = version === '' ? entry.current : (entry.versions.get(entry.labels.get(version) ?? version)?.model ?? null);
    if (model !== null) return model;
    throw version === '' ? noneReady(entry) : noSuchVersion(entry, version);
  }

  #isOnDemand(name: string, entry: ModelEntry | null): boolean {
    if (this.#onDemand === null) return false;
    if (entry === null) return this.#onDisk.has(name);
    return entry.isOnDemand && entry.loaded === null;
  }

  /** The version that would answer, where it is loaded now; null: it is not, or there is none. */
  find(modelName: string, version: string): Model | null {
    const entry = this.#models.get(modelName);
    if (entry === undefined) return null;
    return version === '' ? entry.current : (entry.versions.get(entry.labels.get(version) ?? version)?.model ?? null);
  }

  /** Whether a request for it would be served: what its readiness is asked for. Throws as `route` does where it would not. */
  requireReady(modelName: string, version: string): void {
    const entry = this.#models.get(modelName) ?? null;
    if (!this.#isOnDemand(modelName, entry)) void this.route(modelName, version);
  }

  /** Whether a repository has it, as far as is known. */
  isOnDisk(modelName: string): boolean {
    return this.#onDisk.has(modelName);
  }

  /** '' for '', a label's version for a label, any other text as it is. */
  resolveVersion(modelName: string, version: string): string {
    return this.#models.get(modelName)?.labels.get(version) ?? version;
  }

  /** Versions in service, ascending. */
  readyVersions(modelName: string): string[] {
    const entry = this.#models.get(modelName);
    return entry === undefined
      ? []
      : [...entry.versions.values()].filter((version) => version.model !== null).map((version) => String(version.version));
  }

  readyModels(): Model[] {
    return this.versions().flatMap((version) => (version.model === null ? [] : [version.model]));
  }

  versions(): ModelVersion[] {
    return [...this.#models.values()].flatMap((entry) => [...entry.versions.values()]);
  }

  /**
   * The first load is done, and every model of it has a version and all of them serve, or were unloaded on purpose. Loads that come later, and their failures, leave this as it was.
   */
  get isReady(): boolean {
    if (!this.#isFirstLoaded) return false;
    for (const entry of this.#models.values()) {
      if (entry.versions.size === 0 && entry.isSinceStart) return false;
      for (const version of entry.versions.values()) if (!version.isWell) return false;
    }
    return true;
  }

  /** Looks what models there are to load, for the index; at most once a second. Null where nothing that is new on disk can be loaded, or the look is fresh. */
  refresh(): Promise<void> | null {
    if (this.#options.controlMode !== 'explicit' || performance.now() - this.#listedMs < REFRESH_MS) return null;
    this.#listedMs = performance.now();
    return this.#disk.list().then(
      (listed) => {
        this.#onDisk = listed;
        for (const entry of this.#models.values()) this.#dropUnknown(entry);
      },
      // What was there before is said once more, rather than nothing.
      (error: unknown) => this.#options.warn('', `the repository could not be listed: ${(error as Error).message}`),
    );
  }

  index(readyOnly: boolean): ModelIndexEntry[] {
    const lines = [...this.#models.values()].flatMap((entry) => indexLines(entry, readyOnly));
    if (readyOnly) return lines;
    for (const name of this.#onDisk.keys()) {
      if (this.#models.has(name)) continue;
      const why = this.#notWhole.get(name);
      lines.push(why === undefined ? { name } : { name, state: 'UNAVAILABLE', reason: why });
    }
    return lines;
  }

  /** How the directories of the models that are loaded, or were tried, looked then: what a watcher starts from. */
  seenTrees(): Map<string, string> {
    return new Map([...this.#models.values()].map((entry) => [entry.name, entry.seenTree]));
  }

  /** Nothing is loaded from here on: loads that are under way are called off, and requests that wait for one hear so. */
  stopLoads(): void {
    this.#isStopping = true;
    this.#onDemand?.stop();
    for (const entry of this.#models.values()) entry.overtake(stopping());
  }

  /** Finishes accepted requests and unloads everything. */
  async stop(): Promise<void> {
    this.stopLoads();
    const entries = [...this.#models.values()];
    await Promise.all(entries.map((entry) => entry.idle()));
    // What an ensemble has accepted needs its models to the end.
    for (const ensembles of this.#ensembles.outermostFirst()) await Promise.all(ensembles.map((entry) => this.#swap.unload(entry)));
    await Promise.all(entries.map((entry) => this.#swap.unload(entry)));
  }

  async #describeAll(): Promise<LoadedState[]> {
    const { controlMode, loadModels, warn, unusable } = this.#options;
    const isAll = controlMode !== 'explicit' || loadModels.includes('*');
    this.#onDisk = await this.#disk.list();
    if (this.#onDemand !== null && isAll) return [];
    return readFirstModels(isAll ? [...this.#onDisk.keys()] : loadModels, {
      disk: this.#disk,
      onDisk: this.#onDisk,
      // Where nothing is ever loaded again, nobody asks what changed.
      withTree: controlMode !== 'none',
      entry: (name) => this.#entry(name),
      notWhole: (name, why) => {
        this.#notWhole.set(name, `waiting: ${why}`);
        warn(name, why);
      },
      unusable,
    });
  }

  #entry(name: string): ModelEntry {
    let entry = this.#models.get(name);
    if (entry === undefined) {
      entry = new ModelEntry(name);
      entry.isOnDemand = this.#onDemand !== null;
      this.#models.set(name, entry);
    }
    return entry;
  }

  #unknownModel(name: string): InferenceError {
    const why = this.#notWhole.get(name) ?? (this.#onDisk.has(name) ? 'it is in the repository and not loaded' : undefined);
    const hint = why === undefined ? didYouMean(name, this.#models.keys()) : `: ${why}`;
    return new InferenceError('NOT_FOUND', `Request for unknown model: '${name}' is not found${hint}`);
  }
}

function stopping(): InferenceError {
  return new InferenceError('UNAVAILABLE', 'the server is stopping', { retryAfterSeconds: 1 });
}
