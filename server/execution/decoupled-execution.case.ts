/**
 * The suite that every host of decoupled models must pass, run over each kind by `decoupled-execution.test.ts`.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ModelSpec } from '../../backends/api/backend.ts';
import { identity } from '../../bench/models/test-models.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import {
  type DecoupledChannel,
  type DecoupledExecution,
  type DecoupledRun,
  MAX_REQUESTS_PER_INSTANCE,
  RESPONSE_WINDOW,
} from './decoupled-execution.ts';
import { ModelFiles, rejection, type TestInput, testConfig } from './execution-host.case.ts';
import type { BatchInput, ExecutionHost, LoadedModel } from './execution-host.ts';

/** Keeps what a request was told, in order: a copy of the first number of each output, then how it ended. */
export class TestExecution implements DecoupledExecution {
  readonly inputs: readonly BatchInput[];
  readonly parameters: DecoupledExecution['parameters'];
  readonly responses: number[][] = [];
  readonly ended: Promise<InferenceError | null>;
  endCount = 0;
  stoppedCount = 0;
  isPaused = false;
  run!: DecoupledRun;
  /** Called after each response. */
  onResponse: () => void = () => {};
  readonly #data: readonly Uint8Array[];
  #resolve!: (error: InferenceError | null) => void;

  constructor(inputs: readonly TestInput[], parameters: DecoupledExecution['parameters'] = {}) {
    this.inputs = inputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, byteLength: data.length }));
    this.#data = inputs.map(({ data }) => data);
    this.parameters = parameters;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  start(channel: DecoupledChannel): this {
    this.run = channel.start(this)!;
    expect(this.run).not.toBeNull();
    expect([this.responses.length, this.endCount]).toEqual([0, 0]);
    return this;
  }

  writeInput(index: number, target: Uint8Array): void {
    target.set(this.#data[index]!);
  }

  respond(outputs: readonly Tensor[]): void {
    expect(this.endCount).toBe(0);
    this.responses.push(outputs.map(({ data }) => new DataView(data.buffer, data.byteOffset).getInt32(0, true)));
    this.onResponse();
  }

  complete(): void {
    this.endCount++;
    this.#resolve(null);
  }

  fail(error: InferenceError): void {
    this.endCount++;
    this.#resolve(error);
  }

  stopped(): void {
    this.stoppedCount++;
  }

  async untilResponses(count: number): Promise<void> {
    while (this.responses.length < count) {
      await new Promise<void>((resolve) => {
        this.onResponse = resolve;
      });
    }
  }
}

function numbers(name: string, datatype: 'INT32' | 'UINT32', values: readonly number[]): TestInput {
  return { name, datatype, shape: [values.length], data: new Uint8Array(Uint32Array.from(values).buffer) };
}

/** A request for the backend `repeat`; all delays are `delayMs` where one number is given. */
export function repeatRequest(values: readonly number[], delays: number | readonly number[] = 0, waitMs = 0): TestExecution {
  const delayMs = typeof delays === 'number' ? values.map(() => delays) : delays;
  return new TestExecution([numbers('IN', 'INT32', values), numbers('DELAY', 'UINT32', delayMs), numbers('WAIT', 'UINT32', [waitMs])]);
}

export function repeatSpec(name: string): ModelSpec {
  return { name, version: 1, modelPath: '', config: { ...testConfig(name, 'repeat'), maxBatchSize: 0 } };
}

export const ramp = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
export const answers = (values: readonly number[]): number[][] => values.map((value, index) => [value, index]);

/** An instance, and a promise of the next time that it has room. */
export class TestDecoupledInstance {
  readonly channel: DecoupledChannel;
  readonly #waiting: (() => void)[];

  private constructor(channel: DecoupledChannel, waiting: (() => void)[]) {
    this.channel = channel;
    this.#waiting = waiting;
  }

  static async create(model: LoadedModel): Promise<TestDecoupledInstance> {
    const waiting: (() => void)[] = [];
    const channel = await model.createDecoupledInstance(() => {
      for (const resolve of waiting.splice(0)) resolve();
    });
    return new TestDecoupledInstance(channel, waiting);
  }

  async untilCapacity(): Promise<void> {
    while (!this.channel.hasCapacity) await this.told();
  }

  async untilIdle(): Promise<void> {
    while (this.channel.inflightCount > 0) await this.told();
  }

