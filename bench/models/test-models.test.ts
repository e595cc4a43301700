import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Datatype } from '../../proto/datatype.ts';
import { SeededRandom } from '../statistics/seeded-random.ts';
import { encodeOnnxModel } from './onnx-model.ts';
import * as models from './test-models.ts';

// Runs are meant to fail here: only what ends the process is worth a line on the terminal.
const options: InferenceSession.SessionOptions = { intraOpNumThreads: 1, logSeverityLevel: 4 };

type NumericDatatype = Exclude<Datatype, 'BF16' | 'BYTES'>;
type NumericArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array;
type NumericArrayConstructor = new (buffer: ArrayBuffer) => NumericArray;

const numericTypes = {
  BOOL: ['bool', Uint8Array],
  UINT8: ['uint8', Uint8Array],
  UINT16: ['uint16', Uint16Array],
  UINT32: ['uint32', Uint32Array],
  UINT64: ['uint64', BigUint64Array],
  INT8: ['int8', Int8Array],
  INT16: ['int16', Int16Array],
  INT32: ['int32', Int32Array],
  INT64: ['int64', BigInt64Array],
  FP16: ['float16', Uint16Array],
  FP32: ['float32', Float32Array],
  FP64: ['float64', Float64Array],
} as const satisfies Record<NumericDatatype, readonly [Tensor.Type, NumericArrayConstructor]>;
const numericDatatypes = Object.keys(numericTypes) as NumericDatatype[];

/**
 * The binding takes no half floats, in either form, where the runtime has Float16Array (Node 24). The server does not use the binding; its own tests have
 * every datatype on every Node.
 */
const canBind = (datatype: NumericDatatype): boolean => datatype !== 'FP16' || !('Float16Array' in globalThis);
const boundDatatypes = numericDatatypes.filter(canBind);

/** A tensor whose bytes are `content`. */
function tensorOf(datatype: NumericDatatype, content: Uint8Array, dims: readonly number[]): Tensor {
  const [type, TypedArray] = numericTypes[datatype];
  return new Tensor(type, new TypedArray(Uint8Array.from(content).buffer) as Float32Array, dims);
}

function bytesOf(tensor: Tensor): Uint8Array {
  return bytesUnder(tensor.data as Float32Array);
}

function bytesUnder(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Any bit pattern is a value, not-a-numbers with payloads included; only a BOOL is nothing but 0 or 1. */
function randomBytes(datatype: NumericDatatype, elements: number): Uint8Array {
  const random = new SeededRandom(elements);
  const bytes = elements * numericTypes[datatype][1].BYTES_PER_ELEMENT;
  return Uint8Array.from({ length: bytes }, () => random.below(datatype === 'BOOL' ? 2 : 256));
}

const float32 = (dims: readonly number[], ...values: number[]): Tensor => new Tensor('float32', Float32Array.from(values), dims);
const int64 = (dims: readonly number[], ...values: number[]): Tensor => new Tensor('int64', BigInt64Array.from(values, BigInt), dims);

async function run(model: Uint8Array, feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  const session = await InferenceSession.create(model, options);
  return (await session.run(feeds)) as Record<string, Tensor>;
}

describe('identity', () => {
  test.each(boundDatatypes)('%s comes back bit for bit', async (datatype) => {
    const content = randomBytes(datatype, 48);
    const { OUTPUT0 } = await run(models.identity(datatype), { INPUT0: tensorOf(datatype, content, [3, 16]) });
    expect(OUTPUT0!.dims).toEqual([3, 16]);
    expect(OUTPUT0!.type).toBe(numericTypes[datatype][0]);
    expect(bytesOf(OUTPUT0!)).toEqual(content);
  });

  test.each(boundDatatypes)('a scalar %s comes back bit for bit', async (datatype) => {
    const content = randomBytes(datatype, 1);
    const { OUTPUT0 } = await run(models.scalarIdentity(datatype), { INPUT0: tensorOf(datatype, content, []) });
    expect(OUTPUT0!.dims).toEqual([]);
    expect(bytesOf(OUTPUT0!)).toEqual(content);
  });

  test('BYTES come back as they are', async () => {
    const texts = ['', 'a', 'grüß dich', '\u{1f419}'];
    const { OUTPUT0 } = await run(models.identity('BYTES', [-1, 2]), { INPUT0: new Tensor('string', texts, [2, 2]) });
    expect(OUTPUT0!.dims).toEqual([2, 2]);
    expect(OUTPUT0!.data).toEqual(texts);
  });

  test('any shape may be asked for, an empty tensor too', async () => {
    const { OUTPUT0 } = await run(models.identity('FP32', ['rows', 'columns', 2]), { INPUT0: float32([0, 5, 2]) });
    expect(OUTPUT0!.dims).toEqual([0, 5, 2]);
  });

  test.each([models.identity('BF16'), models.scalarIdentity('BF16'), models.addSub('BF16')])(
    'the JavaScript binding refuses BF16 by its number (model %#)',
    async (model) => {
      await expect(InferenceSession.create(model, options)).rejects.toThrow('Unsupported data type: 16');
    },
  );

  test('ONNX Runtime itself has a BF16 Identity', async () => {
    const cast = (input: string, output: string, to: number) => ({
      op: 'Cast',
      inputs: [input],
      outputs: [output],
      attributes: { to: { int: to } },
    });
    const model = encodeOnnxModel({
      name: 'bf16_inside',
      inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: [2] }],
      outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: [2] }],
      nodes: [cast('INPUT0', 'narrow', 16), { op: 'Identity', inputs: ['narrow'], outputs: ['copy'] }, cast('copy', 'OUTPUT0', 1)],
    });
    const session = await InferenceSession.create(model, { ...options, graphOptimizationLevel: 'disabled' });
    const { OUTPUT0 } = await session.run({ INPUT0: float32([2], 1.5, 1 + 2 ** -20) });
    expect(OUTPUT0!.data).toEqual(Float32Array.of(1.5, 1));
  });
});

