/** Loading and unloading while the server serves (`--model-control-mode explicit`), over REST and gRPC. */

import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addSub } from '../../bench/models/test-models.ts';
import { descriptor } from '../../proto/gen/descriptor.ts';
import { type DoorAnswer, type DoorRequest, Doors } from './doors.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const ints = new Uint8Array(new Int32Array(16).fill(1).buffer);
const inputs = ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32', shape: [1, 16], data: ints }));
const types = protobuf.Root.fromJSON(descriptor);

let repository: ReturnType<typeof makeRepository>;
let server: ServerProcess;
let doors: Doors;
let grpc: Client;

/** A version appears whole, as those who deploy should have it. */
function addVersion(model: string, version: number, bytes: Uint8Array): void {
  const staged = join(repository.path, `.staged-${model}-${version}`);
  mkdirSync(staged);
  writeFileSync(join(staged, 'model.onnx'), bytes);
  renameSync(staged, join(repository.path, model, String(version)));
}

beforeEach(async () => {
  repository = makeRepository({
    'one/1/model.onnx': addSub('INT32'),
    'two/1/model.onnx': addSub('INT32'),
    'broken/1/model.onnx': 'not a model',
  });
  server = await ServerProcess.start([`--model-repository=${repository.path}`, '--model-control-mode=explicit', '--load-model=one']);
  const host = new URL(server.grpc).host;
  doors = new Doors(server.http, host);
  grpc = new Client(host, credentials.createInsecure());
});

afterEach(async () => {
  doors.close();
  grpc.close();
  expect((await server.stop()).code).toBe(0);
  repository.remove();
});

const infer = (model: string, more: Partial<DoorRequest> = {}): Promise<DoorAnswer> =>
  doors.send('REST binary', { model, inputs, ...more });
const load = (model: string, body: object = {}): Promise<{ status: number; json: { error: string } }> =>
  server.post(`/v2/repository/models/${encodeURIComponent(model)}/load`, body);
const index = async (): Promise<unknown> => (await server.post('/v2/repository/index', '')).json;

/** A control call; its status code, 0 when it worked. */
function ask(rpc: string, request: object): Promise<{ code: number; details: string }> {
  const type = types.lookupType(`inference.${rpc}Request`);
  const message = Buffer.from(type.encode(type.fromObject(request)).finish());
  const same = (bytes: Buffer): Buffer => bytes;
  return new Promise((resolve) => {
    grpc.makeUnaryRequest(`/inference.GRPCInferenceService/${rpc}`, same, same, message, (error: ServiceError | null) =>
      resolve(error === null ? { code: 0, details: '' } : error),
    );
  });
}

test('starts with the models asked for, and loads and unloads others', async () => {
  expect((await server.get('/v2/health/ready')).status).toBe(200);
  expect(await index()).toEqual([{ name: 'one', version: '1', state: 'READY' }, { name: 'broken' }, { name: 'two' }]);
  expect(await infer('two')).toMatchObject({ code: 'NOT_FOUND' });

  expect((await load('two')).status).toBe(200);
  expect(await infer('two')).toMatchObject({ code: 'OK', version: '1' });
  expect((await server.post('/v2/repository/models/one/unload', '')).status).toBe(200);
  expect(await infer('one')).toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining('has no available versions') });
  await expect
    .poll(index)
    .toEqual([
      { name: 'one', version: '1', state: 'UNAVAILABLE', reason: 'unloaded' },
      { name: 'two', version: '1', state: 'READY' },
      { name: 'broken' },
    ]);
  // On purpose, so the server is as it should be.
  expect((await server.get('/v2/health/ready')).status).toBe(200);
  expect(await server.metric('nv_inference_request_success{model="one",version="1"}')).toBeUndefined();

  expect(await ask('RepositoryModelLoad', { modelName: 'one' })).toEqual({ code: 0, details: '' });
  expect(await infer('one')).toMatchObject({ code: 'OK' });
  expect(await ask('RepositoryModelUnload', { modelName: 'two' })).toEqual({ code: 0, details: '' });
  expect(await infer('two')).toMatchObject({ code: 'NOT_FOUND' });
  for (const name of ['two', 'no_such_model']) expect((await server.post(`/v2/repository/models/${name}/unload`, '')).status).toBe(200);
});

test('a directory that comes is in the index, and is loaded when that is asked for', async () => {
  mkdirSync(join(repository.path, 'three'));
  addVersion('three', 1, addSub('INT32'));
  await expect.poll(index, { timeout: 10_000 }).toContainEqual({ name: 'three' });
  expect(await infer('three')).toMatchObject({ code: 'NOT_FOUND' });
  expect((await load('three')).status).toBe(200);
  expect(await infer('three')).toMatchObject({ code: 'OK' });
});

