import { type FSWatcher, watch } from 'node:fs';
import { basename } from 'node:path';

/** A directory that somebody wants to hear about. */
export interface WatchWish {
  /** Tells a directory from a later one at the same path. */
  readonly id: string;
  /** The names in it that matter; null: all of them. */
  readonly names: Set<string> | null;
}

/** By absolute path. */
export type WatchWishes = ReadonlyMap<string, WatchWish>;

export interface WatchTableOptions<Owner> {
  /** Directories watched at once. */
  readonly limit: number;
  /** Something happened in a directory that `owner` claimed; `name` is null when the system does not say to what. */
  readonly onEvent: (owner: Owner, directory: string, name: string | null) => void;
  /** A sentence, each said once, about what cannot be watched. */
  readonly note: (sentence: string) => void;
}

interface Watched<Owner> {
  watcher: FSWatcher;
  id: string;
  /** The directory itself was moved or removed: the watch follows what is no longer at this path. */
  stale: boolean;
  readonly owners: Map<Owner, Set<string> | null>;
}

/** The directories under watch, each once, for as long as somebody claims it. Owns its watchers; `close` ends them. */
export class WatchTable<Owner extends object> {
  readonly #options: WatchTableOptions<Owner>;
  readonly #watched: Map<string, Watched<Owner>> = new Map();
  readonly #claims: Map<Owner, readonly string[]> = new Map();
  readonly #said: Set<string> = new Set();

  constructor(options: WatchTableOptions<Owner>) {
    this.#options = options;
  }

  /** Directories under watch now. */
  get size(): number {
    return this.#watched.size;
  }

  /** Replaces what `owner` claimed before. What cannot be watched is noted and left out. */
  claim(owner: Owner, wishes: WatchWishes): void {
    const before = this.#claims.get(owner) ?? [];
    const claimed: string[] = [];
    // First what goes, so that there is room for what comes.
    for (const directory of before) if (!wishes.has(directory)) this.#drop(owner, directory);
    for (const [directory, wish] of wishes) {
      if (!this.#ensure(directory, wish.id)) continue;
      this.#watched.get(directory)!.owners.set(owner, wish.names);
      claimed.push(directory);
    }
    if (claimed.length > 0) this.#claims.set(owner, claimed);
    else this.#claims.delete(owner);
  }

  release(owner: Owner): void {
    for (const directory of this.#claims.get(owner) ?? []) this.#drop(owner, directory);
    this.#claims.delete(owner);
  }

  close(): void {
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
    this.#claims.clear();
  }

  #ensure(directory: string, id: string): boolean {
    const present = this.#watched.get(directory);
    if (present !== undefined && present.id === id && !present.stale) return true;
    if (present === undefined && this.#watched.size >= this.#options.limit) {
      this.#say(
        `${this.#options.limit} directories are watched for changes, and no more will be: changes in the others are seen by polling only`,
      );
      return false;
    }
    present?.watcher.close();
    const watcher = this.#open(directory);
    if (watcher === null) {
      this.#watched.delete(directory);
      return false;
    }
    if (present === undefined) this.#watched.set(directory, { watcher, id, stale: false, owners: new Map() });
    else Object.assign(present, { watcher, id, stale: false });
    return true;
  }

  #open(directory: string): FSWatcher | null {
    try {
      const watcher = watch(directory, (_kind, name) => this.#hear(directory, watcher, name));
      watcher.on('error', (error) => {
        this.#say(`'${directory}' cannot be watched any more (${codeOf(error)}): changes in it are seen by polling only`);
        this.#lose(directory, watcher);
      });
      return watcher;
    } catch (error) {
      const code = codeOf(error);
      // One that went in the meantime: the directory above it tells.
      if (code !== 'ENOENT' && code !== 'ENOTDIR') this.#say(watchFailure(code));
      return null;
    }
  }

  #hear(directory: string, watcher: FSWatcher, name: string | null): void {
    const watched = this.#watched.get(directory);
    if (watched === undefined || watched.watcher !== watcher) return;
    // What becomes of the directory itself is told under its own name.
    const self = name === basename(directory);
    if (self) watched.stale = true;
    for (const [owner, names] of watched.owners) {
      if (self || name === null || names === null || names.has(name)) this.#options.onEvent(owner, directory, name);
    }
  }

  #lose(directory: string, watcher: FSWatcher): void {
    watcher.close();
    const watched = this.#watched.get(directory);
    if (watched === undefined || watched.watcher !== watcher) return;
    this.#watched.delete(directory);
    for (const owner of watched.owners.keys()) this.#options.onEvent(owner, directory, null);
  }

  #drop(owner: Owner, directory: string): void {
    const watched = this.#watched.get(directory);
    if (watched === undefined) return;
    watched.owners.delete(owner);
    if (watched.owners.size > 0) return;
    watched.watcher.close();
    this.#watched.delete(directory);
  }

  #say(sentence: string): void {
    // Sentences that name a directory are many; past these, the operator knows.
    if (this.#said.has(sentence) || this.#said.size >= 64) return;
    this.#said.add(sentence);
    this.#options.note(sentence);
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

function watchFailure(code: string): string {
  if (code === 'ENOSPC') return 'the system watches no more directories (fs.inotify.max_user_watches): changes are seen by polling only';
  if (code === 'EMFILE')
    return 'the system gives no more watchers or files (fs.inotify.max_user_instances, ulimit -n): changes are seen by polling only';
  return `a directory cannot be watched (${code}): changes in it are seen by polling only`;
}
