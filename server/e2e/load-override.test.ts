/** Load requests that bring a configuration or files (reference section 6.6), over REST and gRPC, against a real server. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addSub, identity } from '../../bench/models/test-models.ts';
import { descriptor } from '../../proto/gen/descriptor.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const types = protobuf.Root.fromJSON(descriptor);
const CONFIG = JSON.stringify({ backend: 'onnxruntime', max_batch_size: 2 });

let repository: ReturnType<typeof makeRepository>;
let temporary: string;
let server: ServerProcess;
let grpc: Client;

const start = (): Promise<ServerProcess> =>
  ServerProcess.start([`--model-repository=${repository.path}`, '--model-control-mode=explicit', '--load-model=one'], {
    TMPDIR: temporary,
  });

beforeEach(async () => {
  repository = makeRepository({ 'one/1/model.onnx': addSub('INT32'), 'two/1/model.onnx': addSub('INT32') });
  temporary = mkdtempSync(join(tmpdir(), 'nereid-staging-test-'));
  server = await start();
  grpc = new Client(new URL(server.grpc).host, credentials.createInsecure());
});

afterEach(async () => {
  grpc.close();
  await server.stop();
  repository.remove();
  rmSync(temporary, { recursive: true, force: true });
});

interface Outcome {
  readonly isDone: boolean;
  readonly code: number;
  readonly text: string;
}
type Doorway = (model: string, config: string | null, files?: Readonly<Record<string, Uint8Array>>) => Promise<Outcome>;

const overRest: Doorway = async (model, config, files = {}) => {
  const parameters: Record<string, string> = config === null ? {} : { config };
  for (const [path, content] of Object.entries(files)) parameters[`file:${path}`] = Buffer.from(content).toString('base64');
  const { status, json } = await server.post(`/v2/repository/models/${encodeURIComponent(model)}/load`, { parameters });
  return { isDone: status === 200, code: status, text: String(json?.error ?? '') };
};
const overGrpc: Doorway = async (model, config, files = {}) => {
  const parameters: Record<string, object> = config === null ? {} : { config: { stringParam: config } };
  for (const [path, content] of Object.entries(files)) parameters[`file:${path}`] = { bytesParam: content };
  const type = types.lookupType('inference.RepositoryModelLoadRequest');
  const message = Buffer.from(type.encode(type.fromObject({ modelName: model, parameters })).finish());
  const same = (bytes: Buffer): Buffer => bytes;
  return new Promise((resolve) => {
    grpc.makeUnaryRequest('/inference.GRPCInferenceService/RepositoryModelLoad', same, same, message, (error: ServiceError | null) =>
      resolve({ isDone: error === null, code: error?.code ?? 0, text: error?.details ?? '' }),
    );
  });
};
const DONE = expect.objectContaining({ isDone: true, text: '' });

const unload = (model: string): Promise<{ status: number }> => server.post(`/v2/repository/models/${model}/unload`, '');
const batchSize = async (model: string): Promise<unknown> => (await server.get(`/v2/models/${model}/config`)).json.max_batch_size;
const metadata = async (model: string): Promise<{ versions: string[]; outputs: { name: string }[] }> =>
  (await server.get(`/v2/models/${model}`)).json;
/** ONNX Runtime has files of its own there. */
const isOurs = (path: string): boolean => path.startsWith('nereid-');
const staged = (): string[] => readdirSync(temporary, { recursive: true }).map(String).filter(isOurs).sort();
const numbers = Array.from({ length: 16 }, (_, i) => i);
const infer = async (model: string): Promise<{ status: number; json: { outputs: { data: number[] }[]; model_version: string } }> => {
  const inputs = ((await metadata(model)) as unknown as { inputs: { name: string }[] }).inputs.map(({ name }) => ({
    name,
    datatype: 'INT32',
    shape: [1, 16],
    data: numbers,
  }));
  return server.post(`/v2/models/${model}/infer`, { inputs });
};

