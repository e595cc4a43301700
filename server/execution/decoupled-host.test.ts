import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { InferenceError } from '../../proto/inference-error.ts';
import { answers, ramp, repeatRequest, repeatSpec, TestDecoupledInstance, TestExecution } from './decoupled-execution.case.ts';
import type { DecoupledChannel } from './decoupled-execution.ts';
import { RESPONSE_WINDOW } from './decoupled-execution.ts';
import type { ProcessHostOptions } from './host-options.ts';
import { HostPool } from './host-pool.ts';
import type { InstanceGroup } from './instance-group.ts';
import { ProcessHost } from './process-host.ts';

const lyingHost = fileURLToPath(new URL('./fixtures/lying-decoupled-host.mjs', import.meta.url));
const stops: (() => Promise<void>)[] = [];

async function startHost(options: Partial<ProcessHostOptions> = {}): Promise<ProcessHost> {
  const host = await ProcessHost.start({ isDecoupled: true, memoryBytes: 1024 * 1024, ...options });
  stops.push(() => host.stop());
  return host;
}

const instanceOf = async (host: ProcessHost, name: string): Promise<TestDecoupledInstance> =>
  TestDecoupledInstance.create(await host.load(repeatSpec(name)));

const oneNumber = (count = 1): TestExecution =>
  new TestExecution([{ name: 'IN', datatype: 'INT32', shape: [count], data: new Uint8Array(count * 4) }]);

afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()));
});

describe('a process host of decoupled models', () => {
  it('fails everything in flight at once when its process is killed', async () => {
    const host = await startHost();
    const { channel } = await instanceOf(host, 'killed');
    const streaming = repeatRequest([1, 2], [0, 60_000]).start(channel);
    const silent = repeatRequest([1], 60_000).start(channel);
    const cancelled = repeatRequest([1], 60_000).start(channel);
    cancelled.run.cancel();
    await streaming.untilResponses(1);
    const startMs = performance.now();
    process.kill(host.pid, 'SIGKILL');
    for (const execution of [streaming, silent]) {
      const error = await execution.ended;
      expect(error).toMatchObject({ code: 'UNAVAILABLE', failureReason: 'BACKEND', retryAfterSeconds: 1 });
      expect(error!.message).toContain('SIGKILL');
    }
    expect(performance.now() - startMs).toBeLessThan(5000);
    await expect(host.ended).resolves.toEqual({ reason: 'ended by SIGKILL', blamed: 'killed:1', expected: false });
    expect([channel.isAlive, channel.hasCapacity, channel.inflightCount, cancelled.endCount]).toEqual([false, false, 0, 0]);
  });

  it('ends a request that is silent for too long, and no other', async () => {
    const host = await startHost({ executionTimeoutMs: 150 });
    const instance = await instanceOf(host, 'slow');
    const steady = repeatRequest(ramp(40), 20).start(instance.channel);
    const silent = repeatRequest([1, 2], [0, 60_000]).start(instance.channel);
    const error = await silent.ended;
    expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', failureReason: 'BACKEND' });
    expect(error!.message).toContain("'slow:1' gave neither a response nor an end for 0.15 s");
    expect(silent.responses).toEqual([[1, 0]]);
    expect(await steady.ended).toBeNull();
    expect(steady.responses).toHaveLength(40);
    await instance.untilIdle();
    expect(host.isAlive).toBe(true);
  });

  it('does not count the time in which a caller takes nothing', async () => {
    const host = await startHost({ executionTimeoutMs: 100 });
    const { channel } = await instanceOf(host, 'paused');
    const paused = repeatRequest(ramp(50));
    paused.isPaused = true;
    paused.start(channel);
    await paused.untilResponses(RESPONSE_WINDOW);
    // Each of these takes the time that is allowed.
    for (let i = 0; i < 3; i++) expect(await repeatRequest([1], 60_000).start(channel).ended).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(paused.endCount).toBe(0);
    paused.isPaused = false;
    paused.run.resume();
    expect(await paused.ended).toBeNull();
    expect(paused.responses).toEqual(answers(ramp(50)));
  });

  it('does not end a request that gets on without a response', async () => {
    const host = await startHost({ entry: lyingHost, executionTimeoutMs: 200 });
    const instance = await instanceOf(host, 'slow');
    const execution = oneNumber().start(instance.channel);
    const startMs = performance.now();
    expect(await execution.ended).toBeNull();
    expect(performance.now() - startMs).toBeGreaterThan(600);
    const cancelled = oneNumber().start(instance.channel);
    cancelled.run.cancel();
    // It is to stop, whatever it says of its progress.
    await expect(host.ended).resolves.toMatchObject({ reason: 'did not answer within 0.2 s', blamed: 'slow:1' });
  });

  it('is killed when a request does not stop', async () => {
    const host = await startHost({ entry: lyingHost, executionTimeoutMs: 100 });
    const { channel } = await instanceOf(host, 'deaf');
    const late = oneNumber().start(channel);
    const cancelled = oneNumber().start(channel);
    cancelled.run.cancel();
    expect(await late.ended).toBeInstanceOf(Error);
    await expect(host.ended).resolves.toMatchObject({ reason: 'did not answer within 0.1 s', blamed: 'deaf:1' });
    expect([cancelled.endCount, channel.inflightCount]).toEqual([0, 0]);
  });

  it('bounds what requests hold, and says when there is room', async () => {
    const host = await startHost();
    const instance = await instanceOf(host, 'big');
    const { channel } = instance;
    const big = (): TestExecution => repeatRequest(ramp(50_000), [1, ...Array<number>(49_999).fill(0)]);
    const first = big().start(channel);
    const second = big().start(channel);
    const third = big();
    expect(channel.start(third)).toBeNull();
    first.run.cancel();
    await instance.told();
    third.start(channel).run.cancel();
    second.run.cancel();
    await instance.untilIdle();
    const tooBig = repeatRequest(ramp(200_000)).start(channel);
    expect(await tooBig.ended).toMatchObject({ code: 'RESOURCE_EXHAUSTED', message: expect.stringContaining('1048576') });
  });

  it('takes no batches, and a host of batches no requests', async () => {
    const model = await (await startHost()).load(repeatSpec('r'));
    await expect(model.createInstance(() => {})).rejects.toThrow('is for decoupled models');
    const other = await (await startHost({ isDecoupled: false })).load(repeatSpec('r'));
    await expect(other.createDecoupledInstance(() => {})).rejects.toThrow('is not for decoupled models');
    await expect(other.createInstance(() => {})).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('set model_transaction_policy { decoupled: true }'),
    });
  });
});

