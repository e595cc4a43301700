import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeOnnxModel, type OnnxGraph } from '../../bench/models/onnx-model.ts';
import { addSub, dynamicOutput, failAtRun, identity, mlp, scalarIdentity } from '../../bench/models/test-models.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import { byteSizeOf, DATATYPES, type Datatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { failureOf, ModelRun, modelSpec, run, runBackendCases, stableBytes, tensor } from '../api/backend.case.ts';
import type { Backend, Model, ModelInstance, ModelSpec } from '../api/backend.ts';
import type { ModelConfig } from '../api/model-config.ts';
import { createBackend } from './index.ts';
import { ortLibrary } from './ort-library.ts';

const directory = mkdtempSync(join(tmpdir(), 'nereid-onnxruntime-'));
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
function specOf(name: string, content: Uint8Array | string, config: Partial<ModelConfig> = {}): ModelSpec {
  const path = join(directory, `${files++}-${name}.onnx`);
  writeFileSync(path, content);
  return modelSpec(name, path, config);
}

runBackendCases('onnxruntime', createBackend, {
  datatypes: Object.keys(DATATYPES) as Datatype[],
  identity: (datatype) => specOf('identity', identity(datatype)),
  addSub: () => specOf('add_sub', addSub('FP32')),
  failing: () => ({
    spec: specOf('fail_at_run', failAtRun()),
    works: [tensor('INPUT0', 'INT64', [2, 1], BigInt64Array.of(3n, -1n))],
    fails: [tensor('INPUT0', 'INT64', [2, 1], BigInt64Array.of(3n, 99n))],
  }),
  broken: () => {
    const whole = mlp(16, 32, 4);
    return [
      { what: 'cut in half', spec: specOf('half', whole.subarray(0, whole.length / 2)) },
      { what: 'empty', spec: specOf('empty', '') },
      { what: 'text', spec: specOf('text', 'this is no model\n'.repeat(20)) },
      { what: 'missing', spec: modelSpec('missing', join(directory, 'missing.onnx')) },
      { what: 'a directory', spec: modelSpec('directory', directory) },
    ];
  },
});

/** What the process holds beside JavaScript's heap, whose size goes its own ways. */
function nativeBytes(): number {
  const { rss, heapTotal } = process.memoryUsage();
  return rss - heapTotal;
}

function failed(call: () => void): number {
  try {
    call();
    return 0;
  } catch {
    return 1;
  }
}

