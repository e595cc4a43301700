/** Outputs that are read after their batch, over each kind of host. */

import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { identity } from '../../bench/models/test-models.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { InferenceResponse } from '../inference/inference-response.ts';
import { KeptOutputs } from '../inference/kept-outputs.ts';
import { execute, float32, floats, ModelFiles, TestInstance } from './execution-host.case.ts';
import type { ExecutionHost, InstanceChannel } from './execution-host.ts';
import { InlineHost } from './inline-host.ts';
import { ProcessHost } from './process-host.ts';

const MEMORY_BYTES = 2 * 1024 * 1024;
const files = new ModelFiles();
const hosts: ExecutionHost[] = [];

const kinds: Readonly<Record<string, () => Promise<ExecutionHost>>> = {
  'shared memory': () => ProcessHost.start({ transport: 'shared-memory', memoryBytes: MEMORY_BYTES }),
  socket: () => ProcessHost.start({ transport: 'socket', memoryBytes: MEMORY_BYTES }),
  inline: () => Promise.resolve(new InlineHost({ memoryBytes: MEMORY_BYTES, backendSettings: {} })),
};

async function start(kind: string): Promise<{ host: ExecutionHost; channel: InstanceChannel }> {
  const host = await kinds[kind]!();
  hosts.push(host);
  const { channel } = await TestInstance.create(await host.load(files.spec('identity', identity('FP32', ['batch', 'n']))));
  return { host, channel };
}

interface Answered {
  readonly kept: KeptOutputs;
  /** As `complete` got it. */
  readonly borrowed: Uint8Array;
}

/** Runs `values` through the model and keeps what comes out. */
function keep(channel: InstanceChannel, values: readonly number[]): Promise<Answered> {
  const { name, datatype, shape, data } = float32('INPUT0', [1, values.length], values);
  return new Promise((resolve, reject) => {
    const complete = (outputs: readonly Tensor[]): void => {
      const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
      resolve({ kept: new KeptOutputs(new InferenceResponse('identity', '1', outputs, null, timing)), borrowed: outputs[0]!.data });
    };
    const inputs = [{ name, datatype, shape, byteLength: data.length }];
    expect(channel.execute({ inputs, writeInput: (_, target) => target.set(data), complete, fail: reject })).toBe(true);
  });
}

const read = (kept: KeptOutputs): number[] => floats(kept.tensors[0]!.data);
const ramp = (length: number, first = 0): number[] => Array.from({ length }, (_, i) => first + i);

afterEach(async () => {
  await Promise.all(hosts.splice(0).map((host) => host.stop()));
});

afterAll(() => files.remove());

describe.each(Object.keys(kinds))('outputs of a host (%s) that are kept', (kind) => {
  it('outlive hundreds of later batches', async () => {
    const { channel } = await start(kind);
    // The first run tells how long the output is; it may have come by a way of its own.
    await keep(channel, ramp(512)).then(({ kept }) => kept.release());
    const { kept, borrowed } = await keep(channel, ramp(512, 1000));
    for (let i = 0; i < 300; i++) (await keep(channel, ramp(512, i))).kept.release();
    expect(read(kept)).toEqual(ramp(512, 1000));
    expect(kept.tensors[0]!.data.buffer === borrowed.buffer).toBe(kind !== 'socket');
    kept.release();
  });

  it('are not copied where they are large, whichever way they came', async () => {
    const { channel } = await start(kind);
    // The first time nobody knows their size: in shared memory they come by frame, inline in memory of their own.
    for (const first of [1, 2]) {
      const { kept, borrowed } = await keep(channel, ramp(100_000, first));
      if (kind !== 'inline' || first > 1) expect(kept.tensors[0]!.data.buffer).toBe(borrowed.buffer);
      await keep(channel, ramp(100_000, 7)).then((other) => other.kept.release());
      expect(read(kept)).toEqual(ramp(100_000, first));
      kept.release();
    }
  });

  it('stay readable after the host was stopped', async () => {
    const { host, channel } = await start(kind);
    await keep(channel, ramp(512)).then(({ kept }) => kept.release());
    const { kept } = await keep(channel, ramp(512, 7));
    await host.stop();
    expect(read(kept)).toEqual(ramp(512, 7));
    kept.release();
  });

  it('do not keep out a batch that would fit without them', async () => {
    const { channel } = await start(kind);
    const third = Math.floor(MEMORY_BYTES / 3 / 4);
    await keep(channel, ramp(third / 2)).then(({ kept }) => kept.release());
    const { kept } = await keep(channel, ramp(third, 5));
    const large = ramp(Math.floor((MEMORY_BYTES * 0.9) / 4));
    for (let i = 0; i < 3; i++) {
      const { outputs } = await execute(channel, [float32('INPUT0', [1, large.length], large)]);
      expect(floats(outputs[0]!.data)).toEqual(large);
    }
    expect(read(kept)).toEqual(ramp(third, 5));
    // Batches of the ordinary kind go on as before.
    for (let first = 0; first < 20; first++) {
      const answer = await keep(channel, ramp(64, first));
      expect(read(answer.kept)).toEqual(ramp(64, first));
      answer.kept.release();
    }
    kept.release();
    const tooLarge = ramp(Math.floor((MEMORY_BYTES * 1.1) / 4));
    await expect(execute(channel, [float32('INPUT0', [1, tooLarge.length], tooLarge)])).rejects.toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
    });
  });
});

it('outputs stay readable after their host was killed', async () => {
  const { host, channel } = await start('shared memory');
  await keep(channel, ramp(512)).then(({ kept }) => kept.release());
  const { kept, borrowed } = await keep(channel, ramp(512, 3));
  expect(kept.tensors[0]!.data.buffer).toBe(borrowed.buffer);
  process.kill(host.pid, 'SIGKILL');
  await expect.poll(() => host.isAlive, { interval: 5 }).toBe(false);
  expect(read(kept)).toEqual(ramp(512, 3));
  kept.release();
  expect(borrowed.length).toBe(process.versions.node.startsWith('20.') ? 512 * 4 : 0);
});