describe('a host of decoupled models that lies', () => {
  it('is believed when it does not', async () => {
    const host = await startHost({ entry: lyingHost });
    const execution = oneNumber().start((await instanceOf(host, 'honest')).channel);
    expect(await execution.ended).toBeNull();
    expect(execution.responses).toEqual([[0]]);
  });

  it.each([
    'otherRequest',
    'noRequest',
    'tooMany',
    'errorAsResponse',
    'unknownStatus',
    'unknownCode',
    'noOutput',
    'wrongShape',
    'outsideOffset',
    'byFrame',
    'shortResponse',
    'shortEnd',
    'batchResult',
    'longEnd',
    'otherProgress',
    'longProgress',
    'oddStatistics',
    'longStatistics',
    'oddCount',
  ])('is ended, and its request failed: %s', async (lie) => {
    const host = await startHost({ entry: lyingHost, executionTimeoutMs: 5000 });
    const execution = oneNumber();
    execution.isPaused = true;
    execution.start((await instanceOf(host, lie)).channel);
    expect(await execution.ended).toMatchObject({ failureReason: 'BACKEND' });
    expect(execution.endCount).toBe(1);
    const end = await host.ended;
    expect(end).toMatchObject({ expected: false, blamed: `${lie}:1` });
    expect(end.reason).toMatch(/^ended by the server: it (sent|answered|gave|placed|told|counted) /);
  });

  it.each(['afterTheEnd', 'endTwice'])('is ended, though its request is over: %s', async (lie) => {
    const host = await startHost({ entry: lyingHost });
    const execution = oneNumber().start((await instanceOf(host, lie)).channel);
    expect(await execution.ended).toBeNull();
    expect((await host.ended).reason).toContain('which is not in flight');
    expect(execution.endCount).toBe(1);
  });
});

describe('a pool', () => {
  const log = { info: () => {}, warn: () => {}, error: () => {} };

  /** A group as a scheduler uses it. */
  async function serve(
    options: { entry?: string | null; executionTimeoutMs?: number },
    name: string,
  ): Promise<{ pool: HostPool; group: InstanceGroup<DecoupledChannel>; failure: () => InferenceError | null }> {
    const pool = new HostPool({ kind: 'process', tensorMemoryBytes: 1024 * 1024, log, ...options });
    stops.push(() => pool.stop());
    let failure: InferenceError | null = null;
    const group = await pool.loadDecoupled(repeatSpec(name), {
      instanceCount: 2,
      onCapacity: () => {},
      onFailed: (error) => {
        failure = error;
      },
    });
    return { pool, group, failure: () => failure };
  }

  it('puts decoupled models into processes of their own, and a new one in the place of one that died', async () => {
    const { pool, group } = await serve({}, 'replaced');
    expect(pool.pids).toHaveLength(2);
    const [pid] = pool.pids;
    const lost = repeatRequest([1], 60_000).start(group.take(true)!);
    const other = repeatRequest([1], 60_000).start(group.take(true)!);
    process.kill(pid!, 'SIGKILL');
    const first = await Promise.race([lost.ended, other.ended]);
    expect(first).toMatchObject({ code: 'UNAVAILABLE' });
    await vi.waitFor(() => expect(group.aliveCount).toBe(2), { timeout: 10_000 });
    for (const execution of [repeatRequest([1, 2]).start(group.take(true)!), repeatRequest([1, 2]).start(group.take(true)!)]) {
      expect(await execution.ended).toBeNull();
    }
    expect(pool.pids).not.toContain(pid);
    expect([lost.endCount, other.endCount].sort()).toEqual([0, 1]);
    lost.run.cancel();
    other.run.cancel();
    await group.stop();
    expect(pool.pids).toEqual([]);
  });

  it('gives up a model that keeps ending its hosts', async () => {
    const { group, failure } = await serve({ entry: lyingHost }, 'exits');
    while (failure() === null) {
      const channel = group.take(true);
      if (channel === null) await new Promise((resolve) => setTimeout(resolve, 10));
      else expect(await oneNumber().start(channel).ended).toMatchObject({ code: 'UNAVAILABLE' });
    }
    expect(failure()!.message).toContain("model 'exits:1' is quarantined");
  });
});
