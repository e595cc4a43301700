/** What a swap keeps: retained versions, the previous one for a rollback, statistics, and what serves where a step fails. */

import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { addSub, identity } from '../../bench/models/test-models.ts';
import { type DoorAnswer, Doors } from './doors.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const ints = new Uint8Array(new Int32Array(16).fill(1).buffer);
const inputs = ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32', shape: [1, 16], data: ints }));

let repository: ReturnType<typeof makeRepository>;
let server: ServerProcess;
let doors: Doors;

async function start(files: Record<string, string | Uint8Array>, ...options: string[]): Promise<void> {
  repository = makeRepository({ 'one/1/model.onnx': addSub('INT32'), ...files });
  const args = [`--model-repository=${repository.path}`, '--model-control-mode=explicit', '--load-model=one'];
  server = await ServerProcess.start([...args, ...options]);
  doors = new Doors(server.http, new URL(server.grpc).host);
}

afterEach(async () => {
  doors.close();
  expect((await server.stop()).code).toBe(0);
  repository.remove();
});

const at = (...parts: string[]): string => join(repository.path, ...parts);
const infer = (version?: string): Promise<DoorAnswer> =>
  doors.send('REST binary', version === undefined ? { model: 'one', inputs } : { model: 'one', version, inputs });
const load = (): ReturnType<ServerProcess['post']> => server.post('/v2/repository/models/one/load', '');
const rollback = (): ReturnType<ServerProcess['post']> => server.post('/v2/repository/models/one/rollback', '');
const versions = async (): Promise<string[]> => (await server.get('/v2/models/one')).json.versions;
const index = async (): Promise<unknown[]> => (await server.post('/v2/repository/index', '')).json;
const successes = (version: number): Promise<number | undefined> =>
  server.metric(`nv_inference_request_success{model="one",version="${version}"}`);

function addVersion(version: number, bytes: Uint8Array = addSub('INT32')): void {
  const staged = at(`.staged-${version}`);
  mkdirSync(staged);
  writeFileSync(join(staged, 'model.onnx'), bytes);
  renameSync(staged, at('one', String(version)));
}

describe('rollback', () => {
  test('goes back to what served before, at once, and forth again', async () => {
    await start({});
    await infer();
    addVersion(2);
    expect((await load()).status).toBe(200);
    expect(await versions()).toEqual(['2']);
    // Out of service: no metrics, and no way to it.
    expect(await successes(1)).toBeUndefined();
    expect(await infer('1')).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await index()).toEqual([
      { name: 'one', version: '1', state: 'UNAVAILABLE', reason: 'unloaded' },
      { name: 'one', version: '2', state: 'READY' },
    ]);
    // The files of the old one need not be there any more.
    rmSync(at('one', '1'), { recursive: true });
    expect(await rollback()).toMatchObject({ status: 200, json: { name: 'one', versions: ['1'] } });
    expect(await infer()).toMatchObject({ code: 'OK', version: '1' });
    expect(await infer('2')).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await successes(2)).toBeUndefined();
    expect(await rollback()).toMatchObject({ json: { versions: ['2'] } });
    expect(await infer()).toMatchObject({ code: 'OK', version: '2' });
    expect(await server.metric('nereid_model_swap_total{model="one"}')).toBe(3);
  });

  test('of the same version brings back the old file', async () => {
    await start({});
    const config = async (): Promise<string> => (await server.get('/v2/models/one')).json.inputs[0].datatype;
    writeFileSync(at('one', '1', 'model.onnx'), addSub('FP32'));
    expect((await load()).status).toBe(200);
    expect(await config()).toBe('FP32');
    await rollback();
    expect(await config()).toBe('INT32');
    expect(await infer()).toMatchObject({ code: 'OK', version: '1' });
    // A load that is asked for takes what is on disk.
    expect((await load()).status).toBe(200);
    expect(await config()).toBe('FP32');
  });

  test('needs something that is kept', async () => {
    await start({}, '--rollback-keep-secs=0');
    expect(await rollback()).toMatchObject({ status: 400, json: { error: expect.stringContaining('--rollback-keep-secs 0') } });
    addVersion(2);
    await load();
    expect(await rollback()).toMatchObject({ status: 400 });
    expect(await server.post('/v2/repository/models/on/rollback', '')).toMatchObject({
      status: 404,
      json: { error: expect.stringContaining("'one'") },
    });
  });

  test('ends when its time is over, and the version is unloaded then', async () => {
    await start({}, '--rollback-keep-secs=1');
    addVersion(2);
    await load();
    await server.logLine((line) => line['msg'] === 'unloaded' && line['version'] === 1);
    expect(await rollback()).toMatchObject({ status: 400, json: { error: expect.stringContaining('is kept for 1 s') } });
    expect(await infer()).toMatchObject({ code: 'OK', version: '2' });
  });
});

