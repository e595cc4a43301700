import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { Model } from './model.ts';
import { describeModelFile, listModelDirectories, type ModelDescription, readModelDirectory } from './model-directory.ts';
import { failureReason, type ModelState, ModelVersion } from './model-lifecycle.ts';
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
  readonly loader: ModelLoader;
  readonly warn: (modelName: string, message: string) => void;
  /** Hears of a model that can't be served, or not any more: beside what `LoadProgress.loaded` tells. */
  readonly unusable: (modelName: string, reason: string) => void;
  readonly onFault: (error: unknown) => void;
}

class ModelEntry {
  readonly name: string;
  /** By version number, ascending. */
  readonly versions: Map<string, ModelVersion> = new Map();
  /** Why there is no version at all, when the configuration could not be used; '' otherwise. */
  reason = '';
  /** What a request without a version gets: the highest that is READY. Derived, kept because every request asks. */
  current: Model | null = null;

  constructor(name: string) {
    this.name = name;
  }

  settle(): void {
    this.current = null;
    for (const version of this.versions.values()) if (version.model !== null) this.current = version.model;
  }
}

const MAX_INT64_DIGITS = 18;

/** What is on disk and what of it is in service. */
export class ModelRepository {
  readonly #options: ModelRepositoryOptions;
  readonly #models: Map<string, ModelEntry> = new Map();

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
    const loaded: [ModelEntry, ModelVersion, Model][] = [];
    for (const description of descriptions) {
      for (const warning of description.warnings) this.#options.warn(description.name, warning);
      const entry = this.#entry(description.name);
      const files = description.versions.map((file) => ({ file, version: new ModelVersion(description.name, file.version) }));
      for (const { version } of files) entry.versions.set(String(version.version), version);
      for (const { file, version } of files) {
        progress.loading(version.modelName, version.version);
        try {
          const model = await this.#options.loader.load(description, file, (error) => this.#quarantine(version, error));
          loaded.push([entry, version, model]);
          progress.loaded(version.modelName, version.version, null);
        } catch (error) {
          const failure = InferenceError.from(error);
          version.unavailable(failureReason(failure));
          progress.loaded(version.modelName, version.version, failure);
        }
      }
    }
    for (const [entry, version, model] of loaded) {
      // It may have been quarantined since.
      if (version.state === 'LOADING') version.ready(model);
      else this.#retire(model);
      entry.settle();
    }
  }

  /** A version lost its instances for good: whoever waits, and whoever asks from now on, hears why. */
  #quarantine(version: ModelVersion, error: InferenceError): void {
    const { model } = version;
    version.unavailable(failureReason(error));
    this.#models.get(version.modelName)?.settle();
    this.#options.unusable(version.modelName, version.reason);
    if (model === null) return;
    model.failPending(error);
    this.#retire(model);
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
      for (const version of entry.versions.values()) if (version.state !== 'READY') return false;
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
    return entries;
  }

  /** Finishes accepted requests and unloads everything. */
  async stop(): Promise<void> {
    await Promise.all(this.readyModels().map((model) => model.stop()));
  }

  async #describeAll(): Promise<ModelDescription[]> {
    const { directories, modelFile } = this.#options;
    if (modelFile !== null) return [describeModelFile(modelFile)];
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
    for (const [name, directory] of homes) {
      const entry = this.#entry(name);
      if (entry.reason !== '') {
        this.#options.unusable(name, entry.reason);
        continue;
      }
      try {
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

function noneReady(entry: ModelEntry): InferenceError {
  const versions = [...entry.versions.values()];
  if (versions.some((version) => version.state === 'LOADING')) {
    return new InferenceError(
      'UNAVAILABLE',
      `Request for unknown model: '${entry.name}' is not at ready state: it is being loaded; retry shortly`,
      {
        retryAfterSeconds: 1,
      },
    );
  }
  const states = versions.map(
    (version) => `version ${version.version} is ${version.state}${version.reason === '' ? '' : ` (${version.reason})`}`,
  );
  const why = entry.reason === '' ? states.join('; ') : entry.reason;
  return new InferenceError(
    'NOT_FOUND',
    `Request for unknown model: '${entry.name}' has no available versions${why === '' ? '' : `: ${why}`}`,
  );
}
