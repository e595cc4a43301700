import { setTimeout as sleep } from 'node:timers/promises';
import { elementCount } from '../../proto/datatype.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type {
  Backend,
  BackendOptions,
  DecoupledModelInstance,
  DecoupledRequest,
  Model,
  ModelInstance,
  ModelMetadata,
  ModelSpec,
} from '../api/backend.ts';

/** What a timer can wait, ms. */
const MAX_DELAY_MS = 0x7fff_ffff;

const metadata: ModelMetadata = {
  inputs: [
    { name: 'IN', datatype: 'INT32', shape: [-1], optional: false },
    { name: 'DELAY', datatype: 'UINT32', shape: [-1], optional: false },
    { name: 'WAIT', datatype: 'UINT32', shape: [1], optional: false },
  ],
  outputs: [
    { name: 'OUT', datatype: 'INT32', shape: [1], optional: false },
    { name: 'IDX', datatype: 'UINT32', shape: [1], optional: false },
  ],
};

/**
 * The example of a decoupled model, as Triton has it by the same name: one response for each element of IN, after as many milliseconds as DELAY says
 * for it, with the element in OUT and its position in IDX; no response where IN is empty. Needs no model file.
 *
 * WAIT: milliseconds from the start before which the request does not end. (In Triton the time for which the backend keeps its caller; nothing waits
 * for that here.)
 */
export function createBackend(_options: BackendOptions): Backend {
  return new RepeatBackend();
}

class RepeatBackend implements Backend {
  readonly name = 'repeat';

  async load(spec: ModelSpec): Promise<Model> {
    const { config, name } = spec;
    if (config.maxBatchSize > 0) {
      throw invalidArgument(
        `model '${name}': max_batch_size: expected 0 with the backend 'repeat', which takes one list of numbers a request, got ${config.maxBatchSize}`,
      );
    }
    return new RepeatModel(name);
  }

  async close(): Promise<void> {}
}

class RepeatModel implements Model {
  readonly metadata: ModelMetadata = metadata;
  readonly #name: string;
  #isUnloaded = false;

  constructor(name: string) {
    this.#name = name;
  }

  async createInstance(): Promise<ModelInstance> {
    throw invalidArgument(
      `model '${this.#name}': the backend 'repeat' answers a request any number of times; set model_transaction_policy { decoupled: true }`,
    );
  }

  async createDecoupledInstance(): Promise<DecoupledModelInstance> {
    if (this.#isUnloaded) throw new InferenceError('UNAVAILABLE', 'the model is unloaded');
    return new RepeatInstance();
  }

  async unload(): Promise<void> {
    this.#isUnloaded = true;
  }
}

class RepeatInstance implements DecoupledModelInstance {
  #isDisposed = false;

  async *infer({ inputs, signal }: DecoupledRequest): AsyncGenerator<readonly Tensor[]> {
    if (this.#isDisposed) throw new InferenceError('UNAVAILABLE', 'the model instance is disposed of');
    const startMs = performance.now();
    const values = numbersOf(inputs, 'IN');
    const delays = numbersOf(inputs, 'DELAY');
    const waits = numbersOf(inputs, 'WAIT');
    if (values.length !== delays.length) {
      throw invalidArgument(`input 'DELAY': expected as many elements as 'IN' has, ${values.length}, got ${delays.length}`);
    }
    if (waits.length !== 1) throw invalidArgument(`input 'WAIT': expected one element, got ${waits.length}`);
    checkDelays('DELAY', delays);
    checkDelays('WAIT', waits);
    for (let index = 0; index < values.length; index++) {
      if (delays[index]! > 0) await sleep(delays[index]!, undefined, { signal });
      yield [
        { name: 'OUT', datatype: 'INT32', shape: [1], data: bytesOf(Int32Array.of(values[index]!)) },
        { name: 'IDX', datatype: 'UINT32', shape: [1], data: bytesOf(Uint32Array.of(index)) },
      ];
    }
    const leftMs = waits[0]! - (performance.now() - startMs);
    if (leftMs > 0) await sleep(leftMs, undefined, { signal });
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true;
  }
}

function checkDelays(name: string, delays: Int32Array | Uint32Array): void {
  for (const ms of delays) if (ms > MAX_DELAY_MS) throw invalidArgument(`input '${name}': expected at most ${MAX_DELAY_MS} ms, got ${ms}`);
}

/** Holds one input against the metadata: the server has done so, a caller of the backend alone need not have. */
function numbersOf(inputs: readonly Tensor[], name: string): Int32Array | Uint32Array {
  const expected = metadata.inputs.find((input) => input.name === name)!;
  const found = inputs.filter((input) => input.name === name);
  if (found.length !== 1) throw invalidArgument(`input '${name}': expected once, got ${found.length} times`);
  const { datatype, shape, data } = found[0]!;
  if (datatype !== expected.datatype) throw invalidArgument(`input '${name}' is ${expected.datatype}, got ${datatype}`);
  const count = elementCount(shape);
  if (shape.length !== 1 || count * 4 !== data.length) {
    throw invalidArgument(
      `input '${name}': expected one dimension and 4 bytes an element, got shape [${shape.join(',')}] and ${data.length} bytes`,
    );
  }
  // A copy: the bytes may begin anywhere.
  const bytes = data.slice();
  return datatype === 'INT32'
    ? new Int32Array(bytes.buffer, bytes.byteOffset, count)
    : new Uint32Array(bytes.buffer, bytes.byteOffset, count);
}

function bytesOf(numbers: Int32Array | Uint32Array): Uint8Array {
  return new Uint8Array(numbers.buffer);
}
