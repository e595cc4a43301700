import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { addSub, failAtRun, heavy, identity } from '../../bench/models/test-models.ts';
import { connect } from '../../clients/typescript/src/index.ts';
import { type DoorName, Doors } from './doors.ts';
import { ensembleConfig } from './ensemble-config.ts';
import { exampleRepository, makeRepository, ServerProcess, until } from './serve.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(files: Record<string, string | Uint8Array>, args: string[] = []): Promise<ServerProcess> {
  const repository = makeRepository(files);
  cleanups.push(repository.remove);
  const server = await ServerProcess.start([`--model-repository=${repository.path}`, ...args]);
  cleanups.push(() => server.kill());
  return server;
}

const fp32 = (name: string, values: readonly number[]): object => ({ name, datatype: 'FP32', shape: [1, values.length], data: values });
const ones = (value = 1): number[] => new Array<number>(16).fill(value);

/** left + right and left - right, their sum and their difference: 2 * left and 2 * right. */
const diamond = ensembleConfig({
  inputs: ['LEFT', 'RIGHT'],
  outputs: ['TWICE_LEFT', 'TWICE_RIGHT', 'SUM'],
  steps: [
    { model: 'sums', from: { INPUT0: 'sum', INPUT1: 'difference' }, to: { OUTPUT0: 'TWICE_LEFT', OUTPUT1: 'TWICE_RIGHT' } },
    { model: 'copy', from: { INPUT0: 'sum' }, to: { OUTPUT0: 'SUM' } },
    { model: 'sums', from: { INPUT0: 'LEFT', INPUT1: 'RIGHT' }, to: { OUTPUT0: 'sum', OUTPUT1: 'difference' } },
  ],
});
const models = { 'sums/1/model.onnx': addSub('FP32', ['batch', 4]), 'copy/1/model.onnx': identity('FP32', ['batch', 4]) };
const diamondFiles = { ...models, 'diamond/config.yaml': diamond, 'diamond/1/.keep': '' };
const diamondRequest = { id: 'd', inputs: [fp32('LEFT', [1, 2, 3, 4]), fp32('RIGHT', [5, 5, 5, 5])] };