describe('addSub', () => {
  test.each(numericDatatypes.filter((datatype) => datatype !== 'BOOL' && datatype !== 'FP16'))('%s', async (datatype) => {
    const TypedArray = numericTypes[datatype][1];
    const big = TypedArray === BigInt64Array || TypedArray === BigUint64Array;
    const values = (list: readonly number[]): NumericArray =>
      big ? BigInt64Array.from(list, BigInt) : (TypedArray as Int32ArrayConstructor).from(list);
    const tensor = (list: readonly number[]): Tensor => tensorOf(datatype, bytesUnder(values(list)), [1, 2]);
    const outputs = await run(models.addSub(datatype, ['batch', 2]), { INPUT0: tensor([100, 7]), INPUT1: tensor([27, 3]) });
    expect(Array.from(outputs['OUTPUT0']!.data as Float32Array, Number)).toEqual([127, 10]);
    expect(Array.from(outputs['OUTPUT1']!.data as Float32Array, Number)).toEqual([73, 4]);
  });

  test.each([
    ['UINT8', Uint8Array.of(200, 1), Uint8Array.of(100, 2), [44, 3], [100, 255]],
    ['INT8', Int8Array.of(100, -100), Int8Array.of(100, 100), [-56, 0], [0, 56]],
    ['UINT32', Uint32Array.of(0xffffffff, 0), Uint32Array.of(1, 1), [0, 1], [0xfffffffe, 0xffffffff]],
    ['UINT64', BigUint64Array.of(2n ** 64n - 1n, 0n), BigUint64Array.of(2n, 1n), [1n, 1n], [2n ** 64n - 3n, 2n ** 64n - 1n]],
  ] as const)('%s wraps around', async (datatype, left, right, sum, difference) => {
    const tensor = (data: NumericArray): Tensor => tensorOf(datatype, bytesUnder(data), [1, 2]);
    const outputs = await run(models.addSub(datatype, ['batch', 2]), { INPUT0: tensor(left), INPUT1: tensor(right) });
    expect(Array.from(outputs['OUTPUT0']!.data as Iterable<unknown>)).toEqual(sum);
    expect(Array.from(outputs['OUTPUT1']!.data as Iterable<unknown>)).toEqual(difference);
  });

  test.skipIf(!canBind('FP16'))('FP16', async () => {
    // 1.5 and 0.5 as halves; their sum and difference are 2 and 1.
    const outputs = await run(models.addSub('FP16', [1]), {
      INPUT0: tensorOf('FP16', Uint8Array.of(0x00, 0x3e), [1]),
      INPUT1: tensorOf('FP16', Uint8Array.of(0x00, 0x38), [1]),
    });
    expect(bytesOf(outputs['OUTPUT0']!)).toEqual(Uint8Array.of(0x00, 0x40));
    expect(bytesOf(outputs['OUTPUT1']!)).toEqual(Uint8Array.of(0x00, 0x3c));
  });

  test('BYTES hold plain decimal numbers', async () => {
    const text = (...values: string[]): Tensor => new Tensor('string', values, [1, 3]);
    const outputs = await run(models.addSub('BYTES', ['batch', 3]), {
      INPUT0: text('12', '-1', '1000000'),
      INPUT1: text('5', '1', '1000000'),
    });
    expect(outputs['OUTPUT0']!.data).toEqual(['17', '0', '2000000']);
    expect(outputs['OUTPUT1']!.data).toEqual(['7', '-2', '0']);
    await expect(
      run(models.addSub('BYTES', [1]), { INPUT0: new Tensor('string', ['x'], [1]), INPUT1: new Tensor('string', ['1'], [1]) }),
    ).rejects.toThrow();
  });

  test('BOOL is refused', () => {
    expect(() => models.addSub('BOOL')).toThrow(new RangeError('BOOL values have no sum; use any other datatype'));
  });
});

