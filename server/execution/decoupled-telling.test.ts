import { describe, expect, it } from 'vitest';
import type { DecoupledModelInstance, DecoupledRequest, EngineStatistics, ModelMetadata } from '../../backends/api/backend.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { EngineNumbers } from '../metrics/engine-numbers.ts';
import { HostFault } from './check-response.ts';
import { ProcessDecoupledChannel } from './decoupled-channel.ts';
import { TestExecution } from './decoupled-execution.case.ts';
import type { DecoupledChannel } from './decoupled-execution.ts';
import { DecoupledLink } from './decoupled-link.ts';
import { DecoupledWorker } from './decoupled-worker.ts';
import { FrameReader } from './frame-reader.ts';
import { InlineDecoupledChannel } from './inline-decoupled-channel.ts';
import { FRAME_KIND } from './messages.ts';
import { ModelTensors } from './model-tensors.ts';

/** What an instance tells beside its responses, over both ends of the boundary with real frames between them, or inline. */

const metadata: ModelMetadata = {
  inputs: [],
  outputs: [
    { name: 'A', datatype: 'INT32', shape: [1], optional: false },
    { name: 'B', datatype: 'INT32', shape: [-1], optional: true },
    { name: 'C', datatype: 'BYTES', shape: [1], optional: true },
    { name: 'D', datatype: 'INT32', shape: [1], optional: false },
  ],
};

const number = (name: string, value: number): Tensor => ({
  name,
  datatype: 'INT32',
  shape: [1],
  data: new Uint8Array(Int32Array.of(value).buffer),
});
const text = (name: string, value: string): Tensor => ({ name, datatype: 'BYTES', shape: [1], data: encodeBytes([value]) });
const told: EngineStatistics = {
  promptTokens: 0,
  cachedPromptTokens: 0,
  generatedTokens: 0,
  steps: 0,
  runningSequences: 0,
  kvTokensUsed: 0,
  kvTokensTotal: 4096,
};

interface Connection {
  readonly channel: DecoupledChannel;
  readonly link: DecoupledLink | null;
  /** Kinds of frames that came from the host. */
  readonly kinds: number[];
}

function connect(instance: DecoupledModelInstance, progressMs = 0, model = metadata): Connection {
  const kinds: number[] = [];
  const fromHost = new FrameReader((kind, payload) => link.onFrame(kind, payload));
  const send = (frame: Uint8Array): void => {
    kinds.push(frame[4]!);
    setImmediate(() => fromHost.push(Buffer.from(frame)));
  };
  const worker = new DecoupledWorker(send, false, progressMs);
  const toHost = new FrameReader((kind, payload) => worker.onFrame(kind, payload));
  const link = new DecoupledLink(1 << 20, {
    onFault: (reason) => {
      throw new Error(reason);
    },
    onBusy: () => {},
    sendFrame: (chunks) => setImmediate(() => toHost.push(Buffer.concat(chunks))),
  });
  worker.instances.set(1, { instance, metadata: model, modelName: 'm' });
  const created = { instance: 1, maxRequests: 0, statistics: instance.statistics?.() };
  const channel = new ProcessDecoupledChannel(
    link,
    new ModelTensors('m:1', model),
    created,
    () => {},
    async () => {},
  );
  return { channel, link, kinds };
}

function inline(instance: DecoupledModelInstance, model = metadata): Connection {
  const hosted = { instance, metadata: model, modelName: 'm' };
  const channel = new InlineDecoupledChannel(
    hosted,
    new ModelTensors('m:1', model),
    () => {},
    () => {},
  );
  return { channel, link: null, kinds: [] };
}

function instanceOf(
  infer: (request: DecoupledRequest) => AsyncIterable<readonly Tensor[]>,
  statistics?: () => EngineStatistics,
): DecoupledModelInstance {
  const plain = { infer, dispose: async () => {} };
  return statistics === undefined ? plain : { ...plain, statistics };
}

class KeptExecution extends TestExecution {
  readonly named: string[] = [];
  readonly counted: number[][] = [];

  constructor() {
    super([]);
  }

  override respond(outputs: readonly Tensor[]): void {
    this.named.push(outputs.map(({ name, data }) => `${name}=${data.length}`).join(' '));
    super.respond([]);
  }

  used(inputTokens: number, outputTokens: number): void {
    expect(this.endCount).toBe(0);
    this.counted.push([inputTokens, outputTokens]);
  }
}

