import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AddonModel, LlamaAddon } from '../../../backends/llamacpp/native/llama-addon.ts';
import { loadAddon } from '../../../backends/llamacpp/native/load-addon.ts';
import { writeShapedLlama } from './shaped-llama.ts';
import { type TinyLlamaOptions, tinyBert, tinyLlama, tinyReranker } from './small-models.ts';

const folder = mkdtempSync(join(tmpdir(), 'nereid-gguf-'));
let addon: LlamaAddon;
let files = 0;

beforeAll(async () => {
  addon = (await loadAddon(() => {})).addon;
});

afterAll(() => rmSync(folder, { recursive: true }));

async function withModel<T>(bytes: Uint8Array | string, use: (model: AddonModel) => Promise<T>): Promise<T> {
  const path = typeof bytes === 'string' ? bytes : join(folder, `${files++}.gguf`);
  if (typeof bytes !== 'string') writeFileSync(path, bytes);
  const model = new addon.AddonModel(path, { gpuLayers: 0, useMmap: true });
  expect(await model.init()).toBe(true);
  try {
    return await use(model);
  } finally {
    await model.dispose();
  }
}

/** Tokens after `prompt`, and their text. */
async function generate(
  model: AddonModel,
  prompt: string,
  count: number,
  temperature: number,
): Promise<{ tokens: number[]; pieces: string[] }> {
  const context = new addon.AddonContext(model, { contextSize: 256, batchSize: 64, sequences: 1, flashAttention: 'auto', threads: 1 });
  expect(await context.init()).toBe(true);
  const sampler = new addon.AddonSampler(model);
  sampler.applyConfig({ temperature, seed: 7 });
  const tokens: number[] = [];
  let next = model.tokenize(prompt, true);
  for (let position = 0; tokens.length < count; ) {
    context.initBatch(next.length);
    const [at] = context.addToBatch(0, position, next, Uint32Array.of(next.length - 1));
    await context.decodeBatch();
    position += next.length;
    const token = await context.sampleToken(at!, sampler);
    if (model.isEogToken(token)) break;
    tokens.push(token);
    next = Uint32Array.of(token);
  }
  sampler.dispose();
  await context.dispose();
  return { tokens, pieces: tokens.map((token) => model.getTokenString(token)!) };
}

const kinds: [string, TinyLlamaOptions][] = [
  ['bpe', {}],
  ['spm', { vocabulary: 'spm' }],
  ['F16', { type: 'F16' }],
  ['Q8_0', { type: 'Q8_0' }],
  ['Q4_0', { type: 'Q4_0' }],
];

test.each(kinds)('%s: llama.cpp loads it and generates varied, readable text', async (_, options) => {
  const bytes = tinyLlama(options);
  expect(bytes.length).toBeLessThan(1_000_000);
  expect(Buffer.compare(bytes, tinyLlama(options))).toBe(0);
  expect(Buffer.compare(bytes, tinyLlama({ ...options, seed: 2 }))).not.toBe(0);
  await withModel(bytes, async (model) => {
    expect(model.getTrainContextSize()).toBe(512);
    const { tokens, pieces } = await generate(model, 'the quick', 60, 1);
    expect(tokens.length).toBe(60);
    expect(new Set(tokens).size).toBeGreaterThan(20);
    // Spaces and line breaks have names of their own in both vocabularies.
    expect(pieces.filter((piece) => !/^([ -~Ġ▁Ċ]+|<0x0A>)$/.test(piece))).toEqual([]);
    expect((await generate(model, 'the quick', 60, 0)).tokens).toEqual((await generate(model, 'the quick', 60, 0)).tokens);
  });
});

test('quantised weights are those of the same seed: greedy text begins the same in F32, F16 and Q8_0', async () => {
  const [exact, half, eighth] = await Promise.all(
    (['F32', 'F16', 'Q8_0'] as const).map((type) =>
      withModel(tinyLlama({ type }), async (model) => (await generate(model, 'the quick', 8, 0)).tokens),
    ),
  );
  expect(half).toEqual(exact);
  expect(eighth).toEqual(exact);
});

test('texts become tokens and special ones are one each, in both vocabularies', async () => {
  for (const vocabulary of ['bpe', 'spm'] as const) {
    await withModel(tinyLlama({ vocabulary }), async (model) => {
      const tokens = [...model.tokenize('the Zoë<|im_start|>', true)].map((token) => model.getTokenString(token));
      expect(tokens).toEqual(
        vocabulary === 'bpe'
          ? ['the', 'Ġ', 'Z', 'o', 'Ã', '«', '<|im_start|>']
          : ['▁the', '▁', 'Z', 'o', '<0xC3>', '<0xAB>', '<|im_start|>'],
      );
      expect(model.shouldPrependBosToken()).toBe(vocabulary === 'spm');
    });
  }
});

test('endBias makes texts end, and any byte comes where it is asked for', async () => {
  const short = await withModel(tinyLlama({ endBias: 8 }), (model) => generate(model, 'the', 100, 1));
  expect(short.tokens.length).toBeLessThan(100);
  const bytes = await withModel(tinyLlama({ output: 'bytes' }), (model) => generate(model, 'the', 60, 1));
  expect(bytes.pieces.some((piece) => /[^ -~Ġ]/.test(piece))).toBe(true);
});

test('vectors of texts that share words are nearer, and a reranker gives one number', async () => {
  async function vector(model: AddonModel, text: string, ranking: boolean): Promise<Float64Array> {
    const context = new addon.AddonContext(model, {
      contextSize: 64,
      batchSize: 64,
      sequences: 1,
      flashAttention: 'auto',
      threads: 1,
      embeddings: true,
      ranking,
    });
    expect(await context.init()).toBe(true);
    const tokens = Uint32Array.from([model.tokenBos(), ...model.tokenize(text, false), model.sepToken()]);
    context.initBatch(tokens.length);
    context.addToBatch(0, 0, tokens, Uint32Array.from(tokens.keys()));
    await context.decodeBatch();
    const found = context.getEmbedding(tokens.length, ranking ? 1 : undefined).slice();
    await context.dispose();
    return found;
  }
  const cosine = (left: Float64Array, right: Float64Array): number => {
    const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
    return dot(left, right) / Math.sqrt(dot(left, left) * dot(right, right));
  };
  await withModel(tinyBert(), async (model) => {
    const one = await vector(model, 'the quick brown fox', false);
    expect(one.length).toBe(64);
    expect(cosine(one, await vector(model, 'the quick lazy fox', false))).toBeGreaterThan(
      cosine(one, await vector(model, 'to be or not 7!', false)),
    );
  });
  await withModel(tinyReranker(), async (model) => {
    const scores = [await vector(model, 'the fox', true), await vector(model, 'to be', true)].map((scored) => [...scored]);
    expect(scores.map((score) => score.length)).toEqual([1, 1]);
    expect(scores.flat().every(Number.isFinite)).toBe(true);
    expect(scores[0]).not.toEqual(scores[1]);
  });
});

test('a shaped model goes to its file in pieces, and loads', async () => {
  const path = join(folder, 'shaped.gguf');
  await writeShapedLlama(path, {
    dim: 256,
    layers: 2,
    heads: 8,
    feedForward: 704,
    vocabulary: 20_000,
    context: 512,
    type: 'Q8_0',
    seed: 1,
  });
  expect(statSync(path).size).toBeGreaterThan(8_000_000);
  expect(readFileSync(path).subarray(0, 4).toString()).toBe('GGUF');
  const { tokens } = await withModel(path, (model) => generate(model, 'the quick brown', 20, 1));
  expect(tokens.length).toBe(20);
});
