import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { BatchInput, ExecutionBatch, ExecutionHost, InstanceChannel } from '../../server/execution/execution-host.ts';

export interface RoundTripTimes {
  readonly p50Us: number;
  readonly p99Us: number;
}

/** Batches of add_sub through one instance, timed. */
export class RoundTrips {
  readonly directory: string;
  readonly #channel: InstanceChannel;
  #onCapacity: () => void = () => {};

  static async create(host: ExecutionHost, model: Uint8Array, backend = 'onnxruntime', file = 'model.onnx'): Promise<RoundTrips> {
    const directory = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
    const modelPath = join(directory, file);
    writeFileSync(modelPath, model);
    const config = {
      name: 'model',
      backend,
      platform: '',
      input: [],
      output: [],
      instanceGroup: [],
      parameters: {},
      optimization: null,
    };
    const loaded = await host.load({ name: 'model', version: 1, modelPath, config: config as unknown as ModelConfig });
    let trips: RoundTrips | null = null;
    const channel = await loaded.createInstance(() => trips?.onCapacity());
    trips = new RoundTrips(directory, channel);
    return trips;
  }

  private constructor(directory: string, channel: InstanceChannel) {
    this.directory = directory;
    this.#channel = channel;
  }

  onCapacity(): void {
    this.#onCapacity();
  }

  /** The next batch is given when the one before is answered. */
  async oneAtATime(rows: number, count: number): Promise<RoundTripTimes> {
    this.#onCapacity = () => {};
    await this.#chain(rows, Math.ceil(count / 10));
    return times(await this.#chain(rows, count));
  }

  /** A batch every 2 ms: everybody is asleep when it comes. */
  async spaced(rows: number, count: number): Promise<RoundTripTimes> {
    const micros: number[] = [];
    for (let i = 0; i < count; i++) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      micros.push(...(await this.#chain(rows, 1)));
    }
    return times(micros);
  }

  /** Batches a second with as many in flight as the instance takes. */
  async twoInFlight(rows: number, count: number): Promise<number> {
    const startMs = performance.now();
    let left = count;
    let answered = 0;
    await new Promise<void>((resolve, reject) => {
      const done = (): void => {
        answered++;
        if (answered === count) resolve();
      };
      const batch = createBatch(rows, done, reject);
      this.#onCapacity = () => {
        while (left > 0 && this.#channel.hasCapacity && this.#channel.execute(batch)) {
          left--;
          // An inline instance has capacity again at once; the loop should still turn.
          if (this.#channel.inflightCount === 0) break;
        }
      };
      this.#onCapacity();
    });
    this.#onCapacity = () => {};
    return count / ((performance.now() - startMs) / 1000);
  }

  #chain(rows: number, count: number): Promise<number[]> {
    const micros: number[] = [];
    return new Promise((resolve, reject) => {
      let startMs = 0;
      const next = (): void => {
        startMs = performance.now();
        this.#channel.execute(batch);
      };
      const batch = createBatch(
        rows,
        () => {
          micros.push((performance.now() - startMs) * 1000);
          if (micros.length === count) resolve(micros);
          else setImmediate(next);
        },
        reject,
      );
      next();
    });
  }
}

function createBatch(rows: number, onDone: () => void, onError: (error: Error) => void): ExecutionBatch {
  const byteLength = rows * 64;
  const data = new Uint8Array(new Float32Array(rows * 16).fill(1).buffer);
  const inputs: BatchInput[] = ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'FP32', shape: [rows, 16], byteLength }));
  return {
    inputs,
    writeInput: (_, target) => target.set(data),
    complete: (outputs: readonly Tensor[]) => {
      if (outputs.length !== 2 || outputs[0]!.data.length !== byteLength) onError(new Error('a wrong answer'));
      else onDone();
    },
    fail: onError,
  };
}

function times(micros: number[]): RoundTripTimes {
  const sorted = Float64Array.from(micros).sort();
  return { p50Us: sorted[Math.floor(sorted.length * 0.5)]!, p99Us: sorted[Math.floor(sorted.length * 0.99)]! };
}
