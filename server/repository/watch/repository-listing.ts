import { resolve } from 'node:path';
import { listRepository } from '../list-models.ts';

export interface RepositoryListingOptions {
  /** The repository cannot be listed; once until it can be again. */
  readonly onFailure: (path: string, error: unknown) => void;
  /** It can be again. */
  readonly onRecovery: () => void;
}

/** Between tries at a repository that cannot be listed. */
const RETRY_MS = 1000;

/** What one repository has, listed anew for everybody who asks, but once for all who ask at the same time. Owns a timer until `stop`. */
export class RepositoryListing {
  /** As it was given. */
  readonly path: string;
  /** The same, absolute. */
  readonly place: string;
  readonly #options: RepositoryListingOptions;
  #failed = false;
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
}