describe('models that behave badly', () => {
  test('failAtRun fails for an index outside of its table and only then', async () => {
    const session = await InferenceSession.create(models.failAtRun(), options);
    await expect(session.run({ INPUT0: int64([2, 1], 3, 10) })).rejects.toThrow('indices element out of data bounds, idx=10');
    const { OUTPUT0 } = await session.run({ INPUT0: int64([3, 1], 0, 9, -10) });
    expect(OUTPUT0!.data).toEqual(Float32Array.of(0.5, 9.5, 0.5));
  });

  test('memoryBomb takes the memory it is told to and answers with one value', async () => {
    const model = models.memoryBomb();
    expect(model.length).toBeLessThan(1000);
    const before = process.memoryUsage().rss;
    const session = await InferenceSession.create(model, options);
    const { OUTPUT0 } = await session.run({ INPUT0: int64([2], 4096, 8192) });
    expect(OUTPUT0!.dims).toEqual([1]);
    expect(OUTPUT0!.data).toEqual(Float32Array.of(1));
    // The session's arena keeps what it took, so the 128 MiB still show.
    expect(process.memoryUsage().rss - before).toBeGreaterThan(100 * 2 ** 20);
    await session.release();
    // More than any address space holds.
    await expect(run(model, { INPUT0: int64([1], 2 ** 58) })).rejects.toThrow('Failed to allocate memory');
  });

  test('heavy takes longer the more it has to do, and gives back its input', async () => {
    const input = float32([2, 16], ...Array.from({ length: 32 }, (_, index) => index - 7.5));
    const time = async (model: Uint8Array, feeds: Record<string, Tensor>): Promise<number> => {
      const session = await InferenceSession.create(model, options);
      await session.run(feeds);
      const start = performance.now();
      const { OUTPUT0 } = await session.run(feeds);
      const elapsed = performance.now() - start;
      expect(OUTPUT0!.dims).toEqual([2, 16]);
      expect(OUTPUT0!.data).toEqual(input.data);
      return elapsed;
    };
    // A hundred times the work: three times the time is plain even on a busy machine.
    expect(await time(models.heavy(300), { INPUT0: input })).toBeGreaterThan(3 * (await time(models.heavy(3), { INPUT0: input })));
    const model = models.heavyOnRequest();
    const some = { INPUT0: input, INPUT1: int64([2, 1], 1, 3) };
    const many = { INPUT0: input, INPUT1: int64([2, 1], 1, 300) };
    expect(await time(model, many)).toBeGreaterThan(3 * (await time(model, some)));
  });
});

test('deep takes longer for more layers and for more rows, and gives back its input', async () => {
  const time = async (layers: number, rows: number): Promise<number> => {
    const values = Float32Array.from({ length: rows * 256 }, (_, index) => index - 7.5);
    const input = new Tensor('float32', values, [rows, 256]);
    const session = await InferenceSession.create(models.deep(layers), options);
    await session.run({ INPUT0: input });
    const start = performance.now();
    const { OUTPUT0 } = await session.run({ INPUT0: input });
    const elapsed = performance.now() - start;
    expect(OUTPUT0!.dims).toEqual([rows, 256]);
    expect(OUTPUT0!.data).toEqual(input.data);
    return elapsed;
  };
  const base = await time(10, 8);
  expect(await time(1000, 8)).toBeGreaterThan(5 * base);
  expect(await time(10, 512)).toBeGreaterThan(5 * base);
});

