/** Models that are loaded by the first request for them (`--load-on-demand`), and unloaded when nobody asks any more. */

import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { addSub } from '../../bench/models/test-models.ts';
import { type DoorAnswer, type DoorName, Doors, type DoorTensor } from './doors.ts';
import { exampleRepository, makeRepository, ServerProcess, until } from './serve.ts';

const file = addSub('INT32');
let repository: ReturnType<typeof makeRepository>;
let server: ServerProcess;
let doors: Doors;

async function start(files: Readonly<Record<string, string | Uint8Array>>, ...args: string[]): Promise<void> {
  repository = makeRepository(files);
  server = await ServerProcess.start([`--model-repository=${repository.path}`, '--load-on-demand', ...args]);
  doors = new Doors(server.http, new URL(server.grpc).host);
}

afterEach(async () => {
  doors.close();
  expect((await server.stop()).code).toBe(0);
  repository.remove();
});

/** INPUT0 is `value` throughout and INPUT1 is 1: OUTPUT0 is their sum. */
function ask(door: DoorName, model: string, value = 1, version?: string, through = doors): Promise<DoorAnswer> {
  const tensor = (name: string, one: number): DoorTensor => ({
    name,
    datatype: 'INT32',
    shape: [1, 16],
    data: new Uint8Array(new Int32Array(16).fill(one).buffer),
  });
  return through.send(door, {
    model,
    ...(version === undefined ? {} : { version }),
    inputs: [tensor('INPUT0', value), tensor('INPUT1', 1)],
  });
}

const sumOf = ({ outputs }: DoorAnswer): number => Buffer.from(outputs.find(({ name }) => name === 'OUTPUT0')!.data).readInt32LE(0);
const loads = async (model: string): Promise<number> => (await server.metric(`nereid_model_load_total{model="${model}"}`)) ?? 0;
const stateOf = async (model: string): Promise<string | undefined> =>
  ((await server.post('/v2/repository/index', '')).json as { name: string; state?: string }[]).find(({ name }) => name === model)?.state;

test('the first request loads, and nothing before it does', async () => {
  await start({ 'one/1/model.onnx': file, 'one/2/model.onnx': file, 'two/1/model.onnx': file });
  expect((await server.get('/v2/health/ready')).status).toBe(200);
  expect((await server.post('/v2/repository/index', '')).json).toEqual([{ name: 'one' }, { name: 'two' }]);
  for (const path of ['/v2/models/one/ready', '/v2/models/one/versions/2/ready']) expect((await server.get(path)).status).toBe(200);
  expect((await server.get('/v2/models/none/ready')).status).toBe(404);
  expect((await server.get('/v2/models/stats')).json).toEqual({ model_stats: [] });
  expect((await server.get('/v2/models/one/stats')).status).toBe(400);
  expect([await stateOf('one'), await loads('one')]).toEqual([undefined, 0]);

  expect(await ask('REST binary', 'one')).toMatchObject({ code: 'OK', version: '2' });
  expect([await stateOf('one'), await stateOf('two'), await loads('one')]).toEqual(['READY', undefined, 1]);
  // So does asking for what it is.
  expect((await server.get('/v2/models/two')).json).toMatchObject({ name: 'two', versions: ['1'] });
  expect((await server.get('/v2/models/two/versions/1/config')).json).toMatchObject({ name: 'two' });
  expect([await stateOf('two'), await loads('two')]).toEqual(['READY', 1]);
  expect(await ask('gRPC raw', 'none')).toMatchObject({ code: 'NOT_FOUND' });
  expect(await ask('REST binary', 'one', 1, '7')).toMatchObject({ code: 'NOT_FOUND' });
  // A version that is neither a number nor a label is the caller's mistake, as over gRPC.
  for (const door of ['REST binary', 'gRPC raw', 'WebSocket JSON'] as const) {
    expect(await ask(door, 'one', 1, 'nonsense')).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining("'nonsense'"),
    });
  }
});

