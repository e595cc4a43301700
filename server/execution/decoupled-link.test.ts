import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DecoupledModelInstance, DecoupledRequest, ModelMetadata } from '../../backends/api/backend.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { ProcessDecoupledChannel } from './decoupled-channel.ts';
import { ramp, TestExecution } from './decoupled-execution.case.ts';
import { RESPONSE_WINDOW } from './decoupled-execution.ts';
import { DecoupledLink } from './decoupled-link.ts';
import { DecoupledWorker } from './decoupled-worker.ts';
import { FrameReader } from './frame-reader.ts';
import { ModelTensors } from './model-tensors.ts';

/** Both ends of the boundary in one process, with real frames between them: models that no backend here has. */

const metadata: ModelMetadata = {
  inputs: [{ name: 'COUNT', datatype: 'INT32', shape: [1], optional: false }],
  outputs: [{ name: 'OUT', datatype: 'INT32', shape: [1], optional: false }],
};

function connect(
  infer: DecoupledModelInstance['infer'],
  model = metadata,
): { channel: ProcessDecoupledChannel; sent: number[]; idle: () => Promise<void> } {
  const instance: DecoupledModelInstance = { infer, dispose: async () => {} };
  const sent: number[] = [];
  let told = (): void => {};
  const fromHost = new FrameReader((kind, payload) => link.onFrame(kind, payload));
  const worker = new DecoupledWorker((frame) => {
    sent.push(frame[4]!);
    setImmediate(() => fromHost.push(frame));
  });
  const toHost = new FrameReader((kind, payload) => worker.onFrame(kind, payload));
  const link = new DecoupledLink(1 << 20, {
    onFault: (reason) => {
      throw new Error(reason);
    },
    onBusy: () => {},
    sendFrame: (chunks) => setImmediate(() => toHost.push(Buffer.concat(chunks))),
  });
  worker.instances.set(1, { instance, metadata: model, modelName: 'm' });
  const channel = new ProcessDecoupledChannel(
    link,
    new ModelTensors('m:1', model),
    { instance: 1, maxRequests: 0 },
    () => told(),
    async () => {},
  );
  const idle = async (): Promise<void> => {
    while (channel.inflightCount > 0) {
      await new Promise<void>((resolve) => {
        told = resolve;
      });
    }
  };
  return { channel, sent, idle };
}

function request(count: number, parameters: TestExecution['parameters'] = {}): TestExecution {
  return new TestExecution(
    [{ name: 'COUNT', datatype: 'INT32', shape: [1], data: new Uint8Array(Int32Array.of(count).buffer) }],
    parameters,
  );
}

const out = (value: number): readonly Tensor[] => [
  { name: 'OUT', datatype: 'INT32', shape: [1], data: new Uint8Array(Int32Array.of(value).buffer) },
];
const countOf = ({ inputs }: DecoupledRequest): number =>
  new DataView(inputs[0]!.data.buffer, inputs[0]!.data.byteOffset).getInt32(0, true);

/** Counts up; negative: fails after as many. */
async function* counting(asked: DecoupledRequest): AsyncGenerator<readonly Tensor[]> {
  const count = countOf(asked);
  for (let i = 0; i < Math.abs(count); i++) yield out(i);
  if (count < 0) throw new InferenceError('UNAVAILABLE', `gave up after ${-count}`);
}

