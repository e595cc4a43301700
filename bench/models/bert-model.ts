import { SeededRandom } from '../statistics/seeded-random.ts';
import { encodeOnnxModel, type OnnxGraph, type OnnxNode, type OnnxTensor, onnxElementType } from './onnx-model.ts';

export interface EncoderShape {
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  /** Width inside the feed-forward part of a layer. */
  readonly inner: number;
  readonly vocabulary: number;
  readonly maxTokens: number;
}

/** Like the small encoders that embed sentences on processors. */
export const BERT_SMALL: EncoderShape = { layers: 4, hidden: 256, heads: 4, inner: 1024, vocabulary: 8192, maxTokens: 512 };
/** What a masked token's score gets: its weight is 0 in FP32. */
const UNSEEN = -1e9;

/**
 * A transformer encoder as BERT has it (Devlin et al., arXiv 1810.04805; each norm behind its sum) with random weights, ending in the mean of a text's token states: `input_ids` and `attention_mask`
 * INT64 ['batch', 'sequence'] to `embedding` FP32 ['batch', hidden]. Tokens that the mask leaves out change nothing, so a text padded has the embedding of the text.
 */
export function bertGraph(shape: EncoderShape = BERT_SMALL, seed = 1): OnnxGraph {
  const { layers, hidden, heads, inner, vocabulary, maxTokens } = shape;
  const random = new SeededRandom(seed);
  const nodes: OnnxNode[] = [];
  const initializers: OnnxTensor[] = [
    ints('axis_1', 1),
    ints('axes_1_2', 1, 2),
    ints('axis_2', 2),
    ints('zero', 0),
    ints('one', 1),
    ints('split', 0, 0, heads, hidden / heads),
    ints('join', 0, 0, hidden),
    floats('scale', 1 / Math.sqrt(hidden / heads)),
    floats('unseen', UNSEEN),
    floats('half', 0.5),
    floats('unit', 1),
    floats('root_half', Math.SQRT1_2),
  ];

  const node = (op: string, inputs: readonly string[], output: string, attributes: OnnxNode['attributes'] = {}): string => {
    nodes.push({ op, inputs, outputs: [output], attributes });
    return output;
  };
  const weight = (name: string, dims: readonly number[], limit: number): string => {
    const length = dims.reduce((product, dim) => product * dim, 1);
    initializers.push({ name, elementType: 'FLOAT', dims, data: random.symmetric(length, limit) });
    return name;
  };
  const dense = (name: string, input: string, from: number, to: number): string =>
    node(
      'Add',
      [
        node('MatMul', [input, weight(`${name}_weights`, [from, to], Math.sqrt(3 / from))], `${name}_product`),
        weight(`${name}_bias`, [to], 0.02),
      ],
      name,
    );
  const norm = (name: string, input: string): string => {
    initializers.push({ name: `${name}_gain`, elementType: 'FLOAT', dims: [hidden], data: new Float32Array(hidden).fill(1) });
    return node('LayerNormalization', [input, `${name}_gain`, weight(`${name}_bias`, [hidden], 0.02)], name, {
      axis: { int: -1 },
      epsilon: { float: 1e-12 },
    });
  };
  /** [batch, tokens, hidden] to [batch, heads, ...] with the last two dimensions as `perm` says. */
  const split = (input: string, perm: readonly number[]): string =>
    node('Transpose', [node('Reshape', [input, 'split'], `${input}_heads`)], `${input}_split`, { perm: { ints: perm } });

  // Scores of tokens that must not be seen: [batch, 1, 1, tokens].
  node('Cast', ['attention_mask'], 'mask', { to: { int: onnxElementType.FLOAT } });
  node('Mul', [node('Sub', ['unit', node('Unsqueeze', ['mask', 'axes_1_2'], 'mask_of_heads')], 'left_out'), 'unseen'], 'penalty');
  node('Slice', [node('Shape', ['input_ids'], 'shape'), 'one', 'axis_2', 'zero'], 'length');
  node('Slice', [weight('positions', [maxTokens, hidden], 0.1), 'zero', 'length', 'zero'], 'own_positions');
  node('Gather', [weight('tokens', [vocabulary, hidden], 0.5), 'input_ids'], 'looked_up');
  let value = norm('embedded', node('Add', ['looked_up', 'own_positions'], 'placed'));

  for (let layer = 0; layer < layers; layer++) {
    const at = (name: string): string => `layer${layer}_${name}`;
    const query = split(dense(at('query'), value, hidden, hidden), [0, 2, 1, 3]);
    const key = split(dense(at('key'), value, hidden, hidden), [0, 2, 3, 1]);
    const content = split(dense(at('value'), value, hidden, hidden), [0, 2, 1, 3]);
    const scores = node('Mul', [node('MatMul', [query, key], at('raw_scores')), 'scale'], at('scores'));
    const shares = node('Softmax', [node('Add', [scores, 'penalty'], at('masked'))], at('shares'), { axis: { int: -1 } });
    const mixed = node('Transpose', [node('MatMul', [shares, content], at('mixed'))], at('by_token'), { perm: { ints: [0, 2, 1, 3] } });
    const attended = dense(at('attended'), node('Reshape', [mixed, 'join'], at('joined')), hidden, hidden);
    const kept = norm(at('kept'), node('Add', [value, attended], at('with_attention')));
    const wide = dense(at('wide'), kept, hidden, inner);
    // GELU: x / 2 times (1 + erf(x / sqrt 2)).
    const erf = node('Erf', [node('Mul', [wide, 'root_half'], at('scaled'))], at('erf'));
    const gelu = node('Mul', [node('Mul', [wide, node('Add', [erf, 'unit'], at('gate'))], at('gated')), 'half'], at('gelu'));
    value = norm(at('out'), node('Add', [kept, dense(at('narrow'), gelu, inner, hidden)], at('with_wide')));
  }

  const seen = node('Unsqueeze', ['mask', 'axis_2'], 'mask_of_states');
  node('ReduceSum', [node('Mul', [value, seen], 'seen_states'), 'axis_1'], 'sum', { keepdims: { int: 0 } });
  node('Div', ['sum', node('ReduceSum', [seen, 'axis_1'], 'count', { keepdims: { int: 0 } })], 'embedding');
  const ids = (name: string) => ({ name, elementType: 'INT64' as const, dims: ['batch', 'sequence'] });
  return {
    name: 'bert',
    inputs: [ids('input_ids'), ids('attention_mask')],
    outputs: [{ name: 'embedding', elementType: 'FLOAT', dims: ['batch', hidden] }],
    initializers,
    nodes,
  };
}

export function bertModel(): Uint8Array {
  return encodeOnnxModel(bertGraph());
}

function ints(name: string, ...values: number[]): OnnxTensor {
  return { name, elementType: 'INT64', dims: [values.length], data: BigInt64Array.from(values, BigInt) };
}

function floats(name: string, value: number): OnnxTensor {
  return { name, elementType: 'FLOAT', dims: [], data: Float32Array.of(value) };
}
