import { InferenceError } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { Model } from './model.ts';
import type { ModelDescription } from './model-directory.ts';
import { ModelVersion, UNLOADED } from './model-lifecycle.ts';
import type { ModelTree } from './model-tree.ts';
import type { ModelUse } from './on-demand/on-demand-loads.ts';

/** What a model was loaded from. */
export interface LoadedState {
  readonly description: ModelDescription;
  readonly tree: ModelTree;
  /** How the repository's own directory looked, `ModelTree.whole`; '' where there was none. Differs from `tree` for files that a load request brought. */
  readonly diskTree: string;
  /** Removes files that belong to this load alone; null: there are none. */
  readonly release: (() => Promise<void>) | null;
}

/** What was in service before the last swap, kept warm for a rollback. */
export interface PreviousVersions {
  readonly models: Map<number, Model>;
  readonly loaded: LoadedState;
  /** Ends the keeping when its time is over. */
  readonly timer: NodeJS.Timeout;
}

/** A model of the repository, and what became of its versions. */
export class ModelEntry {
  readonly name: string;
  /** By version number, ascending. */
  readonly versions: Map<string, ModelVersion> = new Map();
  /** Why there is no version at all, when the configuration could not be used; '' otherwise. */
  reason = '';
  /** Why the last update of what serves was refused, where no version of its own says it; '' otherwise. */
  refusal = '';
  /** What a request without a version gets: the highest that is READY. Derived, kept because every request asks. */
  current: Model | null = null;
  /** By label (`version_labels`): a version's number. */
  labels: ReadonlyMap<string, string> = new Map();
  /** Null: nothing of it was loaded, or it was unloaded. */
  loaded: LoadedState | null = null;
  previous: PreviousVersions | null = null;
  /** The disk's state that was acted on last, `ModelTree.whole`: the same is not tried again without being asked. */
  seenTree = '';
  /** Versions that a rollback took out of service, and how their directories looked: a changing repository brings them back only when they have changed themselves. */
  readonly rejected: Map<number, string> = new Map();
  /** A request loads it where nothing of it is loaded. */
  isOnDemand = false;
  /** It was loaded because an ensemble consists of it, and for no other reason. */
  isForEnsembles = false;
  /** Ensembles that are being loaded and need it: it is not unloaded to make room, or for being idle. */
  neededBy = 0;
  /** It was to be loaded at the server's start, so the server is not ready without it. */
  isSinceStart = false;
  /** Of the operation that runs: aborted when it is overtaken. */
  #running: AbortController | null = null;
  #generation = 0;
  #overtakenBy: InferenceError | null = null;
  #operations: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #last: { readonly kind: string; readonly done: Promise<void>; isStarted: boolean } | null = null;

  constructor(name: string) {
    this.name = name;
  }

  /** The version of that number, made where there is none, in its place among the others. */
  version(number: number): ModelVersion {
    const known = this.versions.get(String(number));
    if (known !== undefined) return known;
    const added = new ModelVersion(this.name, number);
    const all = [...this.versions.values(), added].sort((a, b) => a.version - b.version);
    this.versions.clear();
    for (const version of all) this.versions.set(String(version.version), version);
    return added;
  }

  /** The index need not list all versions that ever were: of those that were unloaded, the latest. */
  forgetUnloaded(): void {
    const unloaded = [...this.versions.values()].filter(({ state, reason }) => state === 'UNAVAILABLE' && reason === UNLOADED);
    for (const { version } of unloaded.slice(0, -MAX_UNLOADED_VERSIONS)) this.versions.delete(String(version));
  }

  /** Accepted by what serves and not answered. */
  get inflightCount(): number {
    let count = 0;
    for (const { model } of this.versions.values()) if (model !== null) count += model.scheduler.inflightCount;
    return count;
  }

  /** What matters for whether it stays in memory. */
  get use(): ModelUse {
    let memoryBytes = 0;
    let lastUsedNs = 0;
    for (const { model } of this.versions.values()) {
      if (model === null) continue;
      memoryBytes += model.memoryBytes;
      lastUsedNs = Math.max(lastUsedNs, model.lastUsedNs);
    }
    return {
      name: this.name,
      memoryBytes,
      inflightCount: this.inflightCount,
      lastUsedMs: lastUsedNs / 1e6,
      isEvictable: this.isOnDemand && this.neededBy === 0,
    };
  }

