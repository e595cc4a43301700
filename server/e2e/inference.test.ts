import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digitPixels, readDigits } from '../../bench/models/digits-data.ts';
import { decodeBytes, encodeBytes } from '../../proto/bytes.ts';
import { loadUws } from '../transports/uws/uws-module.ts';
import { exampleRepository, ServerProcess } from './serve.ts';

const uws = await loadUws();
const engines = 'module' in uws ? (['uws', 'node'] as const) : (['node'] as const);
if (!('module' in uws)) console.warn(`the uws engine is not tested here: ${uws.reason}`);

interface TensorJson {
  readonly name: string;
  readonly datatype: string;
  readonly shape: number[];
  readonly data: unknown[];
  readonly parameters?: { binary_data_size: number };
}

const int32Input = (name: string, values: number[], rows = 1): object => ({ name, datatype: 'INT32', shape: [rows, 16], data: values });
const ramp = Array.from({ length: 16 }, (_, i) => i);
const ones = ramp.map(() => 1);
const simpleInputs = [int32Input('INPUT0', ramp), int32Input('INPUT1', ones)];
const simple = '/v2/models/simple/infer';

/** A body of the binary tensor extension, and its header. */
function binaryBody(request: object, tensors: Uint8Array[]): [Buffer, Record<string, string>] {
  const header = Buffer.from(JSON.stringify(request));
  return [Buffer.concat([header, ...tensors]), { 'inference-header-content-length': String(header.length) }];
}

