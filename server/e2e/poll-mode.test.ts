/** Control mode `poll`: the directories say what is served. */

import { cpSync, mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodeOnnxModel } from '../../bench/models/onnx-model.ts';
import { addSub } from '../../bench/models/test-models.ts';
import { type DoorAnswer, Doors } from './doors.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const ints = new Uint8Array(new Int32Array(16).fill(1).buffer);
const inputs = ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32', shape: [1, 16], data: ints }));
/** A change is seen within a second; the machine may be slow. */
const SOON = { interval: 20, timeout: 15_000 };

let repository: ReturnType<typeof makeRepository>;
let server: ServerProcess;
let doors: Doors;

async function start(files: Record<string, string | Uint8Array>, ...options: string[]): Promise<void> {
  repository = makeRepository(files);
  server = await ServerProcess.start([
    `--model-repository=${repository.path}`,
    '--model-control-mode=poll',
    '--repository-settle-ms=100',
    ...options,
  ]);
  doors = new Doors(server.http, new URL(server.grpc).host);
}

beforeEach(() => start({ 'one/1/model.onnx': addSub('INT32'), 'two/1/model.onnx': addSub('INT32') }));
afterEach(async () => {
  doors.close();
  expect((await server.stop()).code).toBe(0);
  repository.remove();
});

const at = (...parts: string[]): string => join(repository.path, ...parts);
const infer = (model: string, version = ''): Promise<DoorAnswer> =>
  doors.send('REST binary', version === '' ? { model, inputs } : { model, version, inputs });
const index = async (): Promise<{ name: string; version?: string; state?: string; reason?: string }[]> =>
  (await server.post('/v2/repository/index', '')).json;
const isReady = async (): Promise<boolean> => (await server.get('/v2/health/ready')).status === 200;

/** As those who deploy should have it: whole, in one step. */
function put(model: string, version: number, bytes: Uint8Array = addSub('INT32')): void {
  const staged = at(`.staged-${model}-${version}`);
  mkdirSync(staged);
  writeFileSync(join(staged, 'model.onnx'), bytes);
  renameSync(staged, at(model, String(version)));
}

/** A whole file, and no model that can be loaded. */
function noSuchOperator(): Uint8Array {
  const io = { elementType: 'FLOAT', dims: [1] } as const;
  return encodeOnnxModel({
    name: 'odd',
    inputs: [{ name: 'X', ...io }],
    outputs: [{ name: 'Y', ...io }],
    nodes: [{ op: 'NoSuchOperator', inputs: ['X'], outputs: ['Y'] }],
  });
}

test('models and versions come and go with their directories', async () => {
  mkdirSync(at('three'));
  put('three', 1);
  await expect.poll(() => infer('three'), SOON).toMatchObject({ code: 'OK', version: '1' });
  put('one', 2);
  await expect.poll(async () => (await infer('one')).version, SOON).toBe('2');
  expect(await infer('one', '1')).toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('unloaded') });
  expect((await server.get('/v2/models/one')).json.versions).toEqual(['2']);
  rmSync(at('one', '2'), { recursive: true });
  await expect.poll(async () => (await infer('one')).version, SOON).toBe('1');
  rmSync(at('two'), { recursive: true });
  await expect.poll(async () => (await infer('two')).code, SOON).toBe('NOT_FOUND');
  await expect
    .poll(async () => (await index()).map(({ name, version, state }) => `${name} ${version} ${state}`), SOON)
    .toEqual(['one 1 READY', 'one 2 UNAVAILABLE', 'three 1 READY']);
  expect(await isReady()).toBe(true);
});

test('the network loads and unloads nothing, and may roll back', async () => {
  for (const what of ['load', 'unload']) {
    expect(await server.post(`/v2/repository/models/one/${what}`, '')).toMatchObject({
      status: 503,
      json: { error: expect.stringContaining('explicit model load / unload is not allowed') },
    });
  }
  expect(await server.post('/v2/repository/models/one/rollback', '')).toMatchObject({ status: 400 });
  put('one', 2);
  await expect.poll(async () => (await infer('one')).version, SOON).toBe('2');
  expect(await server.post('/v2/repository/models/one/rollback', '')).toMatchObject({ status: 200, json: { versions: ['1'] } });
  expect((await infer('one')).version).toBe('1');
  // Version 2 lies there as before, and is not taken again because something else changes: what changes itself is followed.
  mkdirSync(at('one', '3'));
  writeFileSync(at('one', '3', 'model.onnx'), addSub('INT32').subarray(0, 50));
  await expect.poll(async () => (await index()).find(({ version }) => version === '3')?.reason, SOON).toMatch(/^waiting: /);
  expect((await infer('one')).version).toBe('1');
  rmSync(at('one', '3'), { recursive: true });
  put('one', 3);
  await expect.poll(async () => (await infer('one')).version, SOON).toBe('3');
});

