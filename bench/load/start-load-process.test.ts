import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { exampleRepository, isAlive, ServerProcess, until } from '../../server/e2e/serve.ts';
import { linePlan, targetAt } from './line-lane.case.ts';
import type { LoadProcess } from './load-client.ts';
import type { LoadPlan, PlannedRequest } from './load-plan.ts';
import type { LoadWindow } from './load-window.ts';
import { startLoadProcess } from './start-load-process.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function requestOf(value: number): PlannedRequest {
  const data = new Uint8Array(Int32Array.from({ length: 16 }, () => value).buffer);
  const inputs = ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32' as const, shape: [1, 16], data }));
  const sum = new Uint8Array(Int32Array.from({ length: 16 }, () => 2 * value).buffer);
  return {
    infer: { modelName: 'simple', modelVersion: '', id: '', parameters: {}, inputs, outputs: [], json: true },
    text: null,
    expected: [{ name: 'OUTPUT0', data: sum, tolerance: 0 }],
  };
}

function inferPlan(port: number, changes: Partial<LoadPlan> = {}): LoadPlan {
  return linePlan(port, {
    requests: [requestOf(1), requestOf(20)],
    validation: { every: 3, outputs: [], isDeterministic: true },
    ...changes,
  });
}

async function nereid(): Promise<number> {
  const server = await ServerProcess.start([
    `--model-repository=${exampleRepository}`,
    '--model-control-mode=explicit',
    '--load-model=simple',
  ]);
  closers.push(() => server.stop());
  return Number(new URL(server.http).port);
}

async function start(plan: LoadPlan): Promise<LoadProcess> {
  const load = await startLoadProcess(plan);
  closers.push(() => load.close());
  return load;
}

/** Windows until there are so many. */
async function windowsOf(load: LoadProcess, pace: Parameters<LoadProcess['start']>[0], count: number): Promise<LoadWindow[]> {
  const windows: LoadWindow[] = [];
  await load.start(pace, 50, (window) => windows.push(window));
  await until(() => windows.length >= count);
  windows.push(await load.stop());
  return windows;
}

describe('a load process', () => {
  it('measures a server point after point, by either kind of sockets, and validates answers', async () => {
    const port = await nereid();
    for (const sockets of process.platform === 'linux' ? (['auto', 'node'] as const) : (['auto'] as const)) {
      const load = await start(inferPlan(port, { sockets }));
      expect(load.sockets).toBe(sockets === 'auto' && process.platform === 'linux' ? 'native' : 'node');
      for (const pace of [
        { kind: 'closed', concurrency: 3 },
        { kind: 'open', perSecond: 300, schedule: 'poisson', maxInFlight: 50 },
      ] as const) {
        const windows = await windowsOf(load, pace, 5);
        const sum = (of: (window: LoadWindow) => number): number => windows.reduce((total, window) => total + of(window), 0);
        const ok = sum(({ outcomes }) => outcomes.ok);
        expect(ok).toBeGreaterThan(30);
        expect(windows.flatMap(({ errors }) => errors)).toEqual([]);
        expect(sum(({ sent }) => sent)).toBe(ok);
        expect(sum(({ validated }) => validated)).toBe(Math.ceil(ok / 3));
        expect(sum(({ bytesReceived }) => bytesReceived)).toBeGreaterThan(ok * 100);
        expect(windows[0]!.latency.counts).toBeInstanceOf(Uint32Array);
        expect(windows.every(({ generator }) => generator.cpu > 0 && generator.busy >= 0 && generator.busy <= 1)).toBe(true);
      }
      await load.close();
      await until(() => !isAlive(load.pid));
    }
  });

  it('tells of wrong answers', async () => {
    const port = await nereid();
    const { infer } = requestOf(5);
    const { expected } = requestOf(6);
    const load = await start(
      inferPlan(port, { requests: [{ infer, text: null, expected }], validation: { every: 1, outputs: [], isDeterministic: true } }),
    );
    const windows = await windowsOf(load, { kind: 'closed', concurrency: 1 }, 4);
    const wrong = windows.filter(({ outcomes }) => outcomes.wrong > 0);
    expect(wrong.length).toBeGreaterThan(0);
    for (const { outcomes, errors } of wrong) {
      expect(outcomes.ok).toBe(0);
      expect(errors[0]!.message).toMatch(/OUTPUT0/);
    }
  });

  it('says why it cannot start', async () => {
    await expect(startLoadProcess(inferPlan(1))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('cannot connect to 127.0.0.1:1: ECONNREFUSED'),
    });
    await expect(startLoadProcess(inferPlan(1, { requests: [] }))).rejects.toThrow('the plan has no requests; it needs at least one');
    await expect(startLoadProcess(inferPlan(1, { connections: 0 }))).rejects.toThrow('connections must be a whole number from 1; got 0');
    const tls = { ca: '', cert: '', key: '', verify: true };
    await expect(startLoadProcess(inferPlan(1, { sockets: 'native', target: { ...targetAt(1), tls } }))).rejects.toThrow(
      /native sockets have no TLS/,
    );
  });

  it('says what is wrong with a point, and can start another', async () => {
    const load = await start(inferPlan(await nereid()));
    await expect(load.start({ kind: 'closed', concurrency: 0 }, 50, () => {})).rejects.toThrow(
      'concurrency must be a whole number from 1 to 1000000; got 0',
    );
    await expect(load.start({ kind: 'open', perSecond: -1, schedule: 'fixed', maxInFlight: 1 }, 50, () => {})).rejects.toThrow(
      /perSecond must be/,
    );
    await expect(load.stop()).rejects.toThrow(/no point of load is running/);
    expect((await windowsOf(load, { kind: 'closed', concurrency: 1 }, 1))[0]!.outcomes.ok).toBeGreaterThan(0);
  });

  it('tells of its own end, and leaves Ctrl-C to its owner', async () => {
    const load = await start(inferPlan(await nereid()));
    let windows = 0;
    await load.start({ kind: 'closed', concurrency: 1 }, 20, () => windows++);
    process.kill(load.pid, 'SIGINT');
    process.kill(load.pid, 'SIGTERM');
    const seen = windows;
    await until(() => windows > seen + 5);
    process.kill(load.pid, 'SIGKILL');
    await load.ended;
    await expect(load.stop()).rejects.toThrow('the load process ended (SIGKILL)');
    await expect(load.stop()).rejects.toThrow('the load process ended (SIGKILL)');
  });

  it('does not outlive its owner', async () => {
    const script = fileURLToPath(new URL('./fixtures/load-owner.mjs', import.meta.url));
    const plan = inferPlan(await nereid());
    const owner = fork(script, [], { serialization: 'advanced', execArgv: [] });
    closers.push(() => owner.kill('SIGKILL'));
    owner.send(plan);
    const [pid] = (await once(owner, 'message')) as [number];
    expect(isAlive(pid)).toBe(true);
    owner.kill('SIGKILL');
    await until(() => !isAlive(pid));
  });

  it('waits for what is in flight when it stops', async () => {
    const server: Server = createServer((request, response) => {
      request.resume();
      setTimeout(() => {
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ model_name: 'simple', model_version: '1', outputs: [] }));
      }, 200);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => server.close());
    const { port } = server.address() as { port: number };
    const load = await start(inferPlan(port, { validation: { every: 0, outputs: [], isDeterministic: false } }));
    let seen = 0;
    await load.start({ kind: 'closed', concurrency: 2 }, 20, (window) => {
      seen += window.outcomes.ok;
    });
    const last = await load.stop();
    expect(seen + last.outcomes.ok).toBe(2);
  });
});
