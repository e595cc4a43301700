/** The response cache of a real server: what is answered from it, what is not, and what is counted. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { heavy, identity, mlp } from '../../bench/models/test-models.ts';
import { type Answer, makeRepository, ServerProcess } from './serve.ts';

const hasRedis = spawnSync('redis-server', ['--version']).status === 0 && isInstalled('redis');
if (!hasRedis) console.warn('the test of the Redis cache is skipped: apt-get install redis-server, npm install redis');

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

function repositoryOf(files: Readonly<Record<string, string | Uint8Array>>): string {
  const repository = makeRepository(files);
  cleanUps.push(() => repository.remove());
  return repository.path;
}

async function start(path: string, ...args: string[]): Promise<ServerProcess> {
  const server = await ServerProcess.start([`--model-repository=${path}`, ...args]);
  cleanUps.push(async () => expect((await server.stop()).code).toBe(0));
  return server;
}

const enabled = 'response_cache: { enable: true }';

function send(server: ServerProcess, model: string, values: readonly number[], more: object = {}, name = 'INPUT0'): Promise<Answer> {
  const inputs = [{ name, datatype: 'FP32', shape: [1, values.length], data: values }];
  return server.post(`/v2/models/${model}/infer`, { inputs, ...more });
}

interface Statistics {
  readonly executions: number;
  readonly inferences: number;
  readonly success: number;
  readonly queue: number;
  readonly infer: number;
  readonly hits: number;
  readonly misses: number;
}

async function statistics(server: ServerProcess, model: string): Promise<Statistics> {
  const one = (await server.get(`/v2/models/${model}/stats`)).json.model_stats[0];
  const { success, queue, compute_infer: infer, cache_hit: hit, cache_miss: miss } = one.inference_stats;
  expect(hit.ns > 0).toBe(hit.count > 0);
  expect(miss.ns > 0).toBe(miss.count > 0);
  return {
    ...{ executions: one.execution_count, inferences: one.inference_count, success: success.count, queue: queue.count },
    ...{ infer: infer.count, hits: hit.count, misses: miss.count },
  };
}

describe('in memory', () => {
  test('answers again what it answered, and counts it as Triton does', async () => {
    const server = await start(
      repositoryOf({
        'cached/1/model.onnx': identity('FP32', ['batch', 2]),
        'cached/config.yaml': `max_batch_size: 4\n${enabled}`,
        'plain/1/model.onnx': identity('FP32', ['batch', 2]),
        'plain/config.yaml': 'max_batch_size: 4',
      }),
      '--cache-config=local,size=1048576',
    );
    const first = await send(server, 'cached', [1, 2], { id: 'first' });
    const second = await send(server, 'cached', [1, 2], { id: 'second' });
    expect([first.status, second.status, second.json.id]).toEqual([200, 200, 'second']);
    expect(second.json.outputs).toEqual(first.json.outputs);
    // The same output in another form, which is the answer's.
    const binary = await send(server, 'cached', [1, 2], { outputs: [{ name: 'OUTPUT0', parameters: { binary_data: true } }] });
    expect(binary.bytes.subarray(-8)).toEqual(Buffer.from(new Float32Array([1, 2]).buffer));
    expect((await send(server, 'cached', [1, 3])).json.outputs[0].data).toEqual([1, 3]);
    expect((await send(server, 'cached', [1, 2], { parameters: { mode: 'other' } })).status).toBe(200);
    expect(await statistics(server, 'cached')).toEqual({
      ...{ executions: 3, inferences: 3, success: 5, queue: 5, infer: 3, hits: 2, misses: 3 },
    });
    for (const _ of [1, 2]) await send(server, 'plain', [1, 2]);
    expect(await statistics(server, 'plain')).toMatchObject({ executions: 2, hits: 0, misses: 0 });

    const labels = '{model="cached",version="1"}';
    expect(await server.metric(`nv_cache_num_hits_per_model${labels}`)).toBe(2);
    expect(await server.metric(`nv_cache_num_misses_per_model${labels}`)).toBe(3);
    expect(await server.metric(`nv_cache_hit_duration_per_model${labels}`)).toBeGreaterThan(0);
    expect(await server.metric(`nv_inference_count${labels}`)).toBe(3);
    expect(await server.metric(`nv_inference_request_success${labels}`)).toBe(5);
    expect(await server.metric('nv_cache_num_hits_per_model{model="plain",version="1"}')).toBeUndefined();
    expect(await server.metric('nereid_response_cache_entries')).toBe(3);
    expect(await server.metric('nereid_response_cache_used_bytes')).toBeGreaterThan(3 * 8);
  });

  test('runs one of many alike that come together', async () => {
    const path = repositoryOf({ 'slow/1/model.onnx': heavy(100), 'slow/config.yaml': `max_batch_size: 1\n${enabled}` });
    const server = await start(path, '--response-cache-byte-size=1048576');
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(server, 'slow', Array(16).fill(1))));
    expect(new Set(answers.map(({ status, json }) => `${status} ${JSON.stringify(json.outputs)}`)).size).toBe(1);
    const { executions, success, hits, misses } = await statistics(server, 'slow');
    expect([answers[0]!.status, executions, success, hits, misses]).toEqual([200, 1, 20, 19, 1]);
    expect(await server.metric('nereid_cache_num_shared_per_model{model="slow",version="1"}')).toBeGreaterThan(0);
  });

  test('is not there without the option', async () => {
    const path = repositoryOf({ 'm/1/model.onnx': identity('FP32', ['batch', 2]), 'm/config.yaml': `max_batch_size: 4\n${enabled}` });
    const server = await start(path);
    for (const _ of [1, 2]) await send(server, 'm', [1, 2]);
    expect(await statistics(server, 'm')).toMatchObject({ executions: 2, hits: 0, misses: 0 });
  });

  test('gives nothing of a model that was replaced under the same version', async () => {
    const path = repositoryOf({ 'm/1/model.onnx': mlp(4, 8, 3, 1), 'm/config.yaml': `max_batch_size: 4\n${enabled}` });
    const server = await start(path, '--cache-config=local,size=1048576', '--model-control-mode=explicit', '--load-model=m');
    const metadata = (await server.get('/v2/models/m')).json;
    const ask = async (): Promise<number[]> => (await send(server, 'm', [1, 2, 3, 4], {}, metadata.inputs[0].name)).json.outputs[0].data;
    const before = await ask();
    expect(await ask()).toEqual(before);
    writeFileSync(join(path, 'm/1/model.onnx.new'), mlp(4, 8, 3, 2));
    renameSync(join(path, 'm/1/model.onnx.new'), join(path, 'm/1/model.onnx'));
    expect((await server.post('/v2/repository/models/m/load', '')).status).toBe(200);
    const after = await ask();
    expect(after).not.toEqual(before);
    expect(await ask()).toEqual(after);
  });

  test('keeps what an ensemble answers, until a model that it calls is replaced', async () => {
    const path = repositoryOf({
      'm/1/model.onnx': mlp(4, 8, 3, 1),
      'm/config.yaml': 'max_batch_size: 4',
      'e/1/.keep': '',
    });
    const args = ['--cache-config=local,size=1048576', '--model-control-mode=explicit'];
    const probe = await start(path, ...args, '--load-model=m');
    const { inputs, outputs } = (await probe.get('/v2/models/m')).json;
    writeFileSync(
      join(path, 'e/config.yaml'),
      `platform: ensemble
max_batch_size: 4
${enabled}
input: [{ name: IN, data_type: TYPE_FP32, dims: [4] }]
output: [{ name: OUT, data_type: TYPE_FP32, dims: [3] }]
ensemble_scheduling: { step: [{ model_name: m, model_version: -1, input_map: { ${inputs[0].name}: IN }, output_map: { ${outputs[0].name}: OUT } }] }
`,
    );
    rmSync(join(path, 'e/1/.keep'));
    expect((await probe.post('/v2/repository/models/e/load', '')).json).toBeUndefined();
    const ask = async (): Promise<number[]> => {
      const answer = await send(probe, 'e', [1, 2, 3, 4], {}, 'IN');
      expect(answer.json).toHaveProperty('outputs');
      return answer.json.outputs[0].data;
    };
    const before = await ask();
    expect(await ask()).toEqual(before);
    expect(await statistics(probe, 'e')).toMatchObject({ hits: 1, misses: 1 });
    expect(await statistics(probe, 'm')).toMatchObject({ executions: 1 });
    writeFileSync(join(path, 'm/1/model.onnx.new'), mlp(4, 8, 3, 2));
    renameSync(join(path, 'm/1/model.onnx.new'), join(path, 'm/1/model.onnx'));
    expect((await probe.post('/v2/repository/models/m/load', '')).status).toBe(200);
    expect(await ask()).not.toEqual(before);
  });

  test('refuses what cannot be meant', async () => {
    const path = repositoryOf({ 'm/1/model.onnx': identity('FP32', ['batch', 2]) });
    const stderrOf = async (...args: string[]): Promise<string> => {
      const exit = await ServerProcess.run(['serve', `--model-repository=${path}`, ...args]).exited;
      expect(exit.code).toBe(1);
      return exit.stderr;
    };
    expect(await stderrOf('--cache-config=disk,size=5')).toMatch(/one of the caches local, redis/);
    expect(await stderrOf('--cache-config=local,site=5')).toMatch(/a key of local: size/);
    expect(await stderrOf('--cache-config=local,size=1MiB', '--response-cache-byte-size=5')).toMatch(/give --cache-config alone/);
    if (!isInstalled('redis')) expect(await stderrOf('--cache-config=redis,host=localhost')).toMatch(/npm install redis/);
  });
});

describe.skipIf(!hasRedis)('in Redis', () => {
  test('is shared by servers, and is missed without failing anything', async () => {
    const port = await freePort();
    const redis = await startRedis(port);
    const files = { 'm/1/model.onnx': identity('FP32', ['batch', 2]), 'm/config.yaml': `max_batch_size: 4\n${enabled}` };
    const path = repositoryOf(files);
    const args = ['--cache-config=redis,host=127.0.0.1', `--cache-config=redis,port=${port},socket_timeout=1000`];
    const [one, other] = await Promise.all([start(path, ...args), start(path, ...args)]);
    const isConnected = (line: Record<string, unknown>): boolean => String(line['msg']).includes('connected to Redis');
    await Promise.all([one.logLine(isConnected), other.logLine(isConnected)]);
    const first = await send(one, 'm', [1, 2]);
    // What the first server sent to Redis is there before what the second asks, as soon as one more answer has come back to the first.
    await send(one, 'm', [1, 2]);
    expect((await send(other, 'm', [1, 2])).json.outputs).toEqual(first.json.outputs);
    expect(await statistics(other, 'm')).toMatchObject({ executions: 0, hits: 1, misses: 0 });

    await stop(redis);
    await one.logLine((line) => String(line['msg']).includes('no connection to Redis'));
    for (const values of [
      [1, 2],
      [3, 4],
    ])
      expect((await send(one, 'm', values)).json.outputs[0].data).toEqual(values);
    expect(await one.metric('nereid_response_cache_failures_total')).toBeGreaterThan(0);
  });
});

async function startRedis(port: number): Promise<ChildProcess> {
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']);
  cleanUps.push(() => stop(child));
  await new Promise<void>((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (data) => {
      text += String(data);
      if (text.includes('Ready to accept connections')) resolve();
    });
    child.once('exit', () => reject(new Error(`redis-server ended: ${text}`)));
  });
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function isInstalled(name: string): boolean {
  try {
    createRequire(import.meta.url).resolve(name);
    return true;
  } catch {
    return false;
  }
}
