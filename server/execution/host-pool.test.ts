import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { addSub, endlessLoop, identity } from '../../bench/models/test-models.ts';
import { execute, float32, floats, rejection } from './execution-host.case.ts';
import { childPids, createPool, expectAnswer, files, isRunning, row, Served, stopPools } from './host-pool.case.ts';

const lyingHost = fileURLToPath(new URL('./fixtures/lying-host.mjs', import.meta.url));
const one = float32('INPUT0', [1, 1], [1]);

afterEach(stopPools);
afterAll(() => files.remove());

describe('where models run', () => {
  it('takes a model in while the last one of a process leaves it', async () => {
    const pool = createPool();
    let served = await Served.load(pool, 'first', identity('FP32'));
    await expectAnswer(served);
    for (let i = 0; i < 6; i++) {
      const [next] = await Promise.all([Served.load(pool, `next${i}`, identity('FP32')), served.group.stop()]);
      await expectAnswer(next);
      // The other way round: it is leaving already.
      const stopped = next.group.stop();
      served = await Served.load(pool, `after${i}`, identity('FP32'));
      await expectAnswer(served);
      await stopped;
    }
  });

  it('puts models that are loaded before anything serves into one process', async () => {
    const pool = createPool();
    const first = await Served.load(pool, 'first', identity('FP32'));
    const second = await Served.load(pool, 'second', identity('FP32'));
    expect(pool.pids).toHaveLength(1);
    await expectAnswer(first);
    await expectAnswer(second);
  });

  it('loads a model for the first time where nothing serves, and ends a process without models', async () => {
    const pool = createPool();
    const first = await Served.load(pool, 'v1', identity('FP32'));
    pool.putInService();
    const [firstPid] = pool.pids;
    const second = await Served.load(pool, 'v2', identity('FP32'));
    expect(pool.pids).toHaveLength(2);
    await expectAnswer(first);
    await expectAnswer(second);
    await first.group.stop();
    expect(pool.pids).toHaveLength(1);
    expect(isRunning(firstPid!)).toBe(false);
    expect(first.group.take(true)).toBeNull();
    await expectAnswer(second);
  });

  it('serves a model from where it was tried, then from beside others when there are enough processes', async () => {
    const pool = createPool({ maxHosts: 1 });
    const first = await Served.load(pool, 'full_1', identity('FP32'));
    await expectAnswer(first);
    const pids = pool.pids;
    const second = await Served.load(pool, 'full_2', identity('FP32'));
    expect(pool.pids).toHaveLength(2);
    await expectAnswer(second);
    await vi.waitUntil(async () => {
      await expectAnswer(second);
      return pool.pids.length === 1;
    });
    expect(pool.pids).toEqual(pids);
    expect(second.group.aliveCount).toBe(1);
    await expectAnswer(first);
    await second.group.stop();
    await expectAnswer(first);
  });

  it('spreads the instances of a model over processes, and uses all of them', async () => {
    const pool = createPool({ maxHosts: 2 });
    const served = await Served.load(pool, 'spread', addSub('FP32'), 3);
    expect(pool.pids).toHaveLength(2);
    expect(served.group.aliveCount).toBe(3);
    const first = served.group.take(true)!;
    const runs = [execute(first, [row, { ...row, name: 'INPUT1' }])];
    for (let i = 0; i < 2; i++) {
      const next = served.group.take(true)!;
      expect(next.inflightCount).toBe(0);
      runs.push(execute(next, [row, { ...row, name: 'INPUT1' }]));
    }
    // All have one now; each takes a second, then there is no more.
    for (let i = 0; i < 3; i++) runs.push(execute(served.group.take(true)!, [row, { ...row, name: 'INPUT1' }]));
    expect(served.group.take(true)).toBeNull();
    await Promise.all(runs);
    expect(served.group.take(true)).not.toBeNull();
  });

  it('runs models on its own loop when asked to', async () => {
    const pool = createPool();
    const served = await Served.load(pool, 'inline', identity('FP32'), 2, { kind: 'inline' });
    expect(pool.pids).toHaveLength(0);
    await expectAnswer(served);
    await served.group.stop();
    expect(served.group.take(true)).toBeNull();
  });

  it('refuses instance counts that cannot be meant', async () => {
    const pool = createPool();
    for (const count of [0, -1, 1.5, 1e9]) {
      expect(await rejection(Served.load(pool, 'count', identity('FP32'), count))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });
});

describe('a host that never gets ready', () => {
  it('holds up neither the end of its pool nor outlives it', async () => {
    const entry = join(files.directory, 'stuck-host.mjs');
    writeFileSync(entry, 'setInterval(() => {}, 1000);');
    const before = new Set(childPids());
    const pool = createPool({ entry, startTimeoutMs: 60_000 });
    const loading = rejection(Served.load(pool, 'stuck', identity('FP32')));
    const started = (): number | undefined => childPids().find((pid) => !before.has(pid));
    await vi.waitUntil(() => started() !== undefined);
    const pid = started()!;
    process.kill(pid, 'SIGSTOP');
    await pool.stop();
    expect(isRunning(pid)).toBe(false);
    expect(await loading).toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('stopping') });
  });
});

