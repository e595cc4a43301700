import { SeededRandom } from '../statistics/seeded-random.ts';
import { encodeOnnxModel, onnxElementType } from './onnx-model.ts';

const WORDS = ['the', 'cat', 'dog', 'sat', 'on', 'mat', 'fox', 'quick', 'brown', 'sea', 'shells', 'over', 'lazy', 'jumps'];
const LETTERS = [..."abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"];
const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]'];
/** Token ids are places in it. */
export const embeddingVocabulary: readonly string[] = [...SPECIAL, ...LETTERS, ...LETTERS.map((letter) => `##${letter}`), ...WORDS];

export const EMBEDDING_WIDTH = 16;
export const MAX_EMBEDDING_TOKENS = 64;

/** Row after row: of a token, and of the matrix that each is multiplied with. */
export const tokenVectors: Float32Array = new SeededRandom(11).symmetric(embeddingVocabulary.length * EMBEDDING_WIDTH, 1);
export const mixingMatrix: Float32Array = new SeededRandom(12).symmetric(EMBEDDING_WIDTH * EMBEDDING_WIDTH, 1);

/** A WordPiece tokenizer in the form of Hugging Face's `tokenizer.json`. */
export function embeddingTokenizer(): object {
  const vocab = Object.fromEntries(embeddingVocabulary.map((token, id) => [token, id]));
  const special = (content: string): object => ({
    ...{ id: vocab[content], content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map(special),
    normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: '[CLS]', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '[SEP]', type_id: 0 } },
      ],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: {
        '[CLS]': { id: '[CLS]', ids: [vocab['[CLS]']], tokens: ['[CLS]'] },
        '[SEP]': { id: '[SEP]', ids: [vocab['[SEP]']], tokens: ['[SEP]'] },
      },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab },
  };
}

/**
 * An encoder with the inputs and the output of exported sentence transformers: `input_ids` and `attention_mask` INT64 [batch, sequence] to `last_hidden_state` FP32 [batch, sequence, 16]. A token's state
 * is tanh of its vector times a matrix, plus the mean of that over the tokens that the mask lets see.
 */
export function embeddingEncoder(): Uint8Array {
  const ids = (name: string) => ({ name, elementType: 'INT64' as const, dims: ['batch', 'sequence'] });
  return encodeOnnxModel({
    name: 'encoder',
    inputs: [ids('input_ids'), ids('attention_mask')],
    outputs: [{ name: 'last_hidden_state', elementType: 'FLOAT', dims: ['batch', 'sequence', EMBEDDING_WIDTH] }],
    initializers: [
      { name: 'vectors', elementType: 'FLOAT', dims: [embeddingVocabulary.length, EMBEDDING_WIDTH], data: tokenVectors },
      { name: 'matrix', elementType: 'FLOAT', dims: [EMBEDDING_WIDTH, EMBEDDING_WIDTH], data: mixingMatrix },
      { name: 'last', elementType: 'INT64', dims: [1], data: BigInt64Array.of(2n) },
      { name: 'tokens', elementType: 'INT64', dims: [1], data: BigInt64Array.of(1n) },
    ],
    nodes: [
      { op: 'Gather', inputs: ['vectors', 'input_ids'], outputs: ['looked_up'] },
      { op: 'MatMul', inputs: ['looked_up', 'matrix'], outputs: ['mixed'] },
      { op: 'Tanh', inputs: ['mixed'], outputs: ['own'] },
      { op: 'Cast', inputs: ['attention_mask'], outputs: ['mask'], attributes: { to: { int: onnxElementType.FLOAT } } },
      { op: 'Unsqueeze', inputs: ['mask', 'last'], outputs: ['weight'] },
      { op: 'Mul', inputs: ['own', 'weight'], outputs: ['seen'] },
      { op: 'ReduceSum', inputs: ['seen', 'tokens'], outputs: ['sum'] },
      { op: 'ReduceSum', inputs: ['weight', 'tokens'], outputs: ['count'] },
      { op: 'Div', inputs: ['sum', 'count'], outputs: ['mean'] },
      { op: 'Add', inputs: ['own', 'mean'], outputs: ['last_hidden_state'] },
    ],
  });
}

/** A model in JavaScript before the encoder: texts to vectors, the mean of the states of a text's tokens, of length 1. */
const textEmbedder = `import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';

const width = ${EMBEDDING_WIDTH};
const maxTokens = ${MAX_EMBEDDING_TOKENS};

export const config = {
  maxBatchSize: 16,
  inputs: [{ name: 'text_input', datatype: 'BYTES', dims: [1] }],
  outputs: [
    { name: 'embedding', datatype: 'FP32', dims: [width] },
    { name: 'num_input_tokens', datatype: 'UINT32', dims: [1] },
  ],
};

let tokenizer;

export function initialize({ directory }) {
  const read = (name) => JSON.parse(readFileSync(join(directory, name), 'utf8'));
  tokenizer = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
}

/** All texts of a batch go through the encoder at once, padded to the longest. */
export async function execute(requests, context) {
  const tokenized = requests.map(({ inputs }) => inputs.text_input.strings().map((text) => tokenizer.encode(text).ids));
  const results = tokenized.map((texts) => {
    const index = texts.findIndex((ids) => ids.length > maxTokens);
    return index < 0 ? null : context.error('INVALID_ARGUMENT', \`text_input[\${index}]: \${texts[index].length} tokens, expected at most \${maxTokens}\`);
  });
  const rows = tokenized.filter((_, i) => results[i] === null).flat();
  const vectors = rows.length === 0 ? [] : await embed(rows, context);
  let at = 0;
  return results.map((error, i) => {
    if (error !== null) return error;
    const own = vectors.slice(at, at + tokenized[i].length);
    at += own.length;
    return {
      embedding: Float32Array.from(own.flat()),
      num_input_tokens: Uint32Array.from(tokenized[i], (ids) => ids.length),
    };
  });
}

async function embed(rows, context) {
  const length = Math.max(...rows.map((ids) => ids.length));
  const shape = [rows.length, length];
  const input_ids = new BigInt64Array(rows.length * length);
  const attention_mask = new BigInt64Array(rows.length * length);
  for (const [r, ids] of rows.entries()) {
    for (const [i, id] of ids.entries()) {
      input_ids[r * length + i] = BigInt(id);
      attention_mask[r * length + i] = 1n;
    }
  }
  const { last_hidden_state } = await context.call('text_encoder', { input_ids: { data: input_ids, shape }, attention_mask: { data: attention_mask, shape } });
  const states = last_hidden_state.floats();
  return rows.map((ids, r) => {
    const vector = new Array(width).fill(0);
    for (let i = 0; i < ids.length; i++) for (let k = 0; k < width; k++) vector[k] += states[(r * length + i) * width + k];
    const norm = Math.hypot(...vector) || 1;
    return vector.map((value) => value / norm);
  });
}
`;

/** A repository of two models, by path: `text_embedder` takes texts and calls `text_encoder`. `@huggingface/tokenizers` must be found from there. */
export function embeddingRepository(): Record<string, string | Uint8Array> {
  return {
    'text_embedder/1/model.mjs': textEmbedder,
    'text_embedder/1/tokenizer.json': JSON.stringify(embeddingTokenizer()),
    'text_embedder/1/tokenizer_config.json': JSON.stringify({ tokenizer_class: 'BertTokenizer', do_lower_case: true }),
    'text_encoder/1/model.onnx': embeddingEncoder(),
    'text_encoder/config.pbtxt': 'max_batch_size: 64\ndynamic_batching { }\n',
  };
}