test('a load that changes nothing does nothing, and one after a change loads again', async () => {
  await infer('one');
  const count = (): Promise<number | undefined> => server.metric('nv_inference_request_success{model="one",version="1"}');
  expect((await load('one')).status).toBe(200);
  expect(await count()).toBe(1);
  writeFileSync(join(repository.path, 'one/1/model.onnx'), addSub('INT32'));
  expect((await load('one')).status).toBe(200);
  expect(await count()).toBe(0);
  expect(await infer('one')).toMatchObject({ code: 'OK' });
});

test.each([
  ['no_such_model', {}, 404, /^failed to load 'no_such_model', failed to poll from model repository: no directory of that name/],
  ['tow', {}, 404, /did you mean 'two'\?/],
  ['broken', {}, 400, /^load failed for model 'broken': version 1 is at UNAVAILABLE state: Invalid argument: /],
  ['a/../b', {}, 400, /path traversal/],
  [' ', {}, 400, /Model name cannot be empty/],
  ['two', { parameters: { config: '{' } }, 400, /parameter 'config': not JSON/],
  ['two', { parameters: { confg: '{}' } }, 400, /confg/],
  ['two', { parameters: 3 }, 400, /^parameters: expected an object/],
])('loading %j with %j is refused', async (model, body, status, text) => {
  const answer = await load(model, body);
  expect([answer.status, answer.json.error]).toEqual([status, expect.stringMatching(text)]);
  expect(await infer('one')).toMatchObject({ code: 'OK' });
});

test("a repository's name is passed over by the index, and refused elsewhere", async () => {
  expect((await server.post('/v2/repository/any/index', '')).json).toEqual(await index());
  for (const what of ['load', 'unload', 'rollback']) {
    expect(await server.post(`/v2/repository/any/models/one/${what}`, '')).toMatchObject({
      status: 501,
      json: { error: expect.stringContaining('repository_name "any" is not supported') },
    });
  }
  for (const rpc of ['RepositoryModelLoad', 'RepositoryModelUnload']) {
    expect(await ask(rpc, { modelName: 'one', repositoryName: 'any' })).toMatchObject({ code: 12 });
    expect(await ask(rpc, { modelName: 'two', repositoryName: '' })).toEqual({ code: 0, details: '' });
  }
  expect(await infer('one')).toMatchObject({ code: 'OK' });
});

test('gRPC refuses what it cannot do, rather than pass it over', async () => {
  const parameters = { confg: { stringParam: '{}' } };
  expect(await ask('RepositoryModelLoad', { modelName: 'two', parameters })).toMatchObject({ code: 3 });
  expect(await ask('RepositoryModelLoad', { modelName: 'twoo' })).toMatchObject({ code: 5, details: expect.stringContaining("'two'") });
  expect(await ask('RepositoryModelUnload', { modelName: 'one', parameters: { unload_dependents: { boolParam: true } } })).toMatchObject({
    code: 0,
  });
});

describe('a new version', () => {
  test('that does not load leaves the old one serving, with the reason in the index', async () => {
    addVersion('one', 2, Buffer.from('not a model'));
    expect((await load('one')).status).toBe(400);
    expect(await infer('one')).toMatchObject({ code: 'OK', version: '1' });
    expect(await index()).toEqual(
      expect.arrayContaining([
        { name: 'one', version: '1', state: 'READY' },
        { name: 'one', version: '2', state: 'UNAVAILABLE', reason: expect.stringContaining('Invalid argument') },
      ]),
    );
  });

  test('takes over under load: nothing fails, and nothing old answers after it was announced', async () => {
    let isOver = false;
    let announced = 1;
    const seen: { code: string; version: string; least: number }[] = [];
    const client = async (door: 'REST binary' | 'gRPC raw' | 'gRPC stream'): Promise<void> => {
      while (!isOver) {
        const least = announced;
        const { code, version } = await doors.send(door, { model: 'one', inputs });
        seen.push({ code, version, least });
      }
    };
    const clients = (['REST binary', 'gRPC raw', 'gRPC stream', 'REST binary', 'gRPC raw'] as const).map(client);
    for (let version = 2; version <= 12; version++) {
      addVersion('one', version, addSub('INT32'));
      const { status, json } = await load('one');
      expect([version, status, json?.error]).toEqual([version, 200, undefined]);
      announced = version;
      const before = seen.length;
      await expect.poll(() => seen.length, { interval: 2, timeout: 10_000 }).toBeGreaterThan(before + 20);
    }
    isOver = true;
    await Promise.all(clients);
    expect(seen.filter(({ code }) => code !== 'OK')).toEqual([]);
    expect(seen.filter(({ version, least }) => Number(version) < least)).toEqual([]);
    expect(new Set(seen.map(({ version }) => version)).size).toBe(12);
  });
});

test('in mode none the network changes nothing', async () => {
  const other = await ServerProcess.start([`--model-repository=${repository.path}`]);
  try {
    for (const what of ['load', 'unload']) {
      expect(await other.post(`/v2/repository/models/one/${what}`, '')).toMatchObject({
        status: 503,
        json: { error: expect.stringContaining('explicit model load / unload is not allowed') },
      });
    }
  } finally {
    await other.stop();
  }
});
