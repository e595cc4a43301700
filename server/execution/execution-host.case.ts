/**
 * The suite that every execution host must pass, run over each kind and transport by `execution-host.test.ts`.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ModelSpec } from '../../backends/api/backend.ts';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { addSub, dynamicOutput, failAtRun, identity } from '../../bench/models/test-models.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import { DATATYPES, type Datatype } from '../../proto/datatype.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { BatchInput, ExecutionHost, ExecutionTiming, InstanceChannel, LoadedModel } from './execution-host.ts';

/** A copy of what a batch answered: the originals are borrowed. */
export interface ExecutionResult {
  readonly outputs: readonly {
    readonly name: string;
    readonly datatype: Datatype;
    readonly shape: readonly number[];
    readonly data: Uint8Array;
  }[];
  readonly timing: ExecutionTiming;
}

export interface TestInput {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** Files of test models, in a directory that `remove` takes away. */
export class ModelFiles {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'nereid-execution-'));

  spec(name: string, bytes: Uint8Array, backend = 'onnxruntime'): ModelSpec {
    const modelPath = join(this.directory, `${name}.onnx`);
    writeFileSync(modelPath, bytes);
    return { name, version: 1, modelPath, config: testConfig(name, backend) };
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The parts of a configuration that backends look at. */
export function testConfig(name: string, backend: string): ModelConfig {
  return {
    name,
    backend,
    platform: '',
    maxBatchSize: 8,
    input: [],
    output: [],
    instanceGroup: [],
    parameters: {},
    optimization: null,
  } as unknown as ModelConfig;
}

export function float32(name: string, shape: readonly number[], values: readonly number[]): TestInput {
  return { name, datatype: 'FP32', shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

export function int64(name: string, shape: readonly number[], values: readonly number[]): TestInput {
  return { name, datatype: 'INT64', shape, data: new Uint8Array(BigInt64Array.from(values, BigInt).buffer) };
}

export function floats(data: Uint8Array): number[] {
  return [...new Float32Array(data.slice().buffer)];
}

const NO_MEMORY = new Error('no tensor memory at the moment');

/** Executes one batch; rejects with the batch's error, or with NO_MEMORY when the instance had none for it at the moment. */
export function execute(channel: InstanceChannel, inputs: readonly TestInput[]): Promise<ExecutionResult> {
  return new Promise((resolve, reject) => {
    const batchInputs: BatchInput[] = inputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, byteLength: data.length }));
    const isTaken = channel.execute({
      inputs: batchInputs,
      writeInput: (index, target) => target.set(inputs[index]!.data),
      complete: (outputs, timing) => resolve({ outputs: outputs.map((output) => ({ ...output, data: output.data.slice() })), timing }),
      fail: reject,
    });
    if (!isTaken) reject(NO_MEMORY);
  });
}

/** An instance that can be waited for. */
export class TestInstance {
  readonly channel: InstanceChannel;
  readonly #waiting: (() => void)[];

  private constructor(channel: InstanceChannel, waiting: (() => void)[]) {
    this.channel = channel;
    this.#waiting = waiting;
  }

  static async create(model: LoadedModel): Promise<TestInstance> {
    const waiting: (() => void)[] = [];
    const channel = await model.createInstance(() => {
      for (const resolve of waiting.splice(0)) resolve();
    });
    return new TestInstance(channel, waiting);
  }

