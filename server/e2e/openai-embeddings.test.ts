/** Embedding models in GGUF files, asked by OpenAI's own client. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tinyBert, tinyLlama } from '../../bench/models/gguf/small-models.ts';
import { makeRepository, ServerProcess, until } from './serve.ts';

/** A row of two numbers for each text, its length and 1; counts no tokens. */
const lengths = (config: string) => `
  export const config = { ${config}, outputs: [{ name: 'embedding', datatype: 'FP32', dims: [-1] }] };
  export function execute(requests) {
    return requests.map(({ inputs: { text_input } }) => ({
      embedding: { data: Float32Array.from(text_input.strings().flatMap((text) => [text.length, 1])), shape: [text_input.shape[0], 2] },
    }));
  }`;
/** A row of 100 numbers: the text's length, zeros, and the length and a tenth. */
const wide = `
  export const config = {
    maxBatchSize: 64, inputs: [{ name: 'text_input', datatype: 'BYTES', dims: [1] }], outputs: [{ name: 'embedding', datatype: 'FP32', dims: [100] }],
  };
  export function execute(requests) {
    return requests.map(({ inputs: { text_input } }) => ({
      embedding: Float32Array.from(text_input.strings().flatMap(({ length }) => [length, ...new Array(98).fill(0), length + 0.1])),
    }));
  }`;
/** As many responses as texts. */
const eachItsOwn = `
  export const config = { inputs: [{ name: 'text_input', datatype: 'BYTES', dims: [-1] }], outputs: [{ name: 'embedding', datatype: 'FP32', dims: [-1, 2] }] };
  export async function execute([request]) {
    for (const text of request.inputs.text_input.strings()) {
      if (text === 'stop') return;
      await request.send({ embedding: { data: Float32Array.of(text.length, 1), shape: [1, 2] } });
      if (text === 'twice') await request.send({ embedding: { data: Float32Array.of(0, 1), shape: [1, 2] } });
    }
  }`;

/** Says its version in each row, four rows at a time; from the third batch on the first version waits for a file. */
const slow = (version: number) => `
  import { existsSync } from 'node:fs';
  import { join } from 'node:path';
  export const config = {
    maxBatchSize: 4, inputs: [{ name: 'text_input', datatype: 'BYTES', dims: [1] }],
    outputs: [{ name: 'embedding', datatype: 'FP32', dims: [2] }, { name: 'num_input_tokens', datatype: 'UINT32', dims: [1] }],
  };
  let batches = 0;
  export async function execute(requests, { directory }) {
    if (${version} === 1 && ++batches > 2) while (!existsSync(join(directory, 'go'))) await new Promise((resolve) => setTimeout(resolve, 5));
    return requests.map(({ batchSize }) => ({ embedding: new Float32Array(2 * batchSize).fill(${version}), num_input_tokens: new Uint32Array(batchSize).fill(1) }));
  }`;