  told(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

export function describeDecoupledExecution(name: string, start: () => Promise<ExecutionHost>): void {
  describe(name, () => {
    const files = new ModelFiles();
    let host: ExecutionHost;
    let instance: TestDecoupledInstance;

    beforeAll(async () => {
      host = await start();
      instance = await TestDecoupledInstance.create(await host.load(repeatSpec('repeat')));
    });

    afterAll(async () => {
      await host?.stop();
      files.remove();
    });

    it('gives one response after the other, then the end', async () => {
      const values = [3, -1, 2 ** 31 - 1, 0];
      const execution = repeatRequest(values).start(instance.channel);
      expect(await execution.ended).toBeNull();
      expect(execution.responses).toEqual(answers(values));
      expect([execution.endCount, instance.channel.inflightCount]).toEqual([1, 0]);
    });

    it('ends without a response where the model gives none', async () => {
      const execution = repeatRequest([]).start(instance.channel);
      expect(await execution.ended).toBeNull();
      expect(execution.responses).toEqual([]);
    });

    it('gives far more responses than the window has', async () => {
      const execution = repeatRequest(ramp(5000)).start(instance.channel);
      expect(await execution.ended).toBeNull();
      expect(execution.responses).toEqual(answers(ramp(5000)));
    });

    it('works on as many requests at once as it may, and says when it takes another', async () => {
      const executions = ramp(MAX_REQUESTS_PER_INSTANCE).map((i) => repeatRequest([i, i + 1, i + 2], [5, 1, 3]).start(instance.channel));
      expect([instance.channel.hasCapacity, instance.channel.inflightCount]).toEqual([false, MAX_REQUESTS_PER_INSTANCE]);
      await instance.untilCapacity();
      expect(await Promise.all(executions.map(({ ended }) => ended))).toEqual(executions.map(() => null));
      for (const [i, { responses }] of executions.entries()) expect(responses).toEqual(answers([i, i + 1, i + 2]));
      expect(instance.channel.inflightCount).toBe(0);
    });

    it('lets no request wait for another', async () => {
      const slow = repeatRequest([1], 60_000).start(instance.channel);
      const quick = repeatRequest([2]).start(instance.channel);
      expect(await quick.ended).toBeNull();
      expect(slow.endCount).toBe(0);
      slow.run.cancel();
      await instance.untilIdle();
    });

    it('stops the model when it is cancelled, and says nothing more', async () => {
      const execution = repeatRequest([1, 2, 3], [0, 60_000, 0]).start(instance.channel);
      await execution.untilResponses(1);
      execution.run.cancel();
      execution.run.cancel();
      await instance.untilIdle();
      expect([execution.responses.length, execution.endCount, execution.stoppedCount]).toEqual([1, 0, 1]);
      execution.run.resume();
      const other = repeatRequest([1]).start(instance.channel);
      await other.ended;
      other.run.cancel();
      await instance.untilIdle();
      expect([execution.stoppedCount, other.stoppedCount]).toEqual([1, 0]);
    });

    it('may be cancelled from within a response', async () => {
      const execution = repeatRequest(ramp(100));
      execution.onResponse = () => execution.run.cancel();
      execution.start(instance.channel);
      await instance.untilIdle();
      expect([execution.responses.length, execution.endCount]).toEqual([1, 0]);
    });

    it('stops within the window while its caller is paused, and goes on after', async () => {
      const execution = repeatRequest(ramp(200));
      execution.isPaused = true;
      execution.start(instance.channel);
      await execution.untilResponses(RESPONSE_WINDOW);
      // Others go through the same channel meanwhile: what the host had sent before them would be here.
      for (let i = 0; i < 3; i++) expect(await repeatRequest([i]).start(instance.channel).ended).toBeNull();
      expect([execution.responses.length, execution.endCount]).toEqual([RESPONSE_WINDOW, 0]);
      execution.isPaused = false;
      execution.run.resume();
      expect(await execution.ended).toBeNull();
      expect(execution.responses).toEqual(answers(ramp(200)));
    });

    it('can be cancelled while it is paused', async () => {
      const execution = repeatRequest(ramp(200));
      execution.isPaused = true;
      execution.start(instance.channel);
      await execution.untilResponses(RESPONSE_WINDOW);
      execution.run.cancel();
      await instance.untilIdle();
      expect(execution.endCount).toBe(0);
    });

    it("fails a request with the model's error, and no other", async () => {
      const [first, wrong, last] = [repeatRequest([1]), repeatRequest([1, 2], [0]), repeatRequest([3])].map((one) =>
        one.start(instance.channel),
      );
      expect(await wrong!.ended).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining("'DELAY'") });
      expect([await first!.ended, await last!.ended]).toEqual([null, null]);
      expect(host.isAlive).toBe(true);
    });

    it('refuses inputs that the model does not have', async () => {
      const execution = new TestExecution([numbers('OTHER', 'INT32', [1])]).start(instance.channel);
      expect(await execution.ended).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining("'IN'") });
      await instance.untilIdle();
    });

    it('refuses a model whose backend answers once', async () => {
      const model = await host.load(files.spec('once', identity('FP32')));
      const error = await rejection(model.createDecoupledInstance(() => {}));
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('model_transaction_policy.decoupled') });
      await model.unload();
    });

    it('waits with the release for what is in flight', async () => {
      const model = await host.load(repeatSpec('released'));
      const other = await TestDecoupledInstance.create(model);
      const execution = repeatRequest([1, 2], 20).start(other.channel);
      const released = other.channel.release();
      expect(other.channel.hasCapacity).toBe(false);
      expect(await execution.ended).toBeNull();
      await released;
      expect([execution.responses.length, other.channel.isAlive]).toEqual([2, false]);
      await model.unload();
    });
  });
}
