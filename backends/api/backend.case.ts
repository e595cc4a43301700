/**
 * The suite that every backend must pass. A backend's test file calls `runBackendCases` with models made in its own format, then adds what is its
 * own. `ModelRun` and `modelSpec` serve those additions too.
 */

import protobuf from 'protobufjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countBytesElements, encodeBytes } from '../../proto/bytes.ts';
import { byteSizeOf, type Datatype, elementCount } from '../../proto/datatype.ts';
import { descriptor } from '../../proto/gen/descriptor.ts';
import type { InferenceError, StatusCode } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { Backend, BackendModule, Model, ModelInstance, ModelSpec, OutputSink } from './backend.ts';
import type { ModelConfig } from './model-config.ts';

/** The models that a backend brings to the suite. Functions, so that files are made when a case needs them. */
export interface BackendFixtures {
  /** Those it can do; the suite runs `identity` for each. */
  readonly datatypes: readonly Datatype[];
  /** INPUT0 to OUTPUT0, bit for bit, shape [-1, 16]. */
  identity(datatype: Datatype): ModelSpec;
  /** OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1, FP32, shape [-1, 16]. */
  addSub(): ModelSpec;
  /** A model that fails for some inputs and not for others; null when the format has no such thing. */
  failing(): { spec: ModelSpec; works: readonly Tensor[]; fails: readonly Tensor[] } | null;
  /** Files that are no model, each with what is wrong with it: loading one throws INVALID_ARGUMENT. */
  broken(): readonly { what: string; spec: ModelSpec }[];
}

const root = protobuf.Root.fromJSON(descriptor);

/** A configuration in which nothing is set but what is given. */
export function modelConfig(given: Partial<ModelConfig> = {}): ModelConfig {
  const type = root.lookupType('inference.ModelConfig');
  const unset = type.toObject(type.create(), { defaults: true, arrays: true, objects: true, longs: Number, enums: String });
  return { ...(unset as ModelConfig), ...given };
}

export function modelSpec(name: string, modelPath: string, config: Partial<ModelConfig> = {}): ModelSpec {
  return { name, version: 1, modelPath, config: modelConfig({ name, ...config }) };
}

/** Bytes in memory of their own that does not move, as a host provides them. */
export function stableBytes(content: Uint8Array | number): Uint8Array {
  const size = typeof content === 'number' ? content : content.length;
  const bytes = Buffer.allocUnsafeSlow(size);
  if (typeof content !== 'number') bytes.set(content);
  return bytes;
}

export function tensor(name: string, datatype: Datatype, shape: readonly number[], data: ArrayBufferView): Tensor {
  return { name, datatype, shape, data: stableBytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) };
}

/** A sink that holds a backend to the contract: each output once, in order, as many bytes as its shape says; the run marked once. */
export class ModelRun implements OutputSink {
  readonly outputs: Tensor[] = [];
  readonly marks: string[] = [];

  allocate(name: string, datatype: Datatype, shape: readonly number[], byteLength: number): Uint8Array {
    const known = this.outputs.map((output) => output.name);
    if (known.includes(name)) throw new Error(`output '${name}' was allocated twice`);
    if (datatype !== 'BYTES') expect(byteLength, `bytes of '${name}'`).toBe(elementCount(shape) * byteSizeOf(datatype));
    const data = stableBytes(byteLength).fill(0xa5);
    this.outputs.push({ name, datatype, shape: [...shape], data });
    return data;
  }

  inferStarted(): void {
    this.marks.push('started');
  }

  inferEnded(): void {
    this.marks.push('ended');
  }

  output(name: string): Tensor {
    const found = this.outputs.find((output) => output.name === name);
    if (found === undefined) throw new Error(`no output '${name}' among ${this.outputs.map((output) => output.name).join(', ')}`);
    return found;
  }

  floats(name: string): number[] {
    const { data } = this.output(name);
    return [...new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4)];
  }
}

export function run(instance: ModelInstance, inputs: readonly Tensor[]): ModelRun {
  const result = new ModelRun();
  instance.execute(inputs, result);
  expect(result.marks).toEqual(['started', 'ended']);
  for (const { name, datatype, shape, data } of result.outputs) {
    if (datatype === 'BYTES') expect(countBytesElements(data, name)).toBe(elementCount(shape));
  }
  return result;
}

/** What the call throws, or rejects with; it must be an InferenceError of that code. */
export async function failureOf(code: StatusCode, call: () => unknown): Promise<InferenceError> {
  const error = await Promise.resolve()
    .then(call)
    .then(
      () => new Error(`expected ${code}, but nothing failed`),
      (thrown: unknown) => thrown as Error,
    );
  expect(error).toMatchObject({ name: 'InferenceError', code });
  return error as InferenceError;
}

