/** Reranking: the forms of Jina, Cohere and Text Embeddings Inference, over models of two backends. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tinyReranker } from '../../bench/models/gguf/small-models.ts';
import { makeRepository, ServerProcess } from './serve.ts';

/** The share of a document's letters that the query has. */
const shared = `
  export const config = {
    maxBatchSize: 4,
    inputs: [{ name: 'query', datatype: 'BYTES', dims: [1] }, { name: 'documents', datatype: 'BYTES', dims: [1] }],
    outputs: [{ name: 'relevance_score', datatype: 'FP32', dims: [1] }],
  };
  export function execute(requests) {
    return requests.map(({ inputs: { query, documents } }) => {
      const queries = query.strings();
      return { relevance_score: Float32Array.from(documents.strings(), (text, i) => [...text].filter((c) => queries[i].includes(c)).length / text.length) };
    });
  }`;

const repository = makeRepository({
  'ranker/1/model.gguf': tinyReranker(),
  'letters/1/model.mjs': shared,
  'plain/1/model.mjs':
    'export const config = { inputs: [{ name: "IN", datatype: "FP32", dims: [1] }], outputs: [{ name: "OUT", datatype: "FP32", dims: [1] }] }; export function execute(r) { return r.map(({ inputs }) => ({ OUT: inputs.IN })); }',
});
let server: ServerProcess;
beforeAll(async () => {
  server = await ServerProcess.start([`--model-repository=${repository.path}`, '--model-control-mode=explicit', '--load-model=*']);
});
afterAll(async () => {
  await server?.kill();
  repository.remove();
});

const documents = ['the lazy dog', 'sea shells', 'the quick fox', 'x'];

describe.each(['/v1/rerank', '/v2/rerank', '/rerank'])('%s', (path) => {
  it('gives scores from 0 to 1, best first', async () => {
    const { status, json } = await server.post(path, { model: 'ranker', query: 'quick fox', documents });
    expect(status).toBe(200);
    expect(json).toMatchObject({ model: 'ranker', object: 'list', id: expect.stringMatching(/^rerank-/) });
    const scores: number[] = json.results.map((result: { relevance_score: number }) => result.relevance_score);
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    expect(json.results.map(({ index }: { index: number }) => index).sort()).toEqual([0, 1, 2, 3]);
    for (const score of scores) expect(score > 0 && score < 1).toBe(true);
    // [CLS] quick fox [SEP] the lazy dog [SEP] and so on.
    expect(json.usage).toEqual({ prompt_tokens: 5 * 4 + 3 + 2 + 3 + 1, total_tokens: 29 });
    expect(Object.keys(json.results[0])).toEqual(['index', 'relevance_score']);
    const alone = await server.post(path, { model: 'ranker', query: 'quick fox', documents: [documents[json.results[0].index]] });
    expect(alone.json.results[0].relevance_score).toBeCloseTo(scores[0]!, 6);
  });
});

it('gives as many as are asked for, with their texts as they came', async () => {
  const given = ['abc', { text: 'aé"\n' }, { title: 'no', text: 'zzz' }, 'ab', 'xy', 'a'];
  const { json } = await server.post('/v1/rerank', { model: 'letters', query: 'ab', documents: given, top_n: 3, return_documents: true });
  expect(json.results).toEqual([
    { index: 3, relevance_score: 1, document: { text: 'ab' } },
    { index: 5, relevance_score: 1, document: { text: 'a' } },
    { index: 0, relevance_score: expect.closeTo(2 / 3, 6), document: { text: 'abc' } },
  ]);
  const told = await server.post('/v1/rerank', { model: 'letters', query: 'ab', documents: given, rank_fields: [] });
  expect(told.headers.get('nereid-ignored-fields')).toBe('rank_fields');
  expect(told.headers.get('x-request-id')).toBe(told.json.id);
  const all = await server.post('/v1/rerank', { model: 'letters', query: 'ab', documents: given, top_n: 0, return_documents: true });
  expect(all.json.results.map(({ index }: { index: number }) => index)).toEqual([3, 5, 0, 1, 2, 4]);
  expect(all.json.results[3]).toEqual({ index: 1, relevance_score: 0.25, document: { text: 'aé"\n' } });
  expect(all.json.usage).toEqual({ prompt_tokens: 0, total_tokens: 0 });
});