describe('onnxruntime', () => {
  let backend: Backend;

  beforeAll(async () => {
    backend = await createBackend({ settings: {} });
  });
  afterAll(async () => {
    await backend.close();
  });

  async function withModel(spec: ModelSpec, use: (instance: ModelInstance, model: Model) => unknown): Promise<void> {
    const model = await backend.load(spec);
    try {
      await use(await model.createInstance(), model);
    } finally {
      await model.unload();
    }
  }

  const floats = (name: string, shape: readonly number[], ...values: number[]): Tensor =>
    tensor(name, 'FP32', shape, Float32Array.from(values));

  function graph(given: Partial<OnnxGraph>): Uint8Array {
    return encodeOnnxModel({ name: 'graph', inputs: [], outputs: [], nodes: [], ...given });
  }

  describe('runs', () => {
    it.each(Object.keys(DATATYPES) as Datatype[])('a scalar of %s', async (datatype) => {
      const data = datatype === 'BYTES' ? encodeBytes(['one\0']) : new Uint8Array(byteSizeOf(datatype)).fill(1);
      await withModel(specOf('scalar', scalarIdentity(datatype)), (instance) => {
        for (let i = 0; i < 3; i++) {
          const { shape, data: given } = run(instance, [tensor('INPUT0', datatype, [], data)]).output('OUTPUT0');
          expect(shape).toEqual([]);
          expect(Buffer.compare(given, data)).toBe(0);
        }
      });
    });

    it('outputs whose size the values decide', async () => {
      await withModel(specOf('dynamic', dynamicOutput()), (instance) => {
        for (const values of [[1, 0, 2, 3], [0, 0, 0, 0], [], [0, 0, 7, 0], [1, 1, 1, 1]]) {
          const { shape, data } = run(instance, [floats('INPUT0', [values.length], ...values)]).output('OUTPUT0');
          const found = values.flatMap((value, i) => (value === 0 ? [] : [BigInt(i)]));
          expect(shape).toEqual([found.length]);
          expect([...new BigInt64Array(data.buffer, data.byteOffset, found.length)]).toEqual(found);
        }
      });
    });

    it('several outputs of which some are known beforehand, in the order of the metadata', async () => {
      const onnx = graph({
        inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: ['batch'] }],
        outputs: [
          { name: 'DOUBLE', elementType: 'FLOAT', dims: ['batch'] },
          { name: 'FOUND', elementType: 'INT64', dims: [1, 'found'] },
          { name: 'COPY', elementType: 'FLOAT', dims: ['batch'] },
        ],
        nodes: [
          { op: 'NonZero', inputs: ['INPUT0'], outputs: ['FOUND'] },
          { op: 'Add', inputs: ['INPUT0', 'INPUT0'], outputs: ['DOUBLE'] },
          { op: 'Identity', inputs: ['INPUT0'], outputs: ['COPY'] },
        ],
      });
      await withModel(specOf('mixed', onnx), (instance) => {
        for (const values of [
          [1, 0],
          [0, 5],
          [3, 4],
          [1, 2, 3],
        ]) {
          const result = run(instance, [floats('INPUT0', [values.length], ...values)]);
          expect(result.outputs.map((output) => output.name)).toEqual(['DOUBLE', 'FOUND', 'COPY']);
          expect(result.floats('DOUBLE')).toEqual(values.map((value) => value * 2));
          expect(result.output('FOUND').shape).toEqual([1, values.filter((value) => value !== 0).length]);
          expect(result.floats('COPY')).toEqual(values);
        }
      });
    });

    /** Notes when memory was asked for. */
    class Timeline extends ModelRun {
      override allocate(...given: Parameters<ModelRun['allocate']>): Uint8Array {
        this.marks.push(given[0]);
        return super.allocate(...given);
      }
    }

    it('writes outputs in place once it has seen their shape', async () => {
      await withModel(specOf('in_place', addSub('FP32')), (instance) => {
        const marksOf = (rows: number): string[] => {
          const values = new Array<number>(rows * 16).fill(rows);
          const timeline = new Timeline();
          instance.execute([floats('INPUT0', [rows, 16], ...values), floats('INPUT1', [rows, 16], ...values)], timeline);
          expect(timeline.floats('OUTPUT0')).toEqual(values.map((value) => value * 2));
          return timeline.marks;
        };
        const [after, before] = [
          ['started', 'ended', 'OUTPUT0', 'OUTPUT1'],
          ['OUTPUT0', 'OUTPUT1', 'started', 'ended'],
        ];
        expect([marksOf(1), marksOf(1), marksOf(2), marksOf(2), marksOf(1)]).toEqual([after, before, after, before, before]);
      });
    });

    it('inputs that give one dimension name two sizes', async () => {
      await withModel(specOf('broadcast', addSub('FP32')), (instance) => {
        const row = new Array<number>(16).fill(1);
        for (let i = 0; i < 3; i++) {
          const result = run(instance, [floats('INPUT0', [1, 16], ...row), floats('INPUT1', [2, 16], ...row, ...row)]);
          expect(result.output('OUTPUT0').shape).toEqual([2, 16]);
          expect(result.floats('OUTPUT0')).toEqual([...row, ...row].map(() => 2));
          expect(run(instance, [floats('INPUT0', [1, 16], ...row), floats('INPUT1', [1, 16], ...row)]).output('OUTPUT0').shape).toEqual([
            1, 16,
          ]);
        }
      });
    });

    it('a model that does not keep to the shapes its file declares: one run fails at most', async () => {
      const lying = graph({
        inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: ['length'] }],
        outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: ['length'] }],
        nodes: [
          { op: 'Cast', inputs: ['INPUT0'], outputs: ['wanted'], attributes: { to: { int: 9 } } },
          { op: 'Compress', inputs: ['INPUT0', 'wanted'], outputs: ['OUTPUT0'] },
        ],
      });
      await withModel(specOf('lying', lying), async (instance) => {
        const attempt = (...values: number[]) => run(instance, [floats('INPUT0', [3], ...values)]).floats('OUTPUT0');
        expect(attempt(1, 2, 3)).toEqual([1, 2, 3]);
        expect(attempt(1, 2, 3)).toEqual([1, 2, 3]);
        const { message } = await failureOf('INTERNAL', () => attempt(0, 2, 3));
        expect(message).toMatch(/does not keep to the output shapes.*try again.*OUTPUT0/);
        expect(attempt(0, 2, 3)).toEqual([2, 3]);
        expect(attempt(1, 2, 3)).toEqual([1, 2, 3]);
      });
    });

    it('names the dimension that the model does not take', async () => {
      await withModel(specOf('dimension', addSub('FP32')), async (instance) => {
        const wide = new Array<number>(17).fill(1);
        const attempt = () => run(instance, [floats('INPUT0', [1, 17], ...wide), floats('INPUT1', [1, 17], ...wide)]);
        expect((await failureOf('INVALID_ARGUMENT', attempt)).message).toMatch(/INPUT[01].*Got: 17 Expected: 16/);
      });
    });

    it('refuses BYTES whose elements are not as many as the shape says, or are cut', async () => {
      await withModel(specOf('strings', identity('BYTES', [-1])), async (instance) => {
        const attempt = (shape: number[], data: Uint8Array) =>
          failureOf('INVALID_ARGUMENT', () => run(instance, [tensor('INPUT0', 'BYTES', shape, data)]));
        expect((await attempt([3], encodeBytes(['a', 'b']))).message).toMatch(/INPUT0.*3.*2/);
        expect((await attempt([2], encodeBytes(['a', 'b']).subarray(0, 9))).message).toMatch(/INPUT0/);
        expect(run(instance, [tensor('INPUT0', 'BYTES', [1], encodeBytes(['a']))]).outputs[0]!.shape).toEqual([1]);
      });
    });

    it('refuses memory that is not aligned to its elements', async () => {
      await withModel(specOf('unaligned', identity('FP64', [1])), async (instance) => {
        const data = stableBytes(16).subarray(4, 12);
        await failureOf('INTERNAL', () => run(instance, [{ name: 'INPUT0', datatype: 'FP64', shape: [1], data }]));
      });
    });

    it('over memory that threads share', async () => {
      const shared = new SharedArrayBuffer(1024);
      new Float32Array(shared).fill(2);
      await withModel(specOf('shared', addSub('FP32')), (instance) => {
        const [left, right] = ['INPUT0', 'INPUT1'].map((name, i): Tensor => {
          return { name, datatype: 'FP32', shape: [1, 16], data: new Uint8Array(shared, i * 64, 64) };
        });
        for (let i = 0; i < 2; i++) {
          const sink = new ModelRun();
          sink.allocate = (name, _datatype, _shape, byteLength) => new Uint8Array(shared, name === 'OUTPUT0' ? 512 : 768, byteLength);
          instance.execute([left!, right!], sink);
          expect([...new Float32Array(shared, 512, 16)]).toEqual(new Array(16).fill(4));
          expect([...new Float32Array(shared, 768, 16)]).toEqual(new Array(16).fill(0));
        }
      });
    });

    it('with memory that stays within bounds', async () => {
      const row = new Array<number>(16).fill(1);
      const strings = tensor('INPUT0', 'BYTES', [4, 16], encodeBytes(new Array(64).fill('some\0text')));
      const broken = tensor('INPUT0', 'INT64', [1, 1], BigInt64Array.of(99n));
      await withModel(specOf('add_sub', addSub('FP32')), (adding) =>
        withModel(specOf('strings', identity('BYTES')), (texts) =>
          withModel(specOf('dynamic', dynamicOutput()), (dynamic) =>
            withModel(specOf('failing', failAtRun()), (failing) => {
              const pair = [floats('INPUT0', [1, 16], ...row), floats('INPUT1', [1, 16], ...row)];
              const found = floats('INPUT0', [16], ...row);
              const memory = Buffer.allocUnsafeSlow(1 << 20);
              let next = 0;
              const sink = new ModelRun();
              // Another place in each run, so that the cached values are turned over too.
              sink.allocate = (_name, _datatype, _shape, byteLength) => {
                next = (next + 192) % (memory.length - 8192);
                return memory.subarray(next, next + byteLength);
              };
              let failures = 0;
              const runs = (count: number): void => {
                for (let i = 0; i < count; i++) {
                  adding.execute(pair, sink);
                  dynamic.execute([found], sink);
                  if (i % 4 === 0) texts.execute([strings], sink);
                  failures += failed(() => failing.execute([broken], sink));
                  sink.marks.length = 0;
                }
              };
              runs(10_000);
              const before = nativeBytes();
              runs(60_000);
              // 140 bytes lost in each run would show: no OrtValue and no status with its text is smaller.
              expect(nativeBytes() - before).toBeLessThan(8 * 2 ** 20);
              expect(failures).toBe(70_000);
            }),
          ),
        ),
      );
    }, 60_000);

    it('loads and unloads without keeping the memory', async () => {
      const spec = specOf('mlp', mlp(512, 1024, 64));
      const input = floats('INPUT0', [1, 512], ...new Array<number>(512).fill(1));
      const cycle = (): Promise<void> => withModel(spec, (instance) => run(instance, [input]));
      for (let i = 0; i < 10; i++) await cycle();
      const before = nativeBytes();
      for (let i = 0; i < 50; i++) await cycle();
      // Each load holds 2.4 MB of weights, and as much again packed.
      expect(nativeBytes() - before).toBeLessThan(16 * 2 ** 20);
    }, 60_000);
  });

  it('waits for loads under way when it closes', async () => {
    const other = await createBackend({ settings: {} });
    const loads = Array.from({ length: 4 }, (_, i) => other.load(specOf(`late_${i}`, mlp(256, 256, 16))));
    await other.close();
    for (const load of loads) await failureOf('UNAVAILABLE', async () => (await load).createInstance());
  });

  it('loads on this thread where koffi gives its own threads little stack', async () => {
    const library: { canLoadAsync: boolean } = ortLibrary();
    const before = library.canLoadAsync;
    library.canLoadAsync = false;
    try {
      await withModel(specOf('here', scalarIdentity('FP32')), (instance) => {
        expect(run(instance, [floats('INPUT0', [], 7)]).floats('OUTPUT0')).toEqual([7]);
      });
      await failureOf('INVALID_ARGUMENT', () => backend.load(specOf('here', 'no model')));
    } finally {
      library.canLoadAsync = before;
    }
  });

  it('closes with its models, and another backend opens afterwards', async () => {
    for (let i = 0; i < 3; i++) {
      const other = await createBackend({ settings: { intra_op_thread_count: '1' } });
      const instance = await (await other.load(specOf('again', addSub('FP32')))).createInstance();
      await other.close();
      await failureOf('UNAVAILABLE', () => instance.execute([], new ModelRun()));
      await failureOf('UNAVAILABLE', () => other.load(specOf('again', addSub('FP32'))));
    }
  });
});
