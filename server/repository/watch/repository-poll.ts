import type { Clock, ClockTimer } from '../../inference/clock.ts';
import type { ModelRepository } from '../model-repository.ts';
import { RepositoryWatcher, type RepositoryWatcherOptions, type StableChange } from './repository-watcher.ts';

export interface RepositoryPollOptions {
  readonly watch: Omit<RepositoryWatcherOptions, 'onStable'>;
  readonly repository: ModelRepository;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
}

const FIRST_RETRY_NS = 5e9;
const MAX_RETRY_NS = 600e9;

interface Retry {
  readonly change: StableChange;
  readonly delayNs: number;
  readonly timer: ClockTimer;
}

/** Control mode `poll`: what the directories come to be is what is served. A load that failed for no fault of the files is tried again, later and later, until they change. */
export class RepositoryPoll {
  readonly #options: RepositoryPollOptions;
  readonly #watcher: RepositoryWatcher;
  /** By model; at most one for each that is on disk. */
  readonly #retries: Map<string, Retry> = new Map();
  #isStopped = false;

  constructor(options: RepositoryPollOptions) {
    this.#options = options;
    this.#watcher = new RepositoryWatcher({ ...options.watch, onStable: (change) => this.#onStable(change) });
  }

  /** To be called when the repository has loaded what was there at start. */
  async start(): Promise<void> {
    await this.#watcher.start(this.#options.repository.seenTrees());
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const { timer } of this.#retries.values()) this.#options.clock.clear(timer);
    this.#retries.clear();
    await this.#watcher.stop();
  }

  #onStable(change: StableChange): void {
    const retry = this.#retries.get(change.name);
    if (retry !== undefined) this.#options.clock.clear(retry.timer);
    this.#retries.delete(change.name);
    this.#follow(change, FIRST_RETRY_NS);
  }

  #follow(change: StableChange, delayNs: number): void {
    if (this.#isStopped) return;
    this.#options.repository.follow(change.name, change.homes, change.tree).then((isDone) => {
      if (isDone || this.#isStopped || this.#retries.has(change.name)) return;
      const timer = this.#options.clock.schedule(() => {
        this.#retries.delete(change.name);
        this.#follow(change, Math.min(delayNs * 2, MAX_RETRY_NS));
      }, delayNs);
      this.#retries.set(change.name, { change, delayNs, timer });
    }, this.#options.onFault);
  }
}
