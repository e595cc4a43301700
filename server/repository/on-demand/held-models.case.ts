import type { InferenceError } from '../../../proto/inference-error.ts';
import { ManualClock } from '../../scheduling/manual-clock.ts';
import type { Waiting } from '../waiting.ts';
import { type ModelUse, OnDemandLoads, type OnDemandOptions } from './on-demand-loads.ts';

/** Nanoseconds. */
export const MS = 1e6;

export interface OpenLoad {
  readonly name: string;
  readonly end: (error: unknown) => void;
}

/** Models whose loads and unloads end when the test says so. */
export class HeldModels {
  readonly clock = new ManualClock();
  /** Begun and not ended. */
  readonly loads: OpenLoad[] = [];
  readonly unloads: OpenLoad[] = [];
  /** Whatever was begun: '+a' a load, '-a' an unload. */
  readonly log: string[] = [];
  readonly bytes: Record<string, number> = {};
  readonly inUse: Map<string, { inflightCount: number; lastUsedMs: number; isEvictable: boolean }> = new Map();
  readonly faults: unknown[] = [];
  /** `<model>: <code>` of loads that failed. */
  readonly refused: string[] = [];
  readonly onDemand: OnDemandLoads;

  constructor(options: Partial<OnDemandOptions> = {}) {
    this.onDemand = new OnDemandLoads({
      maxWaiting: 100,
      timeoutMs: 1_000,
      memoryBudgetBytes: 0,
      idleUnloadMs: 0,
      clock: this.clock,
      onFault: (error) => this.faults.push(error),
      onRefused: (name, { code }) => this.refused.push(`${name}: ${code}`),
      models: {
        load: (name) => this.#begin('+', name, this.loads, () => this.add(name)),
        unload: (name) => this.#begin('-', name, this.unloads, () => this.inUse.delete(name)),
        loaded: () => this.uses(),
        estimateBytes: (name) => Promise.resolve(this.bytesOf(name)),
      },
      ...options,
    });
  }

  get nowMs(): number {
    return this.clock.nowNs() / MS;
  }

  get usedBytes(): number {
    return this.uses().reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  }

  bytesOf(name: string): number {
    return this.bytes[name] ?? 10;
  }

  add(name: string): void {
    this.inUse.set(name, { inflightCount: 0, lastUsedMs: this.nowMs, isEvictable: true });
  }

  use(name: string, inflightCount: number): void {
    Object.assign(this.inUse.get(name)!, { inflightCount, lastUsedMs: this.nowMs });
  }

  uses(): ModelUse[] {
    return [...this.inUse].map(([name, use]) => ({ name, memoryBytes: this.bytesOf(name), ...use }));
  }

  /** Ends the oldest load of the model, and lets everybody hear. */
  async loaded(name: string, error: unknown = null): Promise<void> {
    await end(this.loads, name, error);
    this.clock.tick();
    await settled();
  }

  async unloaded(name: string, error: unknown = null): Promise<void> {
    await end(this.unloads, name, error);
  }

  /** Waits, and is told: what became of it. */
  ask(name: string): Asked {
    return new Asked(this.onDemand, name);
  }

  #begin(sign: string, name: string, list: OpenLoad[], done: () => void): Promise<void> {
    this.log.push(sign + name);
    return new Promise((resolve, reject) => {
      list.push({
        name,
        end: (error) => {
          if (error !== null) return reject(error);
          done();
          resolve();
        },
      });
    });
  }
}

export class Asked {
  readonly answers: string[] = [];
  waiting: Waiting<void> | null = null;
  error: InferenceError | null = null;

  constructor(onDemand: OnDemandLoads, name: string) {
    try {
      this.waiting = onDemand.wait(name);
    } catch (error) {
      this.#told(error);
      return;
    }
    this.waiting.then(
      () => this.answers.push('loaded'),
      (error: unknown) => this.#told(error),
    );
  }

  #told(error: unknown): void {
    this.error = error as InferenceError;
    this.answers.push(this.error.code);
  }
}

export async function end(list: OpenLoad[], name: string, error: unknown): Promise<void> {
  await settled();
  const at = list.findIndex((one) => one.name === name);
  if (at < 0) throw new Error(`nothing of '${name}' is under way: ${list.map((one) => one.name).join(', ')}`);
  list.splice(at, 1)[0]!.end(error);
  await settled();
}

/** All that promises have to say is said. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