test('50 callers over every door make one load, and each gets its own answer', async () => {
  await start({ 'one/1/model.onnx': file, 'two/1/model.onnx': file });
  const names: DoorName[] = ['REST JSON', 'REST binary', 'gRPC typed', 'gRPC raw', 'gRPC stream', 'WebSocket JSON', 'WebSocket binary'];
  // One at a time on a WebSocket is all that this client does.
  const clients = Array.from({ length: 50 }, () => new Doors(server.http, new URL(server.grpc).host));
  const asked = clients.map((client, n) => ask(names[n % names.length]!, n % 5 === 4 ? 'two' : 'one', n, undefined, client));
  const answers = await Promise.all(asked);
  for (const client of clients) client.close();
  expect(answers.map(({ code, message }) => code + message)).toEqual(answers.map(() => 'OK'));
  expect(answers.map(sumOf)).toEqual(answers.map((_, n) => n + 1));
  expect(answers.map(({ model }) => model)).toEqual(answers.map((_, n) => (n % 5 === 4 ? 'two' : 'one')));
  expect([await loads('one'), await loads('two')]).toEqual([1, 1]);
});

test('a decoupled model is loaded by a stream, and a unary call hears that it is one', async () => {
  await start({ 'one/1/model.onnx': file });
  const repeat = {
    model: 'repeat_int32',
    inputs: ['IN', 'DELAY', 'WAIT'].map((name) => ({
      name,
      datatype: name === 'IN' ? 'INT32' : 'UINT32',
      shape: [1],
      data: new Uint8Array(4),
    })),
  };
  cpSync(join(exampleRepository, 'repeat_int32'), join(repository.path, 'repeat_int32'), { recursive: true });
  expect((await server.stop()).code).toBe(0);
  doors.close();
  server = await ServerProcess.start([`--model-repository=${repository.path}`, '--load-on-demand']);
  doors = new Doors(server.http, new URL(server.grpc).host);
  const answers = await Promise.all(
    (['gRPC stream', 'WebSocket JSON', 'REST binary', 'gRPC raw'] as const).map((door) => doors.send(door, repeat)),
  );
  expect(answers.map(({ code }) => code)).toEqual(['OK', 'OK', 'UNIMPLEMENTED', 'UNIMPLEMENTED']);
  expect(await loads('repeat_int32')).toBe(1);
});

test('a model that does not load: all who wait hear why, and so does the next caller, without another attempt', async () => {
  await start({ 'broken/1/model.onnx': 'not a model', 'one/1/model.onnx': file });
  const answers = await Promise.all(
    (['REST binary', 'gRPC raw', 'gRPC stream', 'WebSocket JSON'] as const).map((door) => ask(door, 'broken')),
  );
  for (const { code, message } of answers) {
    expect([code, message]).toEqual(['UNAVAILABLE', expect.stringMatching(/model 'broken' could not be loaded on demand: .*version 1/)]);
  }
  const failures = 'nereid_model_load_failure_total{model="broken",stage="load"}';
  const before = await server.metric(failures);
  const again = await server.post('/v2/models/broken/infer', '{}');
  expect([again.status, again.headers.get('retry-after')]).toEqual([503, '1']);
  expect([before, await server.metric(failures)]).toEqual([1, 1]);
  expect(await ask('REST binary', 'one')).toMatchObject({ code: 'OK' });
  expect((await server.get('/v2/health/live')).status).toBe(200);
});

test('nobody waits longer than is said, nor more than are said; the load goes on', async () => {
  await start({ 'one/1/model.onnx': file, 'two/1/model.onnx': file }, '--load-on-demand-timeout-ms=1', '--load-on-demand-max-waiting=5');
  const answers = await Promise.all(Array.from({ length: 20 }, () => server.post('/v2/models/one/infer', '{}')));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
  expect(answers.every(({ headers }) => headers.get('retry-after') === '1')).toBe(true);
  expect(answers.filter(({ json }) => json.error.includes('--load-on-demand-timeout-ms')).length).toBeGreaterThan(0);
  await until(async () => (await stateOf('one')) === 'READY');
  expect(await ask('REST binary', 'one')).toMatchObject({ code: 'OK' });
  expect(await loads('one')).toBe(1);
});

