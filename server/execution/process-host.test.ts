import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { endlessLoop, heavy, identity, memoryBomb } from '../../bench/models/test-models.ts';
import { decodeBytes } from '../../proto/bytes.ts';
import { execute, float32, floats, int64, ModelFiles, rejection, TestInstance } from './execution-host.case.ts';
import type { ProcessHostOptions } from './host-options.ts';
import { ProcessHost } from './process-host.ts';

const TRANSPORTS = ['shared-memory', 'socket'] as const;
const lyingHost = fileURLToPath(new URL('./fixtures/lying-host.mjs', import.meta.url));
const gatewayProcess = fileURLToPath(new URL('./fixtures/gateway-process.mjs', import.meta.url));

const files = new ModelFiles();
const hosts: ProcessHost[] = [];

async function start(options: Partial<ProcessHostOptions>): Promise<ProcessHost> {
  const host = await ProcessHost.start({ memoryBytes: 16 * 1024 * 1024, ...options });
  hosts.push(host);
  return host;
}

async function instance(host: ProcessHost, name: string, bytes: Uint8Array): Promise<TestInstance> {
  return TestInstance.create(await host.load(files.spec(name, bytes)));
}

/** A process that has ended and was collected, or is about to be: it can run nothing any more. */
function isRunning(pid: number): boolean {
  if (!existsSync(`/proc/${pid}/stat`)) return false;
  const state = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]![0];
  return state !== 'Z' && state !== 'X';
}

async function untilGone(pid: number, withinMs: number): Promise<void> {
  await expect.poll(() => isRunning(pid), { timeout: withinMs, interval: 10 }).toBe(false);
}

/** Until the process has computed for a while from now on: it is in the middle of a run then. */
async function untilBusy(pid: number): Promise<void> {
  const ticks = (): number => Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')[11]);
  const before = ticks();
  await expect.poll(ticks, { timeout: 10_000, interval: 10 }).toBeGreaterThan(before + 4);
}

/** Lies in frames of their own, beside an honest answer. */
const framesBeside = ['unknownFrame', 'longFrame', 'notJson', 'unaskedAnswer', 'largeOutputUnknown', 'largeOutputShort', 'resultUnasked'];
const row = float32('INPUT0', [1, 16], Array(16).fill(1));
const one = float32('INPUT0', [1, 1], [1]);

afterEach(async () => {
  await Promise.all(hosts.splice(0).map((host) => host.stop()));
});

afterAll(() => files.remove());

