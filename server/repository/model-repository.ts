import { join } from 'node:path';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { noLoadParameters, noModelControl } from './control-refusals.ts';
import type { Model } from './model.ts';
import {
  checkModelName,
  describeModelFile,
  findModelDirectory,
  listModelDirectories,
  type ModelDescription,
  type ModelVersionFile,
  newestChangeMs,
  readModelDirectory,
} from './model-directory.ts';
import { ModelEntry, noneReady } from './model-entry.ts';
import { failureReason, type ModelState, type ModelVersion, UNLOADED } from './model-lifecycle.ts';
import type { ModelLoader } from './model-loader.ts';

/** One line of the repository index (reference section 1.7). */
export interface ModelIndexEntry {
  readonly name: string;
  readonly version?: string;
  readonly state?: ModelState;
  readonly reason?: string;
}

/** Hears how the first load goes; the start-up report. */
export interface LoadProgress {
  started(total: number): void;
  loading(modelName: string, version: number): void;
  /** `error` is null when it worked. */
  loaded(modelName: string, version: number, error: InferenceError | null): void;
}

export interface ModelRepositoryOptions {
  /** Repository directories; or, with `modelFile`, none. */
  readonly directories: readonly string[];
  /** A single model file, served without a repository; null: none. */
  readonly modelFile: string | null;
  /** `none`: what is there at start is served until the end. `explicit`: `loadModels` are loaded at start, and then what `load` and `unload` say. */
  readonly controlMode: 'none' | 'explicit';
  /** With `explicit`; '*' alone: all. */
  readonly loadModels: readonly string[];
  readonly loader: ModelLoader;
  readonly warn: (modelName: string, message: string) => void;
  /** Hears of a model that can't be served, or not any more: beside what `LoadProgress.loaded` tells. */
  readonly unusable: (modelName: string, reason: string) => void;
  readonly onFault: (error: unknown) => void;
}

/** A version that is loaded and not yet in service, or the reason why it lost its instances meanwhile. */
interface FreshVersion {
  readonly version: ModelVersion;
  readonly model: Model;
  lost: InferenceError | null;
}

const MAX_INT64_DIGITS = 18;

/** What is on disk and what of it is in service. */
export class ModelRepository {
  readonly #options: ModelRepositoryOptions;
  readonly #models: Map<string, ModelEntry> = new Map();
  /** Directories that were there at start and not asked for. */
  #notLoaded: ReadonlySet<string> = new Set();
  /** Loads and unloads, one after the other. */
  #operations: Promise<unknown> = Promise.resolve();

  constructor(options: ModelRepositoryOptions) {
    this.#options = options;
  }

  /**
   * Reads the repositories and loads every version that a policy serves. A model that cannot be used is UNAVAILABLE with its reason, and the others serve.
   * Rejects only when a repository itself cannot be read.
   */
  async loadAll(progress: LoadProgress): Promise<void> {
    const descriptions = await this.#describeAll();
    progress.started(descriptions.reduce((total, description) => total + description.versions.length, 0));
    // First loads happen in hosts that serve nothing else, so nothing is READY before everything is loaded: a file that takes its host down costs no
    // request. One after the other, since a host loads one model at a time.
    const loaded: [ModelEntry, FreshVersion][] = [];
    for (const description of descriptions) {
      for (const warning of description.warnings) this.#options.warn(description.name, warning);
      const entry = this.#entry(description.name);
      const files = description.versions.map((file) => ({ file, version: entry.version(file.version) }));
      for (const { file, version } of files) {
        progress.loading(version.modelName, version.version);
        try {
          loaded.push([entry, await this.#loadVersion(description, file, version)]);
          progress.loaded(version.modelName, version.version, null);
        } catch (error) {
          const failure = InferenceError.from(error);
          version.unavailable(failureReason(failure));
          progress.loaded(version.modelName, version.version, failure);
        }
      }
    }
    for (const [entry, { version, model, lost }] of loaded) {
      if (lost === null) version.ready(model);
      else {
        this.#refuse(version, lost);
        this.#retire(model);
      }
      entry.settle();
    }
  }

  /**
   * Loads a model, or loads it again when its files have changed: every version that its policy serves beside what serves now, then all of them take over in one step, and what they replace
   * finishes what it accepted. If anything fails nothing changes. Rejects with INVALID_ARGUMENT (not a name; a version does not load) or INTERNAL (no such directory, or a configuration
   * that cannot be used), as the reference's section 6.6 has it; with UNAVAILABLE where the control mode is not `explicit`, and UNIMPLEMENTED with parameters.
   */
  async load(name: string, hasParameters: boolean): Promise<void> {
    this.#requireControl();
    if (hasParameters) throw noLoadParameters();
    checkModelName(name);
    await this.#enqueue(() => this.#load(name));
  }

  /** Takes a model out of service. Resolves before what it accepted is finished. One that is not loaded is as it should be. */
  async unload(name: string): Promise<void> {
    this.#requireControl();
    await this.#enqueue(async () => {
      const entry = this.#models.get(name);
      if (entry === undefined) return;
      for (const version of entry.versions.values()) this.#unloadVersion(version);
      entry.loadedChangeMs = Number.NEGATIVE_INFINITY;
      entry.settle();
    });
  }