describe('requests of a decoupled model across the boundary', () => {
  it('each get their responses in order and one end, whatever their callers do', async () => {
    const plan = fc.record({
      count: fc.integer({ min: -60, max: 60 }),
      pauseAt: fc.integer({ min: 1, max: 90 }),
      cancelAt: fc.integer({ min: 1, max: 180 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(plan, { minLength: 1, maxLength: 20 }), async (plans) => {
        const { channel, idle } = connect(counting);
        const executions = plans.map(({ count, pauseAt, cancelAt }) => {
          const execution = request(count);
          execution.onResponse = () => {
            const given = execution.responses.length;
            if (given === cancelAt) execution.run.cancel();
            if (given !== pauseAt) return;
            execution.isPaused = true;
            setTimeout(() => {
              expect(execution.responses.length).toBeLessThanOrEqual(pauseAt + RESPONSE_WINDOW);
              execution.isPaused = false;
              execution.run.resume();
            }, 2);
          };
          return execution.start(channel);
        });
        await idle();
        for (const [i, { count, cancelAt }] of plans.entries()) {
          const { responses, endCount, ended } = executions[i]!;
          const isCancelled = cancelAt <= Math.abs(count);
          expect(responses.map(([value]) => value)).toEqual(ramp(isCancelled ? cancelAt : Math.abs(count)));
          expect(endCount).toBe(isCancelled ? 0 : 1);
          if (isCancelled) continue;
          if (count >= 0) expect(await ended).toBeNull();
          else expect(await ended).toMatchObject({ code: 'UNAVAILABLE', message: `gave up after ${-count}`, failureReason: 'BACKEND' });
        }
      }),
      { numRuns: 40 },
    );
  });

  it('asks for no response beyond the window of a paused caller', async () => {
    let asked = 0;
    const { channel, idle } = connect(async function* () {
      for (;;) {
        asked++;
        yield out(asked);
      }
    });
    const execution = request(0);
    execution.isPaused = true;
    execution.start(channel);
    await execution.untilResponses(RESPONSE_WINDOW);
    const other = request(0).start(channel);
    await other.untilResponses(RESPONSE_WINDOW * 3);
    other.run.cancel();
    execution.run.cancel();
    await idle();
    expect(execution.responses).toHaveLength(RESPONSE_WINDOW);
    // Its own window, and what the other one took and could still have taken.
    expect(asked).toBeLessThanOrEqual(RESPONSE_WINDOW + other.responses.length + 2 * RESPONSE_WINDOW);
  });

  it('carries parameters, the numbers that JSON lacks among them', async () => {
    const seen: unknown[] = [];
    const { channel } = connect(async function* ({ parameters }) {
      seen.push(parameters);
      yield out(1);
    });
    const all = [{}, { a: 'text', b: 1.5, c: true, '': -0.25 }, { number: 'NaN', inf: Number.POSITIVE_INFINITY, odd: Number.NaN, ü: '\0' }];
    for (const parameters of all) expect(await request(1, parameters).start(channel).ended).toBeNull();
    expect(seen).toEqual(all);
  });

  it.each([
    ['fewer outputs', []],
    ['another name', [{ ...out(1)[0]!, name: 'NO' }]],
    ['another datatype', [{ ...out(1)[0]!, datatype: 'FP32' as const }]],
    ['another shape', [{ ...out(1)[0]!, shape: [2] }]],
    ['too few bytes', [{ ...out(1)[0]!, data: new Uint8Array(3) }]],
  ])('ends a request whose model gives %s, and closes the model', async (_what, outputs) => {
    let isClosed = false;
    const { channel } = connect(async function* (asked) {
      if (countOf(asked) === 1) {
        yield out(1);
        return;
      }
      try {
        yield outputs;
      } finally {
        isClosed = true;
      }
    });
    const other = request(1).start(channel);
    const error = await request(0).start(channel).ended;
    expect(error).toMatchObject({ code: 'INTERNAL', failureReason: 'BACKEND', message: expect.stringContaining("model 'm' gave ") });
    expect(await other.ended).toBeNull();
    expect(isClosed).toBe(true);
  });

  it('names the model when it throws what is no error of ours, before or after its first response', async () => {
    const { channel } = connect((asked) => {
      if (countOf(asked) === 0) throw new Error('no luck');
      return counting({ ...asked });
    });
    expect(await request(0).start(channel).ended).toMatchObject({ code: 'INTERNAL', message: "model 'm' failed: no luck" });
    expect(await request(-3).start(channel).ended).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it.each([
    ['without text', Object.create(null)],
    ['that throws when it is made into text', { toString: () => [] }],
    ['whose message is no text', Object.assign(new Error(), { message: Symbol('no') })],
  ])('fails one request alone when its model throws a value %s', async (_what, thrown) => {
    const { channel } = connect(async function* (asked) {
      if (countOf(asked) === 0) throw thrown;
      yield out(1);
    });
    const other = request(1).start(channel);
    expect(await request(0).start(channel).ended).toMatchObject({
      code: 'INTERNAL',
      message: expect.stringContaining("model 'm' failed: "),
    });
    expect(await other.ended).toBeNull();
  });

  it('keeps the place of a cancelled request until the model has stopped', async () => {
    const stops: (() => void)[] = [];
    const { channel, idle } = connect(async function* () {
      yield out(1);
      // Does not listen to the signal.
      await new Promise<void>((resolve) => stops.push(resolve));
    });
    const deaf = request(0).start(channel);
    await deaf.untilResponses(1);
    deaf.run.cancel();
    const other = request(0).start(channel);
    await other.untilResponses(1);
    expect([channel.inflightCount, deaf.endCount]).toEqual([2, 0]);
    while (stops.length < 2) await new Promise((resolve) => setImmediate(resolve));
    for (const stop of stops) stop();
    await idle();
    expect([deaf.endCount, other.endCount]).toEqual([0, 1]);
  });

  it('carries strings, empty tensors and large ones', async () => {
    const model: ModelMetadata = {
      inputs: metadata.inputs,
      outputs: [
        { name: 'TEXT', datatype: 'BYTES', shape: [-1], optional: false },
        { name: 'NONE', datatype: 'FP32', shape: [-1, 4], optional: false },
        { name: 'LARGE', datatype: 'UINT8', shape: [-1], optional: false },
      ],
    };
    const responses = [0, 1, 3].map((count) => [
      { name: 'TEXT', datatype: 'BYTES' as const, shape: [count], data: encodeBytes(Array<string>(count).fill('tökén')) },
      { name: 'NONE', datatype: 'FP32' as const, shape: [0, 4], data: new Uint8Array(0) },
      { name: 'LARGE', datatype: 'UINT8' as const, shape: [count * 700_001], data: new Uint8Array(count * 700_001).fill(count) },
    ]);
    const { channel } = connect(async function* () {
      yield* responses;
    }, model);
    const got: boolean[] = [];
    const execution = request(0);
    execution.respond = (outputs) => {
      const expected = responses[got.length]!;
      expect(outputs.map(({ shape }) => shape)).toEqual(expected.map(({ shape }) => shape));
      got.push(outputs.every(({ data }, i) => Buffer.from(data).equals(expected[i]!.data)));
    };
    expect(await execution.start(channel).ended).toBeNull();
    expect(got).toEqual([true, true, true]);
  });
});