describe.each(engines)('the example repository over %s', (engine) => {
  let server: ServerProcess;

  beforeAll(async () => {
    server = await ServerProcess.start([`--model-repository=${exampleRepository}`, `--http-engine=${engine}`]);
  });

  afterAll(async () => {
    expect((await server.stop()).code).toBe(0);
  });

  const output = (json: { outputs: TensorJson[] }, name: string): TensorJson => json.outputs.find((one) => one.name === name)!;

  it('adds and subtracts, and gives the id back', async () => {
    const { status, json } = await server.post(simple, { id: 'n1', inputs: simpleInputs });
    expect(status).toBe(200);
    expect(json).toMatchObject({ id: 'n1', model_name: 'simple', model_version: '1' });
    expect(output(json, 'OUTPUT0')).toEqual({ name: 'OUTPUT0', datatype: 'INT32', shape: [1, 16], data: ramp.map((x) => x + 1) });
    expect(output(json, 'OUTPUT1').data).toEqual(ramp.map((x) => x - 1));
  });

  it('serves a version by its number, and only READY ones', async () => {
    expect((await server.post('/v2/models/simple/versions/1/infer', { inputs: simpleInputs })).json.model_version).toBe('1');
    const other = await server.post('/v2/models/simple/versions/7/infer', { inputs: simpleInputs });
    expect([other.status, other.json.error]).toEqual([404, expect.stringContaining("'simple' version 7 is not found")]);
  });

  it('takes and gives binary tensors, and mixes of both', async () => {
    const tensor = (values: number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);
    const binary = (name: string): object => ({ name, datatype: 'INT32', shape: [1, 16], parameters: { binary_data_size: 64 } });
    const all = await server.post(
      simple,
      ...binaryBody({ inputs: [binary('INPUT0'), binary('INPUT1')], parameters: { binary_data_output: true } }, [
        tensor(ramp),
        tensor(ones),
      ]),
    );
    expect(all.headers.get('content-type')).toBe('application/octet-stream');
    const headerLength = Number(all.headers.get('inference-header-content-length'));
    const head = JSON.parse(all.bytes.toString('utf8', 0, headerLength));
    expect(head.outputs.map((one: TensorJson) => one.parameters)).toEqual([{ binary_data_size: 64 }, { binary_data_size: 64 }]);
    expect([...new Int32Array(new Uint8Array(all.bytes.subarray(headerLength, headerLength + 64)).buffer)]).toEqual(ramp.map((x) => x + 1));

    const mixed = await server.post(
      simple,
      ...binaryBody(
        {
          inputs: [binary('INPUT0'), int32Input('INPUT1', ones)],
          outputs: [{ name: 'OUTPUT1' }, { name: 'OUTPUT0', parameters: { binary_data: true } }],
        },
        [tensor(ramp)],
      ),
    );
    expect(mixed.status).toBe(200);
    const mixedHead = JSON.parse(mixed.bytes.toString('utf8', 0, Number(mixed.headers.get('inference-header-content-length'))));
    expect(output(mixedHead, 'OUTPUT1').data).toEqual(ramp.map((x) => x - 1));
    expect(output(mixedHead, 'OUTPUT0').parameters).toEqual({ binary_data_size: 64 });
  });

  it('answers the outputs that a request names, and no others', async () => {
    const { json } = await server.post(simple, { inputs: simpleInputs, outputs: [{ name: 'OUTPUT1' }] });
    expect(json.outputs.map((one: TensorJson) => one.name)).toEqual(['OUTPUT1']);
  });

  it('batches concurrent requests and gives each its own answer', async () => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) => {
        const rows = (i % 3) + 1;
        const values = Array.from({ length: rows * 16 }, () => i);
        return server.post(simple, { id: String(i), inputs: [int32Input('INPUT0', values, rows), int32Input('INPUT1', values, rows)] });
      }),
    );
    for (const [i, { json }] of answers.entries()) {
      expect(json.id).toBe(String(i));
      expect(output(json, 'OUTPUT0')).toMatchObject({ shape: [(i % 3) + 1, 16], data: Array(((i % 3) + 1) * 16).fill(2 * i) });
    }
    const stats = (await server.get('/v2/models/simple/stats')).json.model_stats[0];
    expect(stats.execution_count).toBeLessThan(stats.inference_stats.success.count);
    const executed = stats.batch_stats.reduce((sum: number, one: { compute_infer: { count: number } }) => sum + one.compute_infer.count, 0);
    expect(executed).toBe(stats.execution_count);
  });

  it('returns strings as they came: NUL, emoji, empty; in JSON and in binary', async () => {
    const words = ['', 'a\u0000b', 'ümläut', '😀', ...Array.from({ length: 12 }, (_, i) => `w${i}`)];
    const asJson = await server.post('/v2/models/simple_identity/infer', {
      inputs: [{ name: 'INPUT0', datatype: 'BYTES', shape: [1, 16], data: words }],
    });
    expect(output(asJson.json, 'OUTPUT0').data).toEqual(words);

    const raw = words.map((word, i) => (i === 5 ? Buffer.from([0xff, 0xfe, 0]) : Buffer.from(word)));
    const tensor = encodeBytes(raw);
    const request = {
      inputs: [{ name: 'INPUT0', datatype: 'BYTES', shape: [1, 16], parameters: { binary_data_size: tensor.length } }],
      parameters: { binary_data_output: true },
    };
    const asBinary = await server.post('/v2/models/simple_identity/infer', ...binaryBody(request, [tensor]));
    const body = asBinary.bytes.subarray(Number(asBinary.headers.get('inference-header-content-length')));
    expect(decodeBytes(body, 'OUTPUT0').map((one) => Buffer.from(one))).toEqual(raw);
  });

  it('adds integers written as strings', async () => {
    const strings = (name: string, values: number[]): object => ({ name, datatype: 'BYTES', shape: [1, 16], data: values.map(String) });
    const { json } = await server.post('/v2/models/simple_string/infer', { inputs: [strings('INPUT0', ramp), strings('INPUT1', ones)] });
    expect(output(json, 'OUTPUT0').data).toEqual(ramp.map((x) => String(x + 1)));
    expect(output(json, 'OUTPUT1').data).toEqual(ramp.map((x) => String(x - 1)));
  });

  it('reads the digits that it never trained on, at least 95 in 100', async () => {
    const { pixels, labels } = readDigits().test;
    expect(labels).toHaveLength(297);
    let right = 0;
    for (let at = 0; at < labels.length; at += 50) {
      const part = labels.subarray(at, at + 50);
      const data = [...pixels.subarray(at * digitPixels, (at + part.length) * digitPixels)];
      const { json } = await server.post('/v2/models/digits/infer', {
        inputs: [{ name: 'image', datatype: 'FP32', shape: [part.length, 1, 8, 8], data }],
      });
      expect(output(json, 'label').shape).toEqual([part.length]);
      expect(output(json, 'probabilities').shape).toEqual([part.length, 10]);
      part.forEach((label, i) => {
        if (output(json, 'label').data[i] === label) right++;
      });
    }
    expect(right / labels.length).toBeGreaterThanOrEqual(0.95);
  });

  it('classifies with labels', async () => {
    const digit = JSON.parse(readFileSync(new URL('../../bench/models/requests/digit.json', import.meta.url), 'utf8'));
    const { json } = await server.post('/v2/models/digits/infer', {
      ...digit,
      outputs: [{ name: 'probabilities', parameters: { classification: 2 } }],
    });
    const classes = output(json, 'probabilities');
    expect([classes.datatype, classes.shape]).toEqual(['BYTES', [1, 2]]);
    expect(classes.data[0]).toMatch(/^[0-9.]+:3:three$/);
  });

  it('takes a raw body where the model has one input', async () => {
    const image = Buffer.from(new Float32Array(64).fill(1).buffer);
    const answer = await server.post('/v2/models/digits/infer', image, { 'inference-header-content-length': '0' });
    expect(answer.status).toBe(200);
    expect(Number(answer.headers.get('inference-header-content-length'))).toBeGreaterThan(0);
  });

  it('reads gzip and writes it for who asks', async () => {
    const body = { inputs: [int32Input('INPUT0', Array(128).fill(100_000), 8), int32Input('INPUT1', Array(128).fill(23_456), 8)] };
    const response = await fetch(server.http + simple, {
      method: 'POST',
      headers: { 'content-encoding': 'gzip', 'accept-encoding': 'gzip' },
      body: new Uint8Array(gzipSync(JSON.stringify(body))),
    });
    expect(response.headers.get('content-encoding')).toBe('gzip');
    expect(((await response.json()) as { outputs: TensorJson[] }).outputs[0]!.data[0]).toBe(123_456);
    expect(gunzipSync(gzipSync('x')).toString()).toBe('x');
  });

  it('tells who it is, what it serves, and how it is', async () => {
    expect((await server.get('/v2')).json).toMatchObject({
      name: 'nereid',
      extensions: expect.arrayContaining(['binary_tensor_data', 'statistics']),
    });
    expect((await server.get('/v2/models/digits')).json).toEqual({
      name: 'digits',
      versions: ['1'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'image', datatype: 'FP32', shape: [-1, 1, 8, 8] }],
      outputs: [
        { name: 'label', datatype: 'INT64', shape: [-1] },
        { name: 'probabilities', datatype: 'FP32', shape: [-1, 10] },
      ],
    });
    expect((await server.get('/v2/models/simple/config')).json).toMatchObject({ name: 'simple', max_batch_size: 8, dynamic_batching: {} });
    for (const path of ['/v2/health/live', '/v2/health/ready', '/v2/models/simple/ready', '/v2/models/simple/versions/1/ready']) {
      const { status, bytes } = await server.get(path);
      expect([path, status, bytes.length]).toEqual([path, 200, 0]);
    }
    const index = (await server.post('/v2/repository/index', { ready: true })).json;
    expect(index).toContainEqual({ name: 'digits', version: '1', state: 'READY' });
    const served = readdirSync(exampleRepository).length;
    expect(index).toHaveLength(served);
    expect((await server.get('/v2/models/stats')).json.model_stats).toHaveLength(served);
  });

  it('counts requests, inferences and executions in the metrics', async () => {
    const series = '{model="simple_string",version="1"}';
    const before = (await server.metric(`nv_inference_request_success${series}`))!;
    const strings = (name: string): object => ({ name, datatype: 'BYTES', shape: [2, 16], data: Array(32).fill('1') });
    await server.post('/v2/models/simple_string/infer', { inputs: [strings('INPUT0'), strings('INPUT1')] });
    expect(await server.metric(`nv_inference_request_success${series}`)).toBe(before + 1);
    expect(await server.metric(`nv_inference_count${series}`)).toBeGreaterThanOrEqual(2);
    expect(await server.metric(`nv_inference_pending_request_count${series}`)).toBe(0);
  });

  // Rows of the reference's error matrix, and the hostile ones beside them. Nothing here may be a 5xx: the client is wrong each time.
  const input0 = simpleInputs[0]!;
  const bad: [string, string, unknown, Record<string, string>, number, string | RegExp][] = [
    ['unknown model', '/v2/models/simpel/infer', { inputs: simpleInputs }, {}, 404, "'simpel' is not found; did you mean 'simple'?"],
    ['no inputs', simple, { inputs: [] }, {}, 400, "missing required input(s) ['INPUT0','INPUT1']"],
    ['one input', simple, { inputs: [input0] }, {}, 400, 'expected 2 inputs but got 1'],
    ['no inputs member', simple, {}, {}, 400, 'inputs'],
    ['unknown output', simple, { inputs: simpleInputs, outputs: [{ name: 'DUMMY' }] }, {}, 400, "unexpected inference output 'DUMMY'"],
    [
      'wrong datatype',
      simple,
      { inputs: [{ ...input0, datatype: 'FP32' }, simpleInputs[1]] },
      {},
      400,
      "data-type is 'FP32', but model 'simple' expects 'INT32'",
    ],
    ['unknown datatype', simple, { inputs: [{ ...input0, datatype: 'INT33' }, simpleInputs[1]] }, {}, 400, 'INT33'],
    [
      'wrong shape',
      simple,
      { inputs: [{ ...input0, shape: [1, 8], data: ones.slice(8) }, simpleInputs[1]] },
      {},
      400,
      'Expected [-1,16], got [1,8]',
    ],
    ['negative dimension', simple, { inputs: [{ ...input0, shape: [-1, 16] }, simpleInputs[1]] }, {}, 400, 'shape'],
    ['too few values', simple, { inputs: [{ ...input0, data: [1] }, simpleInputs[1]] }, {}, 400, 'INPUT0'],
    [
      'a value that does not fit',
      simple,
      { inputs: [{ ...input0, data: [...ones.slice(1), 2 ** 31] }, simpleInputs[1]] },
      {},
      400,
      '2147483648',
    ],
    ['a string for a number', simple, { inputs: [{ ...input0, data: [...ones.slice(1), 'x'] }, simpleInputs[1]] }, {}, 400, 'INPUT0'],
    [
      'a batch too large',
      simple,
      { inputs: [int32Input('INPUT0', Array(144).fill(1), 9), int32Input('INPUT1', Array(144).fill(1), 9)] },
      {},
      400,
      'must be <= 8',
    ],
    ['no JSON', simple, '{"inputs":[', {}, 400, /.+/],
    ['a deep document', simple, `{"inputs":${'['.repeat(100_000)}`, {}, 400, /.+/],
    ['a header length past the body', simple, '{}', { 'inference-header-content-length': '99' }, 400, 'Inference-Header-Content-Length'],
    [
      'a header length that is no number',
      simple,
      '{}',
      { 'inference-header-content-length': '0x10' },
      400,
      'Inference-Header-Content-Length',
    ],
    ['a reserved parameter', simple, { inputs: simpleInputs, parameters: { triton_x: 1 } }, {}, 400, 'triton_x'],
    ['an unknown content coding', simple, '{}', { 'content-encoding': 'br' }, 415, 'br'],
    ['a broken gzip', simple, 'no gzip', { 'content-encoding': 'gzip' }, 400, /.+/],
    ['a route that is not there', '/v2/models', {}, {}, 404, /.+/],
    ['statistics of nobody', '/v2/repository/index', { ready: 'yes' }, {}, 400, "'ready'"],
  ];
  it.each(bad)('refuses %s and goes on', async (_what, path, body, headers, status, message) => {
    const answer = await server.post(path, body, headers);
    expect([answer.status, answer.json?.error]).toEqual([
      status,
      typeof message === 'string' ? expect.stringContaining(message) : expect.stringMatching(message),
    ]);
    expect((await server.post(simple, { inputs: simpleInputs })).status).toBe(200);
  });

  it('says what it does not do instead of doing nothing', async () => {
    expect((await server.post('/v2/repository/models/simple/load', {})).status).toBe(503);
    expect((await server.post('/v2/systemsharedmemory/region/a/register', {})).status).toBe(501);
    expect((await server.get('/v2/models/nobody/stats')).status).toBe(400);
    expect((await fetch(`${server.http}${simple}`)).status).toBe(405);
  });
});
