/** @hotpath an InferenceResponse to JSON and bytes; binary outputs go out as the views they are */

import type { Tensor } from '../../../proto/tensor.ts';
import type { InferenceRequest, RequestedOutput, RequestParameter } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import { classifyTensor } from '../classification.ts';
import { JsonWriter } from './json-writer.ts';
import { RememberedAnswer } from './remembered-answer.ts';

/** What encoding needs to know of the model version that answered; a `ModelSignature` has it all. */
export interface AnswerSource {
  /** 0: no batch dimension. */
  readonly maxBatchSize: number;
  readonly outputs: readonly { readonly name: string; readonly labels: readonly string[] | null }[];
}

/** One for the thread: an answer is written and handed over within one call. */
const writer = new JsonWriter();
/** The usual answer, all of it JSON, needs no array of its own. */
const jsonOnly: Uint8Array[] = [];
/** By the parameters that answers have: none, or those of the protocol. */
interface AnswerMemory {
  readonly plain: RememberedAnswer;
  readonly extended: RememberedAnswer;
}

const memories = new WeakMap<AnswerSource, AnswerMemory>();

/**
 * The answer as pieces: the response's JSON, then the bytes of its binary outputs in the order of `outputs`. JSON numbers read back exactly, to the datatype they come
 * from; NaN and the infinities are the strings "NaN", "Infinity", "-Infinity". `parameters` are those of the response, and whatever the protocol adds.
 *
 * The pieces, and the array, are borrowed: from the writer until `releaseEncoder`, which is to be called in every case, and from the response.
 *
 * Throws when an output cannot be encoded as asked: INVALID_ARGUMENT for BYTES that are no UTF-8 in JSON, and for a classification of what has no classes.
 *
 * Source: Open Inference Protocol, `$inference_response`, with the binary tensor data and classification extensions.
 */
export function encodeInference(
  request: InferenceRequest,
  response: InferenceResponse,
  source: AnswerSource,
  parameters: Readonly<Record<string, RequestParameter>> | null = response.parameters,
): readonly Uint8Array[] {
  // Parameters of the model's own may differ each time.
  const memory = response.parameters === null && request.outputs.length > 0 ? memoryOf(source, parameters !== null) : null;
  const known = memory?.knows(request, response, parameters) === true ? memory : null;
  if (known !== null && request.id === '') return binaryPieces(known.json, response.outputs);
  writer.reset();
  writer.ascii('{');
  if (request.id !== '') {
    writer.ascii('"id":');
    writer.string(request.id);
    writer.ascii(',');
  }
  if (known !== null) {
    writer.json(known.members);
    return binaryPieces(writer.view(), response.outputs);
  }
  const start = writer.length;
  const pieces = writeMembers(request, response, source, parameters) ?? jsonOnly;
  pieces[0] = writer.view();
  memory?.remember(request, response, parameters, writer.view(start));
  return pieces;
}

function memoryOf(source: AnswerSource, isExtended: boolean): RememberedAnswer {
  let memory = memories.get(source);
  if (memory === undefined) {
    memory = { plain: new RememberedAnswer(), extended: new RememberedAnswer() };
    memories.set(source, memory);
  }
  return isExtended ? memory.extended : memory.plain;
}

function binaryPieces(json: Uint8Array, outputs: readonly Tensor[]): readonly Uint8Array[] {
  const pieces = [json];
  for (let i = 0; i < outputs.length; i++) if (outputs[i]!.data.length > 0) pieces.push(outputs[i]!.data);
  return pieces;
}

export function releaseEncoder(): void {
  jsonOnly.length = 0;
  writer.release();
}

/** Writes the JSON behind the id; returns the binary pieces behind a place for it, or null when there is none. */
function writeMembers(
  request: InferenceRequest,
  response: InferenceResponse,
  source: AnswerSource,
  parameters: Readonly<Record<string, RequestParameter>> | null,
): Uint8Array[] | null {
  writer.ascii('"model_name":');
  writer.string(response.modelName);
  writer.ascii(',"model_version":');
  writer.string(response.modelVersion);
  if (parameters !== null) writeParameters(parameters);
  writer.ascii(',"outputs":[');
  let pieces: Uint8Array[] | null = null;
  const { outputs } = response;
  for (let i = 0; i < outputs.length; i++) {
    let tensor = outputs[i]!;
    const asked = findRequested(request.outputs, tensor.name, i);
    if (asked !== null && asked.classification > 0) {
      tensor = classifyTensor(tensor, asked.classification, source.maxBatchSize > 0, labelsOf(source, tensor.name));
    }
    writer.ascii(i === 0 ? '{"name":' : ',{"name":');
    writer.string(tensor.name);
    writeTypeAndShape(tensor);
    if (asked?.binaryData) {
      writer.ascii(',"parameters":{"binary_data_size":');
      writer.integer(tensor.data.length);
      writer.ascii('}}');
      if (tensor.data.length > 0) {
        pieces ??= [tensor.data];
        pieces.push(tensor.data);
      }
    } else {
      writer.ascii(',"data":');
      writer.tensorData(tensor);
      writer.ascii('}');
    }
  }
  writer.ascii(']}');
  return pieces;
}

function writeTypeAndShape(tensor: Tensor): void {
  writer.ascii(',"datatype":"');
  writer.ascii(tensor.datatype);
  writer.ascii('","shape":[');
  const { shape } = tensor;
  for (let d = 0; d < shape.length; d++) {
    if (d > 0) writer.ascii(',');
    writer.integer(shape[d]!);
  }
  writer.ascii(']');
}

function writeParameters(parameters: Readonly<Record<string, RequestParameter>>): void {
  writer.ascii(',"parameters":{');
  let isFirst = true;
  for (const key of Object.keys(parameters)) {
    const value = parameters[key]!;
    if (!isFirst) writer.ascii(',');
    isFirst = false;
    writer.string(key);
    writer.ascii(':');
    if (typeof value === 'string') writer.string(value);
    else if (typeof value === 'boolean') writer.ascii(value ? 'true' : 'false');
    else writer.ascii(JSON.stringify(value));
  }
  writer.ascii('}');
}

/** `index` is where it most likely stands: requests tend to list outputs as the model does. */
function findRequested(requested: readonly RequestedOutput[], name: string, index: number): RequestedOutput | null {
  const likely = requested[index];
  if (likely !== undefined && likely.name === name) return likely;
  for (let i = 0; i < requested.length; i++) if (requested[i]!.name === name) return requested[i]!;
  return null;
}

function labelsOf(source: AnswerSource, name: string): readonly string[] | null {
  return source.outputs.find((output) => output.name === name)?.labels ?? null;
}