describe('what is not whole', () => {
  test('is not loaded, does not make the server unready, and serves when it is whole', async () => {
    const bytes = addSub('INT32');
    mkdirSync(at('three', '1'), { recursive: true });
    await expect.poll(async () => (await index()).find(({ name }) => name === 'three'), SOON).toMatchObject({ state: 'UNAVAILABLE' });
    writeFileSync(at('three', '1', 'model.onnx'), bytes.subarray(0, bytes.length - 20));
    await expect.poll(async () => (await index()).find(({ name }) => name === 'three')?.reason, SOON).toMatch(/ends|truncated|whole/);
    expect(await isReady()).toBe(true);
    writeFileSync(at('three', '1', 'model.onnx'), bytes);
    await expect.poll(() => infer('three'), SOON).toMatchObject({ code: 'OK' });
  });

  test('never replaces what serves', async () => {
    const bytes = addSub('INT32');
    mkdirSync(at('one', '2'));
    writeFileSync(at('one', '2', 'model.onnx'), bytes.subarray(0, 50));
    await expect.poll(async () => (await index()).find(({ version }) => version === '2')?.reason, SOON).toMatch(/^waiting: /);
    const end = performance.now() + 800;
    while (performance.now() < end) expect(await infer('one')).toMatchObject({ code: 'OK', version: '1' });
    writeFileSync(at('one', '2', 'model.onnx'), bytes);
    await expect.poll(async () => (await infer('one')).version, SOON).toBe('2');
  });

  test('and what is whole and no model is refused, with the reason in index, log and metric, while the old one serves', async () => {
    put('one', 2, noSuchOperator());
    await expect
      .poll(async () => (await index()).find(({ name, version }) => name === 'one' && version === '2'), SOON)
      .toMatchObject({ state: 'UNAVAILABLE', reason: expect.stringContaining('could not be loaded') });
    expect(await infer('one')).toMatchObject({ code: 'OK', version: '1' });
    expect(await isReady()).toBe(true);
    await server.logLine((line) => line['model'] === 'one' && String(line['reason']).includes('could not be loaded'));
    expect(await server.metric('nereid_model_load_failure_total{model="one",stage="load"}')).toBe(1);
    // It goes, and nothing is left of it.
    rmSync(at('one', '2'), { recursive: true });
    await expect.poll(async () => (await index()).filter(({ name }) => name === 'one').length, SOON).toBe(1);
  });
});

test('a configuration edited to nonsense is refused, and taken when it is mended', async () => {
  writeFileSync(at('one', 'config.pbtxt'), 'max_batch_size: 8 dynamic_batchin { }');
  await expect
    .poll(async () => (await index()).find(({ name }) => name === 'one'), SOON)
    .toMatchObject({ state: 'READY', reason: expect.stringContaining('dynamic_batching') });
  expect(await infer('one')).toMatchObject({ code: 'OK' });
  expect(await isReady()).toBe(true);
  writeFileSync(at('one', 'config.pbtxt'), 'max_batch_size: 8 dynamic_batching { }');
  await expect.poll(async () => (await server.get('/v2/models/one/config')).json.max_batch_size, SOON).toBe(8);
  expect((await index()).find(({ name }) => name === 'one')).toEqual({ name: 'one', version: '1', state: 'READY' });
});

