/** @hotpath the JSON of an answer whose tensors are all binary, when the last one was the same but for the id and the bytes (measured by encode-response.bench.ts) */

import type { Tensor } from '../../../proto/tensor.ts';
import type { InferenceRequest, RequestedOutput, RequestParameter } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';

const MAX_JSON_BYTES = 2_048;
const OPEN_BRACE = 0x7b;

type Parameters = Readonly<Record<string, RequestParameter>> | null;

/** Of the last answer that could be kept: names, datatypes, shapes and sizes, and the JSON that says them. */
export class RememberedAnswer {
  #asked: readonly RequestedOutput[] = [];
  /** Of the last request: only a list that comes again can be found again. */
  #lastAsked: readonly RequestedOutput[] | null = null;
  #modelName = '';
  #modelVersion = '';
  #parameters: Parameters = null;
  #outputs: readonly { readonly name: string; readonly datatype: string; readonly shape: readonly number[]; readonly bytes: number }[] = [];
  /** An opening brace, and all members but the id. null: nothing is kept. */
  #json: Uint8Array | null = null;
  #members: Uint8Array = new Uint8Array(0);

  /**
   * Whether the answer is known. Requests that share a remembered header share their list of outputs, and answers of one protocol their parameters: these are compared by what they are, not by what
   * they hold.
   */
  knows(request: InferenceRequest, response: InferenceResponse, parameters: Parameters): boolean {
    if (this.#json === null || request.outputs !== this.#asked || parameters !== this.#parameters) return false;
    if (response.modelVersion !== this.#modelVersion || response.modelName !== this.#modelName) return false;
    const { outputs } = response;
    const known = this.#outputs;
    if (outputs.length !== known.length) return false;
    for (let i = 0; i < known.length; i++) {
      const a = outputs[i]!;
      const b = known[i]!;
      if (a.name !== b.name || a.datatype !== b.datatype || a.data.length !== b.bytes || !isSame(a.shape, b.shape)) return false;
    }
    return true;
  }

  /** Of a known answer without an id: all of its JSON. To be read only. */
  get json(): Uint8Array {
    return this.#json!;
  }

  /** Of a known answer: what stands behind the id, from the first key to the end. To be read only. */
  get members(): Uint8Array {
    return this.#members;
  }

  /** `members`: the answer's JSON from its first key behind the id to the end; it is copied. */
  remember(request: InferenceRequest, response: InferenceResponse, parameters: Parameters, members: Uint8Array): void {
    const isRepeated = request.outputs === this.#lastAsked;
    this.#lastAsked = request.outputs;
    if (!isRepeated || members.length >= MAX_JSON_BYTES || !areAllBinary(request.outputs, response.outputs)) return;
    this.#asked = request.outputs;
    this.#modelName = response.modelName;
    this.#modelVersion = response.modelVersion;
    this.#parameters = parameters;
    this.#outputs = response.outputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape: [...shape], bytes: data.length }));
    const json = new Uint8Array(members.length + 1);
    json[0] = OPEN_BRACE;
    json.set(members, 1);
    this.#json = json;
    this.#members = json.subarray(1);
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
