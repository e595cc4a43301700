import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bertModel } from '../../../bench/models/gguf/bert-model.ts';
import { tinyLlamaModel } from '../../../bench/models/gguf/small-models.ts';
import { type GgufModel, writeGguf } from '../../../bench/models/gguf/write-gguf.ts';
import { encodeBytes } from '../../../proto/bytes.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { DecoupledModelInstance } from '../../api/backend.ts';
import type { ModelConfig } from '../../api/model-config.ts';
import { LlamaModel } from '../engine/llama-model.ts';
import { readLlamaOptions } from '../options/llama-options.ts';
import { classify, meanOf, runBert, unit } from './bert-by-hand.case.ts';
import { openEmbeddingInstance, openRerankInstance, type RerankFacts, type VectorFacts } from './open-embedding.ts';

const shape = { name: 'test', dim: 64, layers: 2, heads: 4, context: 64, seed: 3 } as const;
const folder = mkdtempSync(join(tmpdir(), 'nereid-embedding-'));
const bert = bertModel({ ...shape, pooling: 'mean' });
const ranker = bertModel({ ...shape, pooling: 'rank' });
const open: (LlamaModel | DecoupledModelInstance)[] = [];

afterAll(async () => {
  for (const one of open.reverse()) await ('dispose' in one ? one.dispose() : one.close());
  rmSync(folder, { recursive: true, force: true });
});

const optionsOf = (parameters: Record<string, string> = {}) =>
  readLlamaOptions({
    parameters: Object.fromEntries(Object.entries({ threads: '1', ...parameters }).map(([name, stringValue]) => [name, { stringValue }])),
  } as unknown as ModelConfig);

async function openModel(
  model: GgufModel,
  name: string,
  parameters: Record<string, string> = {},
): Promise<{ model: LlamaModel; path: string }> {
  const path = join(folder, name);
  writeFileSync(path, writeGguf(model));
  const vocabularySize = (model.metadata['tokenizer.ggml.tokens'] as unknown as { values: readonly string[] }).values.length;
  const opened = await LlamaModel.open(path, optionsOf(parameters), () => {}, {
    vocabularySize,
    layers: 2,
    architecture: String((model.metadata['general.architecture'] as { value: unknown }).value),
    slidingWindow: 0,
  });
  open.push(opened);
  return { model: opened, path };
}

const metadataValue = (model: GgufModel, key: string): unknown => (model.metadata[key] as { value: unknown } | undefined)?.value;
function factsOf(model: GgufModel): VectorFacts {
  const architecture = String(metadataValue(model, 'general.architecture'));
  const pooling = metadataValue(model, `${architecture}.pooling_type`) === undefined ? null : 'mean';
  return { architecture, isCausal: metadataValue(model, `${architecture}.attention.causal`) !== false, pooling };
}

async function openEmbedding(model: GgufModel, name: string, parameters: Record<string, string> = {}) {
  const opened = await openModel(model, name, parameters);
  const instance = await openEmbeddingInstance(opened.model, opened.path, optionsOf(parameters), factsOf(model));
  open.push(instance);
  return { instance, model: opened.model };
}

const bytes = (name: string, texts: readonly (string | Uint8Array)[]): Tensor => ({
  name,
  datatype: 'BYTES',
  shape: [texts.length],
  data: encodeBytes(texts),
});
const ids = (tokens: readonly number[]): Tensor => ({
  name: 'input_ids',
  datatype: 'INT32',
  shape: [tokens.length],
  data: new Uint8Array(Int32Array.from(tokens).buffer),
});
const never = new AbortController().signal;

async function run(
  instance: DecoupledModelInstance,
  inputs: readonly Tensor[],
  parameters: Record<string, string | number | boolean> = {},
  signal = never,
): Promise<{ shape: readonly number[]; values: Float32Array; counts: readonly number[] } | null> {
  for await (const [values, counts] of instance.infer({ inputs, parameters, signal })) {
    return {
      shape: values!.shape,
      values: new Float32Array(values!.data.slice().buffer),
      counts: [...new Uint32Array(counts!.data.slice().buffer)],
    };
  }
  return null;
}

function expectNear(got: Float32Array, expected: ArrayLike<number>): void {
  expect(got.length).toBe(expected.length);
  // GELU and attention in llama.cpp are half floats in part.
  for (let i = 0; i < got.length; i++) expect(Math.abs(got[i]! - expected[i]!), `number ${i}`).toBeLessThan(3e-3);
}