describe('an ensemble', () => {
  it('gives what its steps make, those that are wanted alone, and shows itself as a model', async () => {
    const server = await serve(diamondFiles);
    const whole = await server.post('/v2/models/diamond/infer', diamondRequest);
    expect(whole.json).toMatchObject({
      id: 'd',
      model_name: 'diamond',
      model_version: '1',
      outputs: [
        { name: 'TWICE_LEFT', shape: [1, 4], data: [2, 4, 6, 8] },
        { name: 'TWICE_RIGHT', data: [10, 10, 10, 10] },
        { name: 'SUM', data: [6, 7, 8, 9] },
      ],
    });
    const part = await server.post('/v2/models/diamond/infer', { ...diamondRequest, outputs: [{ name: 'SUM' }] });
    expect(part.json.outputs).toEqual([{ name: 'SUM', datatype: 'FP32', shape: [1, 4], data: [6, 7, 8, 9] }]);

    expect((await server.get('/v2/models/diamond')).json).toMatchObject({ name: 'diamond', versions: ['1'], platform: 'ensemble' });
    expect((await server.get('/v2/models/diamond/config')).json).toMatchObject({ platform: 'ensemble', max_batch_size: 4 });
    const rows = [1, 2, 3].flatMap(() => [1, 2, 3, 4]);
    const inputs = ['LEFT', 'RIGHT'].map((name) => ({ name, datatype: 'FP32', shape: [3, 4], data: rows }));
    expect((await server.post('/v2/models/diamond/infer', { inputs })).json.outputs[0]).toMatchObject({ shape: [3, 4] });
    const { model_stats } = (await server.get('/v2/models/stats')).json;
    const counts = Object.fromEntries(
      model_stats.map((one: { name: string; execution_count: number; inference_count: number }) => [
        one.name,
        [one.inference_count, one.execution_count],
      ]),
    );
    // The second request needed no second sum; the third had three rows.
    expect(counts).toEqual({ diamond: [5, 3], sums: [9, 5], copy: [5, 3] });
    const stats = model_stats.find((one: { name: string }) => one.name === 'diamond');
    expect(stats.batch_stats.map((one: { batch_size: number }) => one.batch_size)).toEqual([1, 3]);
    expect(stats.inference_stats.success.count).toBe(3);
    expect(stats.inference_stats.compute_infer.ns).toBeGreaterThan(0);
    expect(await server.metric('nv_inference_count{model="diamond",version="1"}')).toBe(5);
  });

  it('answers on every door, and names the step that fails on each', async () => {
    const server = await serve({
      ...diamondFiles,
      'broken/1/model.onnx': failAtRun(),
      'failing/config.yaml': ensembleConfig({
        inputs: ['IN'],
        outputs: ['OUT'],
        dataType: 'TYPE_INT64',
        outputType: 'TYPE_FP32',
        dims: '[1]',
        steps: [
          { model: 'copy1', from: { INPUT0: 'IN' }, to: { OUTPUT0: 'copied' } },
          { model: 'broken', from: { INPUT0: 'copied' }, to: { OUTPUT0: 'OUT' } },
        ],
      }),
      'failing/1/.keep': '',
      'copy1/1/model.onnx': identity('INT64', ['batch', 1]),
    });
    const doors = new Doors(server.http, new URL(server.grpc).host);
    cleanups.push(() => doors.close());
    const tensor = (name: string, values: readonly number[]): { name: string; datatype: string; shape: number[]; data: Uint8Array } => ({
      name,
      datatype: 'FP32',
      shape: [1, values.length],
      data: new Uint8Array(Float32Array.from(values).buffer),
    });
    for (const door of [
      'REST JSON',
      'REST binary',
      'gRPC raw',
      'gRPC typed',
      'gRPC stream',
      'WebSocket JSON',
      'WebSocket binary',
    ] satisfies DoorName[]) {
      const answer = await doors.send(door, {
        model: 'diamond',
        id: 'x',
        inputs: [tensor('LEFT', [1, 2, 3, 4]), tensor('RIGHT', [5, 5, 5, 5])],
      });
      expect([answer.code, answer.id, answer.outputs.map(({ name }) => name)], door).toEqual([
        'OK',
        'x',
        ['TWICE_LEFT', 'TWICE_RIGHT', 'SUM'],
      ]);
      expect(answer.outputs[0]!.data, door).toEqual(new Uint8Array(Float32Array.of(2, 4, 6, 8).buffer));
      const index = { datatype: 'INT64', shape: [1, 1], data: new Uint8Array(BigInt64Array.of(99n).buffer) };
      const failure = await doors.send(door, { model: 'failing', inputs: [{ name: 'IN', ...index }] });
      expect(failure.message, door).toMatch(/^in ensemble 'failing', .+ \(step 1, model 'broken'\)$/);
      expect(failure.code, door).toBe((await doors.send(door, { model: 'broken', inputs: [{ name: 'INPUT0', ...index }] })).code);
    }
  });

  it('runs a fallback in the place of a step that is late, or fails; and steps by what tensors say', async () => {
    const twice = 'fallback: {model_name: twice, model_version: -1, input_map: {INPUT0: IN, INPUT1: IN}, output_map: {OUTPUT0: OUT}}';
    const files = (model: string, more: string): string =>
      ensembleConfig({
        inputs: ['IN'],
        outputs: ['OUT'],
        dims: '[16]',
        steps: [{ model, from: { INPUT0: 'IN' }, to: { OUTPUT0: 'OUT' }, more }],
      });
    const server = await serve({
      'slow/1/model.onnx': heavy(500),
      'broken/1/model.onnx': failAtRun(),
      'twice/1/model.onnx': addSub('FP32'),
      'copy/1/model.onnx': identity('FP32'),
      'late/config.yaml': files('slow', `timeout_microseconds: 20000, ${twice}`),
      'late/1/.keep': '',
      'fails/config.yaml': ensembleConfig({
        inputs: ['IN', 'SPARE'],
        outputs: ['OUT'],
        dataType: 'TYPE_INT64',
        outputType: 'TYPE_FP32',
        dims: '[1]',
        steps: [
          {
            model: 'broken',
            from: { INPUT0: 'IN' },
            to: { OUTPUT0: 'OUT' },
            more: 'fallback: {model_name: broken, model_version: 1, input_map: {INPUT0: SPARE}}',
          },
        ],
      }),
      'fails/1/.keep': '',
      'chosen/config.yaml': ensembleConfig({
        inputs: ['IN', 'FLAG?'],
        outputs: ['OUT', 'EXTRA'],
        dims: '[16]',
        steps: [
          { model: 'copy', from: { INPUT0: 'IN' }, to: { OUTPUT0: 'OUT' }, more: 'when: [{tensor: FLAG, not: true}]' },
          { model: 'twice', from: { INPUT0: 'IN', INPUT1: 'IN' }, to: { OUTPUT0: 'OUT' }, more: 'when: [{tensor: FLAG}]' },
          { model: 'copy', from: { INPUT0: 'FLAG' }, to: { OUTPUT0: 'EXTRA' }, more: 'when: [{tensor: FLAG, equals: ["0.1"]}]' },
        ],
      }),
      'chosen/1/.keep': '',
    });
    const ask = async (model: string, inputs: object[], outputs: string[] = []): Promise<Record<string, number> | string> => {
      const asked = outputs.length === 0 ? {} : { outputs: outputs.map((name) => ({ name })) };
      const { json } = await server.post(`/v2/models/${model}/infer`, { inputs, ...asked });
      if (json.error !== undefined) return json.error;
      return Object.fromEntries(json.outputs.map(({ name, data }: { name: string; data: number[] }) => [name, data[0]]));
    };
    const input = fp32('IN', ones());
    expect(await ask('late', [input])).toEqual({ OUT: 2 });
    const index = (name: string, value: number): object => ({ name, datatype: 'INT64', shape: [1, 1], data: [value] });
    expect(await ask('fails', [index('IN', 3), index('SPARE', 7)])).toEqual({ OUT: 3.5 });
    expect(await ask('fails', [index('IN', 33), index('SPARE', 7)])).toEqual({ OUT: 7.5 });
    expect(await ask('fails', [index('IN', 33), index('SPARE', 77)])).toMatch(
      /^in ensemble 'fails', .+ \(step 0, model 'broken'\); its fallback 'broken' failed too: /,
    );
    expect(await ask('chosen', [input])).toEqual({ OUT: 1 });
    expect(await ask('chosen', [input, fp32('FLAG', ones(0))])).toEqual({ OUT: 1 });
    expect(await ask('chosen', [input, fp32('FLAG', ones(3))])).toEqual({ OUT: 2 });
    expect(await ask('chosen', [input, fp32('FLAG', ones(0.1))])).toEqual({ OUT: 2, EXTRA: expect.closeTo(0.1) });
    expect(await ask('chosen', [input, fp32('FLAG', ones(3))], ['EXTRA'])).toMatch(
      /^in ensemble 'chosen', output 'EXTRA' was not made for this request: of step 2, model 'copy' none ran/,
    );
    const { model_stats } = (await server.get('/v2/models/slow/stats')).json;
    expect(model_stats[0].inference_stats.fail.count).toBe(1);
  }, 30_000);

  it('cancelled in its second step leaves nothing in the queue of that model', async () => {
    const server = await serve({
      // In a process of its own: in one with the slow model it would wait behind that.
      'copy/1/model.mjs': `export const config = { maxBatchSize: 1, inputs: [{ name: 'INPUT0', datatype: 'FP32', dims: [16] }], outputs: [{ name: 'OUTPUT0', datatype: 'FP32', dims: [16] }] };
        export const execute = (requests) => requests.map(({ inputs }) => ({ OUTPUT0: inputs.INPUT0 }));`,
      'slow/config.yaml': 'max_batch_size: 1',
      'slow/1/model.onnx': heavy(300_000),
      'e/config.yaml': ensembleConfig({
        inputs: ['IN'],
        outputs: ['OUT'],
        dims: '[16]',
        maxBatchSize: 1,
        steps: [
          { model: 'copy', from: { INPUT0: 'IN' }, to: { OUTPUT0: 'copied' } },
          { model: 'slow', from: { INPUT0: 'copied' }, to: { OUTPUT0: 'OUT' } },
        ],
      }),
      'e/1/.keep': '',
    });
    const body = JSON.stringify({ inputs: [fp32('IN', ones())] });
    const leaving = new AbortController();
    const sent = Array.from({ length: 4 }, () =>
      fetch(`${server.http}/v2/models/e/infer`, { method: 'POST', body, signal: leaving.signal }).catch(() => null),
    );
    const count = async (model: string): Promise<number> =>
      (await server.get(`/v2/models/${model}/stats`)).json.model_stats[0].inference_stats.success.count;
    await until(async () => (await count('copy')) === 4);
    const pending = (): Promise<number | undefined> => server.metric('nv_inference_pending_request_count{model="slow",version="1"}');
    await until(async () => (await pending())! > 0);
    leaving.abort();
    await Promise.all(sent);
    const cancelled = (model: string): Promise<number | undefined> =>
      server.metric(`nv_inference_request_failure{model="${model}",version="1",reason="CANCELED"}`);
    await until(async () => (await cancelled('e')) === 4);
    expect(await cancelled('slow')).toBe(4);
    await until(async () => (await pending()) === 0);
    expect(await count('slow')).toBe(0);
  }, 30_000);

  it('with a decoupled step answers with each of its responses, and only where that can be', async () => {
    const tensor = (name: string, type: string, dims: string): string => `{name: ${name}, data_type: TYPE_${type}, dims: ${dims}}`;
    const server = await serve({
      'repeat_int32/config.pbtxt': readFileSync(join(exampleRepository, 'repeat_int32/config.pbtxt')),
      'repeat_int32/1/.keep': '',
      'copy/1/model.onnx': identity('INT32', [1]),
      'e/config.yaml': `platform: ensemble
input: [${tensor('IN', 'INT32', '[-1]')}, ${tensor('DELAY', 'UINT32', '[-1]')}, ${tensor('WAIT', 'UINT32', '[1]')}]
output: [${tensor('VALUE', 'INT32', '[1]')}, ${tensor('AT', 'UINT32', '[1]')}]
ensemble_scheduling:
  step:
    - {model_name: repeat_int32, model_version: -1, input_map: {IN: IN, DELAY: DELAY, WAIT: WAIT}, output_map: {OUT: x, IDX: AT}}
    - {model_name: copy, model_version: -1, input_map: {INPUT0: x}, output_map: {OUTPUT0: VALUE}}
`,
      'e/1/.keep': '',
    });
    expect((await server.get('/v2/models/e/config')).json.model_transaction_policy).toEqual({ decoupled: true });
    const values = Array.from({ length: 100 }, (_, at) => at * 7);
    const inputs = { IN: values, DELAY: values.map(() => 0), WAIT: [0] };
    for (const url of [server.http.replace('http', 'ws'), `grpc://${new URL(server.grpc).host}`]) {
      const client = await connect(url, { timeoutMs: 10_000 });
      cleanups.push(() => client.close());
      const model = await client.model('e');
      const seen: number[][] = [];
      for await (const { outputs } of model.stream(inputs)) seen.push([Number(outputs['AT']!.data[0]), Number(outputs['VALUE']!.data[0])]);
      expect(seen).toEqual(values.map((value, at) => [at, value]));
      for await (const { outputs } of model.stream({ ...inputs, DELAY: values.map(() => 50) })) {
        expect(outputs['VALUE']!.data[0]).toBe(0);
        break;
      }
    }
    const cancelled = (model: string): Promise<number | undefined> =>
      server.metric(`nv_inference_request_failure{model="${model}",version="1",reason="CANCELED"}`);
    await until(async () => (await cancelled('e')) === 2 && (await cancelled('repeat_int32')) === 2);
    const { model_stats } = (await server.get('/v2/models/e/stats')).json;
    expect([model_stats[0].inference_count, model_stats[0].execution_count, model_stats[0].response_stats['99'].success.count]).toEqual([
      2, 2, 2,
    ]);
    const unary = await server.post('/v2/models/e/infer', { inputs: [] });
    expect(unary.json.error).toContain('decoupled');
  }, 30_000);

  it('is finished when the server stops, and so needs its models to the end', async () => {
    const server = await serve({
      'copy/1/model.onnx': identity('FP32'),
      'slow/1/model.onnx': heavy(3000),
      'e/config.yaml': ensembleConfig({
        inputs: ['IN'],
        outputs: ['OUT'],
        dims: '[16]',
        steps: [
          { model: 'slow', from: { INPUT0: 'IN' }, to: { OUTPUT0: 'x' } },
          { model: 'copy', from: { INPUT0: 'x' }, to: { OUTPUT0: 'OUT' } },
        ],
      }),
      'e/1/.keep': '',
    });
    const answer = server.post('/v2/models/e/infer', { inputs: [fp32('IN', ones())] });
    await until(async () => (await server.metric('nv_inference_request_success{model="slow",version="1"}')) === 0);
    expect((await server.stop()).code).toBe(0);
    expect((await answer).status).toBe(200);
  }, 30_000);
});
