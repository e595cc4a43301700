/** Models that are code, in a real server: what they are given, what becomes of what they give, and that nothing they do harms anybody else. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { body, type Sent, vector } from './javascript-models.case.ts';
import { type Answer, exampleRepository, makeRepository, ServerProcess, until } from './serve.ts';

const DATATYPES = [
  'BOOL',
  'UINT8',
  'UINT16',
  'UINT32',
  'UINT64',
  'INT8',
  'INT16',
  'INT32',
  'INT64',
  'FP16',
  'BF16',
  'FP32',
  'FP64',
  'BYTES',
];

/** Each does something wrong with its output when IN says so. */
const bad = `${vector(0)}
const frozen = Object.freeze({ OUT: Object.freeze([1]) });
const ways = [
  () => ({ OUT: new Float64Array(1) }),
  () => ({ OUT: { data: [1, 2], shape: [3] } }),
  () => ({}),
  () => ({ OUT: { data: [1], shape: [NaN] } }),
  () => ({ get OUT() { throw new Error('a getter threw'); } }),
  () => frozen,
  () => ({ OUT: [1], [Symbol('x')]: 1 }),
  () => ({ OUT: [1], OTU: [1] }),
  () => undefined,
  () => ({ OUT: ['x'] }),
  () => new Proxy({}, { ownKeys() { throw null; } }),
  () => ({ OUT: { data: [1], shape: [1], datatype: 'FP31' } }),
  () => Object.assign(new Error('not you'), { code: 'PERMISSION_DENIED' }),
  () => { throw { toString() { throw 1; } }; },
  () => ({ OUT: { data: [1], shape: [1, 1] } }),
  () => ({ OUT: new Float32Array(new ArrayBuffer(4, { maxByteLength: 8 })) }),
  () => ({ OUT: { data: [1, 2], shape: [-2] } }),
];
export const execute = ([{ inputs: { IN } }]) => [ways[IN.data[0]]()];
`;

