import { InferenceError } from '../../../proto/inference-error.ts';
import type { Clock, ClockTimer } from '../../inference/clock.ts';
import type { Waiting } from '../waiting.ts';

interface Waiter {
  readonly name: string;
  readonly untilNs: number;
  readonly resolve: () => void;
  readonly reject: (error: InferenceError) => void;
}

/** Callers that wait for models to be loaded: a bounded number, each for the same time at most. */
export class LoadWaiters {
  readonly #maxWaiting: number;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  /** Oldest first, which is the order in which they run out of time: one timer, for the first, is enough. */
  readonly #all: Set<Waiter> = new Set();
  readonly #byName: Map<string, Set<Waiter>> = new Map();
  #timer: ClockTimer | null = null;

  constructor(maxWaiting: number, timeoutMs: number, clock: Clock) {
    this.#maxWaiting = maxWaiting;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  get count(): number {
    return this.#all.size;
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** Throws UNAVAILABLE when as many as may wait do. */
  add(name: string): Waiting<void> {
    if (this.#all.size >= this.#maxWaiting) {
      throw new InferenceError(
        'UNAVAILABLE',
        `model '${name}' is being loaded, and ${this.#all.size} requests wait for models already, as many as may (--load-on-demand-max-waiting); retry later`,
        { failureReason: 'REJECTED', retryAfterSeconds: 1 },
      );
    }
    let waiter: Waiter | null = null;
    const promise = new Promise<void>((resolve, reject) => {
      waiter = { name, untilNs: this.#clock.nowNs() + this.#timeoutMs * 1e6, resolve, reject };
    });
    const added = waiter as unknown as Waiter;
    this.#all.add(added);
    const others = this.#byName.get(name);
    if (others === undefined) this.#byName.set(name, new Set([added]));
    else others.add(added);
    this.#arm();
    return Object.assign(promise, {
      cancel: () => this.#fail(added, new InferenceError('CANCELLED', `cancelled while model '${name}' was being loaded`)),
    });
  }

  /** Everybody who waits for the model hears how its load ended; null: well. */
  settle(name: string, error: InferenceError | null): void {
    for (const waiter of this.#byName.get(name) ?? []) {
      if (error !== null) this.#fail(waiter, error);
      else if (this.#remove(waiter)) waiter.resolve();
    }
  }

  failAll(error: InferenceError): void {
    for (const waiter of this.#all) this.#fail(waiter, error);
  }

  #fail(waiter: Waiter, error: InferenceError): void {
    if (this.#remove(waiter)) waiter.reject(error);
  }

  /** False: it has heard already. */
  #remove(waiter: Waiter): boolean {
    if (!this.#all.delete(waiter)) return false;
    const others = this.#byName.get(waiter.name)!;
    others.delete(waiter);
    if (others.size === 0) this.#byName.delete(waiter.name);
    if (this.#all.size === 0 && this.#timer !== null) {
      this.#clock.clear(this.#timer);
      this.#timer = null;
    }
    return true;
  }

  #arm(): void {
    if (this.#timer !== null) return;
    const [oldest] = this.#all;
    if (oldest === undefined) return;
    this.#timer = this.#clock.schedule(() => this.#expire(), Math.max(0, oldest.untilNs - this.#clock.nowNs()));
  }

  #expire(): void {
    this.#timer = null;
    const nowNs = this.#clock.nowNs();
    for (const waiter of this.#all) {
      if (waiter.untilNs > nowNs) break;
      // Not DEADLINE_EXCEEDED: the caller set no deadline, the load goes on, and clients and proxies that retry do so for UNAVAILABLE alone.
      const text = `model '${waiter.name}' is still being loaded after ${this.#timeoutMs} ms (--load-on-demand-timeout-ms); the load goes on: retry later`;
      this.#fail(waiter, new InferenceError('UNAVAILABLE', text, { retryAfterSeconds: 1 }));
    }
    this.#arm();
  }
}
