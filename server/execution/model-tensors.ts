/** @hotpath finds a batch's inputs in the model's metadata and reckons the room for its outputs (measured by write-request.bench.ts) */

import type { ModelMetadata } from '../../backends/api/backend.ts';
import { byteSizeOf, elementCount } from '../../proto/datatype.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { BatchInput, ExecutionBatch } from './execution-host.ts';
import { alignTensor, responseBytes } from './execution-record.ts';

/** First guess for an output whose size only a run can tell. */
const FIRST_GUESS_BYTES = 4096;

/** What the gateway knows of a model's tensors beforehand, and what it learned of their sizes. One per loaded model of a host, shared by its instances. */
export class ModelTensors {
  /** `name:version`, as errors and HostEnd.blamed have it. */
  readonly key: string;
  readonly metadata: ModelMetadata;
  /** Room for any response record of this model. */
  readonly responseBytes: number;
  /** What the last run took in the host. */
  lastRunNs: number = Number.POSITIVE_INFINITY;
  readonly #inputIndexes: Map<string, number>;
  /** Bytes for each row of the batch where the first dimension alone is open; 0 elsewhere. */
  readonly #rowBytes: number[];
  /** Bytes where every dimension is known, or the most that was seen. */
  readonly #knownBytes: number[];

  constructor(key: string, metadata: ModelMetadata) {
    this.key = key;
    this.metadata = metadata;
    this.responseBytes = responseBytes(metadata.outputs);
    this.#inputIndexes = new Map(metadata.inputs.map((input, index) => [input.name, index]));
    this.#rowBytes = metadata.outputs.map(({ datatype, shape }) => {
      const perRow = shape[0] === -1 ? elementCount(shape.slice(1)) : -1;
      return perRow > 0 ? perRow * byteSizeOf(datatype) : 0;
    });
    this.#knownBytes = metadata.outputs.map(({ datatype, shape }, index) => {
      if (this.#rowBytes[index]! > 0) return 0;
      const count = elementCount(shape);
      return count >= 0 && byteSizeOf(datatype) > 0 ? count * byteSizeOf(datatype) : FIRST_GUESS_BYTES;
    });
  }

  /** Index in the metadata of input `position` of a batch, or -1. */
  inputIndex(name: string, position: number): number {
    const inputs = this.metadata.inputs;
    if (position < inputs.length && inputs[position]!.name === name) return position;
    return this.#inputIndexes.get(name) ?? -1;
  }

  /** What is wrong with the batch's inputs, or null. Shapes are the door's to check. */
  inputError(inputs: readonly BatchInput[]): InferenceError | null {
    for (let i = 0; i < inputs.length; i++) {
      const { name, datatype } = inputs[i]!;
      const index = this.inputIndex(name, i);
      if (index < 0) {
        const names = this.metadata.inputs.map((input) => `'${input.name}'`).join(', ');
        return new InferenceError('INVALID_ARGUMENT', `model '${this.key}' has no input '${name}'; its inputs are ${names}`);
      }
      const expected = this.metadata.inputs[index]!.datatype;
      if (datatype !== expected) {
        return new InferenceError('INVALID_ARGUMENT', `input '${name}' of model '${this.key}' is ${expected}, got ${datatype}`);
      }
    }
    return null;
  }

  /** Room that the outputs of this batch will probably take. */
  outputBytes({ inputs, batchSize }: Pick<ExecutionBatch, 'inputs' | 'batchSize'>): number {
    const rows = batchSize ?? (inputs.length > 0 && inputs[0]!.shape.length > 0 ? inputs[0]!.shape[0]! : 1);
    let bytes = 0;
    for (let i = 0; i < this.#rowBytes.length; i++) bytes += alignTensor(Math.max(this.#rowBytes[i]! * rows, this.#knownBytes[i]!));
    return bytes;
  }

  /** To be told of outputs that had no room: the next batch will have it. */
  learn(outputs: readonly Tensor[]): void {
    for (let i = 0; i < outputs.length; i++) {
      // A first dimension that proved not to be the batch's leaves the largest size seen as the better guess.
      if (outputs[i]!.data.length > this.#knownBytes[i]!) this.#knownBytes[i] = outputs[i]!.data.length;
    }
  }
}