it("answers TEI's form as TEI does", async () => {
  const { json } = await server.post('/rerank', { model: 'letters', query: 'ab', texts: ['abc', 'b'] });
  expect(json).toEqual([
    { index: 1, score: 1 },
    { index: 0, score: expect.closeTo(2 / 3, 6) },
  ]);
  const withText = await server.post('/rerank', { model: 'ranker', query: 'fox', texts: documents, return_text: true, raw_scores: true });
  const plain = await server.post('/rerank', { model: 'ranker', query: 'fox', texts: documents });
  for (const [i, { index, score, text }] of withText.json.entries()) {
    expect(text).toBe(documents[index]);
    expect(plain.json[i].index).toBe(index);
    expect(plain.json[i].score).toBeCloseTo(1 / (1 + Math.exp(-score)), 5);
  }
  // It names no model where there is one alone; here are two.
  const none = await server.post('/rerank', { query: 'fox', texts: documents });
  expect([none.status, none.json.error.param, none.json.error.message]).toEqual([400, 'model', expect.stringMatching(/several that rank/)]);
  await server.post('/v2/repository/models/letters/unload', {});
  expect((await server.post('/rerank', { query: 'fox', texts: documents })).json).toEqual(plain.json);
  await server.post('/v2/repository/models/letters/load', {});
});

it('refuses what it cannot do, by its parameter', async () => {
  const long = 'fox '.repeat(300);
  const cases: [object, number, string | null, RegExp][] = [
    [{ query: 'a', documents }, 400, 'model', /^model: missing/],
    [{ model: 'nobody', query: 'a', documents }, 404, 'model', /nobody/],
    [{ model: 'plain', query: 'a', documents }, 400, 'model', /does not rank documents/],
    [{ model: 'ranker', documents }, 400, 'query', /^query: missing/],
    [{ model: 'ranker', query: '', documents }, 400, 'query', /empty string/],
    [{ model: 'ranker', query: ['a'], documents }, 400, 'query', /expected a string/],
    [{ model: 'ranker', query: 'a' }, 400, 'documents', /^documents: missing/],
    [{ model: 'ranker', query: 'a', documents: [] }, 400, 'documents', /at least one text/],
    [{ model: 'ranker', query: 'a', documents: 'b' }, 400, 'documents', /expected an array/],
    [{ model: 'ranker', query: 'a', documents: ['b', 3] }, 400, 'documents[1]', /expected a string, or an object/],
    [{ model: 'ranker', query: 'a', documents: [{ title: 'b' }] }, 400, 'documents[0]', /object without one/],
    [{ model: 'ranker', query: 'a', documents: new Array(2049).fill('b') }, 400, 'documents', /at most 2048/],
    [{ model: 'ranker', query: 'a', documents, top_n: -1 }, 400, 'top_n', /at least 0/],
    [{ model: 'ranker', query: 'a', documents, top_k: 2 }, 400, 'top_k', /did you mean 'top_n'/],
    [{ model: 'ranker', query: 'a', documents: ['b', long] }, 400, 'documents[1]', /tokens do not fit/],
    [{ model: 'ranker', query: long, documents }, 400, 'query', /tokens do not fit/],
    [{ model: 'ranker', query: 'a', texts: ['b', long] }, 400, 'texts[1]', /tokens do not fit/],
  ];
  for (const [body, status, param, message] of cases) {
    const answer = await server.post('/v1/rerank', body);
    expect([answer.status, answer.json.error.param, answer.json.error.message]).toEqual([status, param, expect.stringMatching(message)]);
  }
  const cut = await server.post('/v1/rerank', { model: 'ranker', query: 'a', documents: ['b', long], truncate: true });
  expect([cut.status, cut.json.results?.length]).toEqual([200, 2]);
});

it('loads a model that is asked for, and takes its version behind an @', async () => {
  const own = await ServerProcess.start([`--model-repository=${repository.path}`, '--load-on-demand']);
  try {
    const { status, json } = await own.post('/v1/rerank', { model: 'letters', query: 'ab', documents });
    expect([status, json.results?.length]).toEqual([200, 4]);
    expect((await own.post('/v1/rerank', { model: 'letters@1', query: 'ab', documents })).json.results).toEqual(json.results);
    expect((await own.post('/v1/rerank', { model: 'letters@2', query: 'ab', documents })).status).toBe(404);
    const late = await own.post('/v1/rerank', { model: 'ranker', query: 'ab', documents }, { 'inference-timeout-ms': '1' });
    expect([late.status, late.json.error.type]).toEqual([504, 'server_error']);
  } finally {
    await own.kill();
  }
});