  #requireControl(): void {
    if (this.#options.controlMode !== 'explicit') throw noModelControl();
  }

  #enqueue(operation: () => Promise<void>): Promise<void> {
    const done = this.#operations.then(operation);
    this.#operations = done.catch(() => {});
    return done;
  }

  async #load(name: string): Promise<void> {
    const { description, changedMs } = await this.#describe(name);
    const entry = this.#entry(name);
    const served = new Set(description.versions.map(({ version }) => String(version)));
    const isCurrent = [...served].every((version) => entry.versions.get(version)?.state === 'READY');
    if (isCurrent && changedMs <= entry.loadedChangeMs) return;
    for (const warning of description.warnings) this.#options.warn(name, warning);
    entry.reason = '';
    const fresh: FreshVersion[] = [];
    const failures: [ModelVersion, InferenceError][] = [];
    for (const file of description.versions) {
      const version = entry.version(file.version);
      if (version.model === null) version.loading();
      try {
        fresh.push(await this.#loadVersion(description, file, version));
      } catch (error) {
        failures.push([version, InferenceError.from(error)]);
      }
    }
    for (const { version, lost } of fresh) if (lost !== null) failures.push([version, lost]);
    if (failures.length > 0) {
      for (const { model } of fresh) this.#retire(model);
      // Those that serve go on; those that were to come do not.
      for (const version of served) {
        const known = entry.versions.get(version)!;
        if (known.state !== 'LOADING') continue;
        const failure = failures.find(([failed]) => failed === known);
        known.unavailable(failure === undefined ? UNLOADED : failureReason(failure[1]));
      }
      const text = failures.map(([version, error]) => `version ${version.version} is at UNAVAILABLE state: ${failureReason(error)};`);
      this.#options.unusable(name, text.join(' '));
      throw invalidArgument(`load failed for model '${name}': ${text.join(' ')}`);
    }
    for (const { version, model } of fresh) {
      const replaced = version.model;
      version.ready(model);
      if (replaced !== null) this.#retire(replaced);
    }
    for (const [number, version] of entry.versions) if (!served.has(number)) this.#unloadVersion(version);
    entry.loadedChangeMs = changedMs;
    entry.settle();
  }

  async #describe(name: string): Promise<{ description: ModelDescription; changedMs: number }> {
    const { directories, modelFile } = this.#options;
    const failed = (why: string): InferenceError =>
      new InferenceError('INTERNAL', `failed to load '${name}', failed to poll from model repository: ${why}`, {
        failureReason: 'BACKEND',
      });
    if (modelFile !== null) {
      const description = describeModelFile(modelFile);
      if (description.name !== name) throw failed(`the server serves one file, the model '${description.name}'`);
      return { description, changedMs: await newestChangeMs(modelFile).catch(() => Number.POSITIVE_INFINITY) };
    }
    const homes = await findModelDirectory(directories, name);
    if (homes.length === 0) {
      const names = (await Promise.all(directories.map((directory) => listModelDirectories(directory).catch(() => [])))).flat();
      throw failed(`no directory of that name${didYouMean(name, names)}`);
    }
    if (homes.length > 1) throw failed('it appears in two or more repositories: rename it in one of them, or remove it there');
    try {
      // Before the files are read: what changes while they are is seen the next time.
      const changedMs = await newestChangeMs(join(homes[0]!, name));
      return { description: await readModelDirectory(homes[0]!, name), changedMs };
    } catch (error) {
      if (!(error instanceof InferenceError)) this.#options.onFault(error);
      throw failed(InferenceError.from(error).message);
    }
  }

  async #loadVersion(description: ModelDescription, file: ModelVersionFile, version: ModelVersion): Promise<FreshVersion> {
    let fresh: FreshVersion | null = null;
    let lost: InferenceError | null = null;
    const model = await this.#options.loader.load(description, file, (error) => {
      lost = error;
      if (fresh === null) return;
      fresh.lost = error;
      this.#quarantine(version, fresh.model, error);
    });
    fresh = { version, model, lost };
    return fresh;
  }

  #unloadVersion(version: ModelVersion): void {
    const { model } = version;
    if (model === null) return;
    version.unloading();
    model
      .stop()
      .catch(this.#options.onFault)
      .finally(() => {
        if (version.state === 'UNLOADING') version.unavailable(UNLOADED);
      });
  }

  /** A model lost its instances for good: whoever waits, and whoever asks its version from now on, hears why. */
  #quarantine(version: ModelVersion, model: Model, error: InferenceError): void {
    model.failPending(error);
    // Not in service yet, or not any more: whoever loads it, or has replaced it, sees to the rest.
    if (version.model !== model) return;
    this.#refuse(version, error);
    this.#models.get(version.modelName)?.settle();
    this.#retire(model);
  }

  #refuse(version: ModelVersion, error: InferenceError): void {
    version.unavailable(failureReason(error));
    this.#options.unusable(version.modelName, version.reason);
  }

  #retire(model: Model): void {
    model.stop().catch(this.#options.onFault);
  }

  /** The version that is to answer a request; see `InferenceDoor.route`. Texts as the reference's section 0 has them. */
  route(modelName: string, version: string): Model {
    const entry = this.#models.get(modelName);
    if (entry === undefined) throw this.#unknownModel(modelName);
    if (version === '') {
      if (entry.current === null) throw noneReady(entry);
      return entry.current;
    }
    const found = entry.versions.get(version);
    if (found?.model) return found.model;
    if (!/^[0-9]+$/.test(version) || version.length > MAX_INT64_DIGITS) {
      throw invalidArgument(`failed to get model version from specified version string '${version}': expected a positive integer`);
    }
    if (found === undefined) {
      throw new InferenceError(
        'NOT_FOUND',
        `Request for unknown model: '${modelName}' version ${version} is not found; versions: ${[...entry.versions.keys()].join(', ') || 'none'}`,
      );
    }
    throw new InferenceError(
      'UNAVAILABLE',
      `Request for unknown model: '${modelName}' version ${version} is not at ready state: ${found.state}${found.reason === '' ? '' : ` (${found.reason})`}`,
    );
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

  /** Every known model has a version and all of them serve, or were unloaded on purpose. */
  get isReady(): boolean {
    for (const entry of this.#models.values()) {
      if (entry.versions.size === 0) return false;
      for (const { state, reason } of entry.versions.values()) {
        if (state !== 'READY' && state !== 'UNLOADING' && !(state === 'UNAVAILABLE' && reason === UNLOADED)) return false;
      }
    }
    return true;
  }

  index(readyOnly: boolean): ModelIndexEntry[] {
    const entries: ModelIndexEntry[] = [];
    for (const entry of this.#models.values()) {
      if (entry.versions.size === 0 && !readyOnly) entries.push({ name: entry.name, state: 'UNAVAILABLE', reason: entry.reason });
      for (const version of entry.versions.values()) {
        if (readyOnly && version.state !== 'READY') continue;
        const line = { name: entry.name, version: String(version.version), state: version.state };
        entries.push(version.reason === '' ? line : { ...line, reason: version.reason });
      }
    }
    if (!readyOnly) for (const name of this.#notLoaded) if (!this.#models.has(name)) entries.push({ name });
    return entries;
  }

  /** Finishes accepted requests and unloads everything. */
  async stop(): Promise<void> {
    await this.#operations;
    await Promise.all(this.readyModels().map((model) => model.stop()));
  }

  async #describeAll(): Promise<ModelDescription[]> {
    const { directories, modelFile, controlMode, loadModels } = this.#options;
    const isAll = controlMode === 'none' || loadModels.includes('*');
    if (modelFile !== null) {
      const description = describeModelFile(modelFile);
      return isAll || loadModels.includes(description.name) ? [description] : [];
    }
    const descriptions: ModelDescription[] = [];
    const homes = new Map<string, string>();
    for (const directory of directories) {
      for (const name of await listModelDirectories(directory)) {
        if (homes.has(name)) {
          this.#entry(name).reason = 'model appears in two or more repositories: rename it in one of them, or remove it there';
          continue;
        }
        homes.set(name, directory);
      }
    }
    if (!isAll) {
      this.#notLoaded = new Set([...homes.keys()].filter((name) => !loadModels.includes(name)));
      for (const name of this.#notLoaded) homes.delete(name);
      for (const name of loadModels) {
        if (homes.has(name)) continue;
        this.#entry(name).reason = `no directory of that name${didYouMean(name, this.#notLoaded)}`;
        this.#options.unusable(name, this.#entry(name).reason);
      }
    }
    for (const [name, directory] of homes) {
      const entry = this.#entry(name);
      if (entry.reason !== '') {
        this.#options.unusable(name, entry.reason);
        continue;
      }
      try {
        // Before the files are read: what changes while they are is seen by the next load.
        if (controlMode === 'explicit') entry.loadedChangeMs = await newestChangeMs(join(directory, name));
        descriptions.push(await readModelDirectory(directory, name));
      } catch (error) {
        if (!(error instanceof InferenceError)) this.#options.onFault(error);
        entry.reason = failureReason(InferenceError.from(error));
        this.#options.unusable(name, entry.reason);
      }
    }
    return descriptions;
  }

  #entry(name: string): ModelEntry {
    let entry = this.#models.get(name);
    if (entry === undefined) {
      entry = new ModelEntry(name);
      this.#models.set(name, entry);
    }
    return entry;
  }

  #unknownModel(name: string): InferenceError {
    return new InferenceError('NOT_FOUND', `Request for unknown model: '${name}' is not found${didYouMean(name, this.#models.keys())}`);
  }
}