/** Every byte takes every value, extremes and NaN payloads of every type among them; BOOL has but two values. */
function sampleBytes(datatype: Datatype, elements: number): Uint8Array {
  if (datatype === 'BYTES') {
    const texts = ['', 'plain', 'a\0b', '\0', 'Grüße, 世界', 'x'.repeat(5_000)];
    const odd = [Uint8Array.of(0xff, 0xfe, 0), Uint8Array.of(0xc3), Uint8Array.of(0, 0, 0xed, 0xa0, 0x80)];
    return encodeBytes(Array.from({ length: elements }, (_, i) => [...texts, ...odd][i % (texts.length + odd.length)]!));
  }
  const bytes = new Uint8Array(elements * byteSizeOf(datatype));
  for (let i = 0; i < bytes.length; i++) bytes[i] = datatype === 'BOOL' ? i % 2 : (i * 167) & 0xff;
  // All ones: the largest unsigned, -1, a quiet NaN with a payload; then the smallest signed; then a signalling NaN.
  if (datatype !== 'BOOL') {
    const size = byteSizeOf(datatype);
    bytes.fill(0xff, 0, size);
    bytes.fill(0, size, 2 * size)[2 * size - 1] = 0x80;
    bytes.fill(0x01, 2 * size, 3 * size);
    bytes[3 * size - 1] = 0x7f;
    if (size > 1) bytes[3 * size - 2] = datatype === 'FP16' ? 0x01 : 0xb1;
  }
  return bytes;
}

