import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identity } from '../../bench/models/test-models.ts';
import { exampleRepository, makeRepository, ServerProcess } from './serve.ts';

/** What an operator may leave in a repository, and what each of it turns into. */

const good = identity('FP32', ['batch', 4]);
const oddNames = ['with space', 'ünï', '__proto__', 'stats', 'per%20cent', 'a"b', 'versions', 'constructor'];
const labels = 'output: [{ name: OUTPUT0, data_type: TYPE_FP32, dims: [4], label_filename: LABELS }]';
const input = 'input: [{ name: INPUT0, data_type: TYPE_FP32, dims: [4] }]';

describe('a repository', () => {
  let server: ServerProcess;
  const made: { path: string; remove(): void }[] = [];
  let index: { name: string; version?: string; state: string; reason?: string }[];

  beforeAll(async () => {
    const first = makeRepository({
      ...Object.fromEntries(oddNames.map((name) => [`${name}/1/model.onnx`, good])),
      'both/1/model.onnx': good,
      'all/1/model.onnx': good,
      'all/2/model.onnx': good,
      'all/10/model.onnx': good,
      'all/config.yaml': 'version_policy: { all: {} }',
      'latest/1/model.onnx': good,
      'latest/2/model.onnx': good,
      'latest/10/model.onnx': good,
      'latest/config.yaml': 'version_policy: { latest: { num_versions: 2 } }',
      'specific/1/model.onnx': good,
      'specific/2/model.onnx': good,
      'specific/3/model.onnx': good,
      'specific/config.yaml': 'version_policy: { specific: { versions: [1, 3] } }',
      'numbers/1/model.onnx': good,
      'numbers/02/model.onnx': good,
      'numbers/x/model.onnx': good,
      'labels/1/model.onnx': good,
      'labels/config.yaml': `max_batch_size: 4\n${input}\n${labels.replace('LABELS', 'labels.txt')}`,
      'labels/labels.txt': 'zero\r\none\r\ntwo\r\nthree\r\n',
      'outside/1/model.onnx': good,
      'outside/config.yaml': `max_batch_size: 4\n${input}\n${labels.replace('LABELS', '../labels/labels.txt')}`,
      'missing/1/model.onnx': good,
      'missing/config.yaml': `max_batch_size: 4\n${input}\n${labels.replace('LABELS', 'none.txt')}`,
      'twice/1/model.onnx': good,
      'twice/config.yaml': 'max_batch_size: 4',
      'twice/config.json': '{ "max_batch_size": 2 }',
      'misnamed/1/model.onnx': good,
      'misnamed/config.yaml': 'name: other',
      'flat/model.onnx': good,
      'pipe/1/other': '',
      'pipeconfig/1/model.onnx': good,
      'directory/1/model.onnx/x': '',
      'configdirectory/config.yaml/x': '',
      '.hidden/1/model.onnx': good,
      'README.md': 'not a model',
    });
    const second = makeRepository({ 'both/1/model.onnx': good, 'second/1/model.onnx': good });
    made.push(first, second);
    mkdirSync(join(first.path, 'empty'));
    symlinkSync('/nowhere/at/all', join(first.path, 'dangling'));
    mkdirSync(join(first.path, 'loop'));
    symlinkSync(join(first.path, 'loop'), join(first.path, 'loop', '1'));
    execFileSync('mkfifo', [join(first.path, 'pipe/1/model.onnx'), join(first.path, 'pipeconfig/config.pbtxt')]);
    server = await ServerProcess.start(made.map(({ path }) => `--model-repository=${path}`));
    index = (await server.post('/v2/repository/index', '')).json;
  });

  afterAll(async () => {
    expect((await server.stop()).code).toBe(0);
    for (const { remove } of made) remove();
  });

  const reasonOf = (name: string): string => {
    const entry = index.find((one) => one.name === name);
    expect(entry).toMatchObject({ state: 'UNAVAILABLE' });
    return entry!.reason!;
  };

  it.each(oddNames)('serves a model named %s on every path', async (name) => {
    const path = `/v2/models/${encodeURIComponent(name)}`;
    const inferred = await server.post(`${path}/infer`, {
      inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }],
    });
    expect(inferred.json).toMatchObject({ model_name: name, outputs: [{ data: [1, 2, 3, 4] }] });
    expect((await server.get(`${path}/versions/1/stats`)).json.model_stats[0]).toMatchObject({ name, inference_count: 1 });
    expect((await server.get(`${path}/config`)).json.name).toBe(name);
    expect((await server.get(`${path}/versions/1`)).json.name).toBe(name);
    expect(await server.metric(`nv_inference_count{model="${name.replace('"', '\\"')}",version="1"}`)).toBe(1);
  });

  it('serves the versions that the policy says', async () => {
    const versions = async (name: string): Promise<string[]> => (await server.get(`/v2/models/${name}`)).json.versions;
    expect(await versions('all')).toEqual(['1', '2', '10']);
    expect(await versions('latest')).toEqual(['2', '10']);
    expect(await versions('specific')).toEqual(['1', '3']);
    expect(await versions('numbers')).toEqual(['1']);
    const body = { inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }] };
    expect((await server.post('/v2/models/latest/infer', body)).json.model_version).toBe('10');
    expect((await server.post('/v2/models/specific/versions/2/infer', body)).status).toBe(404);
  });

  it('reads labels whose lines end as on Windows', async () => {
    const { json } = await server.post('/v2/models/labels/infer', {
      inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, 4], data: [1, 9, 3, 4] }],
      outputs: [{ name: 'OUTPUT0', parameters: { classification: 2 } }],
    });
    expect(json.outputs[0].data).toEqual(['9.000000:1:one', '4.000000:3:three']);
  });

  it.each([
    ['both', 'two or more repositories'],
    ['outside', 'label_filename'],
    ['missing', "no file 'none.txt'"],
    ['twice', 'config.json and config.yaml'],
    ['misnamed', "expected the directory's name 'misnamed', got 'other'"],
    ['flat', 'move flat/model.onnx there'],
    ['empty', 'empty/1/model.onnx'],
    ['loop', 'model.onnx'],
    ['pipe', 'a pipe'],
    ['pipeconfig', 'config.pbtxt: expected a file, found a pipe'],
    ['directory', 'directory'],
    ['configdirectory', 'config.yaml: expected a file, found a directory'],
  ])('says what is wrong with %s, in the index and in the log', async (name, text) => {
    const reason = reasonOf(name);
    expect(reason).toContain(text);
    expect(reason).not.toContain('/tmp/');
    const line = await server.logLine((one) => one['model'] === name && one['msg'] === 'model is UNAVAILABLE');
    expect(line).toMatchObject({ level: 'error', reason: expect.stringContaining(text) });
  });

  it('passes over what is no model, and logs no code of its own', () => {
    const names = index.map(({ name }) => name);
    for (const name of ['.hidden', 'README.md', 'dangling']) expect(names).not.toContain(name);
    expect(names).toContain('second');
    expect(server.stderr).not.toMatch(/\bat .*\.[jt]s:\d/);
  });
});

it('warns of a repository that has nothing, and of one that is a model itself', async () => {
  const empty = makeRepository({});
  const model = makeRepository({ '1/model.onnx': good });
  const servers = await Promise.all([empty, model].map(({ path }) => ServerProcess.start([`--model-repository=${path}`])));
  try {
    await servers[0]!.logLine((line) => line['level'] === 'warn' && String(line['msg']).startsWith('no models'));
    await servers[1]!.logLine((line) => String(line['reason']).includes('give the directory above it'));
  } finally {
    await Promise.all(servers.map((server) => server.kill()));
    empty.remove();
    model.remove();
  }
});

it.each([
  ['a repository', `--model-repository=${relative(process.cwd(), exampleRepository)}`],
  ['a file', `--model-file=${relative(process.cwd(), join(exampleRepository, 'simple/1/model.onnx'))}`],
])('%s may be named relative to where the server is started', async (_what, flag) => {
  const one = await ServerProcess.start([flag]);
  const index = (await one.post('/v2/repository/index', '')).json as { state: string }[];
  expect((await one.stop()).code).toBe(0);
  expect(index.length).toBeGreaterThan(0);
  expect(index.map(({ state }) => state)).toEqual(index.map(() => 'READY'));
});