describe('an embedding model', () => {
  let instance: DecoupledModelInstance;
  let model: LlamaModel;
  const cls = () => model.tokens.bos!;
  const sep = () => model.addonModel.sepToken();
  const tokensOf = (text: string) => [cls(), ...model.tokenize(text, false), sep()];
  beforeAll(async () => {
    ({ instance, model } = await openEmbedding(bert, 'embed.gguf'));
  });

  it('gives what BERT is by hand, each text in its row, of length 1', async () => {
    const texts = ['the quick brown fox', 'sea shells', 'x', ''];
    const answer = (await run(instance, [bytes('text_input', texts)]))!;
    expect(answer.shape).toEqual([4, 64]);
    expect(answer.counts).toEqual(texts.map((text) => tokensOf(text).length));
    for (const [i, text] of texts.entries()) {
      expectNear(answer.values.subarray(i * 64, (i + 1) * 64), unit(meanOf(runBert(bert, tokensOf(text)))));
      expect(Math.hypot(...answer.values.subarray(i * 64, (i + 1) * 64))).toBeCloseTo(1, 5);
    }
  });

  it('tells that it gets on after each text, so that a long list is not taken for silence', async () => {
    let steps = 0;
    const request = { inputs: [bytes('text_input', ['a', 'b', 'c'])], parameters: {}, signal: never, progress: () => steps++ };
    for await (const _ of instance.infer(request)) expect(steps).toBe(3);
  });

  it('takes the tokens of one text as they are', async () => {
    const tokens = tokensOf('the quick brown fox');
    const byIds = (await run(instance, [ids(tokens)]))!;
    const byText = (await run(instance, [bytes('text_input', ['the quick brown fox'])]))!;
    expect(byIds.values).toEqual(byText.values);
    const bare = (await run(instance, [ids(tokens.slice(1, -1))]))!;
    expectNear(bare.values, unit(meanOf(runBert(bert, tokens.slice(1, -1)))));
  });

  it('cuts a vector to the dimensions asked for, of length 1 again', async () => {
    const whole = (await run(instance, [bytes('text_input', ['fox', 'dog'])]))!;
    const cut = (await run(instance, [bytes('text_input', ['fox', 'dog'])], { dimensions: 8 }))!;
    expect(cut.shape).toEqual([2, 8]);
    for (const row of [0, 1]) {
      const expected = unit(Float64Array.from(whole.values.subarray(row * 64, row * 64 + 8)));
      for (let i = 0; i < 8; i++) expect(cut.values[row * 8 + i]).toBeCloseTo(expected[i]!, 5);
    }
  });

  it('refuses a text that is too long, by its place, unless it is to be cut', async () => {
    const long = 'fox '.repeat(200);
    const tokens = [...model.tokenize(long, false)];
    const inputs = [bytes('text_input', ['fox', 'dog', long])];
    await expect(run(instance, inputs)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(`^text_input\\[2\\]: ${tokens.length} tokens do not fit the 62 `),
    });
    const end = (await run(instance, inputs, { truncate: 'end' }))!;
    expect(end.counts[2]).toBe(64);
    expectNear(end.values.subarray(128), unit(meanOf(runBert(bert, [cls(), ...tokens.slice(0, 62), sep()]))));
    const start = (await run(instance, [bytes('text_input', [`sea ${long}`])], { truncate: 'start' }))!;
    expectNear(start.values, unit(meanOf(runBert(bert, [cls(), ...tokens.slice(-62), sep()]))));
    const huge = 'fox '.repeat(100_000);
    await expect(run(instance, [bytes('text_input', [huge])])).rejects.toThrow(/^text_input: a text of 400000 characters/);
    expect((await run(instance, [bytes('text_input', [huge])], { truncate: true }))!.values).toEqual(end.values.slice(128));
    await expect(run(instance, [ids(tokens)])).rejects.toThrow(/^input_ids: \d+ tokens do not fit the 64 /);
  });

  it('refuses what it cannot read, by its name', async () => {
    const text = [bytes('text_input', ['fox'])];
    const cases: [readonly Tensor[], Record<string, string | number | boolean>, RegExp][] = [
      [[], {}, /^text_input: expected text_input or input_ids, got neither/],
      [[...text, ids([5])], {}, /^text_input: .* got both/],
      [[bytes('text_input', [])], {}, /^text_input: expected at least one text/],
      [[bytes('text_input', ['a', Uint8Array.of(0xff)])], {}, /^text_input\[1\]: expected UTF-8/],
      [[bytes('text_input', new Array<string>(4097).fill('a'))], {}, /^text_input: expected at most 4096 texts/],
      [[ids([])], {}, /^input_ids: expected at least one token/],
      [[ids([5, 1_000_000])], {}, /^input_ids\[1\]: expected a token from 0 to \d+, got 1000000/],
      [[ids([-1])], {}, /^input_ids\[0\]: .*got -1/],
      [text, { dimensions: 65 }, /^dimensions: expected an integer from 1 to 64/],
      [text, { dimensions: 0 }, /^dimensions: /],
      [text, { dimensions: '8' }, /^dimensions: /],
      [text, { truncate: 'middle' }, /^truncate: expected none, start, end/],
      [text, { dimension: 8 }, /^dimension: .*did you mean 'dimensions'/],
    ];
    for (const [inputs, parameters, message] of cases) {
      await expect(run(instance, inputs, parameters)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(message),
      });
    }
  });

  it('gives a single text its turn beside long lists, and stops a cancelled list', async () => {
    const ended: string[] = [];
    const list = new Array<string>(300).fill('the quick brown fox jumps');
    const cancel = new AbortController();
    const lists = [
      run(instance, [bytes('text_input', list)]).then(() => ended.push('list')),
      run(instance, [bytes('text_input', list)], {}, cancel.signal).then((answer) => ended.push(answer === null ? 'cancelled' : 'list')),
    ];
    const one = run(instance, [bytes('text_input', ['fox'])]).then(() => ended.push('one'));
    await one;
    cancel.abort();
    await Promise.all(lists);
    expect(ended).toEqual(['one', 'cancelled', 'list']);
  });

  it('is bounded by max_input_tokens, and says when nothing fits', async () => {
    const { instance: short } = await openEmbedding(bert, 'short.gguf', { max_input_tokens: '6' });
    const inputs = [bytes('text_input', ['the quick brown fox jumps over'])];
    await expect(run(short, inputs)).rejects.toThrow(/^text_input: \d+ tokens do not fit the 4 /);
    expect((await run(short, inputs, { truncate: 'end' }))!.counts).toEqual([6]);
    await expect(openEmbedding(bert, 'shorter.gguf', { max_input_tokens: '2' })).rejects.toThrow(/^parameters\['context_size'\]: 2 tokens/);
  });
});

