/** What the tests of host pools share: pools that end with their test, and models in service. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { InferenceError } from '../../proto/inference-error.ts';
import { type ExecutionResult, execute, float32, floats, ModelFiles, type TestInput } from './execution-host.case.ts';
import { HostPool, type HostPoolOptions, type PooledModelOptions } from './host-pool.ts';
import type { InstanceGroup } from './instance-group.ts';

export const files: ModelFiles = new ModelFiles();
export const row: TestInput = float32('INPUT0', [1, 16], Array(16).fill(1));
const ones = Array(16).fill(1);
const pools: HostPool[] = [];
const log = { info: () => {}, warn: () => {}, error: () => {} };

export function createPool(options: Partial<HostPoolOptions> = {}): HostPool {
  const pool = new HostPool({ kind: 'process', tensorMemoryBytes: 16 * 1024 * 1024, log, ...options });
  pools.push(pool);
  return pool;
}

export async function stopPools(): Promise<void> {
  await Promise.all(pools.splice(0).map((pool) => pool.stop()));
}

/** A group as a scheduler uses it: waits for capacity, hears of the end. */
export class Served {
  readonly #waiting: (() => void)[] = [];
  failure: InferenceError | null = null;
  group!: InstanceGroup;

  static async load(
    pool: HostPool,
    name: string,
    bytes: Uint8Array,
    instanceCount = 1,
    options: Pick<PooledModelOptions, 'kind' | 'signal'> = {},
  ): Promise<Served> {
    const served = new Served();
    served.group = await pool.load(files.spec(name, bytes), {
      instanceCount,
      ...options,
      onCapacity: () => served.#wake(),
      onFailed: (error) => {
        served.failure = error;
        served.#wake();
      },
    });
    return served;
  }

  async execute(...inputs: TestInput[]): Promise<ExecutionResult> {
    for (;;) {
      if (this.failure !== null) throw this.failure;
      const channel = this.group.take(true);
      if (channel !== null) return execute(channel, inputs);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

export async function expectAnswer(served: Served): Promise<void> {
  expect(floats((await served.execute(row)).outputs[0]!.data)).toEqual(ones);
}

export function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}/stat`) && !/^[ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!);
}

/** Processes that this one has started. */
export function childPids(): number[] {
  return readdirSync('/proc/self/task').flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
}
