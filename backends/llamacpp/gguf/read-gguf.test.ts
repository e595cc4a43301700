import { expect, test } from 'vitest';
import { tinyBert, tinyLlama, tinyReranker } from '../../../bench/models/gguf/small-models.ts';
import { inspectModelFile } from '../inspect.ts';
import { TruncatedGguf } from './gguf-cursor.ts';
import { changed, read, uint32, withFile } from './gguf-file.case.ts';
import { readGguf } from './read-gguf.ts';

test('a text-generating model', async () => {
  const bytes = tinyLlama({ context: 300, chatTemplate: 'x{{ messages }}' });
  expect(await read(bytes)).toEqual({
    version: 3,
    architecture: 'llama',
    kind: 'model',
    name: 'tiny random llama',
    contextLength: 300,
    embeddingLength: 64,
    blockCount: 2,
    headSize: 16,
    slidingWindow: 0,
    pooling: null,
    isCausal: true,
    hasClassifier: false,
    tokenizer: 'gpt2',
    vocabularyLength: 384,
    specialTokens: new Map([
      ['bos', 380],
      ['eos', 381],
      ['eot', 383],
    ]),
    chatTemplate: 'x{{ messages }}',
    namedChatTemplates: new Map(),
    tensorCount: 21,
    tensorBytes: expect.any(Number),
    dataOffset: expect.any(Number),
  });
  const { tensorBytes, dataOffset } = await read(bytes);
  expect(dataOffset + tensorBytes).toBe(bytes.length);
});

test('embedding and reranking models say what they are', async () => {
  expect(await read(tinyBert())).toMatchObject({ architecture: 'bert', pooling: 'mean', isCausal: false, hasClassifier: false });
  expect(await read(tinyReranker())).toMatchObject({ pooling: 'rank', hasClassifier: true, contextLength: 128 });
});

test('named templates, version 2, an own alignment, a name for none of the special tokens', async () => {
  const bytes = changed({
    'tokenizer.chat_template.tool_use': { type: 'string', value: 'tools' },
    'general.alignment': uint32(256),
    'tokenizer.ggml.padding_token_id': uint32(0xffff_ffff),
    'tokenizer.ggml.bos_token_id': uint32(99_999),
  });
  bytes[4] = 2;
  const summary = await read(bytes);
  expect(summary.namedChatTemplates.get('tool_use')).toBe('tools');
  expect(summary.version).toBe(2);
  expect(summary.dataOffset % 256).toBe(0);
  expect([...summary.specialTokens.keys()]).toEqual(['eos', 'eot']);
});

test('a vocabulary of 256 thousand tokens with its merges passes, and does not keep the loop', async () => {
  const tokens = Array.from({ length: 256_000 }, (_, id) => `token-${id}`);
  const bytes = changed({
    'tokenizer.ggml.tokens': { type: 'array', of: 'string', values: tokens },
    'tokenizer.ggml.merges': { type: 'array', of: 'string', values: [...tokens, ...tokens] },
    'tokenizer.ggml.token_type': { type: 'array', of: 'int32', values: tokens.map(() => 1) },
  });
  let longest = 0;
  let last = performance.now();
  let isDone = false;
  const beat = (): void => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
    if (!isDone) setImmediate(beat);
  };
  const { vocabularyLength } = await withFile(bytes, async (file) => {
    last = performance.now();
    setImmediate(beat);
    return readGguf(file, bytes.length);
  });
  isDone = true;
  expect(vocabularyLength).toBe(256_000);
  // The whole takes some hundred milliseconds; a piece takes few. Generous: the machine may be busy.
  expect(longest).toBeLessThan(100);
});

test('a file cut anywhere is told from a wrong one', async () => {
  const bytes = tinyLlama({ layers: 1, dim: 32, heads: 2 });
  const { dataOffset } = await read(bytes);
  const cuts = [0, 3, 4, 10, 23, 24, 100, dataOffset - 200, dataOffset, bytes.length - 1];
  for (const cut of cuts) {
    await expect(read(bytes.subarray(0, cut)), `${cut}`).rejects.toBeInstanceOf(TruncatedGguf);
    const found = await withFile(bytes.subarray(0, cut), (file) => inspectModelFile(file, cut));
    expect(found.isTruncated, `${cut}`).toMatch(/^(ends at byte|is empty)/);
  }
  const zeros = await withFile(new Uint8Array(4096), (file) => inspectModelFile(file, 4096));
  expect(zeros.isTruncated).toContain('not written yet');
});

test('an inspection says what is wrong in a phrase, and that an adapter is no model', async () => {
  const inspect = (bytes: Uint8Array): ReturnType<typeof inspectModelFile> =>
    withFile(bytes, (file) => inspectModelFile(file, bytes.length));
  expect(await inspect(tinyLlama())).toEqual({ isTruncated: null, externalFiles: [], notSeen: null });
  expect((await inspect(changed({ 'llama.block_count': uint32(0) }))).fault).toMatch(
    /^is no GGUF file that can be served: metadata 'llama.block_count'/,
  );
  expect((await inspect(changed({ 'general.type': { type: 'string', value: 'adapter' } }))).fault).toContain("parameters['lora']");
});