export function runBackendCases(name: string, createBackend: BackendModule['createBackend'], fixtures: BackendFixtures): void {
  describe(`${name} as a backend`, () => {
    let backend: Backend;

    beforeAll(async () => {
      backend = await createBackend({ settings: {} });
    });
    afterAll(async () => {
      await backend.close();
    });

    async function withInstance(spec: ModelSpec, use: (instance: ModelInstance, model: Model) => unknown): Promise<void> {
      const model = await backend.load(spec);
      try {
        const instance = await model.createInstance();
        try {
          await use(instance, model);
        } finally {
          instance.dispose();
        }
      } finally {
        await model.unload();
      }
    }

    function pair(rows: number, scale = 1): { inputs: Tensor[]; sum: number[]; difference: number[] } {
      const left = Float32Array.from({ length: rows * 16 }, (_, i) => i * scale);
      const right = Float32Array.from({ length: rows * 16 }, (_, i) => 3 - i);
      return {
        inputs: [tensor('INPUT0', 'FP32', [rows, 16], left), tensor('INPUT1', 'FP32', [rows, 16], right)],
        sum: [...left.map((value, i) => value + right[i]!)],
        difference: [...left.map((value, i) => value - right[i]!)],
      };
    }

    it('has the name of its folder', () => {
      expect(backend.name).toBe(name);
    });

    it.each(fixtures.datatypes)('gives %s back bit for bit', async (datatype) => {
      await withInstance(fixtures.identity(datatype), (instance, model) => {
        const optional = false;
        expect(model.metadata).toEqual({
          inputs: [{ name: 'INPUT0', datatype, shape: [-1, 16], optional }],
          outputs: [{ name: 'OUTPUT0', datatype, shape: [-1, 16], optional }],
        });
        for (const rows of [1, 3, 3, 64, 1, 3]) {
          const input = tensor('INPUT0', datatype, [rows, 16], sampleBytes(datatype, rows * 16));
          const before = Uint8Array.from(input.data);
          const { outputs } = run(instance, [input]);
          expect(outputs.map(({ name: output, datatype: type, shape }) => ({ output, type, shape }))).toEqual([
            { output: 'OUTPUT0', type: datatype, shape: [rows, 16] },
          ]);
          expect(Buffer.compare(outputs[0]!.data, before)).toBe(0);
          expect(Buffer.compare(input.data, before)).toBe(0);
        }
      });
    });

    it.each(fixtures.datatypes)('takes %s without any elements', async (datatype) => {
      await withInstance(fixtures.identity(datatype), (instance) => {
        for (let i = 0; i < 3; i++) {
          const { outputs } = run(instance, [tensor('INPUT0', datatype, [0, 16], new Uint8Array(0))]);
          expect(outputs[0]!.shape).toEqual([0, 16]);
          expect(outputs[0]!.data.length).toBe(0);
        }
      });
    });

    it('computes, with every output in the order of the metadata', async () => {
      await withInstance(fixtures.addSub(), (instance, model) => {
        expect(model.metadata.inputs.map((input) => input.name)).toEqual(['INPUT0', 'INPUT1']);
        for (let rows = 1; rows <= 40; rows++) {
          const { inputs, sum, difference } = pair(rows, 1 + rows / 4);
          const result = run(instance, inputs);
          expect(result.outputs.map((output) => output.name)).toEqual(['OUTPUT0', 'OUTPUT1']);
          expect(result.floats('OUTPUT0')).toEqual(sum);
          expect(result.floats('OUTPUT1')).toEqual(difference);
        }
      });
    });

    it('takes its inputs in any order', async () => {
      await withInstance(fixtures.addSub(), (instance) => {
        for (const rows of [2, 2, 5]) {
          const { inputs, sum, difference } = pair(rows, 2);
          for (const ordered of [inputs, inputs.toReversed()]) {
            const result = run(instance, ordered);
            expect(result.floats('OUTPUT0')).toEqual(sum);
            expect(result.floats('OUTPUT1')).toEqual(difference);
          }
        }
      });
    });

    it('reads the memory anew in each run, and keeps the results of earlier ones', async () => {
      await withInstance(fixtures.addSub(), (instance) => {
        const { inputs } = pair(1);
        const memory = new Float32Array(inputs[0]!.data.buffer, inputs[0]!.data.byteOffset, 16);
        const results = [10, 20, 30].map((value) => {
          memory.fill(value);
          return run(instance, inputs);
        });
        expect(results.map((result) => result.floats('OUTPUT0')[0])).toEqual([13, 23, 33]);
      });
    });

    it('takes a shape array that the caller uses again', async () => {
      await withInstance(fixtures.addSub(), (instance) => {
        const shape = [1, 16];
        const left = stableBytes(16 * 64);
        const right = stableBytes(16 * 64).fill(0);
        for (const rows of [1, 4, 2, 1, 4]) {
          shape[0] = rows;
          const inputs = [left, right].map((data, i) => ({
            name: `INPUT${i}`,
            datatype: 'FP32' as const,
            shape,
            data: data.subarray(0, rows * 64),
          }));
          expect(run(instance, inputs).output('OUTPUT0').shape).toEqual([rows, 16]);
        }
      });
    });

    it('runs several instances of one model, each for itself', async () => {
      const model = await backend.load(fixtures.addSub());
      const [first, second] = [await model.createInstance(), await model.createInstance()];
      const [one, two] = [pair(1, 5), pair(2, 7)];
      expect(run(first, one.inputs).floats('OUTPUT0')).toEqual(one.sum);
      expect(run(second, two.inputs).floats('OUTPUT0')).toEqual(two.sum);
      first.dispose();
      expect(run(second, one.inputs).floats('OUTPUT1')).toEqual(one.difference);
      second.dispose();
      await model.unload();
    });

    it('names a missing input, an unknown one and one given twice', async () => {
      await withInstance(fixtures.addSub(), async (instance) => {
        const { inputs, sum } = pair(1);
        const attempt = (given: Tensor[]) => failureOf('INVALID_ARGUMENT', () => run(instance, given));
        expect((await attempt([inputs[0]!])).message).toContain('INPUT1');
        expect((await attempt([inputs[0]!, inputs[0]!])).message).toContain('INPUT0');
        expect((await attempt([...inputs, { ...inputs[0]!, name: 'INPUT7' }])).message).toContain('INPUT7');
        expect(run(instance, inputs).floats('OUTPUT0')).toEqual(sum);
      });
    });

    it('names an input of the wrong datatype, length or shape', async () => {
      await withInstance(fixtures.addSub(), async (instance) => {
        const { inputs, sum } = pair(2);
        const attempt = (given: Tensor) => failureOf('INVALID_ARGUMENT', () => run(instance, [given, inputs[1]!]));
        expect((await attempt({ ...inputs[0]!, datatype: 'INT32' })).message).toMatch(/INPUT0.*FP32.*INT32/);
        expect((await attempt({ ...inputs[0]!, data: inputs[0]!.data.subarray(0, 100) })).message).toMatch(/INPUT0.*128.*100/);
        expect((await attempt({ ...inputs[0]!, shape: [2, 4, 4] })).message).toContain('INPUT0');
        expect((await attempt({ ...inputs[0]!, shape: [4, 8] })).message).toContain('INPUT0');
        expect((await attempt({ ...inputs[0]!, shape: [2 ** 52, 2 ** 52] })).message).toContain('INPUT0');
        expect(run(instance, inputs).floats('OUTPUT0')).toEqual(sum);
      });
    });

    it('fails a run with a reason, and works afterwards', async ({ skip }) => {
      const failing = fixtures.failing();
      if (failing === null) return skip();
      await withInstance(failing.spec, async (instance) => {
        for (let i = 0; i < 3; i++) {
          expect(run(instance, failing.works).outputs.length).toBeGreaterThan(0);
          const error = await failureOf('INTERNAL', () => run(instance, failing.fails));
          expect(error.failureReason).toBe('BACKEND');
          expect(error.message.length).toBeGreaterThan(20);
          expect(error.message).not.toMatch(/\.(?:cc|cpp|h):\d|\/tmp\//);
        }
      });
    });

    it('refuses to run what was disposed of', async () => {
      const model = await backend.load(fixtures.addSub());
      const instance = await model.createInstance();
      await model.unload();
      await model.unload();
      await failureOf('UNAVAILABLE', () => run(instance, pair(1).inputs));
      instance.dispose();
    });

    it('says why a file is no model, and does not say where it lies', async () => {
      const cases = fixtures.broken();
      expect(cases.length).toBeGreaterThan(0);
      for (const { what, spec } of cases) {
        const { message } = await failureOf('INVALID_ARGUMENT', () => backend.load(spec));
        expect(message, what).toContain(spec.name);
        expect(message.length, what).toBeGreaterThan(spec.name.length + 30);
        expect(message, what).not.toContain(spec.modelPath);
      }
    });
  });
}
