/** @hotpath once per execution of an instance that claims resources, where --rate-limit is on (measured by rate-limiter.bench.ts) */

import type { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { BatchInput, BatchRequest, ExecutionBatch, ExecutionTiming, InstanceChannel } from '../../execution/execution-host.ts';
import type { InstanceRole } from './instance-roles.ts';
import type { RateLimiter } from './rate-limiter.ts';

/**
 * An instance that claims resources: it has room while it runs nothing and its resources are free, and holds them for the whole execution. No second batch waits in its host, as that would hold
 * resources for something that does not run.
 */
export class LimitedChannel implements InstanceChannel, ExecutionBatch {
  readonly channel: InstanceChannel;
  readonly #limiter: RateLimiter;
  readonly #poke: () => void;
  role: InstanceRole;
  /** What runs, and on whose account. */
  #batch: ExecutionBatch | null = null;
  #running: InstanceRole | null = null;
  inputs: readonly BatchInput[] = [];
  batchSize = 0;
  requests: readonly BatchRequest[] = [];

  constructor(channel: InstanceChannel, role: InstanceRole, limiter: RateLimiter, poke: () => void) {
    this.channel = channel;
    this.role = role;
    this.#limiter = limiter;
    this.#poke = poke;
  }

  /** Whoever asks wants to run something: where resources are what is missing, it waits for them from here on. */
  get hasCapacity(): boolean {
    return this.#running === null && this.channel.inflightCount === 0 && this.channel.isFree && this.#limiter.mayRun(this.role, this.#poke);
  }

  get isFree(): boolean {
    return this.hasCapacity;
  }

  get inflightCount(): number {
    return this.channel.inflightCount;
  }

  get isAlive(): boolean {
    return this.channel.isAlive;
  }

  expect(): void {
    this.channel.expect();
  }

  release(): Promise<void> {
    return this.channel.release();
  }

  execute(batch: ExecutionBatch): boolean {
    const { role } = this;
    this.#batch = batch;
    this.inputs = batch.inputs;
    this.batchSize = batch.batchSize ?? batch.inputs[0]?.shape[0] ?? 1;
    this.requests = batch.requests ?? [];
    this.#running = role;
    this.#limiter.acquire(role);
    let isTaken = false;
    try {
      isTaken = this.channel.execute(this);
    } finally {
      if (!isTaken) this.#end();
    }
    return isTaken;
  }

  abandon(batch: ExecutionBatch, index: number): void {
    if (batch === this.#batch) this.channel.abandon?.(this, index);
  }

  writeInput(index: number, target: Uint8Array): void {
    this.#batch!.writeInput(index, target);
  }

  complete(outputs: readonly Tensor[], timing: ExecutionTiming): void {
    this.#end()?.complete(outputs, timing);
  }

  completeEach(results: readonly (readonly Tensor[] | InferenceError)[], timing: ExecutionTiming): void {
    const batch = this.#end();
    if (batch?.completeEach !== undefined) batch.completeEach(results, timing);
  }

  fail(error: InferenceError, mayDivide?: boolean): void {
    this.#end()?.fail(error, mayDivide);
  }

  /** The instance is through with the batch: that it answers may take a while, and needs no resources. */
  #end(): ExecutionBatch | null {
    const batch = this.#batch;
    const role = this.#running;
    this.#batch = null;
    this.#running = null;
    if (role !== null) this.#limiter.release(role);
    return batch;
  }
}
