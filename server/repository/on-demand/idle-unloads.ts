import type { Clock, ClockTimer } from '../../inference/clock.ts';
import type { OnDemandModels } from './on-demand-loads.ts';

/** Sweeps are at least this far apart, ms: a model in use is looked at again no sooner. */
const MIN_SWEEP_MS = 50;

/** Unloads models that had no request for a while. A timer runs only while there is a model that may go. */
export class IdleUnloads {
  readonly #idleMs: number;
  readonly #models: OnDemandModels;
  readonly #isHeld: (name: string) => boolean;
  readonly #clock: Clock;
  readonly #onFault: (error: unknown) => void;
  readonly #unloading: Set<string> = new Set();
  #timer: ClockTimer | null = null;
  #isStopped = false;

  constructor(idleMs: number, models: OnDemandModels, isHeld: (name: string) => boolean, clock: Clock, onFault: (error: unknown) => void) {
    this.#idleMs = idleMs;
    this.#models = models;
    this.#isHeld = isHeld;
    this.#clock = clock;
    this.#onFault = onFault;
  }

  /** To be called whenever a model was loaded. */
  arm(): void {
    if (this.#idleMs === 0 || this.#timer !== null || this.#isStopped) return;
    const nowMs = this.#clock.nowNs() / 1e6;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { name, inflightCount, isEvictable, lastUsedMs } of this.#models.loaded()) {
      if (!isEvictable) continue;
      const isBusy = inflightCount > 0 || this.#isHeld(name) || this.#unloading.has(name);
      nextMs = Math.min(nextMs, isBusy ? this.#idleMs : lastUsedMs + this.#idleMs - nowMs);
    }
    if (nextMs === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#clock.schedule(() => this.#sweep(), Math.max(nextMs, Math.min(MIN_SWEEP_MS, this.#idleMs)) * 1e6);
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== null) this.#clock.clear(this.#timer);
    this.#timer = null;
  }

  #sweep(): void {
    this.#timer = null;
    const nowMs = this.#clock.nowNs() / 1e6;
    for (const { name, inflightCount, isEvictable, lastUsedMs } of this.#models.loaded()) {
      if (!isEvictable || inflightCount > 0 || this.#isHeld(name) || this.#unloading.has(name)) continue;
      // A timer may come a little early.
      if (nowMs - lastUsedMs < this.#idleMs - 0.001) continue;
      this.#unloading.add(name);
      this.#models
        .unload(name)
        .catch(this.#onFault)
        .finally(() => this.#unloading.delete(name));
    }
    this.arm();
  }
}
