import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tinyLlamaModel } from '../../../bench/models/gguf/small-models.ts';
import { type GgufValue, writeGguf } from '../../../bench/models/gguf/write-gguf.ts';
import { modelConfig } from '../../api/backend.case.ts';
import { LlamaModel } from '../engine/llama-model.ts';
import { readLlamaOptions } from '../options/llama-options.ts';
import { TokenText } from './token-text.ts';
import { Tokenizer } from './tokenizer.ts';
import { Utf8Assembler } from './utf8-assembler.ts';

/** Of the addon, but nothing that the backend itself uses. */
interface Detokenizer {
  detokenize(tokens: Uint32Array, showsSpecial: boolean): string;
}

type VocabularyKind = 'bpe' | 'spm';

const USER_DEFINED = 4;
const UNUSED = 5;
const folder = mkdtempSync(join(tmpdir(), 'token-text-'));
const open: LlamaModel[] = [];

afterAll(async () => {
  for (const model of open) await model.close();
  rmSync(folder, { recursive: true });
});

/** A tiny model; its last normal tokens are made user-defined and unused ones, spelled as given. `pre`: its pre-tokenizer. */
async function modelOf(vocabulary: VocabularyKind, pre: string, userDefined: readonly string[] = []): Promise<LlamaModel> {
  const { metadata, tensors } = tinyLlamaModel({ vocabulary, layers: 1, dim: 32, chatTemplate: null });
  const tokens = [...(metadata['tokenizer.ggml.tokens'] as unknown as { values: string[] }).values];
  const types = [...(metadata['tokenizer.ggml.token_type'] as unknown as { values: number[] }).values];
  let at = tokens.length - 5;
  for (const text of userDefined) {
    tokens[at] = text;
    types[at--] = USER_DEFINED;
  }
  if (userDefined.length > 0) types[at] = UNUSED;
  const changed: Record<string, GgufValue> = {
    ...metadata,
    'tokenizer.ggml.pre': { type: 'string', value: pre },
    'tokenizer.ggml.tokens': { type: 'array', of: 'string', values: tokens },
    'tokenizer.ggml.token_type': { type: 'array', of: 'int32', values: types },
  };
  const path = join(folder, `${vocabulary}-${pre}-${userDefined.length}.gguf`);
  writeFileSync(path, writeGguf({ metadata: changed, tensors }));
  const facts = { vocabularySize: tokens.length, layers: 1, architecture: 'llama', slidingWindow: 0 };
  const model = await LlamaModel.open(path, readLlamaOptions(modelConfig()), () => {}, facts);
  open.push(model);
  return model;
}

function textOf(tokens: TokenText, ids: Iterable<number>, isShown = false): string {
  const text = new Utf8Assembler(0, 4);
  for (const id of ids) text.push(isShown ? tokens.shownBytes(id) : tokens.bytes(id));
  text.finish();
  return text.bytes.toString('utf8', 0, text.end);
}

describe.each<[VocabularyKind, string]>([
  ['bpe', 'qwen2'],
  ['spm', 'default'],
])('TokenText of a vocabulary of type %s', (kind, pre) => {
  let model: LlamaModel;
  let tokens: TokenText;
  let detokenizer: Detokenizer;

  beforeAll(async () => {
    model = await modelOf(kind, pre, ['<tool>', '▁▁tab', 'é<']);
    tokens = new TokenText(model);
    detokenizer = model.addonModel as unknown as Detokenizer;
  });

  // A control token in front: the addon strips the first space of a text, which generated text keeps.
  const first = kind === 'spm' ? [1] : [];

  it('says what llama.cpp says, for any tokens', () => {
    const id = fc.integer({ min: 0, max: tokens.size - 1 });
    fc.assert(
      fc.property(fc.array(id, { maxLength: 40 }), (ids) => {
        const all = Uint32Array.from([...first, ...ids]);
        expect(textOf(tokens, all)).toBe(detokenizer.detokenize(all, false));
      }),
      { numRuns: 400 },
    );
  });

  it('says what llama.cpp says for each token alone, also where control tokens are shown', () => {
    for (let id = 0; id < tokens.size; id++) {
      const all = Uint32Array.from([...first, id]);
      expect(textOf(tokens, all)).toBe(detokenizer.detokenize(all, false));
      if (first.length === 0) expect(textOf(tokens, all, true)).toBe(detokenizer.detokenize(all, true));
    }
  });

  it('gives back any text that was tokenized', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        fc.pre(text.isWellFormed() && !text.includes('▁') && !text.includes('\0'));
        const back = textOf(tokens, model.tokenize(text, false));
        // SentencePiece puts a space in front.
        expect(back).toBe(kind === 'spm' && text !== '' ? ` ${text}` : text);
      }),
      { numRuns: 300 },
    );
  });

  it('tells a token as JSON, control tokens by their names', () => {
    const special = model.tokenize('<|im_start|>', true).at(-1)!;
    expect(tokens.bytes(special)).toHaveLength(0);
    const text = '<|im_start|>';
    expect(JSON.parse(`{${tokens.json(special)}}`)).toEqual({ token: text, bytes: [...Buffer.from(text)] });
    for (let id = 0; id < tokens.size; id++) {
      const { token, bytes } = JSON.parse(`{${tokens.json(id)}}`) as { token: string; bytes: number[] };
      expect(token).toBe(Buffer.from(bytes).toString('utf8'));
    }
  });

  it('throws for a token that the vocabulary does not have, where native code would end the process', () => {
    for (const id of [-1, tokens.size, 2 ** 31]) expect(() => tokens.bytes(id)).toThrow(/not one of the vocabulary/);
  });
});