test('with a memory budget the model used longest ago goes', async () => {
  const models = {
    'a/1/model.onnx': file,
    'b/1/model.onnx': file,
    'c/1/model.onnx': file,
    'huge/1/model.onnx': Buffer.concat([file, Buffer.alloc(4096)]),
  };
  // Inline, a model counts as its file: the memory of a host cannot be told so exactly.
  await start(models, '--execution-host=inline', `--model-memory-budget=${2 * file.length + 100}`);
  const serving = async (): Promise<string[]> => {
    const { json } = await server.post('/v2/repository/index', { ready: true });
    return (json as { name: string }[]).map(({ name }) => name).sort();
  };
  for (const model of ['a', 'b']) expect(await ask('REST binary', model)).toMatchObject({ code: 'OK' });
  expect(await ask('REST binary', 'a')).toMatchObject({ code: 'OK' });
  expect(await serving()).toEqual(['a', 'b']);
  expect(await ask('gRPC raw', 'c')).toMatchObject({ code: 'OK' });
  expect(await serving()).toEqual(['a', 'c']);
  expect(await ask('gRPC stream', 'b')).toMatchObject({ code: 'OK' });
  expect(await serving()).toEqual(['b', 'c']);
  const refused = await server.post('/v2/models/huge/infer', '{}');
  expect([refused.status, refused.json.error]).toEqual([
    503,
    expect.stringMatching(/^model 'huge' needs about \d+ bytes.*it can never be loaded/),
  ]);
  expect(await serving()).toEqual(['b', 'c']);
  // Three models for two places, asked for by many at once: everybody is answered, or told that there is no room.
  const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => ask('REST binary', ['a', 'b', 'c'][n % 3]!, n)));
  for (const [n, answer] of answers.entries()) {
    if (answer.code === 'OK') expect(sumOf(answer)).toBe(n + 1);
    else expect(answer).toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('--model-memory-budget') });
  }
  expect((await serving()).length).toBeLessThanOrEqual(2);
});

test('the start says what waits to be asked for; the log says why a model cannot be loaded', async () => {
  await start({
    'fine/1/model.onnx': file,
    'wrong/1/model.onnx': file,
    'wrong/config.pbtxt': 'max_batch_sise: 4',
    'broken/1/model.onnx': 'none',
  });
  expect(server.stderr).toContain('"serving 0 of 3 models, 3 on demand"');
  for (let n = 0; n < 50; n++) {
    for (const model of ['wrong', 'broken']) expect((await server.post(`/v2/models/${model}/infer`, '{}')).status).toBe(503);
  }
  const isOf = (model: string) => (line: Record<string, unknown>) => line['level'] === 'error' && line['model'] === model;
  expect((await server.logLine(isOf('wrong')))['reason']).toContain('max_batch_sise');
  expect((await server.logLine(isOf('broken')))['reason']).toContain('could not be loaded');
  // Once for each attempt, of which there are few.
  expect(server.stderr.match(/"level":"error"/g)!.length).toBeLessThan(20);
  expect(await ask('REST binary', 'fine')).toMatchObject({ code: 'OK' });
});

test('a model without requests is unloaded, and loaded again by the next', async () => {
  await start({ 'one/1/model.onnx': file }, '--idle-unload-secs=1');
  expect(await ask('REST binary', 'one')).toMatchObject({ code: 'OK' });
  await until(async () => (await stateOf('one')) !== 'READY');
  expect((await server.get('/v2/models/one/ready')).status).toBe(200);
  expect((await server.get('/v2/health/ready')).status).toBe(200);
  expect(await ask('WebSocket binary', 'one', 41)).toMatchObject({ code: 'OK' });
  expect(await loads('one')).toBe(2);
});

test('a thousand models: all listed at once, any of them answers', async () => {
  const names = Array.from({ length: 1000 }, (_, n) => `model-${n}`);
  await start(Object.fromEntries(names.map((name) => [`${name}/1/model.onnx`, file])));
  const index = (await server.post('/v2/repository/index', '')).json as { name: string }[];
  expect(index.map(({ name }) => name).sort()).toEqual([...names].sort());
  const asked = Array.from({ length: 20 }, (_, n) => ask('gRPC raw', names[n * 49]!, n));
  expect((await Promise.all(asked)).map(sumOf)).toEqual(asked.map((_, n) => n + 1));
  expect((await server.post('/v2/repository/index', { ready: true })).json).toHaveLength(20);
});
