/** Loads that hang, fail, or come at the same time as something else: what serves goes on, and the server says what is so. */

import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { addSub, endlessLoop } from '../../bench/models/test-models.ts';
import { versionedModel } from '../../bench/models/versioned-model.ts';
import { type Answer, makeRepository, ServerProcess, until } from './serve.ts';

const WARM_UP =
  'model_warmup [{ name: "zeros" batch_size: 1 inputs { key: "INPUT0" value { data_type: TYPE_FP32 dims: [1] zero_data: true } } }]';
const EXPLICIT = ['--model-control-mode=explicit', '--load-model=one'];

let repository: ReturnType<typeof makeRepository>;
let server: ServerProcess;

async function start(files: Record<string, string | Uint8Array>, ...options: string[]): Promise<void> {
  repository = makeRepository(files);
  server = await ServerProcess.start([`--model-repository=${repository.path}`, ...options]);
}

afterEach(async () => {
  expect((await server.stop()).code).toBe(0);
  repository.remove();
});

const at = (...parts: string[]): string => join(repository.path, ...parts);
const control = (operation: string, body: unknown = '', model = 'one'): Promise<Answer> =>
  server.post(`/v2/repository/models/${model}/${operation}`, body);
const isReady = async (): Promise<boolean> => (await server.get('/v2/health/ready')).status === 200;
const index = async (): Promise<{ name: string; version?: string; state?: string; reason?: string }[]> =>
  (await server.post('/v2/repository/index', '')).json;
const versions = async (): Promise<string[]> => (await server.get('/v2/models/one')).json.versions;

function addVersion(version: number, bytes: Uint8Array | string): void {
  mkdirSync(at('.staged'));
  writeFileSync(at('.staged', 'model.onnx'), bytes);
  renameSync(at('.staged'), at('one', String(version)));
}

const hasState = async (state: string): Promise<boolean> => (await index()).some((line) => line.state === state);

describe('a load whose warm-up never ends', () => {
  const files = { 'one/1/model.onnx': endlessLoop('positive'), 'one/config.pbtxt': WARM_UP };

  test('leaves the server ready; an unload calls it off at once, and its host is not left behind', async () => {
    await start(files, ...EXPLICIT);
    addVersion(2, endlessLoop());
    const load = control('load');
    await until(() => hasState('LOADING'));
    expect(await isReady()).toBe(true);
    expect(await versions()).toEqual(['1']);
    expect((await control('unload')).status).toBe(200);
    expect(await load).toMatchObject({ status: 503, json: { error: expect.stringContaining('overtaken') } });
    rmSync(at('one', '2'), { recursive: true });
    expect((await control('load')).status).toBe(200);
    expect(await versions()).toEqual(['1']);
  });

  test('is called off by SIGTERM, and says so', async () => {
    await start(files, ...EXPLICIT, '--exit-timeout-secs=20');
    addVersion(2, endlessLoop());
    const load = control('load');
    await until(() => hasState('LOADING'));
    server.signal('SIGTERM');
    expect(await load).toMatchObject({ status: 503, json: { error: expect.stringContaining('stopping') } });
  });
});

test('a rollback during a load in mode poll stays', async () => {
  await start({ 'one/1/model.onnx': versionedModel(1) }, '--model-control-mode=poll');
  addVersion(2, versionedModel(2));
  await until(async () => (await versions())[0] === '2');
  writeFileSync(at('one', 'config.pbtxt'), WARM_UP);
  addVersion(3, endlessLoop());
  await until(() => hasState('LOADING'));
  expect(await control('rollback')).toMatchObject({ status: 200, json: { versions: ['1'] } });
  expect(await versions()).toEqual(['1']);
  expect(await hasState('LOADING')).toBe(false);
});

describe('readiness', () => {
  test('comes back when another version takes over from one that failed at the start, not by failing again', async () => {
    await start({ 'one/1/model.onnx': 'nonsense' }, ...EXPLICIT);
    expect(await isReady()).toBe(false);
    expect((await control('load')).status).toBe(400);
    expect(await isReady()).toBe(false);
    addVersion(2, addSub('INT32'));
    expect((await control('load')).status).toBe(200);
    expect(await isReady()).toBe(true);
    expect(await index()).toEqual([{ name: 'one', version: '2', state: 'READY' }]);
  });

  test('comes back when what failed at the start is unloaded', async () => {
    const failing = ['bad', 'unread', 'missing'];
    await start(
      { 'bad/1/model.onnx': 'nonsense', 'unread/config.pbtxt': 'nonsense' },
      '--model-control-mode=explicit',
      ...failing.map((name) => `--load-model=${name}`),
    );
    for (const name of failing) {
      expect(await isReady()).toBe(false);
      expect((await control('unload', '', name)).status).toBe(200);
    }
    expect(await isReady()).toBe(true);
    expect(await index()).toEqual([{ name: 'bad', version: '1', state: 'UNAVAILABLE', reason: 'unloaded' }, { name: 'unread' }]);
  });
});

