/** @hotpath each response of a generate call as one flat JSON object; what is the same in all of them is written down once a call (measured by generate.bench.ts) */

import { elementCount } from '../../../proto/datatype.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { RequestParameter } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import { JsonWriter } from '../oip-json/json-writer.ts';

/** One for the thread: a response is written and handed over within one call. */
const writer = new JsonWriter();

/** A member of the object: text that stays the same, then perhaps the value of an output. */
interface Part {
  readonly key: string;
  /** ASCII: key, colon, and the value where there is no output. */
  readonly text: string;
  /** '': the text is all of it. */
  readonly output: string;
}

/**
 * Writes `{"id"?, "model_name", "model_version", <response parameters>, <outputs>}` in the order of the keys. An output of one element is a scalar, any other an array; one that the response
 * does not have is left out. Numbers and strings are those of the infer response's JSON.
 *
 * Source: Triton's generate extension.
 */
export class GenerateEncoder {
  readonly #parts: readonly Part[];

  constructor(signature: ModelSignature, id: string) {
    const { modelName, modelVersion, outputs } = signature;
    const fixed: [string, string][] = [
      ['model_name', modelName],
      ['model_version', modelVersion],
    ];
    if (id !== '') fixed.push(['id', id]);
    const parts = outputs.map(({ name }): Part => ({ key: name, text: `${asciiJson(name)}:`, output: name }));
    for (const [key, value] of fixed) if (!signature.outputIndex.has(key)) parts.push(fixedPart(key, value));
    this.#parts = parts.sort(byKey);
  }

  /** Borrowed, until the next call of any encoder. Throws INVALID_ARGUMENT for BYTES that are no UTF-8. */
  json(response: InferenceResponse): Uint8Array {
    writer.reset();
    this.#write(response);
    return writer.view();
  }

  /** The same, as a server-sent event. */
  event(response: InferenceResponse): Uint8Array {
    writer.reset();
    writer.ascii('data: ');
    this.#write(response);
    writer.ascii('\n\n');
    return writer.view();
  }

  #write({ outputs, parameters }: InferenceResponse): void {
    const parts = parameters === null ? this.#parts : withParameters(this.#parts, parameters);
    let separator = '{';
    for (let i = 0; i < parts.length; i++) {
      const { text, output } = parts[i]!;
      if (output === '') {
        writer.ascii(separator);
        writer.ascii(text);
      } else {
        const tensor = find(outputs, output);
        if (tensor === null) continue;
        writer.ascii(separator);
        writer.ascii(text);
        writeValue(tensor);
      }
      separator = ',';
    }
    writer.ascii(separator === '{' ? '{}' : '}');
  }
}

/** Lets the memory of a large response go. */
export function releaseGenerateEncoder(): void {
  writer.release();
}

function writeValue(tensor: Tensor): void {
  try {
    if (elementCount(tensor.shape) === 1) writer.tensorValues(tensor);
    else writer.tensorData(tensor);
  } catch (error) {
    if (!(error instanceof InferenceError) || error.code !== 'INVALID_ARGUMENT') throw error;
    throw invalidArgument(`${error.message.replace(/: ask for .*$/, '')}: use infer with binary data, or gRPC`);
  }
}

function find(outputs: readonly Tensor[], name: string): Tensor | null {
  for (let i = 0; i < outputs.length; i++) if (outputs[i]!.name === name) return outputs[i]!;
  return null;
}

/** A parameter that has the name of an output, or of what is always there, is left out. */
function withParameters(parts: readonly Part[], parameters: Readonly<Record<string, RequestParameter>>): readonly Part[] {
  const all = [...parts];
  for (const key of Object.keys(parameters)) if (!parts.some((part) => part.key === key)) all.push(fixedPart(key, parameters[key]!));
  return all.sort(byKey);
}

function fixedPart(key: string, value: RequestParameter): Part {
  return { key, text: `${asciiJson(key)}:${asciiJson(value)}`, output: '' };
}

function byKey(a: Part, b: Part): number {
  return a.key < b.key ? -1 : 1;
}

/** JSON of ASCII alone. */
function asciiJson(value: RequestParameter): string {
  return JSON.stringify(value).replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
