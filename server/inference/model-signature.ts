import type { Datatype } from '../../proto/datatype.ts';

/**
 * What a model version takes and gives, as requests are checked and batches are made by it: built once, at load, from the completed configuration.
 */
export interface ModelSignature {
  readonly modelName: string;
  readonly modelVersion: string;
  /** 0: no batch dimension. Otherwise every shape has a leading one, which `dims` do not list. */
  readonly maxBatchSize: number;
  readonly inputs: readonly InputSpec[];
  readonly outputs: readonly OutputSpec[];
  readonly inputIndex: ReadonlyMap<string, number>;
  readonly outputIndex: ReadonlyMap<string, number>;
  /** How many inputs a request must bring; fewer than `inputs.length` when some are optional. */
  readonly requiredInputs: number;
  /** Null or left out: the model has none of it, as most. */
  readonly batchTensors?: BatchTensors | null;
}

/** What differs between a request's tensors and the batch's, beyond the batch dimension (`allow_ragged_batch`, `batch_input`, `batch_output`; reference section 5.10). */
export interface BatchTensors {
  /** By position in `inputs`: all elements of all requests, one after the other, in one dimension; requests of any shapes share a batch. */
  readonly ragged: readonly boolean[];
  /** Inputs of the model that no client sends. */
  readonly made: readonly MadeInput[];
  /** By position in `outputs`: the position of the input whose shape says which part of a concatenated output is a request's; -1: it has rows as any. */
  readonly scatterBy: readonly number[];
}

/** A tensor that the server makes for each batch, from the shapes of one input. */
export interface MadeInput {
  readonly name: string;
  readonly kind: MadeInputKind;
  readonly datatype: 'INT32' | 'FP32';
  /** Position in `inputs`. */
  readonly source: number;
}

/** `BatchInput.Kind` of the model configuration, without its BATCH_. */
export type MadeInputKind =
  | 'ELEMENT_COUNT'
  | 'ACCUMULATED_ELEMENT_COUNT'
  | 'ACCUMULATED_ELEMENT_COUNT_WITH_ZERO'
  | 'MAX_ELEMENT_COUNT_AS_SHAPE'
  | 'ITEM_SHAPE'
  | 'ITEM_SHAPE_FLATTEN';

export interface InputSpec {
  readonly name: string;
  readonly datatype: Datatype;
  /** Bytes of an element; 0: BYTES. */
  readonly byteSize: number;
  /** Without the batch dimension; -1: any. */
  readonly dims: readonly number[];
  readonly optional: boolean;
  /** The model file's shape when it differs from `dims` (`reshape`), or null. */
  readonly reshape: readonly number[] | null;
}

export interface OutputSpec {
  readonly name: string;
  readonly datatype: Datatype;
  readonly byteSize: number;
  readonly dims: readonly number[];
  readonly reshape: readonly number[] | null;
  /** By class index, for the classification extension; null: none. */
  readonly labels: readonly string[] | null;
}

/** The shape that a caller sees or sends, batch dimension included: `[-1, ...dims]` or `dims`. */
export function servedShape(signature: ModelSignature, dims: readonly number[]): number[] {
  return signature.maxBatchSize > 0 ? [-1, ...dims] : [...dims];
}

/**
 * Carries a concrete shape over a `reshape`: `from` and `to` describe the same number of elements and have the same number of open dimensions (checked
 * when the configuration was read), so the values of the open ones move over in order. `shape` starts behind the batch dimension at `skip`.
 */
export function reshaped(shape: readonly number[], skip: number, from: readonly number[], to: readonly number[]): number[] {
  const result = shape.slice(0, skip);
  let open = 0;
  for (const dim of to) {
    if (dim >= 0) {
      result.push(dim);
      continue;
    }
    while (from[open]! >= 0) open++;
    result.push(shape[skip + open]!);
    open++;
  }
  return result;
}