describe.each([
  ['a process', connect],
  ['the gateway itself', inline],
] as const)('in %s, an optional output', (_where, open) => {
  async function answer(...responses: (readonly Tensor[])[]): Promise<{ named: string[]; error: unknown }> {
    const { channel } = open(
      instanceOf(async function* () {
        yield* responses;
      }),
    );
    const execution = new KeptExecution();
    const error = await execution.start(channel).ended;
    return { named: execution.named, error };
  }

  it('may be missing, alone or with others, in any response', async () => {
    const given = await answer(
      [number('A', 1), number('D', 4)],
      [number('A', 1), text('C', 'ü'), number('D', 4)],
      [number('A', 1), { ...number('B', 0), shape: [0], data: new Uint8Array(0) }, number('D', 4)],
      [number('A', 1), number('B', 2), text('C', ''), number('D', 4)],
    );
    expect(given).toEqual({ named: ['A=4 D=4', 'A=4 C=6 D=4', 'A=4 B=0 D=4', 'A=4 B=4 C=4 D=4'], error: null });
  });

  it.each([
    ['a required output is missing', [number('A', 1), number('B', 2)], "gave no output 'D'"],
    ['the first is missing', [number('B', 2), number('D', 4)], "gave output 'B' where 'A' is next"],
    ['there is nothing', [], "gave no output 'A'"],
    ['they are in another order', [number('A', 1), text('C', ''), number('B', 2), number('D', 4)], "gave output 'B' where 'D' is next"],
    ['one comes twice', [number('A', 1), number('A', 1), number('D', 4)], "gave output 'A' where 'D' is next"],
    ['one comes after the last', [number('A', 1), number('D', 4), number('B', 2)], "gave output 'B', which is not its next one"],
    ['its datatype is another', [number('A', 1), number('C', 1), number('D', 4)], "gave output 'C' as INT32"],
  ])('does not excuse it when %s', async (_what, outputs, message) => {
    expect(await answer(outputs)).toMatchObject({
      named: [],
      error: { code: 'INTERNAL', message: expect.stringContaining(message) },
    });
  });
});

