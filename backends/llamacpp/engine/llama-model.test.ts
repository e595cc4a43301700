import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { tinyBert, tinyLlama } from '../../../bench/models/gguf/small-models.ts';
import { modelConfig } from '../../api/backend.case.ts';
import { readLlamaOptions } from '../options/llama-options.ts';
import { LlamaModel } from './llama-model.ts';
import { TOKEN_ATTRIBUTES, VOCABULARY_TYPES } from './token-table.ts';

const folder = mkdtempSync(join(tmpdir(), 'model-'));
const bert = join(folder, 'bert.gguf');
const llama = join(folder, 'llama.gguf');
const pieces = join(folder, 'pieces.gguf');
writeFileSync(bert, tinyBert());
writeFileSync(llama, tinyLlama());
writeFileSync(pieces, tinyLlama({ vocabulary: 'spm' }));
afterAll(() => rmSync(folder, { recursive: true }));

function open(path: string, parameters: Record<string, string>, architecture: string, vocabularySize: number): Promise<LlamaModel> {
  const given = Object.fromEntries(Object.entries(parameters).map(([name, stringValue]) => [name, { stringValue }]));
  return LlamaModel.open(path, readLlamaOptions(modelConfig({ parameters: given })), () => {}, {
    architecture,
    vocabularySize,
    layers: 2,
    slidingWindow: 0,
  });
}

async function embed(parameters: Record<string, string>): Promise<Float64Array> {
  const model = await open(bert, parameters, 'bert', 30);
  const settings = { contextSize: 64, batchSize: 64, sequences: 1, flashAttention: 'auto', threads: 1, embeddings: true } as const;
  const context = new model.native.addon.AddonContext(model.addonModel, settings);
  await context.init();
  context.initBatch(4);
  context.addToBatch(0, 0, Uint32Array.of(2, 7, 8, 9), Uint32Array.of(0, 1, 2, 3));
  await context.decodeBatch();
  const vector = context.getEmbedding(4);
  await context.dispose();
  await model.close();
  return vector;
}

describe('LlamaModel', () => {
  it('pools as the configuration says, in place of the file', async () => {
    const own = await embed({});
    expect(await embed({ pooling: 'mean' })).toEqual(own);
    expect(await embed({ pooling: 'cls' })).not.toEqual(own);
    expect(await embed({ pooling: 'last' })).not.toEqual(await embed({ pooling: 'cls' }));
  });

  it.each([
    [32, {}, false],
    [64, {}, 'auto'],
    [0, {}, 'auto'],
    [32, { flash_attention: 'true' }, true],
    [128, { flash_attention: 'false' }, false],
    // Quantized values need it.
    [32, { kv_cache_type: 'q8_0' }, 'auto'],
  ])('chooses flash attention for heads of %s and %j: %s', async (headSize, parameters, expected) => {
    const given = Object.fromEntries(Object.entries(parameters).map(([name, stringValue]) => [name, { stringValue }]));
    const options = readLlamaOptions(modelConfig({ parameters: given }));
    const facts = { vocabularySize: 384, layers: 2, slidingWindow: 0, headSize };
    const model = await LlamaModel.open(llama, options, () => {}, facts);
    expect(model.flashAttention(options)).toBe(expected);
    await model.close();
  });

  it('knows its tokens', async () => {
    const model = await open(llama, {}, 'llama', 384);
    const { tokens } = model;
    expect(tokens).toMatchObject({ size: 384, vocabularyType: VOCABULARY_TYPES.bytePair });
    expect(tokens.endTokens.length).toBeGreaterThanOrEqual(1);
    for (const end of tokens.endTokens) {
      expect(tokens.isEog(end)).toBe(true);
      expect(tokens.attributes(end) & TOKEN_ATTRIBUTES.control).not.toBe(0);
    }
    expect(tokens.text(tokens.eos!)).toMatch(/^<\|.*\|>$/);
    expect(() => tokens.text(384)).toThrow(/token 384 is not one of the vocabulary's 384/);
    expect(() => tokens.attributes(-1)).toThrow(/token -1/);
    expect(() => tokens.text(Number.NaN)).toThrow(/token NaN/);
    const text = [...model.tokenize('the fox', false)].map((token) => tokens.text(token)).join('');
    expect(text).toBe('theĠfox');
    const special = tokens.text(tokens.eos!);
    expect([...model.tokenize(special, true)]).toEqual([tokens.eos]);
    expect(model.tokenize(special, false).length).toBeGreaterThan(1);
    await model.close();
    await model.close();
    expect(() => model.tokenize('x', false)).toThrow(/unloaded/);
  });

  it('knows that a vocabulary wants its beginning', async () => {
    const model = await open(pieces, {}, 'llama', 512);
    expect(model.tokens).toMatchObject({ vocabularyType: VOCABULARY_TYPES.sentencePiece, addsBos: true, addsEos: false });
    expect(model.tokens.bos).not.toBeNull();
    await model.close();
  });
});