  settle(): void {
    this.current = null;
    for (const version of this.versions.values()) if (version.model !== null) this.current = version.model;
  }

  /**
   * Operations on one model happen one after the other. One that waits right before and is of the same `kind` stands for both; '' is like no other. `signal` is aborted when the operation is
   * overtaken; what it brings then counts for nothing.
   */
  enqueue(kind: string, operation: (signal: AbortSignal) => Promise<void>): Promise<void> {
    if (kind !== '' && this.#last?.kind === kind && !this.#last.isStarted) return this.#last.done;
    if (this.#waiting >= MAX_WAITING_OPERATIONS) {
      const text = `model '${this.name}': ${this.#waiting} loads and unloads wait already; retry when they are done`;
      return Promise.reject(new InferenceError('UNAVAILABLE', text, { failureReason: 'REJECTED', retryAfterSeconds: 1 }));
    }
    this.#waiting++;
    const generation = this.#generation;
    const done = this.#operations.then(() => {
      this.#waiting--;
      last.isStarted = true;
      if (generation !== this.#generation) throw this.#overtakenBy;
      const running = new AbortController();
      this.#running = running;
      return operation(running.signal).finally(() => {
        this.#running = null;
      });
    });
    const last = { kind, done, isStarted: false };
    this.#last = last;
    this.#operations = done.catch(() => {});
    return done;
  }

  /** Calls off the operations that run or wait: what comes now need not wait for a load that hangs. */
  overtake(reason: InferenceError = overtaken(this.name)): void {
    this.#generation++;
    this.#last = null;
    this.#overtakenBy = reason;
    this.#running?.abort(reason);
  }

  /** Nothing runs or waits. */
  get isIdle(): boolean {
    return this.#waiting === 0 && this.#running === null;
  }

  /** Resolves when what was enqueued so far has ended. */
  async idle(): Promise<void> {
    await this.#operations;
  }
}

const MAX_WAITING_OPERATIONS = 1_000;
const MAX_UNLOADED_VERSIONS = 32;

function overtaken(name: string): InferenceError {
  return new InferenceError('UNAVAILABLE', `model '${name}': the load was overtaken by an unload or a rollback, and changed nothing`);
}

/** Why a request without a version finds none. */
export function noneReady(entry: ModelEntry): InferenceError {
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

/** Why a request with a version finds none: neither a number of one that serves nor a label. */
export function noSuchVersion(entry: ModelEntry, version: string): InferenceError {
  const number = entry.labels.get(version) ?? version;
  const found = entry.versions.get(number);
  if (found !== undefined) {
    const label = number === version ? '' : ` (label '${version}')`;
    return new InferenceError(
      'UNAVAILABLE',
      `Request for unknown model: '${entry.name}' version ${number}${label} is not at ready state: ${found.state}${found.reason === '' ? '' : ` (${found.reason})`}`,
    );
  }
  const known = [...entry.versions.keys(), ...entry.labels.keys()];
  if (/^[A-Za-z][\w.-]{0,62}$/.test(version) && entry.labels.size > 0) {
    return new InferenceError(
      'NOT_FOUND',
      `Request for unknown model: '${entry.name}' has no version label '${version}'${didYouMean(version, entry.labels.keys()) || `; labels: ${[...entry.labels.keys()].join(', ')}`}`,
    );
  }
  if (!/^[0-9]+$/.test(version) || version.length > MAX_INT64_DIGITS) {
    return new InferenceError(
      'INVALID_ARGUMENT',
      `failed to get model version from specified version string '${version}': expected a positive integer`,
    );
  }
  return new InferenceError(
    'NOT_FOUND',
    `Request for unknown model: '${entry.name}' version ${version} is not found; versions: ${known.join(', ') || 'none'}`,
  );
}

const MAX_INT64_DIGITS = 18;
