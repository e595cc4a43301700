/** @hotpath once per request of a decoupled model whose instances claim resources, where --rate-limit is on (measured by rate-limiter.bench.ts) */

import type { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { DecoupledChannel, DecoupledExecution, DecoupledRun } from '../../execution/decoupled-execution.ts';
import type { BatchInput, BatchRequest } from '../../execution/execution-host.ts';
import type { InstanceRole } from './instance-roles.ts';
import type { RateLimiter } from './rate-limiter.ts';

/** An instance of a decoupled model that claims resources: it holds them from the first of the requests that it works on to the end of the last. */
export class LimitedDecoupledChannel implements DecoupledChannel {
  readonly channel: DecoupledChannel;
  readonly #limiter: RateLimiter;
  readonly #poke: () => void;
  role: InstanceRole;
  /** On whose account it runs; null: nothing runs. */
  #running: InstanceRole | null = null;
  #count = 0;

  constructor(channel: DecoupledChannel, role: InstanceRole, limiter: RateLimiter, poke: () => void) {
    this.channel = channel;
    this.role = role;
    this.#limiter = limiter;
    this.#poke = poke;
  }

  /** Whoever asks wants to run something: where resources are what is missing, it waits for them from here on. */
  get hasCapacity(): boolean {
    return this.channel.hasCapacity && (this.#running !== null || this.#limiter.mayRun(this.role, this.#poke));
  }

  get isFree(): boolean {
    return this.channel.isFree && this.hasCapacity;
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

  start(execution: DecoupledExecution): DecoupledRun | null {
    if (this.#running === null) {
      this.#running = this.role;
      this.#limiter.acquire(this.role);
    }
    this.#count++;
    let run: DecoupledRun | null = null;
    try {
      run = this.channel.start(new LimitedExecution(execution, this.#ended));
    } finally {
      if (run === null) this.#ended();
    }
    return run;
  }

  readonly #ended = (): void => {
    if (--this.#count > 0 || this.#running === null) return;
    const role = this.#running;
    this.#running = null;
    this.#limiter.release(role);
  };
}

class LimitedExecution implements DecoupledExecution {
  readonly request?: BatchRequest;
  readonly inputs: readonly BatchInput[];
  readonly #execution: DecoupledExecution;
  readonly #onEnd: () => void;
  #isEnded = false;

  constructor(execution: DecoupledExecution, onEnd: () => void) {
    this.#execution = execution;
    this.#onEnd = onEnd;
    this.inputs = execution.inputs;
    if (execution.request !== undefined) this.request = execution.request;
  }

  get parameters(): DecoupledExecution['parameters'] {
    return this.#execution.parameters;
  }

  get isPaused(): boolean {
    return this.#execution.isPaused;
  }

  writeInput(index: number, target: Uint8Array): void {
    this.#execution.writeInput(index, target);
  }

  respond(outputs: readonly Tensor[]): void {
    this.#execution.respond(outputs);
  }

  used(inputTokens: number, outputTokens: number): void {
    this.#execution.used?.(inputTokens, outputTokens);
  }

  complete(): void {
    this.#end();
    this.#execution.complete();
  }

  fail(error: InferenceError): void {
    this.#end();
    this.#execution.fail(error);
  }

  /** After a cancel the model may go on for a while, with its resources. */
  stopped(): void {
    this.#end();
    this.#execution.stopped?.();
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#onEnd();
  }
}