describe('other models', () => {
  test('dynamicOutput gives as many values as there are non-zero ones', async () => {
    const session = await InferenceSession.create(models.dynamicOutput(), options);
    const some = await session.run({ INPUT0: float32([4], 0, 1, 0, -2) });
    expect(some['OUTPUT0']!.data).toEqual(BigInt64Array.of(1n, 3n));
    const none = await session.run({ INPUT0: float32([2], 0, 0) });
    expect(none['OUTPUT0']!.dims).toEqual([0]);
  });

  test('mlp has the same weights for the same seed and others for another', async () => {
    expect(models.mlp(3, 4, 2)).toEqual(models.mlp(3, 4, 2, 1));
    expect(models.mlp(3, 4, 2)).not.toEqual(models.mlp(3, 4, 2, 2));
    const one = await run(models.mlp(3, 4, 2), { INPUT0: float32([1, 3], 1, 2, 3) });
    const two = await run(models.mlp(3, 4, 2), { INPUT0: float32([2, 3], -1, 0, 1, 1, 2, 3) });
    expect(two['OUTPUT0']!.dims).toEqual([2, 2]);
    const alone = one['OUTPUT0']!.data as Float32Array;
    const second = (two['OUTPUT0']!.data as Float32Array).slice(2);
    for (const [index, value] of alone.entries()) expect(second[index]).toBeCloseTo(value, 5);
    expect(alone[0]).not.toBe(alone[1]);
  });
});

/** Says so before and after a run of the model file in its first argument, with the second as INPUT0. */
const childProgram = `
  const { InferenceSession, Tensor } = require('onnxruntime-node');
  InferenceSession.create(process.argv[1], { intraOpNumThreads: 1 })
    .then((session) => {
      console.log('running');
      return session.run({ INPUT0: new Tensor('float32', [Number(process.argv[2])], [1, 1]) });
    })
    .then(({ OUTPUT0 }) => console.log('returned ' + OUTPUT0.data[0]));
`;

describe('endlessLoop', () => {
  let child: ChildProcess | undefined;
  let folder: string | undefined;

  afterEach(() => {
    child?.kill('SIGKILL');
    if (folder !== undefined) rmSync(folder, { recursive: true });
  });

  function start(model: Uint8Array, value: number): { readonly ended: Promise<NodeJS.Signals | null>; readonly printed: () => string } {
    folder = mkdtempSync(join(tmpdir(), 'endless-'));
    const file = join(folder, 'model.onnx');
    writeFileSync(file, model);
    const started = spawn(process.execPath, ['-e', childProgram, file, String(value)], { stdio: ['ignore', 'pipe', 'inherit'] });
    child = started;
    let output = '';
    started.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
    return { ended: new Promise((resolve) => started.once('close', (_, signal) => resolve(signal))), printed: () => output };
  }

  test.runIf(process.platform === 'linux').each([
    ['always', 0],
    ['positive', 1],
  ] as const)('%s: a run burns a core until its process is killed, in little memory', async (when, value) => {
    const { ended, printed } = start(models.endlessLoop(when), value);
    await vi.waitFor(() => expect(printed()).toBe('running\n'), { timeout: 20_000 });
    const pid = child!.pid!;
    const from = cpuTicks(pid);
    // Fifty ticks are half a second of work: ten thousand times what a run that ends would need.
    await vi.waitFor(() => expect(cpuTicks(pid)).toBeGreaterThan(from + 50), { timeout: 20_000 });
    expect(Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1])).toBeLessThan(300_000);
    child!.kill('SIGKILL');
    expect(await ended).toBe('SIGKILL');
    expect(printed()).toBe('running\n');
  });

  test('positive: any other value comes back at once', async () => {
    const { ended, printed } = start(models.endlessLoop('positive'), -3);
    expect(await ended).toBe(null);
    expect(printed()).toBe('running\nreturned -3\n');
  });
});

/** Processor time that a process has used, in hundredths of a second. */
function cpuTicks(pid: number): number {
  const afterName = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return Number(afterName[11]) + Number(afterName[12]);
}