describe('a previous version that a later load could not load', () => {
  async function refuseFirst(): Promise<void> {
    await start({ 'one/1/model.onnx': versionedModel(1) }, ...EXPLICIT);
    addVersion(2, versionedModel(2));
    await control('load');
    writeFileSync(at('one', '1', 'model.onnx'), 'nonsense');
    writeFileSync(at('one', 'config.pbtxt'), 'version_policy { specific { versions: [1] } }');
    expect((await control('load')).status).toBe(400);
  }

  test('is unloaded by the next swap', async () => {
    await refuseFirst();
    rmSync(at('one', 'config.pbtxt'));
    addVersion(3, versionedModel(3));
    expect((await control('load')).status).toBe(200);
    await server.logLine((line) => line['model'] === 'one' && line['version'] === 1 && /unloaded/.test(String(line['msg'])));
    expect(await versions()).toEqual(['3']);
  });

  test('is there for a rollback', async () => {
    await refuseFirst();
    writeFileSync(at('one', 'config.pbtxt'), 'version_labels { key: "stable" value: 2 }');
    expect((await control('load')).status).toBe(200);
    expect(await control('rollback')).toMatchObject({ status: 200, json: { versions: ['1'] } });
    expect(await versions()).toEqual(['1']);
  });
});

describe('loads of one new name at a time', () => {
  const file = Buffer.from(addSub('INT32')).toString('base64');
  const override = { parameters: { config: '{}', 'file:1/model.onnx': file } };

  test('one that succeeds after one that failed serves', async () => {
    await start({ 'one/1/model.onnx': addSub('INT32') }, ...EXPLICIT);
    for (let i = 0; i < 5; i++) {
      const name = `new-${i}`;
      const [failed, loaded] = await Promise.all([control('load', '', name), control('load', override, name)]);
      expect([failed.status, loaded.status]).toEqual([404, 200]);
      expect((await server.get(`/v2/models/${name}/ready`)).status).toBe(200);
    }
  });

  test('those that all failed leave no name behind', async () => {
    await start({ 'one/1/model.onnx': addSub('INT32') }, ...EXPLICIT);
    const wrong = { parameters: { config: '{' } };
    const names = Array.from({ length: 10 }, (_, i) => `new-${i}`);
    await Promise.all(names.flatMap((name) => [control('load', '', name), control('load', wrong, name), control('unload', '', name)]));
    expect(await index()).toEqual([{ name: 'one', version: '1', state: 'READY' }]);
  });
});

test('a rollback brings back the number of instances', async () => {
  const config = (count: number): string => `version_policy { all {} } instance_group [{ count: ${count} kind: KIND_CPU }]`;
  await start({ 'one/1/model.onnx': versionedModel(1), 'one/config.pbtxt': config(1) }, ...EXPLICIT, '--rollback-keep-secs=1');
  writeFileSync(at('one', 'config.pbtxt'), config(3));
  addVersion(2, versionedModel(2));
  expect((await control('load')).status).toBe(200);
  expect(server.hosts().length).toBeGreaterThanOrEqual(3);
  expect(await control('rollback')).toMatchObject({ json: { versions: ['1'] } });
  // One that serves and one that is spare, when the other version is gone.
  await until(() => server.hosts().length <= 2);
  expect((await server.get('/v2/models/one/ready')).status).toBe(200);
});

test('a rollback does not bring back a version that was lost meanwhile', async () => {
  await start({ 'one/1/model.onnx': versionedModel(1), 'one/config.pbtxt': 'version_policy { all {} }' }, ...EXPLICIT);
  addVersion(2, versionedModel(2));
  expect((await control('load')).status).toBe(200);
  expect(await versions()).toEqual(['1', '2']);
  // Its file is not what was loaded, so no new host may serve it.
  writeFileSync(at('one', '1', 'model.onnx'), versionedModel(7));
  for (const pid of server.hosts()) process.kill(pid, 'SIGKILL');
  await until(async () => (await index()).some(({ version, state }) => version === '1' && state === 'UNAVAILABLE'));
  expect((await control('rollback')).status).toBe(400);
  expect(await versions()).toEqual(['2']);
});

test('versions that were unloaded long ago are not listed', async () => {
  await start({ 'one/1/model.onnx': addSub('INT32') }, ...EXPLICIT, '--rollback-keep-secs=0');
  for (let version = 2; version <= 40; version++) {
    renameSync(at('one', String(version - 1)), at('one', String(version)));
    expect((await control('load')).status).toBe(200);
  }
  const listed = await index();
  expect(listed.length).toBeLessThanOrEqual(35);
  expect(listed.at(-1)).toEqual({ name: 'one', version: '40', state: 'READY' });
});
