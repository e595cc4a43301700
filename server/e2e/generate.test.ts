import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect as connectClient } from '../../clients/typescript/src/index.ts';
import { loadUws } from '../transports/uws/uws-module.ts';
import { type Answer, exampleRepository, makeRepository, ServerProcess, until } from './serve.ts';

const engines = 'module' in (await loadUws()) ? (['uws', 'node'] as const) : (['node'] as const);

const vllm = (name: string, decoupled: boolean, more = ''): string =>
  `name: "${name}" backend: "javascript" max_batch_size: 0 model_transaction_policy { decoupled: ${decoupled} } ${more}`;

/** In the form of Triton's vLLM backend: with stream a response for each word, without it one. The prompt says what else happens. */
const talk = `
export const config = {
  inputs: [
    { name: 'text_input', datatype: 'BYTES', dims: [1] },
    { name: 'stream', datatype: 'BOOL', dims: [1], optional: true },
  ],
  outputs: [{ name: 'text_output', datatype: 'BYTES', dims: [1] }],
  maxConcurrency: 64,
};
export async function execute([{ inputs, parameters, signal, send }], context) {
  const text = inputs.text_input.strings()[0];
  console.log('begun: ' + text);
  signal.addEventListener('abort', () => console.log('aborted: ' + text));
  if (text === 'fail') throw context.error('INVALID_ARGUMENT', 'text_input: not this one');
  if (text === 'nothing') return;
  if (text === 'flood') {
    for (let i = 0; i < 100_000; i++) await send({ text_output: [String(i).padEnd(20_000, '.')] });
    return;
  }
  if (text === 'parameters') return send({ text_output: [JSON.stringify(parameters)] });
  const words = text.split(' ');
  if (inputs.stream?.data[0] !== 1) return send({ text_output: [text] });
  for (const word of words) {
    if (word === 'stop!') throw new Error('stopped');
    // It hears of its deadline before the server looks.
    if (word === 'wait') await new Promise((resolve) => signal.addEventListener('abort', () => setTimeout(resolve, 500)));
    if (word === 'bytes') await send({ text_output: [Buffer.from([0xff])] });
    else await send({ text_output: [word] });
  }
}`;

const types = ['INT64', 'UINT64', 'FP32', 'FP64', 'INT8', 'BOOL', 'BYTES'];
const repository = makeRepository({
  'talk/1/model.mjs': talk,
  'talk/config.pbtxt': vllm('talk', true),
  'types/1/model.mjs': `
const tensors = ${JSON.stringify(types)}.map((datatype) => ({ name: datatype, datatype, dims: [-1], optional: true }));
export const config = { inputs: tensors, outputs: tensors.map(({ optional, ...tensor }) => ({ ...tensor, name: 'OUT_' + tensor.name })) };
export const execute = ([{ inputs }]) => [Object.fromEntries(tensors.map(({ name, datatype }) => ['OUT_' + name, inputs[name] ?? (datatype === 'BYTES' ? ['none'] : datatype.endsWith('64') && datatype !== 'FP64' ? [0n] : [0])]))];`,
  'types/config.pbtxt': vllm('types', false),
  'shapes/1/model.mjs': `
export const config = { maxBatchSize: 4, inputs: [{ name: 'A', datatype: 'INT32', dims: [-1, 2] }, { name: 'HALF', datatype: 'FP16', dims: [1], optional: true }], outputs: [{ name: 'SHAPE', datatype: 'INT32', dims: [-1] }] };
export const execute = (requests) => requests.map(({ inputs }) => ({ SHAPE: { shape: [inputs.A.shape[0], 3], data: Int32Array.from(Array.from({ length: inputs.A.shape[0] }, () => inputs.A.shape).flat()) } }));`,
  'named/1/model.mjs': `
export const config = { inputs: [{ name: 'parameters', datatype: 'INT32', dims: [1] }], outputs: [{ name: 'OUT', datatype: 'INT32', dims: [1] }] };
export const execute = ([{ inputs }]) => [{ OUT: inputs.parameters }];`,
});
afterAll(() => repository.remove());

