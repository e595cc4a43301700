import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isFact, isTemporaryName, type ModelTree, readModelTree, TooManyFiles } from '../model-tree.ts';
import { remoteFileSystem } from './remote-file-system.ts';
import { RepositoryListing } from './repository-listing.ts';
import { watchLimit } from './watch-limit.ts';
import { modelReach, repositoryReach } from './watch-reach.ts';
import { WatchTable } from './watch-table.ts';
import { ABSENT, digest, MAX_RETRY_MS, MIN_RETRY_MS, type WatchedModel, watchedModel } from './watched-model.ts';

/** What a name's directory looks like, after two looks that agree. */
export interface StableChange {
  readonly name: string;
  /** The repositories that have it now, in their order; none: it is gone; several: it is not clear which is meant. */
  readonly homes: readonly string[];
  /** Of the first home; null without one. */
  readonly tree: ModelTree | null;
}

export interface RepositoryWatcherOptions {
  readonly directories: readonly string[];
  /** Between two looks at everything, ms; 0: never, events alone are heard. */
  readonly pollMs: number;
  /** Between the two looks that must agree, ms; 300 unless told. */
  readonly settleMs?: number;
  /** False: nothing is watched, polling alone. */
  readonly watch?: boolean;
  /** Directories watched at once; `watchLimit` unless told. */
  readonly maxWatches?: number;
  /** See `RepositoryListingOptions`. */
  readonly emptyGraceMs?: number;
  /** Must not throw. Called once per stable state that differs from the one reported, or known, before. */
  readonly onStable: (change: StableChange) => void;
  /** A repository or a model's directory about which nothing can be concluded now; once until it is well again. Must not throw. */
  readonly onProblem: (directory: string, error: unknown) => void;
  /** A sentence for the log: what cannot be watched. */
  readonly note?: (sentence: string) => void;
  /** Monotonic, ms. */
  readonly clock?: () => number;
}

/** What a look found. */
interface Sight {
  readonly key: string;
  readonly change: StableChange;
}

const DEFAULT_SETTLE_MS = 300;
const MAX_LOOKS = 16;
/** Between an event and the look, so that a burst costs one. */
const DEBOUNCE_MS = 40;
const MAX_CHANGING_MS = 60_000;
/** A storage that stalls may hold a look for ever. */
const MAX_STOP_MS = 2000;
/** Names under observation; past this many, events in a repository lead to a look at what is listed instead. */
const MAX_NAMES = 65_536;
/** More events than this between two moments of rest, and the system may have dropped some (it keeps 16,384). */
const MAX_EVENTS = 4096;

/**
 * Says which directories of the repositories have changed, once they have come to rest. Events only say where to look; what is there is read, twice, and a repository
 * or storage that cannot be read leads to no conclusion. Owns its watches and timers until `stop`.
 */
export class RepositoryWatcher {
  readonly #options: RepositoryWatcherOptions;
  readonly #settleMs: number;
  readonly #clock: () => number;
  readonly #repositories: readonly RepositoryListing[];
  readonly #models: Map<string, WatchedModel> = new Map();
  readonly #table: WatchTable<RepositoryListing | WatchedModel>;
  #queue: WatchedModel[] = [];
  readonly #running: Set<Promise<void>> = new Set();
  #resting: (() => void)[] = [];
  #pollTimer: NodeJS.Timeout | undefined;
  #lookAllTimer: NodeJS.Timeout | undefined;
  #lookingAll: Promise<void> | null = null;
  #events = 0;
  /** Polling begins after the first looks, which it would otherwise keep from ending. */
  #started = false;
  #stopped = false;