describe('a model that says how it gets on', () => {
  it('is heard no more often than it is asked for, and not after its end', async () => {
    let kept: DecoupledRequest | null = null;
    const { channel, kinds } = connect(
      instanceOf(async function* (request) {
        kept = request;
        const startMs = performance.now();
        while (performance.now() - startMs < 110) {
          for (let i = 0; i < 1000; i++) request.progress!();
          await new Promise((resolve) => setImmediate(resolve));
        }
        yield [number('A', 1), number('D', 4)];
      }),
      20,
    );
    const execution = new KeptExecution();
    expect(await execution.start(channel).ended).toBeNull();
    const count = kinds.filter((kind) => kind === FRAME_KIND.progress).length;
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThanOrEqual(6);
    kept!.progress!();
    expect(kinds.at(-1)).toBe(FRAME_KIND.ended);
  });

  it('restarts the time of its request, unless that was cancelled', async () => {
    const ends: (() => void)[] = [];
    const { channel, link } = connect(
      instanceOf(async function* (request) {
        const timer = setInterval(() => request.progress!(), 5);
        await new Promise<void>((resolve) => ends.push(resolve));
        clearInterval(timer);
        yield [number('A', 1), number('D', 4)];
      }),
      10,
    );
    const execution = new KeptExecution().start(channel);
    const startedMs = link!.headSinceMs;
    while (link!.headSinceMs === startedMs) await new Promise((resolve) => setImmediate(resolve));
    expect(link!.headSinceMs).toBeGreaterThan(startedMs + 5);
    execution.run.cancel();
    const cancelledMs = link!.headSinceMs;
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(link!.headSinceMs).toBe(cancelledMs);
    for (const end of ends) end();
    while (channel.inflightCount > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(execution.stoppedCount).toBe(1);
  });

  it.each([
    ['progress of a request that there is not', FRAME_KIND.progress, Buffer.alloc(8)],
    ['progress without a request', FRAME_KIND.progress, Buffer.alloc(4)],
    ['statistics that are no JSON', FRAME_KIND.statistics, Buffer.from('x')],
    ['statistics of no instance', FRAME_KIND.statistics, Buffer.from('{"statistics":{}}')],
    ['no statistics', FRAME_KIND.statistics, Buffer.from('{"instance":1}')],
    ['a negative number', FRAME_KIND.statistics, Buffer.from('{"instance":1,"statistics":{"steps":-1}}')],
    ['a fraction', FRAME_KIND.statistics, Buffer.from('{"instance":1,"statistics":{"kvTokensUsed":0.5}}')],
    ['a text as a number', FRAME_KIND.statistics, Buffer.from('{"instance":1,"statistics":{"steps":"1"}}')],
  ])('is ended for %s', (_what, kind, payload) => {
    const { link } = connect(instanceOf(async function* () {}));
    expect(() => link!.onFrame(kind, payload)).toThrow(HostFault);
  });

  it('may say numbers that nobody knows, and of instances that have left', () => {
    const { link } = connect(instanceOf(async function* () {}));
    link!.onFrame(FRAME_KIND.statistics, Buffer.from('{"instance":1,"statistics":{"novel":"x"}}'));
    link!.onFrame(FRAME_KIND.statistics, Buffer.from('{"instance":7,"statistics":{"steps":1}}'));
  });

  it('is not believed a count of tokens that cannot be', () => {
    const { channel, link } = connect(instanceOf(async function* () {}));
    new KeptExecution().start(channel);
    const payload = Buffer.from(new Float64Array([1, 0, -1, 0, 0, 0, 0, 0]).buffer);
    expect(() => link!.onFrame(FRAME_KIND.ended, payload)).toThrow('counted -1 tokens');
  });
});

describe.each([
  ['a process', connect],
  ['the gateway itself', inline],
] as const)('in %s, an instance that counts', (_where, open) => {
  it('has told its numbers, and the length of the text, when a request ends', async () => {
    const counts = { ...told };
    const { channel } = open(
      instanceOf(
        async function* (request) {
          counts.runningSequences++;
          counts.promptTokens += 7;
          request.used!(7, 0);
          for (let i = 1; i <= 3; i++) {
            counts.steps++;
            counts.generatedTokens++;
            request.used!(7, i);
            yield [number('A', i), number('D', i)];
          }
          counts.runningSequences--;
          counts.kvTokensUsed = 10;
        },
        () => counts,
      ),
    );
    const sum = new EngineNumbers();
    channel.numbers!.join(sum);
    for (let i = 1; i <= 2; i++) {
      const execution = new KeptExecution();
      expect(await execution.start(channel).ended).toBeNull();
      expect(execution.counted).toEqual([[7, 3]]);
      expect(sum).toMatchObject({
        isTold: true,
        promptTokens: 7 * i,
        generatedTokens: 3 * i,
        steps: 3 * i,
        runningSequences: 0,
        kvTokensUsed: 10,
      });
    }
    await channel.release();
    expect(sum).toMatchObject({ promptTokens: 14, steps: 6, kvTokensUsed: 0, kvTokensTotal: 0 });
  });

  it('tells nothing of requests whose tokens nobody counted', async () => {
    const { channel, kinds } = open(
      instanceOf(async function* () {
        yield [number('A', 1), number('D', 1)];
      }),
    );
    const execution = new KeptExecution();
    await execution.start(channel).ended;
    expect(execution.counted).toEqual([]);
    expect(kinds).not.toContain(FRAME_KIND.statistics);
  });
});

describe('the numbers of an instance', () => {
  it('are told while a request runs, and once more after a cancelled one', async () => {
    const counts = { ...told };
    const { channel, kinds } = connect(
      instanceOf(
        async function* ({ signal }) {
          await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
        },
        () => ({ ...counts, runningSequences: 1, steps: counts.steps++ }),
      ),
    );
    const sum = new EngineNumbers();
    channel.numbers!.join(sum);
    expect(sum).toMatchObject({ isTold: true, kvTokensTotal: 4096, runningSequences: 1 });
    const execution = new KeptExecution().start(channel);
    const frames = (): number => kinds.filter((kind) => kind === FRAME_KIND.statistics).length;
    while (frames() < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    execution.run.cancel();
    while (channel.inflightCount > 0) await new Promise((resolve) => setImmediate(resolve));
    const atEnd = frames();
    while (frames() === atEnd) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(kinds.at(-1)).toBe(FRAME_KIND.statistics);
    expect(kinds.every((kind) => kind === FRAME_KIND.statistics || kind === FRAME_KIND.ended)).toBe(true);
  });
});
