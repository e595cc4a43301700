import { bertModel } from './bert-model.ts';
import { llamaModel } from './llama-model.ts';
import type { GgufTensorType } from './tensor-types.ts';
import { bytePairVocabulary, sentencePieceVocabulary } from './vocabulary.ts';
import { type GgufModel, writeGguf } from './write-gguf.ts';

export interface TinyLlamaOptions {
  /** How text becomes tokens: byte-level pairs (GPT-2's, Llama 3's), or SentencePiece (Llama 2's; a token for the beginning comes first). Default `bpe`. */
  readonly vocabulary?: 'bpe' | 'spm';
  /** Tokens in all; default 384 (bpe) or 512 (spm). */
  readonly vocabularyLength?: number;
  /** Default 2. */
  readonly layers?: number;
  /** Default 64. */
  readonly dim?: number;
  /** Default 4. */
  readonly heads?: number;
  /** Default 2. */
  readonly kvHeads?: number;
  /** Trained context; default 512. */
  readonly context?: number;
  /** Default 1. */
  readonly seed?: number;
  /** Default F32. */
  readonly type?: GgufTensorType;
  /** Null: the file has none. Default: ChatML. */
  readonly chatTemplate?: string | null;
  /** `readable` (default): printable ASCII alone is likely; `bytes`: any token, so texts are mostly no UTF-8. */
  readonly output?: 'readable' | 'bytes';
  /** Added to the end token's logit, whose spread is 3 among all tokens; default -30: it never ends by itself. About 8 ends a text after some tokens. */
  readonly endBias?: number;
}

export const CHATML_TEMPLATE: string =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const NEVER = -30;

/** A text-generating model of random weights, under a megabyte: it says nonsense, always the same for the same options. */
export function tinyLlama(options: TinyLlamaOptions = {}): Uint8Array {
  return writeGguf(tinyLlamaModel(options));
}

/** The same before it is written: to be changed. */
export function tinyLlamaModel(options: TinyLlamaOptions = {}): GgufModel {
  const isPairs = (options.vocabulary ?? 'bpe') === 'bpe';
  const template = options.chatTemplate === undefined ? CHATML_TEMPLATE : options.chatTemplate;
  const length = options.vocabularyLength ?? (isPairs ? 384 : 512);
  const vocabulary = isPairs ? bytePairVocabulary(length, template) : sentencePieceVocabulary(length, template);
  const control = new Set(vocabulary.control);
  const endBias = options.endBias ?? NEVER;
  const dim = options.dim ?? 64;
  return llamaModel({
    name: 'tiny random llama',
    dim,
    layers: options.layers ?? 2,
    heads: options.heads ?? 4,
    kvHeads: options.kvHeads ?? 2,
    feedForward: 2 * dim,
    context: options.context ?? 512,
    seed: options.seed ?? 1,
    type: options.type ?? 'F32',
    vocabulary,
    logitBias: (token) => {
      if (token === vocabulary.end) return endBias;
      if (control.has(token)) return NEVER;
      return options.output === 'bytes' || vocabulary.readable.has(token) ? 0 : NEVER;
    },
  });
}

export interface TinyBertOptions {
  /** Default 2. */
  readonly layers?: number;
  /** Default 64, which is the embedding's length too. */
  readonly dim?: number;
  /** Default 4. */
  readonly heads?: number;
  /** Default 128. */
  readonly context?: number;
  /** Default 1. */
  readonly seed?: number;
}

/** An embedding model (BERT, mean pooling) of random weights: texts that share words have vectors that are closer. */
export function tinyBert(options: TinyBertOptions = {}): Uint8Array {
  return writeGguf(bertModel({ ...bertShape(options), name: 'tiny random embedding', pooling: 'mean' }));
}

/** A reranking model (BERT with a classification head): scores are random, but the same for the same pair. */
export function tinyReranker(options: TinyBertOptions = {}): Uint8Array {
  return writeGguf(bertModel({ ...bertShape(options), name: 'tiny random reranker', pooling: 'rank' }));
}

function bertShape(options: TinyBertOptions): { layers: number; dim: number; heads: number; context: number; seed: number } {
  return {
    layers: options.layers ?? 2,
    dim: options.dim ?? 64,
    heads: options.heads ?? 4,
    context: options.context ?? 128,
    seed: options.seed ?? 1,
  };
}
