import { SeededRandom } from '../../statistics/seeded-random.ts';
import type { GgufTensorType } from './tensor-types.ts';
import type { Vocabulary } from './vocabulary.ts';
import type { GgufModel, GgufTensor, GgufValue } from './write-gguf.ts';

export interface LlamaShape {
  readonly name: string;
  /** Divisible by `heads`, into even numbers; by 32 for the Q types. */
  readonly dim: number;
  readonly layers: number;
  readonly heads: number;
  /** Divides `heads`. */
  readonly kvHeads: number;
  readonly feedForward: number;
  /** Trained context, in tokens. */
  readonly context: number;
  readonly seed: number;
  /** Of the matrices; vectors are F32. */
  readonly type: GgufTensorType;
  readonly vocabulary: Vocabulary;
  /** What is added to a token's logit. */
  logitBias(token: number): number;
}

/** Standard deviation of logits: varied text at temperature 1, and a clear likeliest token at 0. */
const LOGIT_SPREAD = 3;
/** Channel 0 of the residual stream is the same for every token and layer, so that a column of the output matrix can serve as a bias. */
const CONSTANT = 2;

/** A Llama-architecture model of random weights: the same for the same shape and seed. Its activations stay near one, so that nothing overflows. */
export function llamaModel(shape: LlamaShape): GgufModel {
  const { dim, heads, kvHeads, feedForward, layers, type } = shape;
  const vocabularyLength = shape.vocabulary.tokens.length;
  const headDim = dim / heads;
  let salt = 0;
  const matrix = (
    name: string,
    inputs: number,
    outputs: number,
    deviation: number,
    each?: (row: number, into: Float32Array) => void,
  ): GgufTensor => {
    const random = new SeededRandom(shape.seed * 7919 + salt++);
    const values = (row: number, into: Float32Array): void => {
      // Even spread over (-limit, limit) has this deviation.
      const limit = deviation * Math.sqrt(3);
      for (let i = 0; i < into.length; i++) into[i] = (random.next() * 2 - 1) * limit;
      each?.(row, into);
    };
    return { name, dims: [inputs, outputs], type, values };
  };
  const ones = (name: string): GgufTensor => ({ name, dims: [dim], type: 'F32', values: new Float32Array(dim).fill(1) });
  const keepsConstant = (row: number, into: Float32Array): void => {
    if (row === 0) into.fill(0);
  };
  // Each layer adds two vectors; half a unit of variance each in all.
  const residual = 1 / Math.sqrt(2 * layers);
  const tensors: GgufTensor[] = [
    matrix('token_embd.weight', dim, vocabularyLength, 1, (_, into) => {
      into[0] = CONSTANT;
    }),
  ];
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `blk.${layer}.`;
    tensors.push(
      ones(`${prefix}attn_norm.weight`),
      matrix(`${prefix}attn_q.weight`, dim, dim, 1 / Math.sqrt(dim)),
      matrix(`${prefix}attn_k.weight`, dim, kvHeads * headDim, 1 / Math.sqrt(dim)),
      matrix(`${prefix}attn_v.weight`, dim, kvHeads * headDim, 1 / Math.sqrt(dim)),
      matrix(`${prefix}attn_output.weight`, dim, dim, residual / Math.sqrt(dim), keepsConstant),
      ones(`${prefix}ffn_norm.weight`),
      matrix(`${prefix}ffn_gate.weight`, dim, feedForward, 1 / Math.sqrt(dim)),
      matrix(`${prefix}ffn_up.weight`, dim, feedForward, 1 / Math.sqrt(dim)),
      matrix(`${prefix}ffn_down.weight`, feedForward, dim, (2 * residual) / Math.sqrt(feedForward), keepsConstant),
    );
  }
  // About what channel 0 is after the last norm.
  const constant = CONSTANT / Math.sqrt(2 + CONSTANT ** 2 / dim);
  tensors.push(
    ones('output_norm.weight'),
    matrix('output.weight', dim, vocabularyLength, LOGIT_SPREAD / Math.sqrt(dim), (row, into) => {
      into[0] = shape.logitBias(row) / constant;
    }),
  );
  const uint32 = (value: number): GgufValue => ({ type: 'uint32', value });
  return {
    tensors,
    metadata: {
      'general.architecture': { type: 'string', value: 'llama' },
      'general.name': { type: 'string', value: shape.name },
      'general.file_type': uint32(FILE_TYPES[type]),
      'llama.block_count': uint32(layers),
      'llama.context_length': uint32(shape.context),
      'llama.embedding_length': uint32(dim),
      'llama.feed_forward_length': uint32(feedForward),
      'llama.attention.head_count': uint32(heads),
      'llama.attention.head_count_kv': uint32(kvHeads),
      'llama.attention.layer_norm_rms_epsilon': { type: 'float32', value: 1e-5 },
      'llama.rope.dimension_count': uint32(headDim),
      'llama.rope.freq_base': { type: 'float32', value: 10_000 },
      'llama.vocab_size': uint32(vocabularyLength),
      ...shape.vocabulary.metadata,
    },
  };
}

const FILE_TYPES: Readonly<Record<GgufTensorType, number>> = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7 };
