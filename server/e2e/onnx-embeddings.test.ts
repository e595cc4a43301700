/** An ONNX encoder behind a model in JavaScript that tokenizes, asked by OpenAI's own client. */

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  EMBEDDING_WIDTH,
  embeddingRepository,
  embeddingVocabulary,
  mixingMatrix,
  tokenVectors,
} from '../../bench/models/embedding-model.ts';
import { ServerProcess } from './serve.ts';

const folder = mkdtempSync(join(tmpdir(), 'nereid-onnx-embeddings-'));
let server: ServerProcess;
let client: OpenAI;

beforeAll(async () => {
  for (const [name, content] of Object.entries(embeddingRepository())) {
    mkdirSync(dirname(join(folder, 'models', name)), { recursive: true });
    writeFileSync(join(folder, 'models', name), content);
  }
  // Where a model's own packages would be.
  symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), join(folder, 'node_modules'));
  server = await ServerProcess.start([`--model-repository=${join(folder, 'models')}`]);
  client = new OpenAI({ baseURL: `${server.http}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(async () => {
  await server?.kill();
  rmSync(folder, { recursive: true, force: true });
});

/** The vector of a text by hand, from the tokens that it must have. */
function byHand(tokens: readonly string[]): number[] {
  const states = tokens.map((token) => {
    const vector = tokenVectors.subarray(embeddingVocabulary.indexOf(token) * EMBEDDING_WIDTH);
    return Array.from({ length: EMBEDDING_WIDTH }, (_, k) => {
      let sum = 0;
      for (let i = 0; i < EMBEDDING_WIDTH; i++) sum += vector[i]! * mixingMatrix[i * EMBEDDING_WIDTH + k]!;
      return Math.tanh(sum);
    });
  });
  // The mean of states plus their mean is twice the mean, and length 1 takes the two away.
  const mean = states[0]!.map((_, k) => states.reduce((sum, state) => sum + state[k]!, 0));
  return mean.map((value) => value / Math.hypot(...mean));
}

function expectNear(got: readonly number[], expected: readonly number[]): void {
  expect(got.length).toBe(expected.length);
  for (let i = 0; i < got.length; i++) expect(got[i]).toBeCloseTo(expected[i]!, 5);
}

const texts = ['The cat sat.', 'sea shells', 'Fo!'];
const tokens = [
  ['[CLS]', 'the', 'cat', 'sat', '.', '[SEP]'],
  ['[CLS]', 'sea', 'shells', '[SEP]'],
  ['[CLS]', 'f', '##o', '!', '[SEP]'],
];

it('gives the vectors that a computation by hand gives, in order', async () => {
  // The client asks for base64 itself here, and decodes it.
  const answer = await client.embeddings.create({ model: 'text_embedder', input: texts });
  expect(answer.data.map(({ index }) => index)).toEqual([0, 1, 2]);
  for (const [i, { embedding }] of answer.data.entries()) expectNear(embedding, byHand(tokens[i]!));
  expect(answer.usage).toEqual({ prompt_tokens: 15, total_tokens: 15 });
  expect([answer.object, answer.model]).toEqual(['list', 'text_embedder']);
  const floats = await client.embeddings.create({ model: 'text_embedder', input: texts[1]!, encoding_format: 'float' });
  expectNear(floats.data[0]!.embedding, byHand(tokens[1]!));
});

it('sends more texts than the model batches in several requests', async () => {
  const input = Array.from({ length: 50 }, (_, i) => texts[i % 3]!);
  const answer = await client.embeddings.create({ model: 'text_embedder', input });
  for (const [i, { embedding, index }] of answer.data.entries()) {
    expect(index).toBe(i);
    expectNear(embedding, byHand(tokens[i % 3]!));
  }
  expect(answer.data.length).toBe(50);
});

it('cuts vectors to the dimensions asked for', async () => {
  const { data } = await client.embeddings.create({ model: 'text_embedder', input: texts[0]!, dimensions: 4 });
  const first = byHand(tokens[0]!).slice(0, 4);
  expectNear(
    data[0]!.embedding,
    first.map((value) => value / Math.hypot(...first)),
  );
  await expect(client.embeddings.create({ model: 'text_embedder', input: 'x', dimensions: 17 })).rejects.toMatchObject({
    status: 400,
    param: 'dimensions',
  });
});

it('tells of a text that is too long by its place in the list', async () => {
  const input = [...new Array<string>(20).fill('cat'), 'cat '.repeat(70)];
  await expect(client.embeddings.create({ model: 'text_embedder', input })).rejects.toMatchObject({
    status: 400,
    param: 'input[20]',
    message: expect.stringContaining('input[20]: 72 tokens, expected at most 64'),
  });
});

it('says what models that are no such cannot do', async () => {
  await expect(client.embeddings.create({ model: 'text_encoder', input: 'x' })).rejects.toMatchObject({ status: 400, param: 'model' });
  await expect(client.embeddings.create({ model: 'text_embedder', input: [[1, 2]] })).rejects.toMatchObject({
    status: 400,
    param: 'input',
  });
  await expect(client.embeddings.create({ model: 'nobody', input: 'x' })).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
});
