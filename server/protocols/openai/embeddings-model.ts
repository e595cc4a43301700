import { encodeBytes } from '../../../proto/bytes.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { InputSpec, ModelSignature } from '../../inference/model-signature.ts';
import type { Model } from '../../repository/model.ts';

/** An input that takes a list of texts. */
export interface TextList {
  readonly spec: InputSpec;
  /** Texts of one request; Infinity: any number. */
  readonly most: number;
  /** The shape for so many. */
  shape(count: number): number[];
}

/** An input of the model that takes texts, one a row where it batches; null: it has none of that name. */
export function textList({ signature }: Model, name: string): TextList | null {
  const spec = inputOf(signature, name, 'BYTES');
  if (spec === null) return null;
  const { maxBatchSize } = signature;
  const { dims } = spec;
  if (maxBatchSize > 0) {
    const isOne = dims.every((dim) => dim === 1 || dim === -1);
    return isOne ? { spec, most: maxBatchSize, shape: (count) => [count, ...dims.map(() => 1)] } : null;
  }
  const isList = dims.length > 0 && dims.slice(1).every((dim) => dim === 1 || dim === -1);
  if (!isList || (dims[0] !== -1 && dims[0] !== 1)) return null;
  return { spec, most: dims[0] === 1 ? 1 : Number.POSITIVE_INFINITY, shape: (count) => [count, ...dims.slice(1).map(() => 1)] };
}

export function inputOf(signature: ModelSignature, name: string, datatype: string): InputSpec | null {
  const spec = signature.inputs[signature.inputIndex.get(name) ?? -1];
  return spec?.datatype === datatype ? spec : null;
}

export function hasOutput(signature: ModelSignature, name: string): boolean {
  return signature.outputs[signature.outputIndex.get(name) ?? -1]?.datatype === 'FP32';
}

export function textsTensor({ spec, shape }: TextList, texts: readonly string[]): Tensor {
  return { name: spec.name, datatype: 'BYTES', shape: shape(texts.length), data: encodeBytes(texts) };
}

/** Inputs of a model that makes vectors of texts; each null where it has none such. */
export interface EmbeddingInputs {
  readonly texts: TextList | null;
  readonly tokens: InputSpec | null;
}

/** Null: it does not make vectors of texts. */
export function embeddingInputsOf(model: Model): EmbeddingInputs | null {
  const { signature } = model;
  if (model.sequencePlan !== null || !hasOutput(signature, 'embedding')) return null;
  const texts = textList(model, 'text_input');
  const ids = inputOf(signature, 'input_ids', 'INT32');
  const tokens = ids !== null && ids.dims.length === 1 && ids.dims[0] === -1 ? ids : null;
  return texts === null && tokens === null ? null : { texts, tokens };
}

/** Throws INVALID_ARGUMENT where it does not. */
export function requireEmbeddingInputs(model: Model): EmbeddingInputs {
  const inputs = embeddingInputsOf(model);
  if (inputs !== null) return inputs;
  throw invalidArgument(
    `model: '${model.name}' does not make vectors of texts (it would have an input 'text_input' of type BYTES and an output 'embedding' of type FP32); POST /v2/models/${model.name}/infer for any other`,
  );
}
