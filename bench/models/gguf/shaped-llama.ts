import { llamaModel } from './llama-model.ts';
import { CHATML_TEMPLATE } from './small-models.ts';
import type { GgufTensorType } from './tensor-types.ts';
import { bytePairVocabulary } from './vocabulary.ts';
import { writeGgufFile } from './write-gguf.ts';

export interface ShapedLlama {
  readonly dim: number;
  readonly layers: number;
  readonly heads: number;
  /** Default: as many as heads. */
  readonly kvHeads?: number;
  readonly feedForward: number;
  /** Tokens. */
  readonly vocabulary: number;
  readonly context: number;
  readonly type: GgufTensorType;
  readonly seed: number;
}

/** A Llama of random weights in a given shape, into a file some megabytes at a time: a model's speed does not depend on its values. It never ends a text by itself. */
export async function writeShapedLlama(path: string, shape: ShapedLlama): Promise<void> {
  const vocabulary = bytePairVocabulary(shape.vocabulary, CHATML_TEMPLATE);
  const control = new Set(vocabulary.control);
  const model = llamaModel({
    name: `random ${shape.dim}x${shape.layers}`,
    dim: shape.dim,
    layers: shape.layers,
    heads: shape.heads,
    kvHeads: shape.kvHeads ?? shape.heads,
    feedForward: shape.feedForward,
    context: shape.context,
    seed: shape.seed,
    type: shape.type,
    vocabulary,
    logitBias: (token) => (control.has(token) || !vocabulary.readable.has(token) ? -30 : 0),
  });
  await writeGgufFile(path, model);
}
