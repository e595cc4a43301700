/** The rate limiter and instance groups of a real server: what runs at the same time, where, and what does not load. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { heavyOnRequest, identity } from '../../bench/models/test-models.ts';
import { type Answer, makeRepository, ServerProcess, until } from './serve.ts';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function start(
  files: Readonly<Record<string, string | Uint8Array>>,
  ...args: string[]
): Promise<{ server: ServerProcess; path: string }> {
  const { path, remove } = makeRepository(files);
  cleanUps.push(remove);
  const server = await ServerProcess.start([`--model-repository=${path}`, ...args]);
  cleanUps.push(async () => {
    for (const pid of server.hosts()) process.kill(pid, 'SIGCONT');
    expect((await server.stop()).code).toBe(0);
  });
  return { server, path };
}

function send(server: ServerProcess, model: string, work = 0): Promise<Answer> {
  return server.post(`/v2/models/${model}/infer`, {
    inputs: [
      { name: 'INPUT0', datatype: 'FP32', shape: [1, 16], data: Array(16).fill(1) },
      { name: 'INPUT1', datatype: 'INT64', shape: [1, 1], data: [work] },
    ],
  });
}

const groups = (...texts: string[]): string => `max_batch_size: 1\ninstance_group: [${texts.map((text) => `{ ${text} }`).join(', ')}]\n`;
const claim = (name: string, count: number, more = ''): string =>
  `rate_limiter: { resources: [{ name: ${name}, count: ${count}${more === '' ? '' : `, ${more}`} }] }`;
const model = heavyOnRequest();

async function pending(server: ServerProcess): Promise<number | undefined> {
  return server.metric('nv_inference_pending_request_count{model="m",version="1"}');
}

/** Two requests at a time, each to an instance of its own: while one of the two hosts is stopped, whichever it is, the other answers one of them. */
async function expectBothToRun(server: ServerProcess): Promise<void> {
  const hosts = server.hosts();
  expect(hosts).toHaveLength(2);
  for (const stopped of hosts) {
    process.kill(stopped, 'SIGSTOP');
    const answers: number[] = [];
    const both = [0, 1].map(() => send(server, 'm').then(({ status }) => answers.push(status)));
    await Promise.race(both);
    expect(answers).toEqual([200]);
    process.kill(stopped, 'SIGCONT');
    await Promise.all(both);
    expect(answers).toEqual([200, 200]);
  }
}

describe('instance groups', () => {
  test('two instances run at the same time, in two processes', async () => {
    const { server } = await start({ 'm/1/model.onnx': model, 'm/config.yaml': groups('count: 1', 'count: 1, kind: KIND_AUTO') });
    expect((await server.get('/v2/models/m/config')).json.instance_group.map(({ name }: { name: string }) => name)).toEqual(['m_0', 'm_1']);
    await expectBothToRun(server);
  });

  test('a passive group is there and takes nothing, and groups change in place', async () => {
    const { server, path } = await start(
      { 'm/1/model.onnx': model, 'm/config.yaml': groups('count: 1', 'count: 1, passive: true') },
      '--model-control-mode=explicit',
      '--load-model=m',
    );
    // By the processor time of the two hosts that had most; a third may stand by.
    const shares = async (): Promise<number> => {
      const before = new Map(server.hosts().map((pid) => [pid, cpuTicks(pid)]));
      await Promise.all(Array.from({ length: 12 }, () => send(server, 'm', 300)));
      const [most = 0, next = 0] = [...before].map(([pid, ticks]) => cpuTicks(pid) - ticks).sort((a, b) => b - a);
      return next / most;
    };
    expect(await shares()).toBeLessThan(0.2);
    writeFileSync(join(path, 'm/config.yaml'), groups('count: 2'));
    const pids = server.hosts();
    expect((await server.post('/v2/repository/models/m/load', '')).status).toBe(200);
    expect(server.hosts()).toEqual(expect.arrayContaining(pids));
    expect(await shares()).toBeGreaterThan(0.2);

    writeFileSync(join(path, 'm/config.yaml'), groups('passive: true'));
    expect((await server.post('/v2/repository/models/m/load', '')).json.error).toMatch(
      /instance_group: expected a group that is not passive/,
    );
    expect((await send(server, 'm')).status).toBe(200);
  });
});

describe('--rate-limit execution_count', () => {
  test('two instances that claim all of a resource do not run at the same time', async () => {
    const files = { 'm/1/model.onnx': model, 'm/config.yaml': groups(`count: 2, ${claim('R', 3)}`) };
    const { server } = await start(files, '--rate-limit=execution_count');
    const hosts = server.hosts();
    expect(hosts).toHaveLength(2);
    // Whatever host the first is in is stopped with it; the other is free, and its instance has to wait for the resource all the same.
    for (const pid of hosts) process.kill(pid, 'SIGSTOP');
    const first = send(server, 'm');
    const second = send(server, 'm');
    await until(async () => (await pending(server)) === 1);
    for (const pid of hosts) process.kill(pid, 'SIGCONT');
    expect([(await first).status, (await second).status]).toEqual([200, 200]);
    expect(await pending(server)).toBe(0);
  });

  test('they do where there is enough, and where the limiter is off', async () => {
    const files = { 'm/1/model.onnx': model, 'm/config.yaml': groups(`count: 2, ${claim('R', 3)}`) };
    for (const args of [['--rate-limit=execution_count', '--rate-limit-resource=R:6'], []]) {
      const { server } = await start(files, ...args);
      await expectBothToRun(server);
    }
  });

  test('a resource comes back when the host of an execution dies', async () => {
    const files = { 'm/1/model.onnx': model, 'm/config.yaml': groups(`count: 2, ${claim('R', 1, 'global: true')}`) };
    const { server } = await start(files, '--rate-limit=execution_count');
    const hosts = server.hosts();
    for (const pid of hosts) process.kill(pid, 'SIGSTOP');
    const first = send(server, 'm');
    const second = send(server, 'm');
    await until(async () => (await pending(server)) === 1);
    for (const pid of hosts) process.kill(pid, 'SIGKILL');
    const statuses = [(await first).status, (await second).status];
    expect(statuses[0]).toBeGreaterThanOrEqual(500);
    expect((await send(server, 'm')).status).toBe(200);
  });

  test('a model whose instances could never run does not load, and says why', async () => {
    const small = identity('FP32', ['batch', 2]);
    const { server } = await start(
      {
        'fits/1/model.onnx': small,
        'fits/config.yaml': groups(claim('R', 2)),
        'large/1/model.onnx': small,
        'large/config.yaml': groups(claim('R', 9)),
        'mixed/1/model.onnx': small,
        'mixed/config.yaml': groups(claim('M', 1), claim('M', 1, 'global: true')),
      },
      '--rate-limit=execution_count',
      '--rate-limit-resource=R:4:0',
      '--exit-on-error=false',
    );
    const index: { name: string; state: string; reason?: string }[] = (await server.post('/v2/repository/index', '')).json;
    const reason = (name: string): string => index.find((one) => one.name === name)?.reason ?? 'READY';
    expect(reason('fits')).toBe('READY');
    expect(reason('large')).toMatch(
      /Resource count for "R" is limited to 4 which will prevent scheduling of one or more model instances, the minimum required count is 9/,
    );
    expect(reason('mixed')).toMatch(/Resource "M" is present as both global and device-specific resource/);
  });
});

/** Processor time of a process, in the kernel's ticks. */
function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return Number(fields[11]) + Number(fields[12]);
}