describe.each([
  ['REST', overRest],
  ['gRPC', overGrpc],
] as const)('over %s', (_, load) => {
  test('a configuration takes the place of the one on disk, until that changes or the model is unloaded', async () => {
    const size = await batchSize('one');
    expect(size).not.toBe(2);
    expect(await load('one', CONFIG)).toEqual(DONE);
    expect(await batchSize('one')).toBe(2);
    // Nothing on disk has changed.
    expect(await load('one', null)).toEqual(DONE);
    expect(await batchSize('one')).toBe(2);
    expect(await load('one', JSON.stringify({ max_batch_size: 3 }))).toEqual(DONE);
    expect(await batchSize('one')).toBe(3);
    writeFileSync(join(repository.path, 'one/1/model.onnx'), addSub('INT32'));
    expect(await load('one', null)).toEqual(DONE);
    expect(await batchSize('one')).toBe(size);

    expect(await load('one', CONFIG)).toEqual(DONE);
    expect((await unload('one')).status).toBe(200);
    expect(await load('one', null)).toEqual(DONE);
    expect(await batchSize('one')).toBe(size);
    expect((await infer('one')).json.outputs[0]!.data).toEqual(numbers.map((n) => 2 * n));
  });

  test('files take the place of the directory, which counts again after the model was unloaded', async () => {
    const files = { '7/model.onnx': identity('INT32') };
    expect(await load('one', CONFIG, files)).toEqual(DONE);
    expect((await metadata('one')).versions).toEqual(['7']);
    expect(await infer('one')).toMatchObject({ status: 200, json: { model_version: '7', outputs: [{ data: numbers }] } });
    expect(staged()).toEqual(expect.arrayContaining([expect.stringMatching(/^nereid-[0-9]+-[A-Za-z0-9]{6}\/one\/7\/model\.onnx$/)]));
    // Nothing on disk has changed.
    expect(await load('one', null)).toEqual(DONE);
    expect((await metadata('one')).versions).toEqual(['7']);

    expect((await unload('one')).status).toBe(200);
    await expect.poll(staged).toEqual([]);
    expect(await load('one', null)).toEqual(DONE);
    expect(await infer('one')).toMatchObject({
      status: 200,
      json: { model_version: '1', outputs: [{ data: numbers.map((n) => 2 * n) }, {}] },
    });
  });

  test('a model that no repository has is served from its files alone', async () => {
    expect(
      await load('new one', '{"version_policy":{"all":{}}}', { '1/model.onnx': addSub('INT32'), '2/model.onnx': identity('INT32') }),
    ).toEqual(DONE);
    expect((await server.get('/v2/models/new%20one')).json.versions).toEqual(['1', '2']);
    expect((await unload('new%20one')).status).toBe(200);
    await expect.poll(staged).toEqual([]);
    expect(await load('new one', null)).toMatchObject({ isDone: false, text: expect.stringContaining("failed to load 'new one'") });
  });

  test('files replace files, and those before are removed', async () => {
    for (const version of [3, 4, 5]) {
      expect(await load('one', '{}', { [`${version}/model.onnx`]: identity('INT32') })).toEqual(DONE);
      expect((await metadata('one')).versions).toEqual([String(version)]);
    }
    expect(await load('one', '{}', { '2/model.onnx': addSub('INT32') })).toEqual(DONE);
    expect(await infer('one')).toMatchObject({ json: { model_version: '2' } });
    // Those that a rollback would need may stay for that.
    await expect.poll(() => readdirSync(temporary).filter(isOurs).length).toBeLessThanOrEqual(2);
  });

  test('what fails leaves what serves, and no files', async () => {
    const before = await metadata('one');
    const model = addSub('INT32');
    const refusals: [string | null, Record<string, Uint8Array>][] = [
      [CONFIG, { '2/model.onnx': Buffer.from('not a model') }],
      [CONFIG, { 'model.onnx': model }],
      ['{"max_batch_size":', { '2/model.onnx': model }],
      ['{"max_bach_size":3}', { '2/model.onnx': model }],
      ['{"name":"other"}', { '2/model.onnx': model }],
      ['not json', {}],
      [null, { '2/model.onnx': model }],
      ...['../2/model.onnx', '/tmp/escaped', '2/../../x', 'a\\b', '2//model.onnx', '.', '', 'x\u0000y', `${'a'.repeat(256)}`].map(
        (path): [string, Record<string, Uint8Array>] => [CONFIG, { '2/model.onnx': model, [path]: model }],
      ),
      [CONFIG, { '2': model, '2/model.onnx': model }],
    ];
    for (const [config, files] of refusals) {
      const outcome = await load('one', config, files);
      expect([Object.keys(files), outcome.isDone]).toEqual([Object.keys(files), false]);
      expect(outcome.text).not.toContain(temporary);
      expect(staged()).toEqual([]);
    }
    expect(readdirSync(repository.path, { recursive: true }).length).toBe(6);
    expect(await metadata('one')).toEqual(before);
    expect(await infer('one')).toMatchObject({ status: 200, json: { model_version: '1' } });
  });
});

