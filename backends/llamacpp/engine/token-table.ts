import { setImmediate } from 'node:timers/promises';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { AddonModel } from '../native/llama-addon.ts';

/** Bits of a token's attributes, as llama.cpp has them. */
export const TOKEN_ATTRIBUTES = { unknown: 1, unused: 2, normal: 4, control: 8, userDefined: 16, byte: 32 } as const;

/** `llama_vocab_type`: how the vocabulary spells its tokens. */
export const VOCABULARY_TYPES = { none: 0, sentencePiece: 1, bytePair: 2, wordPiece: 3, unigram: 4, rwkv: 5, plamo2: 6 } as const;

/** Tokens looked at before the event loop has its turn. */
const SLICE = 8192;

/** What a model says of its tokens. Ids are from 0 to below `size`: one past that would end the process in native code, so it throws here. */
export class TokenTable {
  readonly size: number;
  /** One of VOCABULARY_TYPES. */
  readonly vocabularyType: number;
  /** Null where the vocabulary has none. */
  readonly bos: number | null;
  readonly eos: number | null;
  /** The vocabulary wants it before every prompt. */
  readonly addsBos: boolean;
  readonly addsEos: boolean;
  /** End-of-generation tokens. */
  readonly endTokens: readonly number[];
  /** 1 at each of them. */
  readonly isEnd: Uint8Array;
  readonly #model: AddonModel;
  readonly #attributes: Int32Array;

  private constructor(model: AddonModel, attributes: Int32Array, isEnd: Uint8Array, endTokens: readonly number[]) {
    this.#model = model;
    this.#attributes = attributes;
    this.size = attributes.length;
    this.isEnd = isEnd;
    this.endTokens = endTokens;
    this.vocabularyType = model.getVocabularyType();
    this.bos = orNull(model.tokenBos());
    this.eos = orNull(model.tokenEos());
    this.addsBos = this.bos !== null && model.shouldPrependBosToken();
    this.addsEos = this.eos !== null && model.shouldAppendEosToken();
  }

  /** `size`: of the vocabulary, as the file's header has it; the addon does not tell. */
  static async read(model: AddonModel, size: number): Promise<TokenTable> {
    const attributes = new Int32Array(size);
    const isEnd = new Uint8Array(size);
    const endTokens: number[] = [];
    for (let token = 0; token < size; token++) {
      if (token % SLICE === SLICE - 1) await setImmediate();
      attributes[token] = model.getTokenAttributes(token);
      if (model.isEogToken(token)) {
        isEnd[token] = 1;
        endTokens.push(token);
      }
    }
    return new TokenTable(model, attributes, isEnd, endTokens);
  }

  /** As the vocabulary spells it (`▁the`, `Ġthe`, `<0x0A>`). */
  text(token: number): string {
    this.#check(token);
    return this.#model.getTokenString(token) ?? '';
  }

  /** TOKEN_ATTRIBUTES. */
  attributes(token: number): number {
    this.#check(token);
    return this.#attributes[token]!;
  }

  isEog(token: number): boolean {
    return this.isEnd[token] === 1;
  }

  #check(token: number): void {
    if (!(token >= 0 && token < this.size))
      throw new InferenceError('INTERNAL', `token ${token} is not one of the vocabulary's ${this.size}`);
  }
}

function orNull(token: number): number | null {
  return token < 0 ? null : token;
}