test('what did not change is not loaded again', async () => {
  await infer('one');
  const count = (): Promise<number | undefined> => server.metric('nv_inference_request_success{model="one",version="1"}');
  writeFileSync(at('one', 'config.pbtxt'), 'version_policy { all { } }');
  put('one', 2);
  await expect.poll(async () => (await server.get('/v2/models/one')).json.versions, SOON).toEqual(['1', '2']);
  expect(await count()).toBe(1);
  // Instances are added in place.
  writeFileSync(at('one', 'config.pbtxt'), 'version_policy { all { } } instance_group { count: 2 }');
  await expect.poll(async () => (await server.get('/v2/models/one/config')).json.instance_group[0].count, SOON).toBe(2);
  expect(await count()).toBe(1);
  // An editor's own files, and the same configuration written anew.
  writeFileSync(at('one', '.config.pbtxt.swp'), 'x');
  writeFileSync(at('one', 'config.pbtxt'), '# a comment\nversion_policy { all { } } instance_group { count: 2 }');
  writeFileSync(at('two', '1', 'model.onnx'), addSub('INT32'));
  await expect.poll(() => server.metric('nereid_model_swap_total{model="two"}'), SOON).toBe(1);
  expect(await count()).toBe(1);
});

test('labels name versions wherever a version may stand, and move without a load', async () => {
  const config = (stable: number): string =>
    `version_policy { all { } } version_labels { key: "stable" value: ${stable} } version_labels { key: "canary" value: 2 }`;
  put('one', 2);
  writeFileSync(at('one', 'config.pbtxt'), config(1));
  await expect.poll(() => infer('one', 'stable'), SOON).toMatchObject({ code: 'OK', version: '1' });
  for (const door of ['REST binary', 'REST JSON', 'gRPC raw', 'gRPC stream'] as const) {
    expect(await doors.send(door, { model: 'one', version: 'canary', inputs })).toMatchObject({ code: 'OK', version: '2' });
  }
  expect((await server.get('/v2/models/one/versions/stable/config')).status).toBe(200);
  expect((await server.get('/v2/models/one/versions/stable/stats')).json.model_stats).toMatchObject([{ version: '1' }]);
  expect(await infer('one', 'stabel')).toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining("'stable'") });
  writeFileSync(at('one', 'config.pbtxt'), config(2));
  await expect.poll(async () => (await infer('one', 'stable')).version, SOON).toBe('2');
  writeFileSync(at('one', 'config.pbtxt'), config(7));
  await expect
    .poll(async () => (await index()).find(({ reason }) => reason !== undefined)?.reason, SOON)
    .toContain('version_labels["stable"]: version 7 is not among those that are served (1, 2)');
  expect(await infer('one', 'stable')).toMatchObject({ code: 'OK', version: '2' });
});

describe('links that are swapped', () => {
  test("as a ConfigMap's are", async () => {
    const version = (name: string, batch: number): void => {
      mkdirSync(at('one', name));
      writeFileSync(at('one', name, 'config.pbtxt'), `max_batch_size: ${batch}`);
    };
    version('..2026_01', 4);
    symlinkSync('..2026_01', at('one', '..data'));
    symlinkSync('..data/config.pbtxt', at('one', 'config.pbtxt'));
    const batch = async (): Promise<number> => (await server.get('/v2/models/one/config')).json.max_batch_size;
    await expect.poll(batch, SOON).toBe(4);
    version('..2026_02', 8);
    symlinkSync('..2026_02', at('one', '..data_tmp'));
    renameSync(at('one', '..data_tmp'), at('one', '..data'));
    rmSync(at('one', '..2026_01'), { recursive: true });
    await expect.poll(batch, SOON).toBe(8);
  });

  test("as git-sync's is", async () => {
    await doors.close();
    await server.stop();
    cpSync(at('one'), at('.checkouts', 'a', 'one'), { recursive: true });
    cpSync(at('one'), at('.checkouts', 'b', 'one'), { recursive: true });
    cpSync(at('one', '1'), at('.checkouts', 'b', 'one', '2'), { recursive: true });
    symlinkSync('a', at('.checkouts', 'current'));
    server = await ServerProcess.start([`--model-repository=${at('.checkouts', 'current')}`, '--model-control-mode=poll']);
    doors = new Doors(server.http, new URL(server.grpc).host);
    expect(await infer('one')).toMatchObject({ code: 'OK', version: '1' });
    symlinkSync('b', at('.checkouts', 'next'));
    renameSync(at('.checkouts', 'next'), at('.checkouts', 'current'));
    await expect.poll(async () => (await infer('one')).version, SOON).toBe('2');
    unlinkSync(at('.checkouts', 'current'));
    expect(await infer('one')).toMatchObject({ code: 'OK', version: '2' });
  });
});