const files: Record<string, string> = {
  'bad/1/model.mjs': bad,
  // A throw for one value of a batch; the others are to be told how often they ran and with whom.
  'picky/1/model.mjs': `${vector(8)}
export function execute(requests) {
  if (requests.some(({ inputs: { IN } }) => IN.data[0] === 13)) throw new Error('unlucky');
  return requests.map(({ inputs: { IN } }) => ({ OUT: { data: [requests.length], shape: [1, 1] } }));
}`,
  'picky/config.yaml': 'max_batch_size: 8\ndynamic_batching: { max_queue_delay_microseconds: 300000, preferred_batch_size: [4] }\n',
  'mixed/1/model.mjs': `${vector(8)}
export const execute = (requests) => requests.map(({ inputs: { IN } }) => (IN.data[0] < 0 ? new RangeError('negative') : { OUT: IN }));`,
  'asks/1/model.mjs': `${vector(0)}
export default class {
  #context;
  initialize(context) { this.#context = context; console.log('a word on the console'); context.logger.warn('a warning', { of: 'mine' }); }
  async execute([request]) {
    const { IN } = request.inputs;
    const { name, version, directory, parameters, config } = this.#context;
    this.#context.logger.info(JSON.stringify({ id: request.id, parameters: request.parameters, sequence: request.sequence && { ...request.sequence, id: String(request.sequence.id) },
      priority: request.priority, outputs: request.requestedOutputs, name, version, here: directory.split('/').slice(-2), own: parameters, backend: config.backend }));
    return [{ OUT: IN }];
  }
  async finalize() { await null; this.#context.logger.info('finalized'); }
}`,
  'asks/config.pbtxt': `input [{ name: "IN" data_type: TYPE_FP32 dims: [ -1 ] }] output [{ name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }] parameters { key: "colour" value: { string_value: "blue" } }`,
  'relay/1/model.mjs': `${vector(0)}
export async function execute([{ inputs: { IN }, parameters, call, stream, signal }], context) {
  signal.addEventListener('abort', () => console.log('relay was aborted'));
  if (parameters.stream) {
    const got = [];
    const values = Int32Array.from(IN.data);
    for await (const { OUT } of context.stream('repeat', { IN: values, DELAY: new Uint32Array(values.length), WAIT: new Uint32Array(1) })) {
      got.push(OUT.data[0]);
      if (got.length === parameters.stream) break;
    }
    return [{ OUT: got }];
  }
  try {
    const { OUT } = await call(parameters.model, { IN }, { timeoutMs: parameters.ms, version: parameters.version });
    return [{ OUT }];
  } catch (error) {
    return [context.error(error.code, 'relayed: ' + error.message)];
  }
}`,
  // Gives how many requests were in it at most, each waiting for all of ENTERED to come or for 200 ms.
  'together/1/model.mjs': `${vector(0)}
let inside = 0;
let most = 0;
export const execute = async ([{ inputs: { IN } }]) => {
  most = Math.max(most, ++inside);
  for (const end = performance.now() + 200; inside < IN.data[0] && performance.now() < end; ) await new Promise((resolve) => setImmediate(resolve));
  // The last of them is not the first to leave.
  await new Promise((resolve) => setTimeout(resolve, 10));
  inside--;
  return [{ OUT: [most] }];
};`,
  'circle/1/model.mjs': `${vector(0)}
export const execute = async ([{ inputs: { IN } }], context) => [{ OUT: (await context.call('circle', { IN })).OUT }];`,
  'never/1/model.mjs': `${vector(0)}
export const execute = async ([{ signal }]) => {
  console.log('never has begun');
  await new Promise((resolve) => signal.addEventListener('abort', resolve));
  console.log('never was aborted');
  throw new Error('too late');
};`,
  'count/1/model.mjs': `
export async function execute([{ inputs: { IN }, send, parameters, signal }]) {
  signal.addEventListener('abort', () => console.log('count was aborted'));
  const [count] = IN.data;
  for (let i = 0; i < count; i++) {
    await send({ OUT: [i] });
    if (i === parameters.failAt) throw new Error('enough');
  }
  if (parameters.wrong) await send({ OUT: [1, 2] });
  if (parameters.hurry) for (let i = 0; i < 100; i++) void send({ OUT: [i] }).catch((error) => { throw error; });
}`,
  'count/config.pbtxt':
    'model_transaction_policy { decoupled: true } input [{ name: "IN" data_type: TYPE_INT32 dims: [ 1 ] }] output [{ name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }]',
  'repeat/config.pbtxt': readFileSync(join(exampleRepository, 'repeat_int32/config.pbtxt'), 'utf8').replace('repeat_int32', 'repeat'),
  'repeat/1/README': '',
  'pair/1/model.mjs': `${vector(0, 'INT32')}
export const execute = () => {
  for (const end = performance.now() + 300; performance.now() < end; );
  return [{ OUT: [process.pid] }];
};`,
  'pair/config.yaml': 'instance_group: [{ count: 2 }]\n',
};
for (const datatype of DATATYPES) {
  files[`as_${datatype}/1/model.mjs`] = `${vector(4, datatype)}
export function execute(requests) {
  return requests.map(({ inputs: { IN } }) => ({ OUT: { data: ${datatype === 'BYTES' ? 'IN.strings()' : 'Array.from(IN.data)'}, shape: IN.shape } }));
}`.replace('Array.from(IN.data)', datatype === 'FP16' || datatype === 'BF16' ? 'IN.floats()' : 'Array.from(IN.data)');
}

files['alone/1/model.mjs'] = files['together/1/model.mjs']!;
files['alone/config.yaml'] = 'parameters: { max_concurrency: { string_value: "1" } }\n';

const cleanups: (() => unknown)[] = [];
let server: ServerProcess;

