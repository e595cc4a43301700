import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { listRepository } from '../list-models.ts';

export interface RepositoryListingOptions {
  /** The repository cannot be listed; once until it can be again. */
  readonly onFailure: (path: string, error: unknown) => void;
  /** It can be again. */
  readonly onRecovery: () => void;
  /** How long an empty directory in the place of one that had models is taken for a disk that is not there, ms; 30 s unless told. */
  readonly emptyGraceMs?: number;
}

/** Between tries at a repository that cannot be listed. */
const RETRY_MS = 1000;
const DEFAULT_EMPTY_GRACE_MS = 30_000;

/** What one repository has, listed anew for everybody who asks, but once for all who ask at the same time. Owns a timer until `stop`. */
export class RepositoryListing {
  /** As it was given. */
  readonly path: string;
  /** The same, absolute. */
  readonly place: string;
  readonly #options: RepositoryListingOptions;
  #failed = false;
  /** Which directory it was when it had models last; '' before that. */
  #inhabited = '';
  /** Monotonic, ms; null: it is not empty, or the same directory. */
  #emptySince: number | null = null;
  #current: Promise<unknown> = Promise.resolve();
  /** One that has not begun yet: whoever asks until then shares it. */
  #next: Promise<ReadonlySet<string> | null> | null = null;
  #retry: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(path: string, options: RepositoryListingOptions) {
    this.path = path;
    this.place = resolve(path);
    this.#options = options;
  }

  /** The last listing failed; the next try is under way. */
  get failed(): boolean {
    return this.#failed;
  }

  /** The names of its directories, read after this call; null when they cannot be. */
  read(): Promise<ReadonlySet<string> | null> {
    this.#next ??= this.#current.then(() => {
      this.#current = this.#next!;
      this.#next = null;
      return this.#read();
    });
    return this.#next;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retry);
  }

  async #read(): Promise<ReadonlySet<string> | null> {
    try {
      const names = await listRepository(this.path);
      await this.#requireInhabited(names.size);
      const recovered = this.#failed && !this.#stopped;
      this.#failed = false;
      if (recovered) this.#options.onRecovery();
      return names;
    } catch (error) {
      if (this.#stopped) return null;
      const first = !this.#failed;
      this.#failed = true;
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => void this.read(), RETRY_MS);
      if (first) this.#options.onFailure(this.path, error);
      return null;
    }
  }

  /** A disk that was unmounted leaves an empty directory behind, another one than the disk's own. Nobody who takes a model out of service leaves that. */
  async #requireInhabited(count: number): Promise<void> {
    const { dev, ino } = await stat(this.path, { bigint: true });
    const now = performance.now();
    if (count === 0 && this.#inhabited !== '' && this.#inhabited !== `${dev}:${ino}`) {
      this.#emptySince ??= now;
      const graceMs = this.#options.emptyGraceMs ?? DEFAULT_EMPTY_GRACE_MS;
      if (now - this.#emptySince < graceMs) {
        throw new Error(
          `it is empty, and another directory than before, as when a disk is unmounted; that counts after ${graceMs / 1000} s`,
        );
      }
    }
    this.#emptySince = null;
    this.#inhabited = count === 0 ? '' : `${dev}:${ino}`;
  }
}