describe('a load that fails', () => {
  const request = { inputs: [{ name: 'INPUT0', datatype: 'INT32', shape: [1, 2], data: [3, 4] }] };
  const golden = (expected: number[]): string =>
    JSON.stringify({ request, response: { outputs: [{ name: 'OUTPUT0', datatype: 'INT32', shape: [1, 2], data: expected }] } });

  test.each([
    ['load', { '2/model.onnx': 'not a model' }, /could not be loaded/],
    ['files', { '2/model.onnx': addSub('INT32'), '2/SHA256SUMS': `${'0'.repeat(64)}  model.onnx\n` }, /SHA256SUMS/],
    [
      'warm_up',
      {
        'config.pbtxt': 'max_batch_size: 4 warmup_requests: "recorded.jsonl"',
        'warmup/recorded.jsonl': JSON.stringify({ inputs: [{ name: 'INPUT0', datatype: 'INT32', shape: [1, 3], data: [1, 2, 3] }] }),
      },
      /recorded\.jsonl/,
    ],
  ])('in stage %s leaves the old version serving, and says why in index, log and metric', async (stage, files, text) => {
    await start({});
    await infer();
    for (const directory of ['2', 'warmup']) mkdirSync(at('one', directory));
    for (const [path, content] of Object.entries(files)) writeFileSync(at('one', path), content);
    if (stage === 'warm_up') rmSync(at('one', '2'), { recursive: true });
    const answer = await load();
    expect(answer.status).toBe(400);
    expect(answer.json.error).toMatch(text);
    expect(await infer()).toMatchObject({ code: 'OK', version: '1' });
    expect(await successes(1)).toBe(2);
    expect(JSON.stringify(await index())).toMatch(text);
    expect((await server.get('/v2/health/ready')).status).toBe(200);
    await server.logLine((line) => line['model'] === 'one' && text.test(String(line['reason'])));
    expect(await server.metric(`nereid_model_load_failure_total{model="one",stage="${stage}"}`)).toBe(1);
  });

  test('in its golden check leaves the old one, and one that answers as expected takes over', async () => {
    const config = 'max_batch_size: 4 golden_check { file: "sums.json" }';
    await start({ 'echo/1/model.onnx': identity('INT32', [-1, 2]), 'echo/config.pbtxt': config, 'echo/golden/sums.json': golden([3, 5]) });
    const loadEcho = (): ReturnType<ServerProcess['post']> => server.post('/v2/repository/models/echo/load', '');
    expect(await loadEcho()).toMatchObject({ status: 400, json: { error: expect.stringMatching(/OUTPUT0.*expected 5, got 4/) } });
    expect(await server.metric('nereid_model_load_failure_total{model="echo",stage="golden_check"}')).toBe(1);
    writeFileSync(at('echo', 'golden', 'sums.json'), golden([3, 4]));
    expect((await loadEcho()).status).toBe(200);
    expect((await server.post('/v2/models/echo/infer', request)).status).toBe(200);
    // A check is no client's request.
    expect(await server.metric('nv_inference_request_success{model="echo",version="1"}')).toBe(1);
  });
});

test('the list of versions is right at every moment of a swap', async () => {
  await start({ 'one/config.pbtxt': 'version_policy { latest { num_versions: 2 } }' });
  const lists = new Set<string>();
  let isOver = false;
  const watching = (async () => {
    while (!isOver) lists.add((await versions()).join());
  })();
  for (let version = 2; version <= 6; version++) {
    addVersion(version);
    expect((await load()).status).toBe(200);
    expect((await versions()).join()).toBe(`${version - 1},${version}`);
  }
  isOver = true;
  await watching;
  for (const list of lists) expect(['1', '1,2', '2,3', '3,4', '4,5', '5,6']).toContain(list);
});
