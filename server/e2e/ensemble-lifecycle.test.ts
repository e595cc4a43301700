/** Ensembles and the models that they consist of, as these come and go. */

import { cpSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { identity } from '../../bench/models/test-models.ts';
import { versionedModel } from '../../bench/models/versioned-model.ts';
import { ensembleConfig } from './ensemble-config.ts';
import { type Answer, makeRepository, ServerProcess, until } from './serve.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

let path = '';
let server: ServerProcess;
async function serve(files: Record<string, string | Uint8Array>, args: string[] = []): Promise<void> {
  const repository = makeRepository(files);
  path = repository.path;
  cleanups.push(repository.remove);
  server = await ServerProcess.start([`--model-repository=${path}`, ...args]);
  cleanups.push(async () => expect((await server.stop()).code).toBe(0));
}

const copy = identity('FP32', ['batch', 4]);
const chain = (first: string, second: string, version = -1): string =>
  ensembleConfig({
    inputs: ['IN'],
    outputs: ['OUT'],
    steps: [
      { model: first, from: { INPUT0: 'IN' }, to: { OUTPUT0: 'x' }, version },
      { model: second, from: { INPUT0: 'x' }, to: { OUTPUT0: 'OUT' } },
    ],
  });
/** An ensemble that others may take for a model: its tensors have a model's names. */
const inner = ensembleConfig({
  inputs: ['INPUT0'],
  outputs: ['OUTPUT0'],
  steps: [
    { model: 'b', from: { INPUT0: 'INPUT0' }, to: { OUTPUT0: 'x' } },
    { model: 'c', from: { INPUT0: 'x' }, to: { OUTPUT0: 'OUTPUT0' } },
  ],
});
const files = {
  'outer/config.yaml': chain('a', 'inner'),
  'outer/1/.keep': '',
  'inner/config.yaml': inner,
  'inner/1/.keep': '',
  'a/1/model.onnx': copy,
  'b/1/model.onnx': copy,
  'c/1/model.onnx': copy,
};
const explicit = '--model-control-mode=explicit';

interface Line {
  readonly name: string;
  readonly state?: string;
  readonly reason?: string;
}
const index = async (): Promise<Line[]> => (await server.post('/v2/repository/index', '')).json;
/** Names of what is READY, in order. */
const ready = async (): Promise<string> =>
  (await index())
    .filter(({ state }) => state === 'READY')
    .map(({ name }) => name)
    .sort()
    .join(' ');
const line = async (name: string): Promise<Line | undefined> => (await index()).find((one) => one.name === name);
const ask = (model: string, inputs = [{ name: 'IN', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }]): Promise<Answer> =>
  server.post(`/v2/models/${model}/infer`, { inputs });
const load = (model: string, body: object = {}): Promise<Answer> => server.post(`/v2/repository/models/${model}/load`, body);
const unload = (model: string, dependents = false): Promise<Answer> =>
  server.post(`/v2/repository/models/${model}/unload`, { parameters: { unload_dependents: dependents } });
/** Appears whole. */
function put(at: string, content: string | Uint8Array): void {
  const staged = join(path, `.staged-${at.replaceAll('/', '-')}`);
  writeFileSync(staged, content);
  mkdirSync(dirname(join(path, at)), { recursive: true });
  renameSync(staged, join(path, at));
}

describe('at start', () => {
  it('ensembles load behind their models, also in one another; what is circular or does not fit says why', async () => {
    await serve({
      ...files,
      'round1/config.yaml': chain('a', 'round2'),
      'round1/1/.keep': '',
      'round2/config.yaml': chain('round1', 'a').replaceAll('IN,', 'IN,'),
      'round2/1/.keep': '',
      'lost/config.yaml': chain('a', 'nobody'),
      'lost/1/.keep': '',
      'old/config.yaml': chain('a', 'b', 7),
      'old/1/.keep': '',
      'wide/1/model.onnx': identity('FP32', ['batch', 5]),
      'misfit/config.yaml': chain('a', 'wide'),
      'misfit/1/.keep': '',
      'single/config.yaml': 'max_batch_size: 2',
      'single/1/model.onnx': copy,
      'many/config.yaml': chain('a', 'single'),
      'many/1/.keep': '',
    });
    expect(await ready()).toBe('a b c inner outer single wide');
    expect((await ask('outer')).json.outputs[0]).toMatchObject({ name: 'OUT', data: [1, 2, 3, 4] });
    const why = async (name: string): Promise<string | undefined> => (await line(name))?.reason;
    expect(await why('round1')).toMatch(/^Invalid argument: circular dependency between ensembles: round1 -> round2 -> round1;/);
    expect(await why('round2')).toMatch(/^Invalid argument: circular dependency between ensembles: round2 -> round1 -> round2;/);
    expect(await why('lost')).toMatch(/^Invalid argument: ensemble 'lost' depends on 'nobody' which has no loaded version/);
    expect(await why('old')).toMatch(/^Invalid argument: ensemble 'old' depends on 'a' whose required version 7 is not loaded/);
    expect(await why('misfit')).toMatch(
      /tensor 'x': the output 'OUTPUT0' of 'a' has the shape \[-1,4\], the input 'INPUT0' of 'wide' \[-1,5\]/,
    );
    expect(await why('many')).toMatch(/max_batch_size: expected at most 2, the max_batch_size of 'single' .* got 4/);
    expect((await server.get('/v2/health/ready')).status).toBe(400);
  });
});

describe('with explicit control', () => {
  it('a load brings the models, an unload of one takes the ensembles out, and they come back', async () => {
    await serve(files, [explicit, '--load-model=outer']);
    expect(await ready()).toBe('a b c inner outer');
    expect((await unload('c')).status).toBe(200);
    expect(await ready()).toBe('a b');
    expect(await line('inner')).toMatchObject({
      state: 'UNAVAILABLE',
      reason: expect.stringMatching(/^Invalid argument: ensemble 'inner' depends on 'c' which has no loaded version/),
    });
    expect((await line('outer'))!.reason).toContain("depends on 'inner'");
    expect((await ask('outer')).json.error).toContain("depends on 'inner'");
    // It was wanted: the server is as ready as it was.
    expect((await server.get('/v2/health/ready')).status).toBe(200);
    await load('c');
    expect(await ready()).toBe('a b c inner outer');
    expect((await ask('outer')).status).toBe(200);

    // c was asked for by name meanwhile, so it stays.
    await unload('outer', true);
    expect(await ready()).toBe('c');
    await load('inner');
    expect(await ready()).toBe('b c inner');
    await load('outer');
    await unload('outer', true);
    expect(await ready()).toBe('b c inner');
    await unload('inner', false);
    expect(await ready()).toBe('b c');
  });

  it('a load says what is missing or circular, and an override is held to the same', async () => {
    await serve({ ...files, 'lost/config.yaml': chain('a', 'nobody'), 'lost/1/.keep': '' }, [explicit]);
    const lost = await load('lost');
    expect([lost.status, lost.json.error]).toEqual([
      400,
      expect.stringContaining("ensemble 'lost' depends on 'nobody', which could not be loaded"),
    ]);
    await load('outer');
    const step = (model_name: string): object => ({
      model_name,
      model_version: -1,
      input_map: { INPUT0: 'INPUT0' },
      output_map: { OUTPUT0: 'OUTPUT0' },
    });
    const tensor = (name: string): object => ({ name, data_type: 'TYPE_FP32', dims: [4] });
    const config = {
      platform: 'ensemble',
      max_batch_size: 4,
      input: [tensor('INPUT0')],
      output: [tensor('OUTPUT0')],
      ensemble_scheduling: { step: [step('outer')] },
    };
    const circular = await load('inner', { parameters: { config: JSON.stringify(config) } });
    expect([circular.status, circular.json.error]).toEqual([
      400,
      expect.stringContaining('circular dependency between ensembles: inner -> outer -> inner'),
    ]);
    expect((await ask('outer')).status).toBe(200);
  });

  it('a model that takes something else takes the ensemble out of service, and its labels are taken over anew', async () => {
    const labelled = (labels: string): Record<string, string | Uint8Array> => ({
      'b/config.yaml': 'output: [{name: OUTPUT0, data_type: TYPE_FP32, dims: [4], label_filename: l.txt}]',
      'b/l.txt': labels,
    });
    await serve({ ...files, ...labelled('p\nq\nr\ns\n'), 'e/config.yaml': chain('a', 'b'), 'e/1/.keep': '' }, [explicit, '--load-model=e']);
    const best = async (): Promise<unknown> =>
      (
        await server.post('/v2/models/e/infer', {
          inputs: [{ name: 'IN', datatype: 'FP32', shape: [1, 4], data: [1, 2, 9, 4] }],
          outputs: [{ name: 'OUT', parameters: { classification: 1 } }],
        })
      ).json.outputs[0].data;
    expect(await best()).toEqual(['9.000000:2:r']);
    put('b/l.txt', 'w\nx\ny\nz\n');
    await load('b');
    expect(await best()).toEqual(['9.000000:2:y']);
    rmSync(join(path, 'b/config.yaml'));
    put('b/1/model.onnx', identity('FP32', ['batch', 6]));
    expect((await load('b')).status).toBe(200);
    expect(await line('e')).toMatchObject({ state: 'UNAVAILABLE', reason: expect.stringContaining("the input 'INPUT0' of 'b' [-1,6]") });
    put('b/1/model.onnx', copy);
    await load('b');
    expect(await line('e')).toEqual({ name: 'e', version: '1', state: 'READY' });
  });

  it('swaps of a model under ensemble requests lose none, and each request takes one version a step', async () => {
    const files = {
      'v/1/model.onnx': versionedModel(1),
      'e/config.yaml': ensembleConfig({
        inputs: ['IN'],
        outputs: ['OUT', 'FIRST', 'SECOND'],
        dataType: 'TYPE_INT64',
        dims: '[1]',
        steps: [
          { model: 'v', from: { INPUT0: 'IN' }, to: { OUTPUT0: 'x', OUTPUT1: 'FIRST' } },
          { model: 'v', from: { INPUT0: 'x' }, to: { OUTPUT0: 'OUT', OUTPUT1: 'SECOND' } },
        ],
      }),
      'e/1/.keep': '',
    };
    await serve(files, [explicit, '--load-model=e']);
    let isOver = false;
    const seen = new Set<string>();
    const sender = async (value: number): Promise<number> => {
      let count = 0;
      while (!isOver) {
        const { status, json } = await ask('e', [{ name: 'IN', datatype: 'INT64', shape: [1, 1], data: [value] }]);
        expect([status, json.error]).toEqual([200, undefined]);
        const [out, first, second] = json.outputs.map(({ data }: { data: number[] }) => data[0]);
        expect([out, first <= second]).toEqual([value, true]);
        seen.add(`${first}`);
        count++;
      }
      return count;
    };
    const senders = [1, 2, 3, 4].map(sender);
    for (let version = 2; version <= 6; version++) {
      put(`v/${version}/model.onnx`, versionedModel(version));
      expect((await load('v')).status).toBe(200);
    }
    await until(() => seen.has('6'));
    isOver = true;
    expect((await Promise.all(senders)).every((count) => count > 0)).toBe(true);
    expect((await server.get('/v2/models/e/stats')).json.model_stats[0].inference_stats.fail.count).toBe(0);
  });

  it('rollbacks of a model, and of the ensemble, come to what fits the models that serve then', async () => {
    const versioned = (model: string): string =>
      ensembleConfig({
        inputs: ['IN'],
        outputs: ['OUT', 'VERSION'],
        dataType: 'TYPE_INT64',
        dims: '[1]',
        steps: [{ model, from: { INPUT0: 'IN' }, to: { OUTPUT0: 'OUT', OUTPUT1: 'VERSION' } }],
      });
    await serve(
      { 'v/1/model.onnx': versionedModel(1), 'w/1/model.onnx': versionedModel(11), 'e/config.yaml': versioned('v'), 'e/1/.keep': '' },
      [explicit, '--load-model=e', '--load-model=w'],
    );
    const answeredBy = async (): Promise<unknown> => {
      const { json } = await ask('e', [{ name: 'IN', datatype: 'INT64', shape: [1, 1], data: [5] } as never]);
      return json.error ?? json.outputs[1].data[0];
    };
    const rollback = (model: string): Promise<Answer> => server.post(`/v2/repository/models/${model}/rollback`, {});
    put('v/2/model.onnx', versionedModel(2));
    await load('v');
    expect(await answeredBy()).toBe(2);
    put('e/config.yaml', versioned('w'));
    await load('e');
    expect(await answeredBy()).toBe(11);
    expect((await rollback('e')).status).toBe(200);
    expect(await answeredBy()).toBe(2);
    expect((await rollback('v')).status).toBe(200);
    expect(await answeredBy()).toBe(1);
    await unload('v');
    expect(await answeredBy()).toContain("depends on 'v'");
    expect((await rollback('e')).status).toBe(200);
    expect(await answeredBy()).toBe(11);
    expect((await rollback('e')).status).toBe(200);
    expect(await answeredBy()).toContain("depends on 'v'");
    await load('v');
    expect(await answeredBy()).toBe(2);
  });
});

describe('with control by the directories', () => {
  it('models and ensembles come and go in any order', async () => {
    await serve({ 'a/1/model.onnx': copy }, ['--model-control-mode=poll', '--repository-settle-ms=100', '--repository-poll-secs=1']);
    const source = makeRepository(files);
    cleanups.push(source.remove);
    const copyIn = (name: string): void => {
      cpSync(join(source.path, name), join(path, `.staged-${name}`), { recursive: true });
      renameSync(join(path, `.staged-${name}`), join(path, name));
    };
    copyIn('outer');
    await until(async () => (await line('outer'))?.reason?.includes('depends on') === true);
    copyIn('inner');
    copyIn('b');
    await until(async () => (await line('inner'))?.reason?.includes('depends on') === true);
    copyIn('c');
    await until(async () => (await ready()) === 'a b c inner outer');
    expect((await ask('outer')).status).toBe(200);
    rmSync(join(path, 'b'), { recursive: true });
    await until(async () => (await ready()) === 'a c');
    expect((await line('outer'))!.reason).toContain("depends on 'inner'");
    copyIn('b');
    await until(async () => (await ready()) === 'a b c inner outer');
    put('inner/config.yaml', inner.replace('model_name: c', 'model_name: b'));
    await until(async () => (await server.get('/v2/models/inner/config')).json.ensemble_scheduling?.step[1].model_name === 'b');
    rmSync(join(path, 'c'), { recursive: true });
    await until(async () => (await line('c')) === undefined);
    expect((await ask('outer')).status).toBe(200);
  }, 60_000);
});

describe('on demand', () => {
  it('the first request to an ensemble loads it and its models; one that is unloaded meanwhile is loaded again', async () => {
    await serve(files, ['--load-on-demand', '--idle-unload-secs=1']);
    expect(await ready()).toBe('');
    expect((await ask('outer')).status).toBe(200);
    expect(await ready()).toBe('a b c inner outer');
    // One after the other, in whatever order.
    await until(async () => (await ready()) === '');
    expect((await ask('outer')).json).toMatchObject({ outputs: [{ data: [1, 2, 3, 4] }] });
  }, 30_000);
});