const repository = makeRepository({
  'bert/1/model.gguf': tinyBert(),
  'llama/1/model.gguf': tinyLlama(),
  'llama/config.pbtxt': 'backend: "llamacpp"\nparameters { key: "task" value { string_value: "embed" } }\n',
  'writer/1/model.gguf': tinyLlama(),
  'batched/1/model.mjs': lengths("maxBatchSize: 4, inputs: [{ name: 'text_input', datatype: 'BYTES', dims: [1] }]"),
  'wide/1/model.mjs': wide,
  'one_by_one/1/model.mjs': eachItsOwn,
  'slow/1/model.mjs': slow(1),
  'one_by_one/config.pbtxt': 'backend: "javascript"\nmodel_transaction_policy { decoupled: true }\n',
});
let server: ServerProcess;
let client: OpenAI;
beforeAll(async () => {
  server = await ServerProcess.start([`--model-repository=${repository.path}`, '--model-control-mode=explicit', '--load-model=*']);
  client = new OpenAI({ baseURL: `${server.http}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(async () => {
  await server?.kill();
  repository.remove();
});

const floatsOf = async (model: string, input: string | string[] | number[] | number[][], more: object = {}): Promise<number[][]> => {
  const { data } = await client.embeddings.create({ model, input, encoding_format: 'float', ...more });
  return data.map(({ embedding }) => embedding);
};
const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

describe('a BERT', () => {
  it('gives a vector of length 1 for each text, in order, the same alone and in a list', async () => {
    const answer = await client.embeddings.create({ model: 'bert', input: ['the quick brown fox', 'sea shells', 'the quick brown dog'] });
    expect(answer).toMatchObject({ object: 'list', model: 'bert' });
    expect(answer.data.map(({ object, index }) => `${object} ${index}`)).toEqual(['embedding 0', 'embedding 1', 'embedding 2']);
    const [fox, shells, dog] = answer.data.map(({ embedding }) => embedding) as [number[], number[], number[]];
    expect([fox.length, shells.length, dog.length]).toEqual([64, 64, 64]);
    for (const vector of [fox, shells, dog]) expect(dot(vector, vector)).toBeCloseTo(1, 5);
    expect(dot(fox, dog)).toBeGreaterThan(dot(fox, shells));
    expect((await floatsOf('bert', 'sea shells'))[0]!.map(Math.fround)).toEqual(shells);
    // [CLS] the quick brown fox [SEP]: 6 tokens, and so on.
    const { usage } = await client.embeddings.create({ model: 'bert', input: 'the quick brown fox' });
    expect(usage).toEqual({ prompt_tokens: 6, total_tokens: 6 });
  });

  it('says the same in base64 and in floats', async () => {
    const ask = async (format: string) =>
      (await server.post('/v1/embeddings', { model: 'bert', input: ['fox', 'dog'], encoding_format: format })).json.data;
    const [floats, base64] = [await ask('float'), await ask('base64')];
    for (const i of [0, 1]) {
      const bytes = Buffer.from(base64[i].embedding, 'base64');
      expect(Array.from({ length: 64 }, (_, k) => bytes.readFloatLE(4 * k))).toEqual(floats[i].embedding.map(Math.fround));
    }
    expect(await ask('float')).toEqual((await server.post('/v1/embeddings', { model: 'bert', input: ['fox', 'dog'] })).json.data);
  });

  it('takes token ids, one list or several, and dimensions', async () => {
    const [first, second] = await floatsOf('bert', [
      [2, 40, 41, 3],
      [2, 42, 3],
    ]);
    expect(await floatsOf('bert', [2, 42, 3])).toEqual([second]);
    expect(first).not.toEqual(second);
    const [cut] = await floatsOf('bert', [2, 42, 3], { dimensions: 10 });
    const norm = Math.hypot(...second!.slice(0, 10));
    for (const [i, value] of cut!.entries()) expect(value).toBeCloseTo(second![i]! / norm, 5);
    expect(cut!.length).toBe(10);
  });

  it('is described by the V2 protocol', async () => {
    const { inputs, outputs } = (await server.get('/v2/models/bert')).json;
    expect(inputs).toEqual([
      { name: 'text_input', datatype: 'BYTES', shape: [-1] },
      { name: 'input_ids', datatype: 'INT32', shape: [-1] },
    ]);
    expect(outputs.map(({ name }: { name: string }) => name)).toEqual(['embedding', 'num_input_tokens']);
  });

  it('works on long lists in large answers, one list among short ones', async () => {
    const input = Array.from({ length: 1000 }, (_, i) => `the fox ${i}`);
    let isListDone = false;
    const list = floatsOf('bert', input).then((rows) => {
      isListDone = true;
      return rows;
    });
    for (let i = 0; i < 3; i++) await floatsOf('bert', 'sea');
    expect(isListDone).toBe(false);
    const rows = await list;
    expect(rows.length).toBe(1000);
    expect(rows[777]).toEqual((await floatsOf('bert', input[777]!))[0]);
  });

  it('sends an answer of megabytes in parts, whole, in base64 and in floats', async () => {
    const input = Array.from({ length: 2_048 }, (_, i) => 'x'.repeat(1 + (i % 50)));
    for (const format of ['float', 'base64']) {
      const response = await fetch(`${server.http}/v1/embeddings`, {
        method: 'POST',
        body: JSON.stringify({ model: 'wide', input, encoding_format: format }),
      });
      expect([response.status, response.headers.get('content-length')]).toEqual([200, null]);
      expect(response.headers.get('x-request-id')).toMatch(/^embd-/);
      const { object, data, model, usage } = (await response.json()) as OpenAI.CreateEmbeddingResponse;
      expect([object, model, usage]).toEqual(['list', 'wide', { prompt_tokens: 0, total_tokens: 0 }]);
      expect(data.map(({ index }) => index)).toEqual(input.map((_, i) => i));
      for (const [i, { embedding }] of data.entries()) {
        const row =
          format === 'float'
            ? Float32Array.from(embedding)
            : new Float32Array(Uint8Array.from(Buffer.from(String(embedding), 'base64')).buffer);
        const { length } = input[i]!;
        if (row.length !== 100 || row[0] !== length || row[99] !== Math.fround(length + 0.1)) expect([i, ...row]).toEqual([length]);
      }
    }
  });

  it('stops when the caller goes away', async () => {
    const gone = new AbortController();
    const call = client.embeddings.create(
      { model: 'bert', input: new Array<string>(2048).fill('the quick brown fox jumps') },
      { signal: gone.signal },
    );
    await floatsOf('bert', 'sea');
    gone.abort();
    await expect(call).rejects.toThrow();
    // The next one does not wait for 2048 others.
    expect((await floatsOf('bert', 'sea')).length).toBe(1);
    const { status } = await server.post(
      '/v1/embeddings',
      { model: 'bert', input: new Array<string>(2048).fill('fox') },
      { 'inference-timeout-ms': '1' },
    );
    expect(status).toBe(504);
  });
});

it('a text-generating model embeds where its configuration says so, and only there', async () => {
  const [one, two] = await floatsOf('llama', ['the quick brown fox', 'sea']);
  expect(await floatsOf('llama', 'sea')).toEqual([two]);
  expect(dot(one!, one!)).toBeCloseTo(1, 5);
  await expect(floatsOf('writer', 'sea')).rejects.toMatchObject({ status: 400, param: 'model' });
});

it('serves models of any other backend that have the tensors', async () => {
  const texts = ['a', 'bb', 'ccc', 'dddd', 'eeeee', 'f', 'gg', 'hhh', 'iiii'];
  const expected = texts.map((text) => [text.length, 1]);
  expect(await floatsOf('batched', texts)).toEqual(expected);
  expect(await floatsOf('one_by_one', texts)).toEqual(expected);
  const { usage } = await client.embeddings.create({ model: 'batched', input: texts });
  expect(usage).toEqual({ prompt_tokens: 0, total_tokens: 0 });
  await expect(floatsOf('one_by_one', ['a', 'stop'])).rejects.toMatchObject({
    status: 500,
    message: expect.stringContaining('1 rows for 2 texts'),
  });
  await expect(floatsOf('one_by_one', ['a', 'twice'])).rejects.toMatchObject({
    status: 500,
    message: expect.stringContaining('3 rows for 2 texts'),
  });
});

it('gives rows of one version when the model is swapped meanwhile', async () => {
  const call = client.embeddings.create({ model: 'slow', input: new Array<string>(40).fill('x'), encoding_format: 'float' });
  await until(async () => (await server.get('/v2/models/slow/stats')).json.model_stats[0].inference_count > 4);
  mkdirSync(join(repository.path, 'slow/2'));
  writeFileSync(join(repository.path, 'slow/2/model.mjs'), slow(2));
  const load = server.post('/v2/repository/models/slow/load', {});
  await until(async () => (await server.get('/v2/models/slow')).json.versions?.join() === '2');
  writeFileSync(join(repository.path, 'slow/1/go'), '');
  expect((await load).status).toBe(200);
  const { data, usage } = await call;
  expect(new Set(data.map(({ embedding }) => embedding.join()))).toEqual(new Set(['2,2']));
  expect([data.length, usage.total_tokens]).toEqual([40, 40]);
});

it('lists them among the models', async () => {
  const names = (await client.models.list()).data.map(({ id }) => id);
  expect(names).toEqual(expect.arrayContaining(['bert', 'llama', 'writer', 'batched', 'one_by_one']));
});

describe('what is refused, by its parameter', () => {
  const long = 'fox '.repeat(300);
  const cases: [string, unknown, number, string | null, RegExp][] = [
    ['no model', { input: 'x' }, 400, 'model', /^model: missing/],
    ['an unknown model', { model: 'nobody', input: 'x' }, 404, 'model', /nobody/],
    ['no input', { model: 'bert' }, 400, 'input', /^input: missing; expected a string/],
    ['an empty text', { model: 'bert', input: '' }, 400, 'input', /empty string/],
    ['an empty text in a list', { model: 'bert', input: ['a', ''] }, 400, 'input[1]', /empty string/],
    ['an empty list', { model: 'bert', input: [] }, 400, 'input', /at least one text/],
    ['an object', { model: 'bert', input: { a: 1 } }, 400, 'input', /expected a string, an array/],
    ['a mixed list', { model: 'bert', input: ['a', 1] }, 400, 'input[1]', /expected a string as before it/],
    ['a mixed list of tokens', { model: 'bert', input: [1, 'a'] }, 400, 'input[1]', /expected an array of token ids|token id/],
    ['a negative token', { model: 'bert', input: [-1] }, 400, 'input[0]', /expected a token id/],
    ['an unknown token', { model: 'bert', input: [[2], [5_000]] }, 400, 'input[1]', /expected a token from 0 to/],
    ['too many texts', { model: 'bert', input: new Array(2049).fill('a') }, 400, 'input', /at most 2048 texts/],
    ['a long text', { model: 'bert', input: ['a', long] }, 400, 'input[1]', /tokens do not fit the 126 .*truncate/],
    ['a long text alone', { model: 'bert', input: long }, 400, 'input', /^input: \d+ tokens/],
    ['more dimensions than there are', { model: 'bert', input: 'a', dimensions: 65 }, 400, 'dimensions', /from 1 to 64/],
    ['no dimensions', { model: 'bert', input: 'a', dimensions: 0 }, 400, 'dimensions', /from 1 to/],
    ['another format', { model: 'bert', input: 'a', encoding_format: 'int8' }, 400, 'encoding_format', /'float' or 'base64'/],
    ['a misspelt name', { model: 'bert', input: 'a', dimension: 8 }, 400, 'dimension', /did you mean 'dimensions'/],
    ['a truncation that is none', { model: 'bert', input: 'a', truncate: 'middle' }, 400, 'truncate', /none, start, end/],
    ['no object', '[]', 400, null, /JSON object/],
    ['invalid UTF-8', Buffer.from('{"model":"bert","input":"\xff"}', 'latin1'), 400, 'input', /UTF-8/],
  ];
  it.each(cases)('%s', async (_, body, status, param, message) => {
    const answer = await server.post('/v1/embeddings', body);
    expect([answer.status, answer.json]).toEqual([
      status,
      {
        error: {
          message: expect.stringMatching(message),
          type: 'invalid_request_error',
          param,
          code: status === 404 ? 'model_not_found' : null,
        },
      },
    ]);
  });

  it('but not what is to be cut, or what clients send besides', async () => {
    const answer = await server.post('/v1/embeddings', { model: 'bert', input: long, truncate: 'END', user: 'me', priority_hint: 1 });
    expect([answer.status, answer.json.usage?.prompt_tokens]).toEqual([200, 128]);
    expect(answer.headers.get('nereid-ignored-fields')).toBe('priority_hint');
    expect(answer.headers.get('x-request-id')).toMatch(/^embd-[0-9a-f-]{36}$/);
  });
});
