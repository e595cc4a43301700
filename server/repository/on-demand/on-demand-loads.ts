import { InferenceError } from '../../../proto/inference-error.ts';
import type { Clock } from '../../inference/clock.ts';
import type { Waiting } from '../waiting.ts';
import { IdleUnloads } from './idle-unloads.ts';
import { LoadBackoff } from './load-backoff.ts';
import { LoadWaiters } from './load-waiters.ts';
import { MemoryBudget } from './memory-budget.ts';

/** A loaded model, as far as it matters for whether it stays. */
export interface ModelUse {
  readonly name: string;
  /** Of all its versions. */
  readonly memoryBytes: number;
  /** Requests that it has not answered. */
  readonly inflightCount: number;
  /** When it last took a request, or was loaded; on the clock's scale, ms. */
  readonly lastUsedMs: number;
  /** It may be unloaded: a request would load it again, and nobody asked for it to stay. */
  readonly isEvictable: boolean;
}

/** The repository, as the loads see it. */
export interface OnDemandModels {
  /** Resolves when it serves; rejects with the reason. */
  load(name: string): Promise<void>;
  /** Resolves when its memory is free. Does nothing for a model that has come into use meanwhile. */
  unload(name: string): Promise<void>;
  loaded(): readonly ModelUse[];
  /** What it will take, roughly, once it is loaded. */
  estimateBytes(name: string): Promise<number>;
}

export interface OnDemandOptions {
  /** Callers that wait, over all models. */
  readonly maxWaiting: number;
  /** The longest that a caller waits, ms. */
  readonly timeoutMs: number;
  /** What all loaded models may take together; 0: no budget. */
  readonly memoryBudgetBytes: number;
  /** Time without requests after which a model is unloaded, ms; 0: never. */
  readonly idleUnloadMs: number;
  readonly clock: Clock;
  readonly models: OnDemandModels;
  /** Hears of an unload that failed. */
  readonly onFault: (error: unknown) => void;
  /** Hears of each load that failed, with what the load said; not of those that found no room. */
  readonly onRefused: (name: string, error: InferenceError) => void;
}

/** Loads at one time. More would make each of them later, and the first callers wait longest. */
const MAX_PARALLEL_LOADS = 4;

/**
 * Loads models when they are asked for and unloads those that are not: one load for any number of callers, each of whom waits for a bounded time among a bounded number, and
 * hears the load's end exactly once. A load that nobody waits for any more goes on once it has begun.
 */
export class OnDemandLoads {
  readonly #models: OnDemandModels;
  readonly #clock: Clock;
  readonly #waiters: LoadWaiters;
  readonly #backoff: LoadBackoff;
  readonly #budget: MemoryBudget;
  readonly #idle: IdleUnloads;
  readonly #onRefused: (name: string, error: InferenceError) => void;
  /** Not begun, in the order in which they were asked for. Each has somebody who waits for it, or had. */
  readonly #queued: Set<string> = new Set();
  /** Begun. */
  readonly #loading: Set<string> = new Set();
  /** Loaded in this tick: those who waited send their requests before anything is evicted. */
  readonly #fresh: Set<string> = new Set();
  #isStopped = false;

  constructor(options: OnDemandOptions) {
    const { models, clock, memoryBudgetBytes, idleUnloadMs, onFault } = options;
    this.#models = models;
    this.#clock = clock;
    this.#onRefused = options.onRefused;
    this.#waiters = new LoadWaiters(options.maxWaiting, options.timeoutMs, clock);
    this.#backoff = new LoadBackoff(clock);
    const isHeld = (name: string): boolean => this.#loading.has(name) || this.#fresh.has(name);
    this.#budget = new MemoryBudget(memoryBudgetBytes, models, isHeld, onFault);
    this.#idle = new IdleUnloads(idleUnloadMs, models, isHeld, clock, onFault);
  }

  /** Callers that wait. */
  get waitingCount(): number {
    return this.#waiters.count;
  }

  /**
   * Resolves when the model is loaded. Throws, and rejects with, UNAVAILABLE: too many callers wait, it takes longer than they wait, it does not fit into the memory budget, it
   * does not load (the same answer without another attempt for a while), or the server is shutting down; NOT_FOUND where the load says so.
   */
  wait(name: string): Waiting<void> {
    if (this.#isStopped) throw shuttingDown();
    const isLoading = this.#loading.has(name) || this.#queued.has(name);
    if (!isLoading) this.#backoff.check(name);
    const waiting = this.#waiters.add(name);
    if (!isLoading) {
      this.#queued.add(name);
      this.#pump();
    }
    return waiting;
  }

  /** The model's files have changed, or somebody loads it: the last failure says nothing any more. */
  forget(name: string): void {
    this.#backoff.forget(name);
    this.#budget.forget(name);
  }

  /** Models were loaded in another way: they count for the budget, and may become idle. */
  modelsChanged(): void {
    if (this.#isStopped) return;
    this.#budget.settle();
    this.#idle.arm();
  }

  /** Whoever waits hears that the server is shutting down; nothing is loaded or unloaded from here on but what has begun. */
  stop(): void {
    this.#isStopped = true;
    this.#queued.clear();
    this.#idle.stop();
    this.#budget.stop();
    this.#waiters.failAll(shuttingDown());
  }

  #pump(): void {
    for (const name of this.#queued) {
      if (this.#loading.size >= MAX_PARALLEL_LOADS) return;
      this.#queued.delete(name);
      // Whoever asked is gone.
      if (!this.#waiters.has(name)) continue;
      this.#loading.add(name);
      void this.#run(name);
    }
  }

  /** Never rejects. */
  async #run(name: string): Promise<void> {
    let failure: InferenceError | null = null;
    try {
      const noRoom = await this.#budget.reserve(name);
      if (this.#isStopped) failure = shuttingDown();
      else if (noRoom !== null) failure = this.#backoff.failed(name, noRoom, true);
      else {
        await this.#models.load(name);
        this.#backoff.forget(name);
      }
    } catch (error) {
      const known = InferenceError.from(error);
      this.#onRefused(name, known);
      failure = this.#backoff.failed(name, explain(name, known), false);
    }
    this.#budget.release(name);
    this.#loading.delete(name);
    if (failure === null) {
      this.#fresh.add(name);
      this.#clock.endOfTick(() => {
        this.#fresh.delete(name);
        this.modelsChanged();
      });
    }
    this.#waiters.settle(name, failure);
    this.#pump();
  }
}

/** That a model does not load is not the mistake of whoever asks it, whatever the loader calls it. */
function explain(name: string, known: InferenceError): InferenceError {
  if (known.code === 'NOT_FOUND' || known.code === 'UNAVAILABLE') return known;
  return new InferenceError('UNAVAILABLE', `model '${name}' could not be loaded on demand: ${known.message}`, { cause: known });
}

function shuttingDown(): InferenceError {
  return new InferenceError('UNAVAILABLE', 'the server is shutting down and loads no models; send the request to another one', {
    retryAfterSeconds: 1,
  });
}