describe.each(TRANSPORTS)('a process host over %s', (transport) => {
  it('fails what is in flight at once when its process is killed, and says so', async () => {
    const host = await start({ transport });
    const running = await instance(host, 'endless', endlessLoop());
    const waiting = await instance(host, 'waiting', identity('FP32'));
    const first = rejection(running.execute(one));
    const second = rejection(waiting.execute(row));
    const startMs = performance.now();
    process.kill(host.pid, 'SIGKILL');
    for (const error of [await first, await second]) {
      expect(error).toMatchObject({ code: 'UNAVAILABLE', failureReason: 'BACKEND' });
      expect(error.message).toContain('SIGKILL');
    }
    expect(performance.now() - startMs).toBeLessThan(5000);
    expect(running.channel.isAlive).toBe(false);
    expect(running.channel.hasCapacity).toBe(false);
    await expect(host.ended).resolves.toMatchObject({ reason: 'ended by SIGKILL', expected: false });
    expect(await rejection(host.load(files.spec('later', identity('FP32'))))).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('blames the model that was being run', async () => {
    const host = await start({ transport });
    const bystander = await instance(host, 'bystander', identity('FP32'));
    const running = await instance(host, 'guilty', heavy(20_000));
    const lost = rejection(running.execute(row));
    const other = rejection(bystander.execute(row));
    await untilBusy(host.pid);
    process.kill(host.pid, 'SIGSEGV');
    await lost;
    await other;
    await expect(host.ended).resolves.toMatchObject({ reason: 'ended by SIGSEGV', blamed: 'guilty:1' });
  });

  it('kills a model that does not return, at its deadline', async () => {
    const host = await start({ transport, executionTimeoutMs: 300 });
    const running = await instance(host, 'endless', endlessLoop());
    const waiting = await instance(host, 'waiting', identity('FP32'));
    const startMs = performance.now();
    const first = rejection(running.execute(one));
    const second = rejection(waiting.execute(row));
    expect(await first).toMatchObject({ code: 'DEADLINE_EXCEEDED', failureReason: 'BACKEND' });
    expect((await first).message).toContain("'endless:1'");
    expect(await second).toMatchObject({ code: 'UNAVAILABLE' });
    const elapsedMs = performance.now() - startMs;
    expect(elapsedMs).toBeGreaterThanOrEqual(300);
    expect(elapsedMs).toBeLessThan(5000);
    await expect(host.ended).resolves.toEqual({ reason: 'did not answer within 0.3 s', blamed: 'endless:1', expected: false });
    await untilGone(host.pid, 1000);
  });

  it('counts the deadline from when the host began, not from when a batch was queued', async () => {
    const host = await start({ transport, executionTimeoutMs: 1500 });
    // Each run takes several hundred milliseconds; together they take longer than one may.
    const model = await host.load(files.spec('heavy', heavy(1000)));
    const instances = await Promise.all(Array.from({ length: 3 }, () => TestInstance.create(model)));
    const results = await Promise.all(instances.flatMap((each) => [each.execute(row), each.execute(row)]));
    expect(results).toHaveLength(6);
    expect(host.isAlive).toBe(true);
  });

  it('ends a host that takes more memory than it may', async () => {
    const host = await start({ transport, maxHostMemoryBytes: 512 * 1024 * 1024 });
    const bomb = await instance(host, 'bomb', memoryBomb());
    expect(floats((await bomb.execute(int64('INPUT0', [1], [1000]))).outputs[0]!.data)).toEqual([1]);
    // Two GiB, for as long as it takes to write and read them.
    const error = await rejection(
      (async () => {
        for (let i = 0; i < 20; i++) await bomb.execute(int64('INPUT0', [2], [1024, 512 * 1024]));
      })(),
    );
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toMatch(/GiB of memory/);
    const end = await host.ended;
    expect(end).toMatchObject({ blamed: 'bomb:1', expected: false });
    expect(end.reason).toMatch(/used \d\.\d\d GiB of the 0\.50 GiB of memory it may/);
  });

  it('leaves no process and no descriptor behind when stopped, whatever it is doing', async () => {
    const host = await start({ transport });
    const running = await instance(host, 'endless', endlessLoop());
    const lost = rejection(running.execute(one));
    await host.stop();
    expect((await lost).code).toBe('UNAVAILABLE');
    expect(isRunning(host.pid)).toBe(false);
    await expect(host.ended).resolves.toMatchObject({ expected: true });
    expect(memoryMaps()).toBe(0);
  });

  it('may be stopped by who receives an answer', async () => {
    const host = await start({ transport });
    const copies = await instance(host, 'identity', identity('FP32'));
    const inputs = [{ name: 'INPUT0', datatype: 'FP32' as const, shape: [1, 16], byteLength: 64 }];
    const answered: string[] = [];
    const stopped = new Promise<void>((resolve) => {
      for (let i = 0; i < 2; i++) {
        copies.channel.execute({
          inputs,
          writeInput: (_, target) => target.set(row.data),
          complete: () => {
            answered.push('answer');
            void host.stop().then(resolve);
          },
          fail: (error) => answered.push(error.code),
        });
      }
    });
    await stopped;
    expect(answered).toEqual(['answer', 'UNAVAILABLE']);
  });

  it('goes when its gateway is killed, even from an endless run', async () => {
    const spec = files.spec('endless', endlessLoop());
    const gateway = spawn(process.execPath, [gatewayProcess, spec.modelPath, transport], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [text] = (await once(gateway.stdout, 'data')) as [Buffer];
    const hostPid = Number(text.toString());
    expect(isRunning(hostPid)).toBe(true);
    gateway.kill('SIGKILL');
    await once(gateway, 'exit');
    await untilGone(hostPid, 2000);
  });

  it('is not ended by the signals that its gateway gets too', async () => {
    const host = await start({ transport });
    const copies = await instance(host, 'identity', identity('FP32'));
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(host.pid, signal);
    for (let i = 0; i < 20; i++) expect((await copies.execute(row)).outputs).toHaveLength(1);
    await (await host.load(files.spec('after_signals', identity('FP32')))).unload();
    expect(host.isAlive).toBe(true);
  });

  it('answers after it slept', async () => {
    const host = await start({ transport });
    const copies = await instance(host, 'identity', identity('FP32'));
    // Asleep on the futex, then waiting in its event loop.
    for (const idleMs of [50, 700, 2600]) {
      // A machine that stood still for a moment is not a host that sleeps on: once in three times is enough.
      let runMs = Number.POSITIVE_INFINITY;
      let loadMs = Number.POSITIVE_INFINITY;
      for (let attempt = 0; attempt < 3 && (runMs >= 200 || loadMs >= 400); attempt++) {
        await new Promise((resolve) => setTimeout(resolve, idleMs));
        const startMs = performance.now();
        expect(floats((await copies.execute(row)).outputs[0]!.data)).toEqual(Array(16).fill(1));
        const ranMs = performance.now();
        await (await host.load(files.spec(`after_${idleMs}_${attempt}`, identity('FP32')))).unload();
        runMs = Math.min(runMs, ranMs - startMs);
        loadMs = Math.min(loadMs, performance.now() - ranMs);
      }
      expect(runMs).toBeLessThan(200);
      expect(loadMs).toBeLessThan(400);
    }
  });
});

describe('a host that lies', () => {
  const lies = [
    ...[
      'sequence',
      'ringSequence',
      'ringRegion',
      'ringRegionFar',
      'status',
      'outputCount',
      'outputCountHuge',
      'byteLength',
      'byteLengthNaN',
    ],
    ...['offsetBefore', 'offsetBehind', 'offsetFraction', 'offsetInfinite', 'rank', 'knownDimension', 'negativeDimension', 'hugeDimension'],
    ...['bytesElementTooLong', 'bytesElementCut', 'bytesElementMissing', 'errorCode', 'errorText', 'brokenRing', 'wholeMemory'],
    ...framesBeside,
  ];

  it('is believed while it is honest', async () => {
    const host = await start({ transport: 'shared-memory', entry: lyingHost });
    const { outputs } = await (await instance(host, 'honest', new Uint8Array(1))).execute(row);
    expect(outputs.map((output) => output.shape)).toEqual([[1, 16], [2]]);
    expect(decodeBytes(outputs[1]!.data, 'OUTPUT1').map((element) => Buffer.from(element).toString())).toEqual(['ab', 'cd']);
  });

  it.each(lies)('is ended, and its batch failed: %s', async (lie) => {
    const host = await start({ transport: 'shared-memory', entry: lyingHost, executionTimeoutMs: 5000 });
    const liar = await instance(host, lie, new Uint8Array(1));
    // A lie beside the answer may cross with it.
    const answered = await execute(liar.channel, [row]).then(
      () => null,
      (error: unknown) => error,
    );
    if (answered !== null || !framesBeside.includes(lie)) expect(answered).toMatchObject({ code: 'INTERNAL', failureReason: 'BACKEND' });
    const end = await host.ended;
    expect(end.expected).toBe(false);
    expect(end.reason).toMatch(/^ended by the server: it /);
    if (answered !== null) expect(end.blamed).toBe(`${lie}:1`);
  });

  it('is ended when it answers twice', async () => {
    const host = await start({ transport: 'shared-memory', entry: lyingHost });
    await (await instance(host, 'twice', new Uint8Array(1))).execute(row);
    expect((await host.ended).reason).toMatch(/^ended by the server: it answered execution/);
  });

  it.each(['metadataShape', 'metadataType', 'metadataMissing'])('is ended when it lies at load: %s', async (lie) => {
    const host = await start({ transport: 'shared-memory', entry: lyingHost });
    expect(await rejection(host.load(files.spec(lie, new Uint8Array(1))))).toMatchObject({ code: 'UNAVAILABLE' });
    expect((await host.ended).blamed).toBe(`${lie}:1`);
  });
});

describe('starting and loading', () => {
  it('rejects a load that ends the host, and blames the model', async () => {
    const host = await start({ transport: 'shared-memory', entry: lyingHost });
    const error = await rejection(host.load(files.spec('crash', new Uint8Array(1))));
    expect(error).toMatchObject({ code: 'UNAVAILABLE' });
    expect(error.message).toBe("the execution host ended by SIGSEGV while it loaded model 'crash:1'");
    await expect(host.ended).resolves.toEqual({ reason: 'ended by SIGSEGV', blamed: 'crash:1', expected: false });
  });

  it('kills a host that does not end a load, and blames the model', async () => {
    const host = await start({ transport: 'shared-memory', entry: lyingHost, loadTimeoutMs: 200, executionTimeoutMs: 60 });
    const other = await instance(host, 'honest', new Uint8Array(1));
    const error = rejection(host.load(files.spec('silent', new Uint8Array(1))));
    // While a load holds the host up, no batch is late.
    process.kill(host.pid, 'SIGSTOP');
    const held = rejection(other.execute(row));
    expect(await error).toMatchObject({ code: 'UNAVAILABLE' });
    expect((await error).message).toContain("did not end a load within 0.2 s while it loaded model 'silent:1'");
    expect(await held).toMatchObject({ code: 'UNAVAILABLE' });
    expect((await host.ended).blamed).toBe('silent:1');
  });

  it('kills a host that is not ready in time', async () => {
    const error = await rejection(ProcessHost.start({ entry: gatewayProcess, startTimeoutMs: 1 }));
    expect(error.message).toContain('was not ready within 0.001 s');
  });

  it('treats a host that stands still as one that hangs', async () => {
    const host = await start({ executionTimeoutMs: 200 });
    const stopped = await instance(host, 'stopped', identity('FP32'));
    process.kill(host.pid, 'SIGSTOP');
    expect(await rejection(stopped.execute(row))).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await untilGone(host.pid, 1000);
  });

  it('ends a process by its lifeline, where the kernel is not to be asked, even when its main thread is stuck', async () => {
    const watch = fileURLToPath(new URL('../../dist/server/execution/watch-lifeline.js', import.meta.url));
    const stuck = `new (require('node:worker_threads').Worker)(${JSON.stringify(watch)}, { workerData: 3 }); process._rawDebug('stuck'); for (;;);`;
    const child = spawn(process.execPath, ['-e', stuck], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
    await once(child.stderr!, 'data');
    const [, signal] = await Promise.all([child.stdio[3]!.destroy(), once(child, 'exit').then(([, name]) => name as string)]);
    expect(signal).toBe('SIGKILL');
  });

  it('rejects a start whose process ends, with nothing left behind', async () => {
    const error = await rejection(ProcessHost.start({ entry: '/nonexistent/host.mjs' }));
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toContain('exit code 1');
    expect(memoryMaps()).toBe(0);
  });

  it('refuses options that cannot be meant', async () => {
    await expect(ProcessHost.start({ executionTimeoutMs: -1 })).rejects.toThrow(RangeError);
    await expect(ProcessHost.start({ memoryBytes: 5 })).rejects.toThrow(RangeError);
  });
});

/** Descriptors of tensor memory that this process holds. */
function memoryMaps(): number {
  return readFileSync('/proc/self/maps', 'latin1')
    .split('\n')
    .filter((line) => line.includes('memfd:nereid-tensors')).length;
}