describe.each(engines)('the generate extension, %s', (engine) => {
  let server: ServerProcess;
  beforeAll(async () => {
    server = await ServerProcess.start([
      `--model-repository=${exampleRepository}`,
      `--model-repository=${repository.path}`,
      `--http-engine=${engine}`,
    ]);
  }, 60_000);
  afterAll(async () => {
    await server.stop();
  });

  const generate = (model: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
    server.post(`/v2/models/${model}/generate`, body, headers);
  const stream = (model: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
    server.post(`/v2/models/${model}/generate_stream`, body, headers);

  const said = (text: string): Promise<unknown> => server.logLine((line) => line['msg'] === text);

  function events(answer: Answer): unknown[] {
    const text = answer.bytes.toString();
    expect(text === '' || text.endsWith('\n\n')).toBe(true);
    return text
      .split('\n\n')
      .filter(Boolean)
      .map((event) => {
        expect(event).toMatch(/^data: [^\n]*$/);
        return JSON.parse(event.slice(6));
      });
  }

  it('streams the responses of a decoupled model as events', async () => {
    const body = { id: 'r7', IN: [4, 5, 6], DELAY: [1, 1, 1], WAIT: 0 };
    const answer = await stream('repeat_int32', body);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    // In the order of the keys.
    expect(answer.bytes.toString()).toBe(
      [4, 5, 6]
        .map((OUT, IDX) => `data: {"IDX":${IDX},"OUT":${OUT},"id":"r7","model_name":"repeat_int32","model_version":"1"}\n\n`)
        .join(''),
    );
    const versioned = await server.post('/v2/models/repeat_int32/versions/1/generate_stream', body);
    expect(versioned.bytes.equals(answer.bytes)).toBe(true);
    const none = await stream('repeat_int32', { IN: [], DELAY: [], WAIT: 0 });
    expect([none.status, none.bytes.length]).toEqual([200, 0]);
  });

  it('answers with the one response, and says so when it is not one', async () => {
    const one = await generate('repeat_int32', { IN: 4, DELAY: [1], WAIT: 0 });
    expect([one.status, one.headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(one.bytes.toString()).toBe('{"IDX":0,"OUT":4,"model_name":"repeat_int32","model_version":"1"}');
    for (const [IN, got] of [
      [[1, 2, 3], 'a second one'],
      [[], 'none'],
    ] as const) {
      const answer = await generate('repeat_int32', { IN, DELAY: IN.map(() => 1), WAIT: 0 });
      expect([answer.status, answer.json]).toEqual([
        400,
        {
          error: `generate expects model to produce exactly 1 response, use generate stream for model that generates various number of responses: model 'repeat_int32' gave ${got}`,
        },
      ]);
    }
  });

  it('serves models that are not decoupled', async () => {
    const INPUT0 = Array.from({ length: 16 }, (_, n) => n);
    const INPUT1 = INPUT0.map(() => 1);
    const expected = {
      OUTPUT0: INPUT0.map((n) => n + 1),
      OUTPUT1: INPUT0.map((n) => n - 1),
      model_name: 'simple',
      model_version: '1',
    };
    expect((await generate('simple', { INPUT0, INPUT1 })).bytes.toString()).toBe(JSON.stringify(expected));
    expect(events(await stream('simple', { INPUT0, parameters: { INPUT1 } }))).toEqual([expected]);
    const texts = await generate('simple_string', { INPUT0: INPUT0.map(String), INPUT1: INPUT1.map(String) });
    expect(texts.json.OUTPUT0).toEqual(expected.OUTPUT0.map(String));
  });

  it('takes the form of the vLLM backend', async () => {
    const parameters = { stream: false, temperature: 0.5, max_tokens: 7, 'top-k': 'ü', yes: true };
    expect((await generate('talk', { text_input: 'hej "du" \u2713', parameters })).json).toEqual({
      model_name: 'talk',
      model_version: '1',
      text_output: 'hej "du" \u2713',
    });
    const seen = await generate('talk', { text_input: ['parameters'], priority: 3, id: 'x', parameters });
    expect(JSON.parse(seen.json.text_output)).toEqual({ temperature: 0.5, max_tokens: 7, 'top-k': 'ü', yes: true, priority: 3 });
    const words = await stream('talk', { text_input: 'one two three', stream: true });
    expect(events(words)).toEqual(['one', 'two', 'three'].map((text_output) => ({ model_name: 'talk', model_version: '1', text_output })));
  });

  it("answers the package's own client", async () => {
    const client = await connectClient(server.http);
    const inputs = { text_input: 'one two three', stream: true };
    const words: unknown[] = [];
    for await (const { text_output } of client.generateStream({ model: 'talk', inputs })) words.push(text_output);
    expect(words).toEqual(['one', 'two', 'three']);
    const numbers = { INT64: [-(2n ** 63n), 2n ** 60n + 1n], BOOL: false };
    expect(await client.generate({ model: 'types', inputs: numbers })).toMatchObject({ OUT_INT64: numbers.INT64, OUT_BOOL: false });
    await expect(client.generate({ model: 'talk', inputs })).rejects.toThrow('exactly 1 response');
    await client.close();
  });

  it('carries every number exactly, a single one as a scalar', async () => {
    const given = {
      INT64: ['9223372036854775807', '-9223372036854775808'],
      UINT64: ['18446744073709551615'],
      FP32: ['0.1', '3e38'],
      FP64: ['0.1'],
      INT8: ['-128', '127'],
      BOOL: ['true'],
      BYTES: ['"a\\n\\u20ac"', '""'],
    };
    const members = Object.entries(given).map(([name, values]) => `"${name}":${values.length === 1 ? values[0] : `[${values}]`}`);
    const answer = await generate('types', `{${members.join(',')}}`);
    expect(answer.bytes.toString()).toBe(
      '{"OUT_BOOL":true,"OUT_BYTES":["a\\n€",""],"OUT_FP32":[0.1,3e+38],"OUT_FP64":0.1,"OUT_INT64":[9223372036854775807,-9223372036854775808],"OUT_INT8":[-128,127],"OUT_UINT64":18446744073709551615,"model_name":"types","model_version":"1"}',
    );
    expect((await generate('types', { FP32: [] })).json.OUT_FP32).toEqual([]);
  });

  it('infers shapes from the right', async () => {
    expect((await generate('shapes', { A: [1, 2, 3, 4] })).json.SHAPE).toEqual([1, 2, 2]);
    expect((await generate('shapes', { A: [[1, 2]] })).json.SHAPE).toEqual([1, 1, 2]);
    expect((await generate('shapes', { A: [1, 2, 3] })).json).toEqual({
      error: "can not convert input 'A': 3 elements do not fill the model's shape [-1,-1,2]",
    });
  });

  it.each<[string, string, unknown, number, RegExp]>([
    ['talk', 'no object', [1], 400, /an object/],
    ['talk', 'no JSON', '{"text_input"', 400, /':'/],
    ['talk', 'an empty body', '', 400, /JSON/],
    ['talk', 'a number for a text', { text_input: 5 }, 400, /^text_input: expected a string for BYTES, got 5$/],
    ['talk', 'an object for a text', { text_input: {} }, 400, /^text_input: .*an object/],
    ['talk', 'null for an input', { text_input: null }, 400, /^text_input: .*null/],
    ['talk', '1 for a BOOL', { text_input: 'a', stream: 1 }, 400, /^stream: expected true or false/],
    ['talk', 'a wrong element', { text_input: ['a', 2] }, 400, /can not convert input 'text_input': 2 elements/],
    ['talk', 'an array as a parameter', { text_input: 'a', stop: ['b'] }, 400, /parameter 'stop' has invalid type.*an array/],
    ['talk', 'null as a parameter', { text_input: 'a', seed: null }, 400, /parameter 'seed' has invalid type/],
    ['talk', 'a key twice', '{"text_input":"a","text_input":"b"}', 400, /repeated/],
    [
      'talk',
      'an input in both places',
      { text_input: 'a', parameters: { text_input: 'b' } },
      400,
      /^Converting keyword: 'parameters': .*already exists/,
    ],
    ['talk', 'a parameter in both places', { text_input: 'a', x: 1, parameters: { x: 2 } }, 400, /given twice/],
    ['talk', 'parameters that are no object', { text_input: 'a', parameters: 3 }, 400, /parameters: expected an object/],
    ['talk', 'an id that is no string', { text_input: 'a', id: 3 }, 400, /id: expected a string/],
    ['talk', 'no input', { parameters: {} }, 400, /text_input/],
    ['talk', 'invalid UTF-8', Buffer.from('{"text_input":"\xff"}', 'latin1'), 400, /UTF-8/],
    ['talk', 'a refusal of the model', { text_input: 'fail' }, 400, /text_input: not this one/],
    ['shapes', 'FP16', { A: [1, 2], HALF: 1 }, 400, /'HALF'.*FP16.*binary/],
    ['named', "an input called 'parameters'", { parameters: { a: 1 } }, 400, /^Converting keyword: 'parameters'/],
    ['types', 'a number past its type', { INT8: 128 }, 400, /^INT8: expected an integer from -128 to 127.*128/],
    ['types', 'an object in an array', { INT8: [1, {}] }, 400, /^INT8\[1\]: .*an object/],
    ['nobody', 'an unknown model', { a: 1 }, 404, /nobody/],
  ])('%s: refuses %s', async (model, _what, body, status, error) => {
    for (const answer of [await generate(model, body), await stream(model, body)]) {
      expect([answer.status, answer.headers.get('content-type')]).toEqual([status, 'application/json']);
      expect(answer.json.error).toMatch(error);
    }
  });

  it('refuses compressed bodies, unknown versions, deadlines that are none, and keeps those that are', async () => {
    const compressed = await generate('talk', gzipSync('{"text_input":"a"}'), { 'content-encoding': 'gzip' });
    expect(compressed.status).toBe(415);
    expect((await server.post('/v2/models/talk/versions/9/generate', { text_input: 'a' })).status).toBe(404);
    expect((await generate('talk', { text_input: 'a' }, { 'inference-timeout-ms': 'soon' })).status).toBe(400);
    const late = await generate('talk', { text_input: 'wait', stream: true }, { 'inference-timeout-ms': '50' });
    expect(late.status).toBe(504);
    const cut = await stream('talk', { text_input: 'a wait', stream: true }, { 'inference-timeout-ms': '300' });
    expect(cut.status).toBe(200);
    expect(events(cut)).toMatchObject([{ text_output: 'a' }, { error: expect.stringMatching(/timeout|deadline/i) }]);
  });

  it('tells of what fails later as an event', async () => {
    const failed = await stream('talk', { text_input: 'one two stop! four', stream: true });
    expect(failed.status).toBe(200);
    expect(events(failed)).toEqual([
      { model_name: 'talk', model_version: '1', text_output: 'one' },
      { model_name: 'talk', model_version: '1', text_output: 'two' },
      { error: expect.stringContaining('stopped') },
    ]);
    const bytes = await stream('talk', { text_input: 'a bytes b', stream: true });
    expect(events(bytes)).toEqual([
      expect.objectContaining({ text_output: 'a' }),
      { error: "output 'text_output': element 0 is not valid UTF-8, so JSON cannot carry it: use infer with binary data, or gRPC" },
    ]);
    expect((await generate('talk', { text_input: 'bytes', stream: true })).status).toBe(400);
  });

  it('cancels what nobody waits for', async () => {
    for (const path of ['generate', 'generate_stream']) {
      const text = `wait for nobody, ${engine} ${path}`;
      const gone = new AbortController();
      const answer = fetch(`${server.http}/v2/models/talk/${path}`, {
        method: 'POST',
        body: JSON.stringify({ text_input: text, stream: true }),
        signal: gone.signal,
      });
      answer.catch(() => {});
      await said(`begun: ${text}`);
      gone.abort();
      await expect(answer).rejects.toThrow();
      await said(`aborted: ${text}`);
    }
  });

  it('loads a model that is loaded on demand, and says why it cannot', async () => {
    const own = await ServerProcess.start([`--model-repository=${exampleRepository}`, '--load-on-demand', `--http-engine=${engine}`]);
    const body = { IN: 4, DELAY: 0, WAIT: 0 };
    const both = await Promise.all(['generate', 'generate_stream'].map((path) => own.post(`/v2/models/repeat_int32/${path}`, body)));
    const json = '{"IDX":0,"OUT":4,"model_name":"repeat_int32","model_version":"1"}';
    expect(both.map(({ bytes }) => bytes.toString())).toEqual([json, `data: ${json}\n\n`]);
    const wrong = await Promise.all(['generate', 'generate_stream'].map((path) => own.post(`/v2/models/simple/${path}`, { INPUT0: 'x' })));
    expect(wrong.map(({ status }) => status)).toEqual([400, 400]);
    expect((await own.stop()).code).toBe(0);
  });

  it('lets a stream finish when the server is told to end', async () => {
    const own = await ServerProcess.start([`--model-repository=${exampleRepository}`, `--http-engine=${engine}`]);
    const IN = [1, 2, 3, 4, 5, 6];
    const response = await fetch(`${own.http}/v2/models/repeat_int32/generate_stream`, {
      method: 'POST',
      body: JSON.stringify({ IN, DELAY: IN.map(() => 100), WAIT: 0 }),
    });
    // Its head comes with the first event.
    own.signal('SIGTERM');
    const text = await response.text();
    expect(text.match(/"OUT":\d/g)).toEqual(IN.map((n) => `"OUT":${n}`));
    expect((await own.exited).code).toBe(0);
  });

  it('holds a model back whose client does not read, and stops it when the client goes', { timeout: 30_000 }, async () => {
    const { port, hostname } = new URL(server.http);
    const socket = connect({ port: Number(port), host: hostname });
    socket.pause();
    const body = JSON.stringify({ text_input: 'flood', stream: true });
    const rss = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))![1]) / 1024;
    const beforeMiB = rss();
    socket.write(`POST /v2/models/talk/generate_stream HTTP/1.1\r\nHost: a\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
    // All of it would be 2 GB.
    for (let looks = 0; looks < 20; looks++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(rss() - beforeMiB).toBeLessThan(100);
    }
    let seen = 0;
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      seen += chunk.length;
      if (text.length < 100) text += chunk.toString('latin1');
    });
    socket.resume();
    // More than any buffer on the way held.
    await until(() => seen > 30e6, 20_000);
    expect(text).toContain('200 OK');
    socket.destroy();
    await said('aborted: flood');
  });
});