  constructor(options: RepositoryWatcherOptions) {
    this.#options = options;
    this.#settleMs = options.settleMs ?? DEFAULT_SETTLE_MS;
    this.#clock = options.clock ?? (() => performance.now());
    const onFailure = options.onProblem;
    const onRecovery = (): void => this.#lookAllSoon(0);
    const grace = options.emptyGraceMs === undefined ? {} : { emptyGraceMs: options.emptyGraceMs };
    this.#repositories = options.directories.map((path) => new RepositoryListing(path, { onFailure, onRecovery, ...grace }));
    this.#table = new WatchTable({
      limit: options.maxWatches ?? watchLimit(),
      onEvent: (owner, directory, name) => this.#onEvent(owner, directory, name),
      note: (sentence) => options.note?.(sentence),
    });
  }

  /** Directories watched, and names observed, now. */
  get size(): { readonly watches: number; readonly names: number } {
    return { watches: this.#table.size, names: this.#models.size };
  }

  /**
   * Resolves once every directory was looked at and is watched. `known`: what the caller has loaded, name to whole fingerprint; what is otherwise on disk is reported
   * like any change.
   */
  async start(known: ReadonlyMap<string, string> = new Map()): Promise<void> {
    for (const [name, whole] of known)
      this.#models.set(name, { ...watchedModel(name), homes: null, reported: 'unknown', known: digest(whole) });
    if (this.#options.watch !== false) for (const { path } of this.#repositories) await this.#noteRemote(path);
    await this.#lookAll();
    await this.#rest();
    this.#started = true;
    this.#pollLater();
  }

  /** Nothing is reported any more once this is called. Resolves when the looks under way have ended, at most 2 s later. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#pollTimer);
    clearTimeout(this.#lookAllTimer);
    for (const repository of this.#repositories) repository.stop();
    for (const { timer } of this.#models.values()) clearTimeout(timer);
    this.#models.clear();
    this.#queue = [];
    this.#table.close();
    let patience: NodeJS.Timeout | undefined;
    const impatient = new Promise<void>((done) => {
      patience = setTimeout(done, MAX_STOP_MS);
    });
    await Promise.race([Promise.all([...this.#running, this.#lookingAll]), impatient]);
    clearTimeout(patience);
    this.#wakeResting();
  }

  /** The next stable state of this name is reported even if it is the one reported last: for a caller who could not use it and tries again. */
  forget(name: string): void {
    const model = this.#models.get(name);
    if (this.#stopped || model === undefined) return;
    model.reported = 'forgotten';
    model.known = null;
    this.#mark(model, 0);
  }

  #onEvent(owner: RepositoryListing | WatchedModel, directory: string, name: string | null): void {
    if (this.#stopped) return;
    this.#events += 1;
    if (this.#events > MAX_EVENTS) {
      this.#events = 0;
      this.#lookAllSoon(this.#settleMs);
    }
    if (!(owner instanceof RepositoryListing)) {
      owner.isReached = false;
      this.#mark(owner, DEBOUNCE_MS);
    } else if (name === null || directory !== owner.place || name.startsWith('..') || name === basename(owner.place)) {
      // The way to the repository, or one on which models' links lead ('..data' of a ConfigMap).
      this.#lookAllSoon(DEBOUNCE_MS);
    } else if (!isTemporaryName(name)) {
      const model = this.#observe(name);
      if (model === null) this.#lookAllSoon(this.#settleMs);
      else this.#mark(model, DEBOUNCE_MS);
    }
  }

  #observe(name: string): WatchedModel | null {
    const present = this.#models.get(name);
    if (present !== undefined) return present;
    if (this.#models.size >= MAX_NAMES) return null;
    const model = watchedModel(name);
    this.#models.set(name, model);
    return model;
  }

  /** Has the name looked at in `delayMs`, 0: as soon as its turn comes. */
  #mark(model: WatchedModel, delayMs: number): void {
    if (this.#models.get(model.name) !== model) return;
    if (model.state === 'looking') model.again = true;
    else if (model.state === 'idle' || model.state === 'retrying') this.#arm(model, 'waiting', delayMs);
    else if (model.state === 'waiting' && delayMs === 0) this.#arm(model, 'waiting', 0);
  }

  #arm(model: WatchedModel, state: 'waiting' | 'settling' | 'retrying', delayMs: number): void {
    clearTimeout(model.timer);
    if (delayMs === 0) {
      this.#enqueue(model);
      return;
    }
    model.state = state;
    model.timer = setTimeout(() => this.#enqueue(model), delayMs);
  }

  #enqueue(model: WatchedModel): void {
    model.state = 'queued';
    this.#queue.push(model);
    this.#pump();
  }

  #pump(): void {
    while (this.#running.size < MAX_LOOKS) {
      const model = this.#queue.shift();
      if (model === undefined) break;
      const look = this.#look(model).finally(() => {
        this.#running.delete(look);
        this.#pump();
      });
      this.#running.add(look);
    }
    if (this.#running.size > 0) return;
    this.#events = 0;
    this.#wakeResting();
  }

  /** Resolves when no look is under way or queued. */
  async #rest(): Promise<void> {
    if (this.#running.size > 0) await new Promise<void>((done) => this.#resting.push(done));
  }

  #wakeResting(): void {
    const resting = this.#resting;
    this.#resting = [];
    for (const done of resting) done();
  }

  #lookAllSoon(delayMs: number): void {
    if (this.#stopped) return;
    this.#lookAllTimer ??= setTimeout(() => {
      this.#lookAllTimer = undefined;
      void this.#lookAll();
    }, delayMs);
  }

  /** Queues a look at every name there is, or was. */
  #lookAll(): Promise<void> {
    if (this.#lookingAll !== null) {
      this.#lookAllSoon(DEBOUNCE_MS);
      return this.#lookingAll;
    }
    clearTimeout(this.#pollTimer);
    this.#lookingAll = this.#markAll().finally(() => {
      this.#lookingAll = null;
      if (this.#started) this.#pollLater();
    });
    return this.#lookingAll;
  }

  #pollLater(): void {
    if (this.#stopped || this.#options.pollMs === 0) return;
    clearTimeout(this.#pollTimer);
    this.#pollTimer = setTimeout(() => void this.#lookAll(), this.#options.pollMs);
  }

  async #markAll(): Promise<void> {
    for (const repository of this.#repositories) {
      if (this.#options.watch !== false) {
        const { wishes } = await repositoryReach(repository.place);
        if (this.#stopped) return;
        this.#table.claim(repository, wishes);
      }
      const names = await repository.read();
      if (this.#stopped) return;
      for (const name of names ?? []) this.#observe(name);
    }
    for (const model of this.#models.values()) this.#mark(model, 0);
  }

  async #look(model: WatchedModel): Promise<void> {
    model.state = 'looking';
    model.again = false;
    let sight: Sight | null = null;
    let failed = false;
    try {
      sight = await this.#see(model);
      if (this.#stopped) return;
      model.problem = '';
      model.retryMs = MIN_RETRY_MS;
    } catch (error) {
      if (this.#stopped) return;
      if (!isFact(error)) this.#sayProblem(model, error);
      // Its size is no fault of the storage's that passes by itself.
      failed = !(error instanceof TooManyFiles);
    }
    if (sight === null) {
      model.state = 'idle';
      model.candidate = null;
      if (failed) {
        this.#arm(model, 'retrying', model.retryMs);
        model.retryMs = Math.min(2 * model.retryMs, MAX_RETRY_MS);
      }
    } else {
      this.#conclude(model, sight);
    }
    if (model.again) this.#mark(model, DEBOUNCE_MS);
  }

  #conclude(model: WatchedModel, sight: Sight): void {
    const { key, change } = sight;
    const isNews = key !== model.reported;
    if (isNews && key !== model.candidate) {
      model.candidate = key;
      this.#saySinceWhen(model);
      this.#arm(model, 'settling', this.#settleMs);
      return;
    }
    model.state = 'idle';
    model.candidate = null;
    model.changingSince = null;
    model.saidChanging = false;
    model.reported = key;
    model.known = null;
    model.homes = change.homes;
    if (key === ABSENT) {
      this.#models.delete(model.name);
      this.#table.release(model);
      if (model.again) this.#mark(this.#observe(model.name) ?? model, DEBOUNCE_MS);
    }
    if (isNews) this.#options.onStable(change);
  }

  /** What there is; null when nothing can be concluded. Rejects when that is this model's trouble, and not its repository's. */
  async #see(model: WatchedModel): Promise<Sight | null> {
    const homes: string[] = [];
    let unclear = false;
    for (const repository of this.#repositories) {
      const found = await this.#isIn(model.name, repository);
      if (found === true) homes.push(repository.path);
      // It is not asked about what was never in it.
      else if (found === null && (model.homes === null || model.homes.includes(repository.path))) unclear = true;
    }
    // One that is known to be somewhere, and found elsewhere, is found.
    if (unclear && (model.homes !== null || homes.length === 0)) return null;
    const home = homes[0];
    if (home === undefined) return { key: ABSENT, change: { name: model.name, homes, tree: null } };
    const path = join(home, model.name);
    if (model.isReached || this.#options.watch === false) {
      // Most looks end here: nothing changed, so what is watched is right too.
      const sight = await this.#sight(model, homes, path);
      if (sight.key === model.reported) return sight;
    }
    // Watches first: what changes after them is heard, what changed before is read.
    model.isReached = true;
    const reach = await modelReach(path);
    if (this.#stopped) return null;
    if (this.#options.watch !== false) this.#table.claim(model, reach.wishes);
    if (reach.failure !== null) {
      model.isReached = false;
      throw reach.failure;
    }
    return this.#sight(model, homes, path);
  }

  async #sight(model: WatchedModel, homes: readonly string[], path: string): Promise<Sight> {
    const tree = await readModelTree(path);
    const text = digest(tree.whole);
    const key = `${homes.join('\0')}\0${text}`;
    if (model.known === text && homes.length === 1) model.reported = key;
    return { key, change: { name: model.name, homes, tree } };
  }

  /** Whether the repository has a directory of this name; null: it cannot be told. */
  async #isIn(name: string, repository: RepositoryListing): Promise<boolean | null> {
    if (repository.failed) return null;
    let failure: unknown = null;
    try {
      if ((await stat(join(repository.path, name))).isDirectory()) return true;
    } catch (error) {
      if (!isFact(error)) failure = error;
    }
    // That it is not there counts only when the repository can say what is.
    const listed = await repository.read();
    if (listed === null) return null;
    if (failure !== null) throw failure;
    return listed.has(name) ? null : false;
  }

  #saySinceWhen(model: WatchedModel): void {
    const now = this.#clock();
    model.changingSince ??= now;
    if (model.saidChanging || now - model.changingSince <= MAX_CHANGING_MS) return;
    model.saidChanging = true;
    const text = `model '${model.name}' has been changing for more than ${MAX_CHANGING_MS / 1000} s; it is taken up when it stays the same for ${this.#settleMs} ms`;
    this.#options.onProblem(this.#placeOf(model), new Error(text));
  }

  #sayProblem(model: WatchedModel, error: unknown): void {
    const problem = String(error);
    if (model.problem === problem) return;
    model.problem = problem;
    this.#options.onProblem(this.#placeOf(model), error);
  }

  #placeOf(model: WatchedModel): string {
    return join(model.homes?.[0] ?? this.#repositories[0]!.path, model.name);
  }

  async #noteRemote(path: string): Promise<void> {
    const fileSystem = await remoteFileSystem(path);
    if (fileSystem === null) return;
    const remedy = this.#options.pollMs > 0 ? 'seen by polling' : 'not seen, as polling is off';
    this.#options.note?.(`'${path}' is on ${fileSystem}, which does not tell of changes made elsewhere: they are ${remedy}`);
  }
}
