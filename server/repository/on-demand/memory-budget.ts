import { InferenceError } from '../../../proto/inference-error.ts';
import type { ModelUse, OnDemandModels } from './on-demand-loads.ts';

/** Models whose size is remembered; with more, the oldest is forgotten. */
const MAX_MEASURED = 10_000;

/**
 * Keeps what loaded models take together within a budget: before a load the least recently used idle models go. A load counts as its estimate until it has ended, so that
 * loads side by side do not overshoot.
 */
export class MemoryBudget {
  readonly #budgetBytes: number;
  readonly #models: OnDemandModels;
  readonly #isHeld: (name: string) => boolean;
  readonly #onFault: (error: unknown) => void;
  readonly #reserved: Map<string, number> = new Map();
  /** What models took when they were last seen loaded: a better guess than any made from their files. */
  readonly #measured: Map<string, number> = new Map();
  /** One at a time decides who goes. */
  #turn: Promise<unknown> = Promise.resolve();
  #isSettling = false;
  #isStopped = false;

  constructor(budgetBytes: number, models: OnDemandModels, isHeld: (name: string) => boolean, onFault: (error: unknown) => void) {
    this.#budgetBytes = budgetBytes;
    this.#models = models;
    this.#isHeld = isHeld;
    this.#onFault = onFault;
  }

  /** Resolves with null when there is room for the model, which is its own until `release`; with UNAVAILABLE where there is none. */
  async reserve(name: string): Promise<InferenceError | null> {
    if (this.#budgetBytes === 0) return null;
    return this.#enqueue(async () => {
      const neededBytes = Math.max(this.#measured.get(name) ?? 0, await this.#models.estimateBytes(name));
      const usedBytes = await this.#makeRoom(neededBytes);
      if (usedBytes + neededBytes > this.#budgetBytes) return noRoom(name, this.#budgetBytes, usedBytes, neededBytes);
      this.#reserved.set(name, neededBytes);
      return null;
    });
  }

  /** The load has ended, well or not. */
  release(name: string): void {
    if (!this.#reserved.delete(name)) return;
    const use = this.#models.loaded().find((one) => one.name === name);
    if (use !== undefined) this.#measure(use);
  }

  /** The model's files have changed. */
  forget(name: string): void {
    this.#measured.delete(name);
  }

  /** Models may take more than was thought, or have come in another way: idle ones go until the rest fits. */
  settle(): void {
    if (this.#budgetBytes === 0 || this.#isSettling || this.#isStopped || this.#used() <= this.#budgetBytes) return;
    this.#isSettling = true;
    this.#enqueue(async () => {
      this.#isSettling = false;
      // What cannot be had is not asked for: as many go as may.
      const idleBytes = this.#idle(new Set()).reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
      await this.#makeRoom(Math.min(0, this.#budgetBytes - this.#used() + idleBytes));
    }).catch(this.#onFault);
  }

  /** Nothing is evicted from here on. */
  stop(): void {
    this.#isStopped = true;
  }

  #enqueue<T>(step: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(step);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** Evicts until `neededBytes` are free, or nothing where that cannot be. Returns the bytes in use then. */
  async #makeRoom(neededBytes: number): Promise<number> {
    /** Was to go and did not. */
    const kept = new Set<string>();
    for (;;) {
      const usedBytes = this.#used();
      const excessBytes = usedBytes + neededBytes - this.#budgetBytes;
      if (excessBytes <= 0 || this.#isStopped) return usedBytes;
      const idle = this.#idle(kept);
      if (idle.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0) < excessBytes) return usedBytes;
      const victim = idle.reduce((oldest, one) => (one.lastUsedMs < oldest.lastUsedMs ? one : oldest));
      const { name } = victim;
      kept.add(name);
      this.#measure(victim);
      await this.#models.unload(name).catch(this.#onFault);
    }
  }

  #measure({ name, memoryBytes }: ModelUse): void {
    this.#measured.delete(name);
    if (this.#measured.size >= MAX_MEASURED) this.#measured.delete(this.#measured.keys().next().value!);
    this.#measured.set(name, memoryBytes);
  }

  #used(): number {
    let bytes = 0;
    for (const reserved of this.#reserved.values()) bytes += reserved;
    for (const { name, memoryBytes } of this.#models.loaded()) if (!this.#reserved.has(name)) bytes += memoryBytes;
    return bytes;
  }

  #idle(kept: ReadonlySet<string>): ModelUse[] {
    return this.#models
      .loaded()
      .filter(({ name, inflightCount, isEvictable }) => isEvictable && inflightCount === 0 && !this.#isHeld(name) && !kept.has(name));
  }
}

function noRoom(name: string, budgetBytes: number, usedBytes: number, neededBytes: number): InferenceError {
  const why =
    neededBytes > budgetBytes
      ? 'it can never be loaded: raise --model-memory-budget'
      : 'models in use, or loaded to stay, leave no room: retry later, or raise --model-memory-budget';
  return new InferenceError(
    'UNAVAILABLE',
    `model '${name}' needs about ${neededBytes} bytes of memory, and ${usedBytes} of the budget of ${budgetBytes} are in use; ${why}`,
    { failureReason: 'REJECTED', retryAfterSeconds: 1 },
  );
}