test('codes: the client’s mistakes are 400 and 3', async () => {
  for (const [load, code] of [
    [overRest, 400],
    [overGrpc, 3],
  ] as const) {
    expect(await load('one', CONFIG, { '../x': new Uint8Array(1) })).toMatchObject({
      code,
      text: expect.stringMatching(/parameters\.file:\.\.\/x: /),
    });
    expect(await load('one', null, { '1/x': new Uint8Array(1) })).toMatchObject({
      code,
      text: expect.stringContaining('parameters.config'),
    });
    expect(await load('one', '{}', { '1/model.onnx': new Uint8Array(1) })).toMatchObject({ code });
  }
  const bad = await server.post('/v2/repository/models/one/load', { parameters: { config: '{}', 'file:1/model.onnx': 'a*==' } });
  expect([bad.status, bad.json.error]).toEqual([400, expect.stringMatching(/^parameters\.file:1\/model\.onnx: expected base64: .*'\*'/)]);
  for (const body of [{ parameters: { unload_dependents: 'yes' } }, { parameters: { unload_dependants: true } }, { parameters: [] }, '{']) {
    expect((await server.post('/v2/repository/models/one/unload', body)).status).toBe(400);
  }
  expect((await infer('one')).status).toBe(200);
  expect((await server.post('/v2/repository/models/one/unload', { parameters: { unload_dependents: true } })).status).toBe(200);
});

test('a large model comes whole through the body of a request', async () => {
  const weights = Buffer.alloc(12 * 1024 * 1024, 7);
  expect(await overRest('one', '{}', { '1/model.onnx': identity('INT32'), '1/extra.bin': weights })).toEqual(DONE);
  const path = staged().find((one) => one.endsWith('extra.bin'))!;
  expect(readFileSync(join(temporary, path)).equals(weights)).toBe(true);
});

test('rollback goes back to what the load has replaced', async () => {
  expect(await overRest('one', CONFIG, { '7/model.onnx': identity('INT32') })).toEqual(DONE);
  const back = await server.post('/v2/repository/models/one/rollback', '');
  expect([back.status, back.json]).toEqual([200, { name: 'one', versions: ['1'] }]);
  expect(await infer('one')).toMatchObject({ json: { model_version: '1' } });
  expect((await server.post('/v2/repository/models/no_such/rollback', '')).status).toBe(404);
  expect((await server.post('/v2/repository/models/two/rollback', '')).json.error).toEqual(expect.any(String));
});

test('an orderly exit leaves nothing, and the next start removes what a kill has left', async () => {
  expect(await overRest('one', '{}', { '7/model.onnx': identity('INT32') })).toEqual(DONE);
  expect((await server.stop()).code).toBe(0);
  expect(staged()).toEqual([]);

  server = await start();
  expect(await overRest('one', '{}', { '7/model.onnx': identity('INT32') })).toEqual(DONE);
  await server.kill();
  expect(staged().length).toBeGreaterThan(0);
  server = await start();
  await expect.poll(staged).toEqual([]);
});