  /** Executes as soon as the instance takes the batch. */
  async execute(...inputs: TestInput[]): Promise<ExecutionResult> {
    for (;;) {
      while (!this.channel.hasCapacity) await new Promise<void>((resolve) => this.#waiting.push(resolve));
      const toldAgain = new Promise<void>((resolve) => this.#waiting.push(resolve));
      try {
        return await execute(this.channel, inputs);
      } catch (error) {
        if (error !== NO_MEMORY) throw error;
        await toldAgain;
      }
    }
  }
}

export async function rejection(promise: Promise<unknown>): Promise<InferenceError> {
  const error = await promise.then(
    () => new Error('it resolved'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InferenceError);
  return error as InferenceError;
}

/** 32 elements whose bytes differ from each other. */
function sample(datatype: Datatype): Uint8Array {
  if (datatype === 'BYTES') return encodeBytes(Array.from({ length: 32 }, (_, i) => (i % 5 === 0 ? '' : `element ${i} \u{1f30a}`)));
  const bytes = new Uint8Array(32 * DATATYPES[datatype].byteSize);
  return bytes.map((_, i) => (datatype === 'BOOL' ? i % 2 : (i * 37) & 0x3f));
}

/** Tensor memory of the hosts under test: small enough to be filled. */
export const TEST_MEMORY_BYTES: number = 16 * 1024 * 1024;

export function describeExecutionHost(name: string, start: () => Promise<ExecutionHost>): void {
  describe(name, () => {
    const files = new ModelFiles();
    let host: ExecutionHost;

    beforeAll(async () => {
      host = await start();
    });

    afterAll(async () => {
      await host?.stop();
      files.remove();
    });

    async function instanceOf(modelName: string, bytes: Uint8Array): Promise<{ model: LoadedModel; instance: TestInstance }> {
      const model = await host.load(files.spec(modelName, bytes));
      return { model, instance: await TestInstance.create(model) };
    }

    it.each(Object.keys(DATATYPES) as Datatype[])('passes %s through bit for bit', async (datatype) => {
      const { model, instance } = await instanceOf(`identity_${datatype}`, identity(datatype));
      expect(model.metadata.inputs).toEqual([{ name: 'INPUT0', datatype, shape: [-1, 16], optional: false }]);
      expect(model.metadata.outputs).toMatchObject([{ name: 'OUTPUT0', datatype, shape: [-1, 16] }]);
      const data = sample(datatype);
      const { outputs } = await instance.execute({ name: 'INPUT0', datatype, shape: [2, 16], data });
      expect(outputs).toHaveLength(1);
      expect(outputs[0]).toMatchObject({ name: 'OUTPUT0', datatype, shape: [2, 16] });
      expect(Buffer.from(outputs[0]!.data).equals(Buffer.from(data))).toBe(true);
      await instance.channel.release();
      await model.unload();
    });

    it('answers every output in order, with times within what passed', async () => {
      const { instance } = await instanceOf('add_sub', addSub('FP32'));
      const values = Array.from({ length: 16 }, (_, i) => i);
      const startMs = performance.now();
      const { outputs, timing } = await instance.execute(float32('INPUT1', [1, 16], Array(16).fill(2)), float32('INPUT0', [1, 16], values));
      const elapsedNs = (performance.now() - startMs) * 1e6;
      expect(outputs.map((output) => output.name)).toEqual(['OUTPUT0', 'OUTPUT1']);
      expect(floats(outputs[0]!.data)).toEqual(values.map((value) => value + 2));
      expect(floats(outputs[1]!.data)).toEqual(values.map((value) => value - 2));
      expect(timing.inferNs).toBeGreaterThan(0);
      expect(timing.outputNs).toBeGreaterThanOrEqual(0);
      expect(timing.inferNs + timing.outputNs).toBeLessThanOrEqual(elapsedNs);
    });

    it('keeps many batches of several models apart', async () => {
      const sums = await instanceOf('many_sums', addSub('FP32'));
      const copies = await instanceOf('many_copies', identity('FP32'));
      const second = await TestInstance.create(copies.model);
      const runs = Array.from({ length: 600 }, async (_, i) => {
        const input = float32('INPUT0', [1, 16], Array(16).fill(i));
        if (i % 3 === 0) {
          const { outputs } = await sums.instance.execute(input, float32('INPUT1', [1, 16], Array(16).fill(1)));
          return floats(outputs[0]!.data)[15]! - 1;
        }
        const { outputs } = await (i % 3 === 1 ? copies.instance : second).execute(input);
        return floats(outputs[0]!.data)[15]!;
      });
      expect(await Promise.all(runs)).toEqual(Array.from({ length: 600 }, (_, i) => i));
      expect(second.channel.inflightCount).toBe(0);
    });

    it('carries outputs whose size only the run tells, whether or not there was room', async () => {
      const { instance } = await instanceOf('dynamic_output', dynamicOutput());
      for (const length of [0, 3, 100_000, 100_000, 5]) {
        const { outputs } = await instance.execute(float32('INPUT0', [length], Array(length).fill(1)));
        expect(outputs[0]!.shape).toEqual([length]);
        const indexes = new BigInt64Array(outputs[0]!.data.slice().buffer);
        expect(indexes).toHaveLength(length);
        expect(indexes.every((index, i) => index === BigInt(i))).toBe(true);
      }
    });

    it('carries a batch whose outputs pass half of the memory', async () => {
      const { instance } = await instanceOf('big_identity', identity('FP32', ['batch', 1024]));
      const rows = Math.floor((TEST_MEMORY_BYTES * 0.6) / 4096);
      const data = new Uint8Array(rows * 4096).map((_, i) => (i >> 12) & 0x3f);
      const { outputs } = await instance.execute({ name: 'INPUT0', datatype: 'FP32', shape: [rows, 1024], data });
      expect(Buffer.from(outputs[0]!.data).equals(Buffer.from(data))).toBe(true);
    });

    it('tells an instance that found no memory when there is some again', async () => {
      const { model, instance } = await instanceOf('crowded', identity('FP32', ['batch', 1024]));
      const instances = [instance, ...(await Promise.all(Array.from({ length: 3 }, () => TestInstance.create(model))))];
      const rows = Math.floor((TEST_MEMORY_BYTES * 0.3) / 4096);
      const inputs = instances.map((_, i) => new Uint8Array(rows * 4096).fill(i + 1));
      const runs = Array.from({ length: 12 }, (_, i) =>
        instances[i % 4]!.execute({ name: 'INPUT0', datatype: 'FP32', shape: [rows, 1024], data: inputs[i % 4]! }),
      );
      const results = await Promise.all(runs);
      expect(results.map(({ outputs }) => outputs[0]!.data.at(-1))).toEqual(Array.from({ length: 12 }, (_, i) => (i % 4) + 1));
    });

    it('refuses a batch that no memory can hold, and goes on', async () => {
      const { instance } = await instanceOf('too_big', identity('FP32', ['batch', 1024]));
      const rows = TEST_MEMORY_BYTES / 4096 + 1;
      const data = new Uint8Array(rows * 4096);
      const error = await rejection(instance.execute({ name: 'INPUT0', datatype: 'FP32', shape: [rows, 1024], data }));
      expect(error.code).toBe('RESOURCE_EXHAUSTED');
      expect(error.message).toContain(String(TEST_MEMORY_BYTES).slice(0, 2));
      const { outputs } = await instance.execute({ name: 'INPUT0', datatype: 'FP32', shape: [1, 1024], data: data.subarray(0, 4096) });
      expect(outputs[0]!.shape).toEqual([1, 1024]);
    });

    it('fails a batch that the model fails, and no other', async () => {
      const { instance } = await instanceOf('fail_at_run', failAtRun());
      const [first, second, third] = await Promise.allSettled([
        instance.execute(int64('INPUT0', [1, 1], [3])),
        instance.execute(int64('INPUT0', [1, 1], [99])),
        instance.execute(int64('INPUT0', [1, 1], [4])),
      ]);
      expect(first.status === 'fulfilled' && floats(first.value.outputs[0]!.data)).toEqual([3.5]);
      expect(second.status === 'rejected' && second.reason).toBeInstanceOf(InferenceError);
      expect(third.status === 'fulfilled' && floats(third.value.outputs[0]!.data)).toEqual([4.5]);
      expect(host.isAlive).toBe(true);
    });

    it('refuses inputs that the model does not have', async () => {
      const { instance } = await instanceOf('inputs', identity('FP32'));
      const unknown = await rejection(instance.execute(float32('INPUT7', [1, 16], Array(16).fill(0))));
      expect(unknown).toMatchObject({ code: 'INVALID_ARGUMENT' });
      expect(unknown.message).toContain("'INPUT0'");
      const datatype = await rejection(instance.execute(int64('INPUT0', [1, 16], Array(16).fill(0))));
      expect(datatype).toMatchObject({ code: 'INVALID_ARGUMENT' });
      expect(instance.channel.inflightCount).toBe(0);
    });

    it('says why a model does not load, and loads the next', async () => {
      const broken = await rejection(host.load(files.spec('broken', Uint8Array.of(1, 2, 3))));
      expect(broken.code).toBe('INVALID_ARGUMENT');
      const unknown = await rejection(host.load(files.spec('unknown_backend', identity('FP32'), 'nonesuch')));
      expect(unknown).toMatchObject({ code: 'INVALID_ARGUMENT' });
      expect(unknown.message).toContain("'nonesuch'");
      const outside = await rejection(host.load(files.spec('outside', identity('FP32'), '../server')));
      expect(outside.code).toBe('INVALID_ARGUMENT');
      await instanceOf('after_broken', identity('FP32'));
      expect(host.isAlive).toBe(true);
    });

    it('waits with the release for what is in flight', async () => {
      const { model, instance } = await instanceOf('released', identity('FP32'));
      const run = instance.execute(float32('INPUT0', [1, 16], Array(16).fill(1)));
      const released = instance.channel.release();
      expect(instance.channel.hasCapacity).toBe(false);
      expect(floats((await run).outputs[0]!.data)).toHaveLength(16);
      await released;
      expect(instance.channel.isAlive).toBe(false);
      await model.unload();
    });
  });
}