describe('Utf8Assembler', () => {
  const pieces = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 6 }),
      fc.constantFrom(...['é', '世', '😀', 'a'].map((text) => Uint8Array.from(Buffer.from(text)))),
      fc.constantFrom(Uint8Array.of(0xf0), Uint8Array.of(0x9f), Uint8Array.of(0x98), Uint8Array.of(0xed, 0xa0), Uint8Array.of(0xe4, 0xb8)),
    ),
  );

  it('has in the end what a decoder of all bytes has, and whole characters at any time', () => {
    fc.assert(
      fc.property(pieces, fc.array(fc.nat()), (all, takes) => {
        const text = new Utf8Assembler(4, 2);
        const taken: Buffer[] = [];
        const take = (count: number): void => {
          taken.push(Buffer.from(text.bytes.subarray(4, 4 + count)));
          text.take(count);
        };
        for (const [i, piece] of all.entries()) {
          text.push(piece);
          const whole = text.bytes.subarray(4, text.end);
          expect(Buffer.from(whole.toString('utf8')).equals(whole)).toBe(true);
          let count = (takes[i] ?? 0) % (text.end - 4 + 1);
          while (count > 0 && 4 + count < text.end && (text.bytes[4 + count]! & 0xc0) === 0x80) count--;
          take(count);
        }
        text.finish();
        take(text.end - 4);
        expect(Buffer.concat(taken).toString('utf8')).toBe(Buffer.concat(all).toString('utf8'));
        expect(text.total).toBe(Buffer.concat(taken).length);
      }),
      { numRuns: 1000 },
    );
  });

  it('gives a character with its last byte, and one U+FFFD for one that has none', () => {
    const text = new Utf8Assembler(0, 16);
    const ends: number[] = [];
    for (const byte of [...Buffer.from('😀'), 0xe4, 0xb8]) {
      text.push(Uint8Array.of(byte));
      ends.push(text.end);
    }
    expect(ends).toEqual([0, 0, 0, 4, 4, 4]);
    // What no byte can complete waits for none.
    const broken = new Utf8Assembler(0, 16);
    let count = 0;
    for (const bytes of [Uint8Array.of(0xed, 0xa0), Uint8Array.of(0xf0, 0x8f), Uint8Array.of(0xf4, 0x90), Uint8Array.of(0xc1)]) {
      broken.push(bytes);
      count += bytes.length;
      expect(broken.end).toBe(3 * count);
    }
    expect(broken.bytes.toString('utf8', 0, broken.end)).toBe('\ufffd'.repeat(7));
    text.finish();
    expect(text.bytes.toString('utf8', 0, text.end)).toBe('😀\ufffd');
  });
});

describe('Tokenizer', () => {
  it('makes the tokens of long text that the addon makes at once', async () => {
    const model = await modelOf('bpe', 'gpt-2');
    const words = ['the', 'quick', 'brown', 'naïve', '世界', 'fox,', '(12)', "it's", '\n\n', 'end.'];
    const text = Array.from({ length: 6000 }, (_, i) => words[(i * 7 + ((i * i) % 11)) % words.length]).join(' ');
    expect(text.length).toBeGreaterThan(4 * 4096);
    const whole = model.tokenize(text, false);
    const tokenizer = new Tokenizer(model);
    expect(tokenizer.tokenize(text, false)).toEqual(whole);
    expect(await tokenizer.prompt(text, 1_000_000)).toEqual(whole);
  });

  // Without the pieces, some of these texts end the process in the recursion of std::regex.
  it.each(['deepseek-llm', 'falcon', 'gpt-4o'])('survives a long word with the pre-tokenizer %s', async (pre) => {
    const model = await modelOf('bpe', pre);
    const tokenizer = new Tokenizer(model);
    for (const unit of ['a', '!', '世', ' ', '😀']) {
      // One more in front, so that a cut at any even place would fall into a character.
      const text = `a${unit.repeat(120_000 / unit.length)}`;
      const ids = tokenizer.tokenize(text, false);
      expect(textOf(new TokenText(model), ids)).toBe(text);
    }
  });

  it.each<[VocabularyKind, string]>([
    ['bpe', 'gpt-2'],
    ['spm', 'default'],
  ])('stops reading a text of type %s that cannot fit', async (kind, pre) => {
    const model = await modelOf(kind, pre);
    let read = 0;
    const counting = {
      tokens: model.tokens,
      tokenize: (text: string, parseSpecial: boolean) => {
        read += text.length;
        return model.tokenize(text, parseSpecial);
      },
    };
    const count = await new Tokenizer(counting).prompt('the quick brown fox '.repeat(50_000), 100);
    expect(count).toBeTypeOf('number');
    expect(count).toBeGreaterThan(100);
    expect(read).toBeLessThan(10_000);
  });

  it('puts BOS in front where the vocabulary wants it, and where there is no text', async () => {
    const spm = await modelOf('spm', 'default');
    const bpe = await modelOf('bpe', 'gpt-2');
    expect(((await new Tokenizer(spm).prompt('the', 10)) as Uint32Array)[0]).toBe(1);
    expect(await new Tokenizer(spm).prompt('', 10)).toEqual(Uint32Array.of(1));
    expect(await new Tokenizer(bpe).prompt('the', 10)).toEqual(bpe.tokenize('the', false));
    expect(await new Tokenizer(bpe).prompt('', 10)).toEqual(Uint32Array.of(bpe.tokens.bos!));
  });

  it("takes control tokens' texts as text", async () => {
    const model = await modelOf('bpe', 'gpt-2');
    const special = model.tokenize('<|im_end|>', true);
    expect(special).toHaveLength(1);
    const ids = (await new Tokenizer(model).prompt('<|im_end|>', 100)) as Uint32Array;
    expect(ids).not.toContain(special[0]);
    expect(textOf(new TokenText(model), ids)).toBe('<|im_end|>');
  });
});
