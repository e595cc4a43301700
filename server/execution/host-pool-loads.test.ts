import { existsSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { addSub, endlessLoop, identity, mlp } from '../../bench/models/test-models.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import { execute, float32, floats, rejection } from './execution-host.case.ts';
import { createPool, expectAnswer, files, isRunning, row, Served, stopPools } from './host-pool.case.ts';
import { LoadTurns } from './load-turns.ts';
import { spreadCounts } from './pooled-model.ts';

const heldHost = fileURLToPath(new URL('./fixtures/lying-host.mjs', import.meta.url));
const nothing = new Uint8Array(1);
const one = float32('INPUT0', [1, 1], [1]);

/** Lets the load of a 'held...' model end. */
function release(name: string): void {
  writeFileSync(`${files.spec(name, nothing).modelPath}.release`, '');
}

afterEach(stopPools);
afterAll(() => files.remove());

describe('loads at once', () => {
  it.each([false, true])('a slow one holds up no other (in service: %s)', async (isInService) => {
    const pool = createPool({ entry: heldHost });
    if (isInService) pool.putInService();
    const held = Served.load(pool, `held_${isInService}`, nothing);
    const others = await Promise.all(['quick_1', 'quick_2', 'quick_3', 'quick_4'].map((name) => Served.load(pool, name, nothing)));
    for (const other of others) expect((await other.execute(row)).outputs).toHaveLength(2);
    release(`held_${isInService}`);
    expect((await (await held).execute(row)).outputs).toHaveLength(2);
  });

  it('waits its turn where too many are under way', async () => {
    const pool = createPool({ entry: heldHost, loadConcurrency: 1 });
    const held = Served.load(pool, 'held_first', nothing);
    let isSecondLoaded = false;
    const second = Served.load(pool, 'second', nothing).then(() => {
      isSecondLoaded = true;
    });
    await vi.waitUntil(() => pool.pids.length === 1);
    expect(isSecondLoaded).toBe(false);
    release('held_first');
    await Promise.all([held, second]);
  });

  it('two of one model give two groups', async () => {
    const pool = createPool();
    const [first, second] = await Promise.all([Served.load(pool, 'twice', identity('FP32')), Served.load(pool, 'twice', identity('FP32'))]);
    await expectAnswer(first);
    await first.group.stop();
    await expectAnswer(second);
  });

  it('one that ends its host costs no request, and no other load', async () => {
    const pool = createPool({ entry: heldHost, maxHosts: 2 });
    pool.putInService();
    const first = await Served.load(pool, 'serving', nothing);
    const held = Served.load(pool, 'held_beside', nothing);
    const [pid] = pool.pids;
    expect(await rejection(Served.load(pool, 'crash', nothing))).toMatchObject({ code: 'UNAVAILABLE' });
    expect(pool.pids).toContain(pid);
    expect((await first.execute(row)).outputs).toHaveLength(2);
    release('held_beside');
    expect((await (await held).execute(row)).outputs).toHaveLength(2);
  });

  it('spreads many over the cores, and no more models than hosts means one each', () => {
    expect(spreadCounts(5, 4)).toEqual([2, 1, 1, 1]);
    expect(spreadCounts(2, 4)).toEqual([1, 1]);
    expect(() => new LoadTurns(0)).toThrow('1 to 64');
  });
});

describe('a model that was tried where there are enough processes', () => {
  it('is in a shared process after its first request, without a request lost', async () => {
    const pool = createPool({ maxHosts: 1 });
    const first = await Served.load(pool, 'shared', identity('FP32'));
    pool.putInService();
    const pids = pool.pids;
    const served = await Promise.all(Array.from({ length: 6 }, (_, i) => Served.load(pool, `moved_${i}`, identity('FP32'))));
    let runs = 0;
    while (pool.pids.length > 1) {
      await Promise.all([first, ...served].map(expectAnswer));
      runs++;
    }
    expect(runs).toBeGreaterThan(0);
    expect(pool.pids).toEqual(pids);
    await Promise.all([first, ...served].map(expectAnswer));
    await Promise.all(served.map(({ group }) => group.stop()));
    await expectAnswer(first);
  });

  it('has its instances in as many processes as before', async () => {
    const pool = createPool({ maxHosts: 2 });
    const first = await Served.load(pool, 'both', identity('FP32'), 2);
    pool.putInService();
    const pids = pool.pids;
    const served = await Promise.all(Array.from({ length: 5 }, (_, i) => Served.load(pool, `pair_${i}`, identity('FP32'), 2)));
    await vi.waitUntil(async () => {
      await Promise.all(served.map(expectAnswer));
      return pool.pids.length === 2;
    }, 20_000);
    expect(pool.pids).toEqual(pids);
    expect(served.map(({ group }) => group.aliveCount)).toEqual([2, 2, 2, 2, 2]);
    await Promise.all(served.map(({ group }) => group.stop()));
    await expectAnswer(first);
    expect(pool.pids).toEqual(pids);
  });

  it('leaves nothing behind when it is unloaded before, or while it moves', async () => {
    const pool = createPool({ maxHosts: 1 });
    const first = await Served.load(pool, 'stays', identity('FP32'));
    pool.putInService();
    for (let i = 0; i < 4; i++) {
      const second = await Served.load(pool, `leaves_${i}`, identity('FP32'));
      if (i % 2 === 1) await expectAnswer(second);
      await second.group.stop();
      expect(pool.pids).toHaveLength(1);
    }
    await expectAnswer(first);
  });
});

describe('the spare host', () => {
  it('takes the next load, and is what becomes empty', async () => {
    const pool = createPool({ keepsSpareHost: true });
    const first = await Served.load(pool, 'spare_1', identity('FP32'));
    const [firstPid] = pool.pids;
    pool.putInService();
    await vi.waitUntil(() => pool.pids.length === 2, { timeout: 5000 });
    const pids = pool.pids;
    const second = await Served.load(pool, 'spare_2', identity('FP32'));
    expect(pool.pids).toEqual(pids);
    await first.group.stop();
    await expectAnswer(second);
    expect(pool.pids).toEqual(pids);
    const third = await Served.load(pool, 'spare_3', identity('FP32'));
    await expectAnswer(third);
    expect(pool.pids).toContain(firstPid);
    await pool.stop();
    expect(pids.filter(isRunning)).toEqual([]);
  });

  it('that dies is not missed', async () => {
    const pool = createPool({ keepsSpareHost: true });
    pool.putInService();
    await vi.waitUntil(() => pool.pids.length === 1, { timeout: 5000 });
    const [pid] = pool.pids;
    process.kill(pid!, 'SIGKILL');
    await vi.waitUntil(() => pool.pids.length === 0, { timeout: 5000 });
    await expectAnswer(await Served.load(pool, 'after', identity('FP32')));
  });
});

describe('resizing', () => {
  it('adds and removes instances in the host that has the model', async () => {
    const pool = createPool({ maxHosts: 1 });
    const served = await Served.load(pool, 'in_place', identity('FP32'));
    const pids = pool.pids;
    const [channel] = served.group.channels;
    await pool.resize(served.group, 3);
    expect(served.group.aliveCount).toBe(3);
    expect(served.group.channels[0]).toBe(channel);
    for (let i = 0; i < 6; i++) await expectAnswer(served);
    await pool.resize(served.group, 1);
    expect(served.group.channels).toEqual([channel]);
    await expectAnswer(served);
    expect(pool.pids).toEqual(pids);
  });

  it('goes to further processes, and leaves them again', async () => {
    const pool = createPool({ maxHosts: 2 });
    const served = await Served.load(pool, 'far', identity('FP32'));
    const pids = pool.pids;
    await pool.resize(served.group, 3);
    expect(pool.pids).toHaveLength(2);
    expect(served.group.aliveCount).toBe(3);
    await expectAnswer(served);
    await pool.resize(served.group, 1);
    expect(pool.pids).toEqual(pids);
    await expectAnswer(served);
  });

  it('finishes what a removed instance has', async () => {
    const pool = createPool({ maxHosts: 1, executionTimeoutMs: 300 });
    const served = await Served.load(pool, 'draining', endlessLoop('positive'), 2);
    const ended: string[] = [];
    const lost = served.group.channels.map((channel) => rejection(execute(channel, [one])).then(() => ended.push('run')));
    await pool.resize(served.group, 1).then(() => ended.push('resized'));
    await Promise.all(lost);
    expect(ended[0]).toBe('run');
    expect(floats((await served.execute(float32('INPUT0', [1, 1], [-2]))).outputs[0]!.data)).toEqual([-2]);
    expect(served.group.aliveCount).toBe(1);
  });

  it('loses no request of many', async () => {
    const pool = createPool({ maxHosts: 2 });
    const served = await Served.load(pool, 'under_load', identity('FP32'), 2);
    let isDone = false;
    const clients = Array.from({ length: 8 }, async () => {
      let answers = 0;
      for (; !isDone; answers++) await expectAnswer(served);
      return answers;
    });
    for (const count of [4, 1, 3, 2, 5, 1]) await pool.resize(served.group, count);
    isDone = true;
    for (const answers of await Promise.all(clients)) expect(answers).toBeGreaterThan(0);
    expect(served.group.aliveCount).toBe(1);
  });

  it('keeps the instances there are when it fails', async () => {
    const pool = createPool({ entry: heldHost, maxHosts: 1 });
    const served = await Served.load(pool, 'lone', nothing);
    expect(await rejection(pool.resize(served.group, 3))).toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(served.group.aliveCount).toBe(1);
    expect((await served.execute(row)).outputs).toHaveLength(2);
    for (const count of [0, 0.5, 1e9]) {
      expect(await rejection(pool.resize(served.group, count))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    await served.group.stop();
    expect(await rejection(pool.resize(served.group, 2))).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('holds when the host dies', async () => {
    const pool = createPool({ maxHosts: 1 });
    const served = await Served.load(pool, 'mended', identity('FP32'));
    await pool.resize(served.group, 2);
    process.kill(pool.pids[0]!, 'SIGKILL');
    await vi.waitUntil(() => served.group.aliveCount === 0, { timeout: 5000, interval: 1 });
    await pool.resize(served.group, 3);
    await vi.waitUntil(() => served.group.aliveCount === 3, { timeout: 5000, interval: 1 });
    await expectAnswer(served);
  });

  it('of inline models', async () => {
    const pool = createPool();
    const served = await Served.load(pool, 'inline_resized', identity('FP32'), 1, { kind: 'inline' });
    await pool.resize(served.group, 3);
    expect(served.group.aliveCount).toBe(3);
    await pool.resize(served.group, 1);
    expect(served.group.aliveCount).toBe(1);
    expect(served.group.memoryBytes).toBe(0);
    await expectAnswer(served);
  });
});

describe.runIf(existsSync('/proc/self/status'))('memory of a model', () => {
  it('is what its host took for it', async () => {
    const pool = createPool({ maxHosts: 2 });
    const weightBytes = 2 * 2048 * 2048 * 4;
    const large = mlp(2048, 2048, 2048);
    await Served.load(pool, 'small', addSub('FP32'));
    const served = await Served.load(pool, 'large', large);
    expect(served.group.memoryBytes).toBeGreaterThan(weightBytes * 0.9);
    expect(served.group.memoryBytes).toBeLessThan(weightBytes * 3);
    await pool.resize(served.group, 2);
    expect(served.group.memoryBytes).toBeGreaterThan(weightBytes * 1.8);
  });

  it('is none where a host says what cannot be', async () => {
    const pool = createPool({ entry: heldHost });
    expect((await Served.load(pool, 'memoryBytes', nothing)).group.memoryBytes).toBe(0);
    expect((await Served.load(pool, 'memoryTold', nothing)).group.memoryBytes).toBe(1000);
  });
});

describe('a load that is called off', () => {
  it.each([false, true])('ends at once, and its process with it (in service: %s)', async (isInService) => {
    const pool = createPool({ entry: heldHost });
    if (isInService) pool.putInService();
    const abort = new AbortController();
    const name = `held_forever_${isInService}`;
    const load = rejection(Served.load(pool, name, nothing, 1, { signal: abort.signal }));
    await vi.waitUntil(() => pool.pids.length === 1);
    const [pid] = pool.pids;
    abort.abort();
    expect(await load).toMatchObject({ code: 'CANCELLED', message: `the load of model '${name}' version 1 was called off` });
    if (!isInService) release(name);
    await vi.waitUntil(() => !isRunning(pid!), { timeout: 5000 });
    expect(pool.pids).toEqual([]);
  });

  it('says why, does not start when it has not, and takes nothing from others', async () => {
    const pool = createPool({ entry: heldHost, loadConcurrency: 1 });
    const other = Served.load(pool, 'held_other', nothing);
    const abort = new AbortController();
    const waiting = rejection(Served.load(pool, 'waiting', nothing, 1, { signal: abort.signal }));
    abort.abort(new InferenceError('UNAVAILABLE', 'the model was unloaded'));
    expect(await waiting).toMatchObject({ code: 'UNAVAILABLE', message: 'the model was unloaded' });
    expect(await rejection(Served.load(pool, 'late', nothing, 1, { signal: abort.signal }))).toMatchObject({ code: 'UNAVAILABLE' });
    release('held_other');
    expect((await (await other).execute(row)).outputs).toHaveLength(2);
    expect((await other).group.aliveCount).toBe(1);
  });

  it('is none of a stop: that ends all of them', async () => {
    const pool = createPool({ entry: heldHost, loadConcurrency: 2 });
    pool.putInService();
    const abort = new AbortController();
    const loads = ['held_a', 'held_b', 'held_c'].map((name) => rejection(Served.load(pool, name, nothing, 2, { signal: abort.signal })));
    await vi.waitUntil(() => pool.pids.length === 2);
    const { pids } = pool;
    await pool.stop();
    for (const error of await Promise.all(loads)) expect(error).toMatchObject({ code: 'UNAVAILABLE' });
    expect(pids.filter(isRunning)).toEqual([]);
    expect(pool.pids).toEqual([]);
  });
});
