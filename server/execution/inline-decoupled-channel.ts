/** @hotpath a decoupled model on the gateway's own loop: its requests, by the same window of responses as in a process (measured by decoupled-channel.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { InstanceNumbers } from '../metrics/engine-numbers.ts';
import { boundedRequests } from './decoupled-channel.ts';
import { ACKNOWLEDGED_TOGETHER, type DecoupledChannel, type DecoupledExecution, type DecoupledRun } from './decoupled-execution.ts';
import { DecoupledIteration, type HostedDecoupledInstance, type IterationSink } from './decoupled-iteration.ts';
import type { ModelTensors } from './model-tensors.ts';

/** No isolation, and no deadline: a model that doesn't stop when it is told to keeps its place. */
export class InlineDecoupledChannel implements DecoupledChannel {
  readonly #hosted: HostedDecoupledInstance;
  readonly #tensors: ModelTensors;
  readonly #maxRequests: number;
  readonly #onCapacity: () => void;
  readonly #onDisposed: () => void;
  readonly #runs: Set<InlineDecoupledRun> = new Set();
  /** What the instance says of itself. */
  readonly numbers: InstanceNumbers = new InstanceNumbers();
  #isAlive = true;
  #isReleased = false;
  #isTellScheduled = false;
  #onDrained: (() => void) | null = null;

  constructor(hosted: HostedDecoupledInstance, tensors: ModelTensors, onCapacity: () => void, onDisposed: () => void) {
    this.#hosted = hosted;
    this.#tensors = tensors;
    this.#maxRequests = boundedRequests(hosted.instance.maxRequests ?? 0);
    this.#onCapacity = onCapacity;
    this.#onDisposed = onDisposed;
  }

  get hasCapacity(): boolean {
    return this.#runs.size < this.#maxRequests && this.#isAlive && !this.#isReleased;
  }

  get isFree(): boolean {
    return this.hasCapacity;
  }

  get inflightCount(): number {
    return this.#runs.size;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  expect(): void {}

  start(execution: DecoupledExecution): DecoupledRun | null {
    if (!this.hasCapacity) throw new Error('start was called on an instance without capacity');
    const run = new InlineDecoupledRun(execution, this.#settled);
    this.#runs.add(run);
    const error = this.#tensors.inputError(execution.inputs);
    if (error === null) run.iterate(this.#hosted, copyInputs(execution));
    else setImmediate(() => run.onEnd(error));
    return run;
  }

  async release(): Promise<void> {
    this.#isReleased = true;
    if (this.#runs.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
      });
    }
    await this.dispose();
  }

  /** Ends what is in flight. */
  async dispose(): Promise<void> {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    this.numbers.leave();
    this.#onDisposed();
    const stopped = new InferenceError('UNAVAILABLE', 'the inline execution host was stopped', { failureReason: 'BACKEND' });
    for (const run of this.#runs) run.end(stopped);
    await this.#hosted.instance.dispose();
  }

  readonly #settled = (run: InlineDecoupledRun): void => {
    this.#runs.delete(run);
    const { instance } = this.#hosted;
    if (instance.statistics !== undefined) this.numbers.take({ ...instance.statistics() });
    if (this.#runs.size === 0) this.#onDrained?.();
    // Not from within the end of a request: whoever hears of it may start the next at once.
    if (this.#isTellScheduled || !this.#isAlive) return;
    this.#isTellScheduled = true;
    setImmediate(this.#tell);
  };

  readonly #tell = (): void => {
    this.#isTellScheduled = false;
    if (this.#isAlive) this.#onCapacity();
  };
}

class InlineDecoupledRun implements DecoupledRun, IterationSink {
  readonly #execution: DecoupledExecution;
  readonly #onSettled: (run: InlineDecoupledRun) => void;
  #iteration: DecoupledIteration | null = null;
  #unacknowledged = 0;
  #isGrantScheduled = false;
  /** Its execution hears nothing more. */
  #isOver = false;

  constructor(execution: DecoupledExecution, onSettled: (run: InlineDecoupledRun) => void) {
    this.#execution = execution;
    this.#onSettled = onSettled;
  }

  iterate(hosted: HostedDecoupledInstance, inputs: readonly Tensor[]): void {
    this.#iteration = new DecoupledIteration(hosted, inputs, this.#execution.parameters, this);
    void this.#iteration.run();
  }

  cancel(): void {
    this.#isOver = true;
    this.#iteration?.cancel();
  }

  end(error: InferenceError): void {
    const wasOver = this.#isOver;
    this.cancel();
    if (!wasOver) this.#execution.fail(error);
  }

  resume(): void {
    if (this.#unacknowledged < ACKNOWLEDGED_TOGETHER || this.#isGrantScheduled || this.#execution.isPaused) return;
    this.#isGrantScheduled = true;
    // A model that never waits for anything must not keep the loop from everybody else: each window is given in a turn of its own.
    setImmediate(this.#grant);
  }

  onResponse(outputs: readonly Tensor[]): void {
    this.#unacknowledged++;
    if (this.#isOver) return;
    this.#execution.respond(outputs);
    this.resume();
  }

  /** There is no deadline. */
  onProgress(): void {}

  onEnd(error: InferenceError | null): void {
    this.#onSettled(this);
    if (this.#isOver) {
      this.#execution.stopped?.();
      return;
    }
    this.#isOver = true;
    if (error === null) {
      const inputTokens = this.#iteration?.inputTokens ?? 0;
      if (inputTokens > 0) this.#execution.used?.(inputTokens, this.#iteration!.outputTokens);
      this.#execution.complete();
    } else this.#execution.fail(error);
  }

  readonly #grant = (): void => {
    this.#isGrantScheduled = false;
    const count = this.#unacknowledged;
    this.#unacknowledged = 0;
    this.#iteration?.grant(count);
  };
}

/** The model may still read them when the request has ended. */
function copyInputs(execution: DecoupledExecution): Tensor[] {
  const { inputs } = execution;
  const copies = new Array<Tensor>(inputs.length);
  for (let i = 0; i < inputs.length; i++) {
    const { name, datatype, shape, byteLength } = inputs[i]!;
    const data = Buffer.allocUnsafeSlow(byteLength);
    execution.writeInput(i, data);
    copies[i] = { name, datatype, shape, data };
  }
  return copies;
}
