/** @hotpath the JSON of an answer whose tensors are all binary, when the last one was the same but for the bytes (measured by encode-response.bench.ts) */

import type { Tensor } from '../../../proto/tensor.ts';
import type { InferenceRequest, RequestedOutput } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';

const MAX_JSON_BYTES = 2_048;

/** Of the last answer that could be kept: names, datatypes, shapes and sizes, and the JSON that says them. */
export class RememberedAnswer {
  #asked: readonly RequestedOutput[] = [];
  /** Of the last request: only a list that comes again can be found again. */
  #lastAsked: readonly RequestedOutput[] | null = null;
  #modelName = '';
  #modelVersion = '';
  #outputs: readonly { readonly name: string; readonly datatype: string; readonly shape: readonly number[]; readonly bytes: number }[] = [];
  #json: Uint8Array | null = null;

  /** The JSON, to be read only; null: it has to be written. Requests that share a remembered header share their list of outputs, which is all that is compared of it. */
  find(request: InferenceRequest, response: InferenceResponse): Uint8Array | null {
    if (this.#json === null || request.outputs !== this.#asked || request.id !== '') return null;
    if (response.modelVersion !== this.#modelVersion || response.modelName !== this.#modelName) return null;
    const { outputs } = response;
    const known = this.#outputs;
    if (outputs.length !== known.length) return null;
    for (let i = 0; i < known.length; i++) {
      const a = outputs[i]!;
      const b = known[i]!;
      if (a.name !== b.name || a.datatype !== b.datatype || a.data.length !== b.bytes || !isSame(a.shape, b.shape)) return null;
    }
    return this.#json;
  }

  /** `json` is copied. */
  remember(request: InferenceRequest, response: InferenceResponse, json: Uint8Array): void {
    const isRepeated = request.outputs === this.#lastAsked;
    this.#lastAsked = request.outputs;
    if (!isRepeated || request.id !== '' || json.length > MAX_JSON_BYTES || !areAllBinary(request.outputs, response.outputs)) return;
    this.#asked = request.outputs;
    this.#modelName = response.modelName;
    this.#modelVersion = response.modelVersion;
    this.#outputs = response.outputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape: [...shape], bytes: data.length }));
    this.#json = json.slice();
  }
}

function areAllBinary(asked: readonly RequestedOutput[], outputs: readonly Tensor[]): boolean {
  return outputs.every(({ name }) => asked.some((output) => output.name === name && output.binaryData && output.classification === 0));
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
