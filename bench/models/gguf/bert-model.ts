import { SeededRandom } from '../../statistics/seeded-random.ts';
import { wordPieceVocabulary } from './vocabulary.ts';
import type { GgufModel, GgufTensor, GgufValue } from './write-gguf.ts';

export interface BertShape {
  readonly name: string;
  readonly dim: number;
  readonly layers: number;
  readonly heads: number;
  /** Trained context: positions. */
  readonly context: number;
  readonly seed: number;
  /** `rank` has a classification head with one output. */
  readonly pooling: 'mean' | 'cls' | 'rank';
}

const POOLING_TYPES = { mean: 1, cls: 2, rank: 4 } as const;

/** A BERT of random weights in F32. */
export function bertModel(shape: BertShape): GgufModel {
  const { dim, layers } = shape;
  const vocabulary = wordPieceVocabulary();
  const feedForward = 2 * dim;
  const random = new SeededRandom(shape.seed * 7919);
  const matrix = (name: string, inputs: number, outputs: number, deviation: number): GgufTensor => ({
    name: `${name}.weight`,
    dims: [inputs, outputs],
    type: 'F32',
    values: random.symmetric(inputs * outputs, deviation * Math.sqrt(3)),
  });
  const vector = (name: string, length: number, value: number): GgufTensor => ({
    name,
    dims: [length],
    type: 'F32',
    values: new Float32Array(length).fill(value),
  });
  const dense = (name: string, inputs: number, outputs: number): GgufTensor[] => [
    matrix(name, inputs, outputs, 1 / Math.sqrt(inputs)),
    vector(`${name}.bias`, outputs, 0.01),
  ];
  const norm = (name: string): GgufTensor[] => [vector(`${name}.weight`, dim, 1), vector(`${name}.bias`, dim, 0)];
  const tensors: GgufTensor[] = [
    matrix('token_embd', dim, vocabulary.tokens.length, 1),
    matrix('token_types', dim, 2, 0.1),
    matrix('position_embd', dim, shape.context, 0.1),
    ...norm('token_embd_norm'),
  ];
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `blk.${layer}.`;
    tensors.push(
      ...dense(`${prefix}attn_q`, dim, dim),
      ...dense(`${prefix}attn_k`, dim, dim),
      ...dense(`${prefix}attn_v`, dim, dim),
      ...dense(`${prefix}attn_output`, dim, dim),
      ...norm(`${prefix}attn_output_norm`),
      ...dense(`${prefix}ffn_up`, dim, feedForward),
      ...dense(`${prefix}ffn_down`, feedForward, dim),
      ...norm(`${prefix}layer_output_norm`),
    );
  }
  if (shape.pooling === 'rank') tensors.push(...dense('cls', dim, dim), ...dense('cls.output', dim, 1));
  const uint32 = (value: number): GgufValue => ({ type: 'uint32', value });
  return {
    tensors,
    metadata: {
      'general.architecture': { type: 'string', value: 'bert' },
      'general.name': { type: 'string', value: shape.name },
      'general.file_type': uint32(0),
      'bert.block_count': uint32(layers),
      'bert.context_length': uint32(shape.context),
      'bert.embedding_length': uint32(dim),
      'bert.feed_forward_length': uint32(feedForward),
      'bert.attention.head_count': uint32(shape.heads),
      'bert.attention.layer_norm_epsilon': { type: 'float32', value: 1e-12 },
      'bert.attention.causal': { type: 'bool', value: false },
      'bert.pooling_type': uint32(POOLING_TYPES[shape.pooling]),
      ...vocabulary.metadata,
    },
  };
}