it('pools as its configuration says, whatever its file does', async () => {
  const first = bertModel({ ...shape, pooling: 'cls' });
  const cases: [GgufModel, Record<string, string>, (states: readonly Float64Array[]) => Float64Array][] = [
    [bert, { pooling: 'cls' }, (states) => states[0]!],
    [bert, { pooling: 'last' }, (states) => states.at(-1)!],
    [first, {}, (states) => states[0]!],
    [first, { pooling: 'mean' }, meanOf],
  ];
  for (const [index, [file, parameters, pool]] of cases.entries()) {
    const { instance, model } = await openEmbedding(file, `pooled-${index}.gguf`, parameters);
    const tokens = [model.tokens.bos!, ...model.tokenize('quick fox', false), model.addonModel.sepToken()];
    expectNear((await run(instance, [bytes('text_input', ['quick fox'])]))!.values, unit(pool(runBert(file, tokens))));
  }
});

it('takes a long text in parts where its last token gives the vector, and gives the same', async () => {
  const text = 'the quick brown fox jumps over the lazy dog';
  const vectors: Record<string, Float32Array> = {};
  for (const [pooling, batchSize] of [
    ['', '512'],
    ['', '4'],
    ['last', '512'],
    ['last', '4'],
    ['mean', '512'],
    ['mean', '4'],
  ] as const) {
    const parameters = { context_size: '64', batch_size: batchSize, ...(pooling === '' ? {} : { pooling }) };
    const { instance } = await openEmbedding(tinyLlamaModel({ vocabulary: 'bpe' }), `parts-${pooling}${batchSize}.gguf`, parameters);
    const { values, counts } = (await run(instance, [bytes('text_input', [text, 'fox', text])]))!;
    expect(counts[0]).toBeGreaterThan(8);
    vectors[pooling + batchSize] = values;
  }
  expectNear(vectors['4']!, vectors['512']!);
  expectNear(vectors['last4']!, vectors['512']!);
  expectNear(vectors['last512']!, vectors['512']!);
  expect(vectors['mean4']).toEqual(vectors['mean512']);
  expect(Math.abs(vectors['mean4']![0]! - vectors['last4']![0]!)).toBeGreaterThan(1e-3);
});

it('says that a model gives no numbers', async () => {
  const tensors = bert.tensors.map((tensor) =>
    tensor.name === 'blk.1.layer_output_norm.bias' ? { ...tensor, values: new Float32Array(64).fill(Number.NaN) } : tensor,
  );
  const { instance } = await openEmbedding({ ...bert, tensors }, 'nan.gguf');
  await expect(run(instance, [bytes('text_input', ['fox'])])).rejects.toMatchObject({
    code: 'INTERNAL',
    message: expect.stringContaining('NaN'),
  });
});

it('a reranking model makes no vectors', async () => {
  await expect(openEmbedding(ranker, 'no-vectors.gguf')).rejects.toThrow(/^parameters\['task'\]: expected rerank, got embed/);
});

