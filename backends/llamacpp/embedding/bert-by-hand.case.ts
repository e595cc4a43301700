import type { GgufModel } from '../../../bench/models/gguf/write-gguf.ts';

const EPSILON = 1e-12;

/** A BERT as its paper has it, in doubles: the state of every token behind the last layer. Token types are 0. */
export function runBert(model: GgufModel, tokens: readonly number[]): Float64Array[] {
  const bert = new Weights(model);
  const heads = bert.number('bert.attention.head_count');
  let states = tokens.map((token, position) =>
    bert.norm('token_embd_norm', sum(bert.row('token_embd', token), bert.row('token_types', 0), bert.row('position_embd', position))),
  );
  for (let layer = 0; layer < bert.number('bert.block_count'); layer++) {
    const at = (name: string): string => `blk.${layer}.${name}`;
    const [q, k, v] = ['attn_q', 'attn_k', 'attn_v'].map((name) => states.map((state) => bert.dense(at(name), state))) as [
      Float64Array[],
      Float64Array[],
      Float64Array[],
    ];
    states = states.map((state, i) => {
      const attended = bert.dense(at('attn_output'), attend(q[i]!, k, v, heads));
      const middle = bert.norm(at('attn_output_norm'), sum(state, attended));
      const hidden = bert.dense(at('ffn_up'), middle).map(gelu);
      return bert.norm(at('layer_output_norm'), sum(middle, bert.dense(at('ffn_down'), hidden)));
    });
  }
  return states;
}

/** The classification head over the first token's state: one number. */
export function classify(model: GgufModel, first: Float64Array): number {
  const bert = new Weights(model);
  return bert.dense('cls.output', bert.dense('cls', first).map(Math.tanh))[0]!;
}

export function meanOf(states: readonly Float64Array[]): Float64Array {
  return sum(...states).map((value) => value / states.length);
}

export function unit(vector: Float64Array): Float64Array {
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
}

class Weights {
  readonly #model: GgufModel;

  constructor(model: GgufModel) {
    this.#model = model;
  }

  number(key: string): number {
    const value = this.#model.metadata[key]!;
    return value.type === 'array' ? Number.NaN : Number(value.value);
  }

  tensor(name: string): { dims: readonly number[]; values: Float32Array } {
    const { dims, values } = this.#model.tensors.find((tensor) => tensor.name === name)!;
    return { dims, values: values as Float32Array };
  }

  row(name: string, index: number): Float64Array {
    const { dims, values } = this.tensor(`${name}.weight`);
    return Float64Array.from(values.subarray(index * dims[0]!, (index + 1) * dims[0]!));
  }

  dense(name: string, x: Float64Array): Float64Array {
    const { dims } = this.tensor(`${name}.weight`);
    const bias = this.tensor(`${name}.bias`).values;
    return Float64Array.from({ length: dims[1]! }, (_, i) => dot(this.row(name, i), x) + bias[i]!);
  }

  norm(name: string, x: Float64Array): Float64Array {
    const mean = x.reduce((total, value) => total + value, 0) / x.length;
    const variance = x.reduce((total, value) => total + (value - mean) ** 2, 0) / x.length;
    const weight = this.tensor(`${name}.weight`).values;
    const bias = this.tensor(`${name}.bias`).values;
    return x.map((value, i) => ((value - mean) / Math.sqrt(variance + EPSILON)) * weight[i]! + bias[i]!);
  }
}

function attend(q: Float64Array, k: readonly Float64Array[], v: readonly Float64Array[], heads: number): Float64Array {
  const out = new Float64Array(q.length);
  const size = q.length / heads;
  for (let from = 0; from < q.length; from += size) {
    const part = (x: Float64Array): Float64Array => x.subarray(from, from + size);
    const weights = k.map((key) => Math.exp(dot(part(q), part(key)) / Math.sqrt(size)));
    const total = weights.reduce((all, weight) => all + weight, 0);
    for (const [j, weight] of weights.entries()) for (let i = 0; i < size; i++) out[from + i]! += (weight / total) * v[j]![from + i]!;
  }
  return out;
}

function gelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((total, value, i) => total + value * b[i]!, 0);
}

function sum(...vectors: readonly Float64Array[]): Float64Array {
  return vectors.reduce((total, vector) => total.map((value, i) => value + vector[i]!));
}