beforeAll(async () => {
  const repository = makeRepository(files);
  cleanups.push(repository.remove);
  server = await ServerProcess.start([
    `--model-repository=${repository.path}`,
    '--execution-timeout-ms=2000',
    '--host-memory-bytes=200MiB',
  ]);
  cleanups.push(() => server.kill());
});
const ownCleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of ownCleanups.splice(0).reverse()) await cleanup();
});
afterAll(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

const infer = (model: string, values: readonly unknown[], sent: Sent = {}): Promise<Answer> =>
  server.post(`/v2/models/${model}/infer`, body(values, sent));

async function outOf(model: string, values: readonly unknown[], sent: Sent = {}): Promise<unknown[]> {
  const { status, json } = await infer(model, values, sent);
  expect([status, json]).toEqual([200, expect.anything()]);
  return json.outputs[0].data;
}

async function said(fits: string): Promise<Record<string, unknown>> {
  return server.logLine((line) => String(line['msg']).includes(fits));
}

describe('what a model gets and gives', () => {
  it.each([
    ['BOOL', [true, false]],
    ['UINT8', [0, 255]],
    ['UINT16', [0, 65535]],
    ['UINT32', [0, 4294967295]],
    ['UINT64', [0, 9007199254740991]],
    ['INT8', [-128, 127]],
    ['INT16', [-32768, 32767]],
    ['INT32', [-2147483648, 2147483647]],
    ['INT64', [-9007199254740991, 5]],
    ['FP16', [0.5, -65504]],
    ['BF16', [0.5, -3]],
    ['FP32', [0.5, -0.25]],
    ['FP64', [0.1, 1e300]],
    ['BYTES', ['', 'tökén']],
  ] as const)('%s', async (datatype, values) => {
    expect((await server.get(`/v2/models/as_${datatype}`)).json.inputs).toEqual([{ name: 'IN', datatype, shape: [-1, -1] }]);
    if (datatype === 'FP16' || datatype === 'BF16') {
      // JSON has no form for these in every client: bits behind the JSON.
      const bits = Buffer.from(datatype === 'FP16' ? [0x00, 0x38, 0xff, 0xfb] : [0x00, 0x3f, 0x40, 0xc0]);
      const json = Buffer.from(
        JSON.stringify({
          inputs: [{ name: 'IN', datatype, shape: [1, 2], parameters: { binary_data_size: 4 } }],
          outputs: [{ name: 'OUT', parameters: { binary_data: true } }],
        }),
      );
      const answer = await server.post(`/v2/models/as_${datatype}/infer`, Buffer.concat([json, bits]), {
        'inference-header-content-length': String(json.length),
      });
      expect(answer.bytes.subarray(-4)).toEqual(bits);
      return;
    }
    const { json } = await infer(`as_${datatype}`, values, { shape: [1, 2], datatype });
    expect(json.outputs).toEqual([{ name: 'OUT', datatype, shape: [1, 2], data: values }]);
  });

  it('the request, its context, its console', async () => {
    expect(await outOf('asks', [1], { id: 'r1', parameters: { tone: 'low', sequence_id: 7, sequence_start: true, priority: 0 } })).toEqual([
      1,
    ]);
    const { msg, model, level } = await said('"id":"r1"');
    expect([model, level]).toEqual(['asks:1', 'info']);
    expect(JSON.parse(String(msg))).toEqual({
      id: 'r1',
      parameters: { tone: 'low' },
      sequence: { id: '7', isStart: true, isEnd: false },
      priority: 0,
      outputs: [],
      name: 'asks',
      version: 1,
      here: ['asks', '1'],
      own: { colour: 'blue' },
      backend: 'javascript',
    });
    expect(await said('a word on the console')).toMatchObject({ level: 'info', model: 'asks:1' });
    expect(await said("a warning { of: 'mine' }")).toMatchObject({ level: 'warn', model: 'asks:1' });
  });

  it.each([
    [0, /OUT' is FP32: expected a Float32Array or an array, got a Float64Array/],
    [1, /its shape \[3\] has 3 elements, got 2/],
    [2, /gave no output 'OUT'; expected all of OUT/],
    [3, /shape: expected whole numbers of 0 or more, got \[NaN\]/],
    [4, /failed: a getter threw/],
    [5, null],
    [6, null],
    [7, /gave output 'OTU', which it doesn't have; it has OUT; did you mean 'OUT'/],
    [8, /gave undefined for a request/],
    [9, /element 0: expected a number, got the string "x"/],
    [10, /it threw null/],
    [11, /datatype: expected one such as FP32 or BYTES, got the string "FP31"/],
    [12, /^not you$/],
    [13, /failed: it threw an Object/],
    [14, /expected the shape \[-1\] \(-1: any\), got \[1,1\]/],
    [15, null],
    [16, /shape: expected whole numbers/],
  ])('output %i is told apart', async (way, message) => {
    const { status, json } = await infer('bad', [way]);
    if (message === null) expect(status).toBe(200);
    else expect([status, json.error]).toEqual([way === 12 ? 403 : 500, expect.stringMatching(message)]);
  });

  it('a throw for a batch fails the culprit alone', async () => {
    const answers = await Promise.all([1, 13, 2, 3].map((value) => infer('picky', [value], { shape: [1, 1] })));
    expect(answers.map(({ status }) => status)).toEqual([200, 500, 200, 200]);
    expect(answers[1]!.json.error).toBe("model 'picky': failed: unlucky");
    // They had run together first, and then one by one.
    expect(answers[0]!.json.outputs[0].data).toEqual([1]);
    const together = await Promise.all([1, 2, 3, 4].map((value) => infer('picky', [value], { shape: [1, 1] })));
    expect(together.map(({ json }) => json.outputs[0].data[0])).toEqual([4, 4, 4, 4]);
  });

  it("an Error among the results is that request's", async () => {
    const answers = await Promise.all([1, -1, 2].map((value) => infer('mixed', [value], { shape: [1, 1] })));
    expect(answers.map(({ status }) => status)).toEqual([200, 500, 200]);
    expect(answers[1]!.json.error).toBe("model 'mixed': failed: negative");
  });

  it('two instances run at the same time, in two processes', async () => {
    const answers = await Promise.all([outOf('pair', [1], { datatype: 'INT32' }), outOf('pair', [1], { datatype: 'INT32' })]);
    const pids = answers.map(([pid]) => Number(pid));
    expect(new Set(pids).size).toBe(2);
    for (const pid of pids) expect(server.hosts()).toContain(pid);
  });
});

describe('a model that waits for something', () => {
  it('is given other requests meanwhile, unless it wants none', async () => {
    const many = await Promise.all(Array.from({ length: 10 }, () => outOf('together', [10])));
    expect(Math.max(...many.map(([most]) => Number(most)))).toBe(10);
    const alone = await Promise.all(Array.from({ length: 3 }, () => outOf('alone', [2])));
    expect(alone).toEqual([[1], [1], [1]]);
  });
});

describe('calls of other models', () => {
  it('give their outputs', async () => {
    expect(await outOf('relay', [1, 2], { parameters: { model: 'asks' } })).toEqual([1, 2]);
  });

  it('fail with a code', async () => {
    const unknown = await infer('relay', [1], { parameters: { model: 'asked' } });
    expect([unknown.status, unknown.json.error]).toEqual([404, expect.stringContaining("'asked'")]);
    const version = await infer('relay', [1], { parameters: { model: 'asks', version: '9' } });
    expect(version.status).toBe(404);
    const wrong = await infer('relay', [1], { parameters: { model: 'digits' } });
    expect(wrong.status).toBe(404);
    const failing = await infer('relay', [4], { parameters: { model: 'bad' } });
    expect([failing.status, failing.json.error]).toEqual([500, expect.stringContaining('a getter threw')]);
  });

  it('end at the time that they were given, and the model that they asked hears of it', async () => {
    const late = await infer('relay', [1], { parameters: { model: 'never', ms: 50 } });
    expect([late.status, late.json.error]).toEqual([504, expect.stringContaining('did not end within the time it was given')]);
    await said('never was aborted');
  });

  it('stream from a decoupled model, as far as they are wanted', async () => {
    const values = Array.from({ length: 40 }, (_, i) => i);
    expect(await outOf('relay', values, { parameters: { stream: 100 } })).toEqual(values);
    expect(await outOf('relay', values, { parameters: { stream: 3 } })).toEqual([0, 1, 2]);
    const one = await infer('relay', [1], { parameters: { model: 'repeat' } });
    expect(one.status).toBe(400);
  });

  it('in a circle end with a clear error', async () => {
    const { status, json } = await infer('circle', [1]);
    expect([status, json.error]).toEqual([
      500,
      expect.stringMatching(/model 'circle:1' calls model 'circle' for a request that is itself 16 calls deep/),
    ]);
    expect((await server.get('/v2/models/circle/stats')).json.model_stats[0].inference_stats.fail.count).toBe(17);
  });

  it('end with the request that made them', async () => {
    const aborted = (): number => (server.stderr.match(/never was aborted/g) ?? []).length;
    const begun = (): number => (server.stderr.match(/never has begun/g) ?? []).length;
    const [before, begunBefore] = [aborted(), begun()];
    const controller = new AbortController();
    const sent = fetch(`${server.http}/v2/models/relay/infer`, {
      method: 'POST',
      body: JSON.stringify(body([1], { parameters: { model: 'never' } })),
      signal: controller.signal,
    });
    await until(() => begun() > begunBefore);
    const abortedMs = performance.now();
    controller.abort();
    await expect(sent).rejects.toThrow();
    await until(() => aborted() === before + 1);
    // Well before the execution timeout, which would end it too.
    expect(performance.now() - abortedMs).toBeLessThan(1000);
    await said('relay was aborted');
  });
});

describe('a decoupled model', () => {
  async function responses(values: readonly number[], parameters: object): Promise<{ values: number[]; error: string | null }> {
    const socket = new WebSocket(`${server.http.replace('http', 'ws')}/v2/ws`);
    ownCleanups.push(() => socket.close());
    const got: number[] = [];
    return new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.on('open', () =>
        socket.send(JSON.stringify({ model_name: 'count', ...body(values, { datatype: 'INT32', id: 'a', parameters }) })),
      );
      socket.on('message', (data: Buffer) => {
        const json = JSON.parse(data.toString());
        if (json.error !== undefined) resolve({ values: got, error: json.error });
        else if (json.outputs?.length > 0) got.push(json.outputs[0].data[0]);
        if (json.parameters?.triton_final_response === true) resolve({ values: got, error: null });
      });
    });
  }

  it('answers as often as it likes', async () => {
    const many = await responses([300], {});
    expect(many).toEqual({ values: Array.from({ length: 300 }, (_, i) => i), error: null });
    expect(await responses([0], {})).toEqual({ values: [], error: null });
  });

  it('fails after some responses', async () => {
    expect(await responses([5], { failAt: 1 })).toEqual({ values: [0, 1], error: "model 'count': failed: enough" });
    expect((await responses([1], { wrong: true })).error).toMatch(/output 'OUT'/);
  });

  it('hears that its caller has gone', async () => {
    const socket = new WebSocket(`${server.http.replace('http', 'ws')}/v2/ws`);
    await new Promise((resolve) => socket.once('open', resolve));
    socket.send(JSON.stringify({ model_name: 'count', ...body([2_000_000], { datatype: 'INT32', id: 'b' }) }));
    await new Promise((resolve) => socket.once('message', resolve));
    socket.terminate();
    await said('count was aborted');
  });
});