it('a text-generating model embeds by its last token, alone in its context each time', async () => {
  for (const vocabulary of ['bpe', 'spm'] as const) {
    const { instance, model } = await openEmbedding(tinyLlamaModel({ vocabulary }), `${vocabulary}.gguf`, { context_size: '64' });
    const first = (await run(instance, [bytes('text_input', ['the quick brown fox', 'the sea'])]))!;
    expect(first.shape).toEqual([2, 64]);
    expect(first.counts[0]).toBe(model.tokenize('the quick brown fox', false).length + (model.tokens.addsBos ? 1 : 0));
    const again = (await run(instance, [bytes('text_input', ['the sea'])]))!;
    expect(again.values).toEqual(first.values.slice(64));
    if (vocabulary === 'bpe')
      await expect(run(instance, [bytes('text_input', ['fox', ''])])).rejects.toThrow(/^text_input\[1\]: .*at least one token/);
  }
});

describe('a reranking model', () => {
  const facts: RerankFacts = { architecture: 'bert', isCausal: false, pooling: 'rank', template: null, hasClassifier: true };
  let instance: DecoupledModelInstance;
  let model: LlamaModel;
  let path: string;
  beforeAll(async () => {
    ({ model, path } = await openModel(ranker, 'rank.gguf'));
    instance = await openRerankInstance(model, path, optionsOf(), facts);
    open.push(instance);
  });
  const by = (query: string, document: string) => {
    const [bos, sep] = [model.tokens.bos!, model.addonModel.sepToken()];
    const tokens = [bos, ...model.tokenize(query, false), sep, ...model.tokenize(document, false), sep];
    return { tokens, score: classify(ranker, runBert(ranker, tokens)[0]!) };
  };
  const documents = ['the lazy dog', 'sea shells', 'the fox', ''];
  const inputs = [bytes('query', ['quick fox']), bytes('documents', documents)];

  it('scores each document as by hand, from 0 to 1, and raw', async () => {
    const expected = documents.map((document) => by('quick fox', document));
    const answer = (await run(instance, inputs))!;
    expectNear(
      answer.values,
      expected.map(({ score }) => 1 / (1 + Math.exp(-score))),
    );
    expect(answer.counts).toEqual(expected.map(({ tokens }) => tokens.length));
    const raw = (await run(instance, inputs, { raw_scores: true }))!;
    for (const [i, { score }] of expected.entries()) expect(Math.abs(raw.values[i]! - score)).toBeLessThan(1e-2);
    expect(new Set(raw.values).size).toBe(documents.length);
  });

  it('fills the form that the file has, both texts where it says', async () => {
    const form = { ...facts, template: '[CLS] {document}[SEP]{query}[SEP]' };
    const swapped = await openRerankInstance(model, path, optionsOf(), form);
    open.push(swapped);
    const answer = (await run(swapped, [bytes('query', ['quick fox']), bytes('documents', ['sea'])], { raw_scores: true }))!;
    expect(answer.counts).toEqual([by('sea', 'quick fox').tokens.length]);
    expect(Math.abs(answer.values[0]! - by('sea', 'quick fox').score)).toBeLessThan(1e-2);
    await expect(openRerankInstance(model, path, optionsOf(), { ...facts, template: '{query}' })).rejects.toThrow(
      /expected \{query\} and \{document\}/,
    );
  });

  it('cuts a document, never a query', async () => {
    const long = 'sea '.repeat(100);
    await expect(run(instance, [inputs[0]!, bytes('documents', ['sea', long])])).rejects.toThrow(/^documents\[1\]: \d+ tokens do not fit/);
    const cut = (await run(instance, [inputs[0]!, bytes('documents', ['sea', long])], { truncate: 'end' }))!;
    expect(cut.counts[1]).toBe(64);
    await expect(run(instance, [bytes('query', [long]), inputs[1]!], { truncate: 'end' })).rejects.toThrow(/^query: \d+ tokens do not fit/);
  });

  it('says what it does not take', async () => {
    await expect(run(instance, [bytes('query', ['a', 'b']), inputs[1]!])).rejects.toThrow(/^query: expected one text, got 2/);
    await expect(run(instance, [inputs[0]!])).rejects.toThrow(/^documents: expected texts/);
    await expect(run(instance, inputs, { raw_score: true })).rejects.toThrow(/did you mean 'raw_scores'/);
    await expect(run(instance, inputs, { raw_scores: 1 })).rejects.toThrow(/^raw_scores: expected true or false/);
    await expect(openRerankInstance(model, path, optionsOf(), { ...facts, hasClassifier: false })).rejects.toThrow(/no classifier/);
  });
});
