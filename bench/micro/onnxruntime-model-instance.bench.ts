/**
 * A run through `OnnxRuntimeModelInstance.execute` beside the same model in onnxruntime-node's own binding.
 * Needs a built tree: `npm run build && node dist/bench/micro/onnxruntime-model-instance.bench.js`.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bench } from 'tinybench';
import type { ModelInstance, OutputSink } from '../../backends/api/backend.ts';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { createBackend } from '../../backends/onnxruntime/index.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import type { Datatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { addSub, identity, mlp } from '../models/test-models.ts';

/** Hands out the same memory in every run, as the slots of a ring do. */
class SlotSink implements OutputSink {
  readonly #memory = Buffer.allocUnsafeSlow(1 << 20);
  #used = 0;

  allocate(_name: string, _datatype: Datatype, _shape: readonly number[], byteLength: number): Uint8Array {
    const start = this.#used;
    this.#used = start + Math.ceil(byteLength / 64) * 64;
    return this.#memory.subarray(start, start + byteLength);
  }

  inferStarted(): void {}

  inferEnded(): void {}

  reset(): void {
    this.#used = 0;
  }
}

interface Binding {
  readonly Tensor: new (type: 'float32' | 'string', data: Float32Array | string[], dims: readonly number[]) => unknown;
  readonly InferenceSession: {
    create(path: string, options: object): Promise<{ run(feeds: Record<string, unknown>): Promise<object> }>;
  };
}

// Loaded by hand: its type declarations ask for those of browsers.
const binding: Binding = createRequire(import.meta.url)('onnxruntime-node');
const directory = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
const backend = await createBackend({ settings: {} });
const cases: [name: string, execute: () => void, binding: () => Promise<void>][] = [];
const config = { parameters: {}, instanceGroup: [], optimization: null, input: [], output: [], maxBatchSize: 0 };

function stable(bytes: Uint8Array): Uint8Array {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

async function addCase(name: string, onnx: Uint8Array, inputs: readonly Tensor[]): Promise<void> {
  const modelPath = join(directory, `${name.replaceAll(/\W/g, '_')}.onnx`);
  writeFileSync(modelPath, onnx);
  const model = await backend.load({ name, version: 1, modelPath, config: config as unknown as ModelConfig });
  const instance: ModelInstance = await model.createInstance();
  const sink = new SlotSink();
  const execute = (): void => {
    sink.reset();
    instance.execute(inputs, sink);
  };
  const session = await binding.InferenceSession.create(modelPath, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const feeds: Record<string, unknown> = {};
  for (const { name: input, datatype, shape, data } of inputs) {
    feeds[input] =
      datatype === 'BYTES'
        ? new binding.Tensor('string', new Array(shape[0]! * shape[1]!).fill('12345'), shape)
        : new binding.Tensor('float32', new Float32Array(data.buffer, data.byteOffset, data.length / 4), shape);
  }
  cases.push([name, execute, async () => void (await session.run(feeds))]);
}

function us(milliseconds: number): number {
  return Math.round(milliseconds * 100_000) / 100;
}

function floats(name: string, rows: number, columns: number): Tensor {
  const data = stable(new Uint8Array(new Float32Array(rows * columns).fill(1.5).buffer));
  return { name, datatype: 'FP32', shape: [rows, columns], data };
}

await addCase('add_sub [1,16]', addSub('FP32'), [floats('INPUT0', 1, 16), floats('INPUT1', 1, 16)]);
await addCase('mlp 64-256-16 [1,64]', mlp(64, 256, 16), [floats('INPUT0', 1, 64)]);
await addCase('mlp 784-1024-10 [8,784]', mlp(784, 1024, 10), [floats('INPUT0', 8, 784)]);
await addCase('identity [150,1000]', identity('FP32', ['batch', 1000]), [floats('INPUT0', 150, 1000)]);
const strings = stable(encodeBytes(new Array(256).fill('12345')));
await addCase('identity strings [16,16]', identity('BYTES'), [{ name: 'INPUT0', datatype: 'BYTES', shape: [16, 16], data: strings }]);

// Side by side, three times over: on a shared machine only figures of the same seconds compare.
for (let round = 1; round <= 3; round++) {
  const bench = new Bench({ time: 600, warmupTime: 200 });
  for (const [name, execute, runBinding] of cases) bench.add(`${name}: execute`, execute).add(`${name}: binding`, runBinding);
  await bench.run();
  console.log(`round ${round}, ${cpus().length} x ${cpus()[0]?.model ?? 'cpu'}, node ${process.version}`);
  console.table(
    bench.tasks.map(({ name, result }) => {
      if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`);
      const { p50, p99, mean, samplesCount } = result.latency;
      return { name, 'p50 us': us(p50), 'p99 us': us(p99), 'mean us': us(mean), runs: samplesCount };
    }),
  );
}
await backend.close();
rmSync(directory, { recursive: true });
