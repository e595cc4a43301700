import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { BatchRequest, ExecutionBatch, ExecutionTiming, InstanceChannel } from './execution-host.ts';
import type { HostCall, HostCallSink } from './host-calls.ts';
import { MAX_CALLS_PER_HOST } from './host-calls.ts';
import type { ProcessHostOptions } from './host-options.ts';
import { ProcessHost } from './process-host.ts';

const lyingHost = fileURLToPath(new URL('./fixtures/lying-code-host.mjs', import.meta.url));
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()));
});

async function instanceOf(
  name: string,
  options: Partial<ProcessHostOptions> = {},
): Promise<{ host: ProcessHost; channel: InstanceChannel }> {
  const host = await ProcessHost.start({ runsCode: true, entry: lyingHost, memoryBytes: 1024 * 1024, ...options });
  stops.push(() => host.stop());
  const config = { backend: 'javascript', parameters: {}, input: [], output: [] } as unknown as ModelConfig;
  const loaded = await host.load({ name, version: 1, modelPath: '/nowhere/1/model.mjs', config });
  return { host, channel: await loaded.createInstance(() => {}) };
}

type Result = readonly Tensor[] | InferenceError;

class TestBatch implements ExecutionBatch {
  readonly inputs: ExecutionBatch['inputs'] = [{ name: 'IN', datatype: 'INT32', shape: [1], byteLength: 4 }];
  readonly requests: readonly BatchRequest[] = [
    {
      id: 'a',
      parameters: {},
      priority: 0,
      sequence: null,
      boundInputs: [{ name: 'IN', datatype: 'INT32', shape: [1], data: new Uint8Array(4) }],
      outputs: [],
      batchSize: 1,
      deadlineNs: Number.POSITIVE_INFINITY,
      isDone: false,
      depth: 0,
    },
  ];
  readonly ended: Promise<readonly Result[] | InferenceError>;
  timing: ExecutionTiming | null = null;
  endCount = 0;
  #resolve!: (end: readonly Result[] | InferenceError) => void;

  constructor() {
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  writeInput(): void {
    throw new Error('requests are kept apart');
  }

  complete(): void {
    throw new Error('requests are kept apart');
  }

  completeEach(results: readonly Result[], timing: ExecutionTiming): void {
    this.endCount++;
    this.timing = timing;
    this.#resolve(results);
  }

  fail(error: InferenceError): void {
    this.endCount++;
    this.#resolve(error);
  }
}

describe('what a host says of a batch is not taken on trust', () => {
  it.each([
    ['otherBatch', /answered a batch that is not in flight/],
    ['noBatch', /answered a batch that is not in flight/],
    ['tooMany', /did not answer each of the 1 requests/],
    ['tooFew', /did not answer each of the 1 requests/],
    ['noResults', /did not answer each of the 1 requests/],
    ['noOutput', /sent 0 outputs, the model has 1/],
    ['otherOutput', /sent output 'TUO' out of order/],
    ['otherType', /as FP32, its metadata says INT32/],
    ['otherRank', /the shape \[1,1\]/],
    ['otherRows', /2 rows for a request of 1/],
    ['outside', /outside its frame/],
    ['negative', /impossible shape/],
    ['noCode', /without code or text/],
    ['unknownCode', /without code or text/],
    ['noText', /without code or text/],
    ['response', /frame of kind 22/],
    ['emptyResults', /header that is longer than its frame/],
    ['longHeader', /header that is longer than its frame/],
    ['callWithoutId', /call without a number of its own/],
    ['callTwice', /call without a number of its own/],
    ['callWithBadInputs', /outside its frame/],
    ['logNonsense', /log message without level or text/],
  ])('%s ends the host', async (name, message) => {
    // A call that is refused has ended, and its number is free again.
    const calls = { start: () => ({ cancel: () => {}, pause: () => {}, resume: () => {} }) };
    const { host, channel } = await instanceOf(name, { calls });
    const batch = new TestBatch();
    expect(channel.execute(batch)).toBe(true);
    const error = await batch.ended;
    expect(error).toBeInstanceOf(InferenceError);
    expect((error as InferenceError).message).toMatch(message);
    expect(await host.ended).toMatchObject({ blamed: `${name}:1`, expected: false });
    expect([batch.endCount, channel.isAlive, channel.inflightCount]).toEqual([1, false, 0]);
  });

  it.each(['honest', 'nonsenseTimes', 'waitsForOther', 'creditForNoCall', 'callForNobody', 'logs'])('%s does no harm', async (name) => {
    const { host, channel } = await instanceOf(name);
    for (let i = 0; i < 3; i++) {
      const batch = new TestBatch();
      expect(channel.execute(batch)).toBe(true);
      const [outputs] = (await batch.ended) as readonly Tensor[][];
      expect(outputs).toMatchObject([{ name: 'OUT', shape: [1] }]);
      expect(batch.timing!.inferNs).toBeGreaterThanOrEqual(0);
      expect(batch.timing!.outputNs).toBeGreaterThanOrEqual(0);
      expect([channel.hasCapacity, channel.inflightCount, host.isAlive]).toEqual([true, 0, true]);
    }
  });

  it('answers that come twice end the host, and the batch ends once', async () => {
    const { host, channel } = await instanceOf('twice');
    const batch = new TestBatch();
    channel.execute(batch);
    await host.ended;
    expect(batch.endCount).toBe(1);
  });
});

describe('calls', () => {
  it('are bounded, and end with the host', async () => {
    const started: { call: HostCall; cancelled: boolean }[] = [];
    const calls = {
      start: (call: HostCall, sink: HostCallSink) => {
        const one = { call, cancelled: false };
        started.push(one);
        const cancel = (): void => {
          one.cancelled = true;
          sink.fail(new InferenceError('CANCELLED', 'cancelled'));
        };
        return { cancel, pause: () => {}, resume: () => {} };
      },
    };
    const { host, channel } = await instanceOf('callsMuch', { calls });
    const batch = new TestBatch();
    channel.execute(batch);
    await batch.ended;
    expect(started).toHaveLength(MAX_CALLS_PER_HOST);
    expect(started[0]!.call).toMatchObject({ modelName: 'other', depth: 1, deadlineNs: Number.POSITIVE_INFINITY });
    await host.stop();
    expect(started.every(({ cancelled }) => cancelled)).toBe(true);
  });
});