describe('when a host dies', () => {
  it.each(['shared-memory', 'socket'] as const)('serves again from a new process over %s', async (transport) => {
    const pool = createPool({ transport });
    const first = await Served.load(pool, 'killed_1', identity('FP32'));
    const second = await Served.load(pool, 'killed_2', identity('FP32'));
    const [pid] = pool.pids;
    process.kill(pid!, 'SIGKILL');
    await vi.waitUntil(() => first.group.aliveCount === 0, { timeout: 5000, interval: 1 });
    const startMs = performance.now();
    expect(first.group.take(true)).toBeNull();
    await expectAnswer(first);
    await expectAnswer(second);
    expect(performance.now() - startMs).toBeLessThan(5000);
    expect(pool.pids).toHaveLength(1);
    expect(pool.pids).not.toEqual([pid]);
    expect(isRunning(pid!)).toBe(false);
  });

  it('serves the others within 5 s of the deadline of a model that does not return', async () => {
    const pool = createPool({ executionTimeoutMs: 200 });
    const endless = await Served.load(pool, 'endless', endlessLoop('positive'));
    const other = await Served.load(pool, 'other', identity('FP32'));
    const lost = rejection(endless.execute(one));
    expect(await lost).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    const startMs = performance.now();
    await expectAnswer(other);
    expect(performance.now() - startMs).toBeLessThan(5000);
    expect(floats((await endless.execute(float32('INPUT0', [1, 1], [-2]))).outputs[0]!.data)).toEqual([-2]);
  });

  it('takes a model that keeps killing its host out of service, and no other', async () => {
    const pool = createPool({ executionTimeoutMs: 50 });
    const endless = await Served.load(pool, 'guilty', endlessLoop());
    const other = await Served.load(pool, 'innocent', identity('FP32'));
    for (let death = 1; death <= 5; death++) {
      expect(endless.failure).toBeNull();
      expect(await rejection(endless.execute(one))).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    }
    const error = await rejection(endless.execute(one));
    expect(error).toMatchObject({ code: 'UNAVAILABLE' });
    expect(error.message).toContain('quarantined');
    expect(endless.group.take(true)).toBeNull();
    await expectAnswer(other);
    expect(other.failure).toBeNull();
    // Loading it again lifts the quarantine.
    await endless.group.stop();
    const again = await Served.load(pool, 'guilty', endlessLoop('positive'));
    expect(floats((await again.execute(float32('INPUT0', [1, 1], [-2]))).outputs[0]!.data)).toEqual([-2]);
  });

  it('rejects a load that ends the host, and loads again what was there', async () => {
    const pool = createPool({ entry: lyingHost });
    const first = await Served.load(pool, 'honest', new Uint8Array(1));
    const [pid] = pool.pids;
    const error = await rejection(Served.load(pool, 'crash', new Uint8Array(1)));
    expect(error).toMatchObject({ code: 'UNAVAILABLE' });
    expect(error.message).toContain("while it loaded model 'crash:1'");
    expect((await first.execute(row)).outputs).toHaveLength(2);
    expect(pool.pids).not.toEqual([pid]);
    expect(pool.pids).toHaveLength(1);
  });

  it('leaves no process behind a load that fails', async () => {
    const pool = createPool();
    expect(await rejection(Served.load(pool, 'broken', Uint8Array.of(1)))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(pool.pids).toHaveLength(0);
  });
});

describe('stopping', () => {
  it('leaves no process, and loads nothing any more', async () => {
    const pool = createPool();
    const served = await Served.load(pool, 'stopped', endlessLoop(), 2);
    const pids = pool.pids;
    expect(pids).toHaveLength(2);
    const lost = rejection(served.execute(one));
    await pool.stop();
    expect(await lost).toMatchObject({ code: 'UNAVAILABLE' });
    expect(pids.filter(isRunning)).toEqual([]);
    expect(await rejection(Served.load(pool, 'late', identity('FP32')))).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('unloads a model whose host keeps dying, without waiting for the next one', async () => {
    const pool = createPool();
    const served = await Served.load(pool, 'dying', identity('FP32'));
    for (let death = 0; death < 7; death++) {
      await vi.waitUntil(() => pool.pids.length === 1 && served.group.aliveCount === 1, { timeout: 10_000, interval: 1 });
      process.kill(pool.pids[0]!, 'SIGKILL');
      await vi.waitUntil(() => served.group.aliveCount === 0, { timeout: 5000, interval: 1 });
    }
    // The next replacement would come after several seconds.
    const startMs = performance.now();
    await served.group.stop();
    expect(performance.now() - startMs).toBeLessThan(1500);
    expect(served.failure).toBeNull();
    expect(pool.pids).toEqual([]);
  });

  it('does not wait for a replacement', async () => {
    const pool = createPool();
    await Served.load(pool, 'replaced', identity('FP32'));
    const [pid] = pool.pids;
    process.kill(pid!, 'SIGKILL');
    await pool.stop();
    expect(pool.pids).toEqual([]);
    expect(isRunning(pid!)).toBe(false);
  });
});
