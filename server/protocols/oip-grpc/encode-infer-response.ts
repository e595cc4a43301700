/** @hotpath an InferenceResponse to one buffer of its exact size; the tensors' bytes are copied once, into it */

import { InferenceError } from '../../../proto/inference-error.ts';
import { delimitedSize, int64Size, ProtobufWriter, textSize, varintSize } from '../../../proto/protobuf-writer.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { InferenceRequest, RequestedOutput, RequestParameter } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import { classifyTensor } from '../classification.ts';
import type { AnswerSource } from '../oip-json/encode-response.ts';

/** Where a response goes: alone in a message, or as `infer_response` of a stream's, which says whether the request has more. */
export type ResponseForm = 'unary' | 'streamed' | 'streamed-final';

/** Where a large message's memory comes from: its call. */
export interface MessageMemory {
  allocate(bytes: number): Buffer;
}

const MAX_MESSAGE_BYTES = 2 ** 31 - 1;
const FINAL_RESPONSE = 'triton_final_response';
/** As an entry of `parameters`, all of it but the flag: key, and a value with `bool_param`. */
const FINAL_ENTRY_BYTES = delimitedSize(FINAL_RESPONSE.length) + delimitedSize(2);
const FINAL_SIZE = delimitedSize(FINAL_ENTRY_BYTES);

/** Sizes found while measuring, for the writing that follows at once: shapes' and metadata's bytes by output. */
const shapeSizes: number[] = [];
const outputSizes: number[] = [];

/**
 * A `ModelInferResponse`, or the `ModelStreamInferResponse` around it: every output's name, datatype and shape, its bytes in `raw_output_contents`, in the same order.
 * The message holds copies: it is the transport's. Throws INVALID_ARGUMENT for a classification of what has no classes, and for a message past 2 GiB, which gRPC cannot carry.
 *
 * Source: Open Inference Protocol, ModelInferResponse; reference section 3.4.
 */
export function encodeInferResponse(
  request: InferenceRequest,
  response: InferenceResponse,
  source: AnswerSource,
  form: ResponseForm,
  memory: MessageMemory | null = null,
): Buffer {
  const outputs = request.outputs.length === 0 ? response.outputs : classified(request.outputs, response.outputs, source);
  return encodeResponse(response.modelName, response.modelVersion, request.id, response.parameters, outputs, form, memory);
}

/** The end of a decoupled model's responses, for who asked to hear of it; names as the request had them. */
export function encodeEmptyFinalResponse(modelName: string, modelVersion: string, id: string): Buffer {
  return encodeResponse(modelName, modelVersion, id, null, [], 'streamed-final');
}

/** A request of a stream failed before it ran: `error_message`, the id, and the code. */
export function encodeStreamRefusal(error: InferenceError, id: string): Buffer {
  return encodeStreamError(error, '', '', id, false);
}

/** A request of a stream failed while it ran. */
export function encodeStreamFailure(error: InferenceError, modelName: string, modelVersion: string, id: string): Buffer {
  return encodeStreamError(error, modelName, modelVersion, id, true);
}

/** The protocol has no place for a code among a stream's errors; a client that knows this response parameter finds it there, others pass it over. */
function encodeStreamError(
  { code, message }: InferenceError,
  modelName: string,
  modelVersion: string,
  id: string,
  isFinal: boolean,
): Buffer {
  const messageSize = textSize(message);
  const parameters = { error_code: code };
  const responseSize = headSize(modelName, modelVersion, id) + parametersSize(parameters) + (isFinal ? FINAL_SIZE : 0);
  const writer = new ProtobufWriter(delimitedSize(messageSize) + delimitedSize(responseSize));
  writer.text(1, message, messageSize);
  writer.delimited(2, responseSize);
  writeHead(writer, modelName, modelVersion, id);
  writeParameters(writer, parameters);
  if (isFinal) writeFinal(writer, true);
  return writer.buffer;
}

function encodeResponse(
  modelName: string,
  modelVersion: string,
  id: string,
  parameters: Readonly<Record<string, RequestParameter>> | null,
  outputs: readonly Tensor[],
  form: ResponseForm,
  memory: MessageMemory | null = null,
): Buffer {
  let size = headSize(modelName, modelVersion, id);
  if (parameters !== null) size += parametersSize(parameters);
  if (form !== 'unary') size += FINAL_SIZE;
  for (let i = 0; i < outputs.length; i++) {
    const { name, datatype, shape, data } = outputs[i]!;
    let shapeSize = 0;
    for (let d = 0; d < shape.length; d++) shapeSize += varintSize(shape[d]!);
    const outputSize = delimitedSize(textSize(name)) + delimitedSize(datatype.length) + (shapeSize === 0 ? 0 : delimitedSize(shapeSize));
    shapeSizes[i] = shapeSize;
    outputSizes[i] = outputSize;
    size += delimitedSize(outputSize) + delimitedSize(data.length);
  }
  if (size > MAX_MESSAGE_BYTES - 16) {
    throw new InferenceError(
      'INVALID_ARGUMENT',
      `the response of model '${modelName}' has ${size} bytes, more than gRPC carries in a message (${MAX_MESSAGE_BYTES}): ask for fewer outputs or for a smaller batch`,
    );
  }

  const messageBytes = form === 'unary' ? size : delimitedSize(size);
  const writer = new ProtobufWriter(messageBytes, memory === null ? undefined : memory.allocate(messageBytes));
  if (form !== 'unary') writer.delimited(2, size);
  writeHead(writer, modelName, modelVersion, id);
  if (parameters !== null) writeParameters(writer, parameters);
  if (form !== 'unary') writeFinal(writer, form === 'streamed-final');
  for (let i = 0; i < outputs.length; i++) {
    const { name, datatype, shape } = outputs[i]!;
    writer.delimited(5, outputSizes[i]!);
    writer.text(1, name, textSize(name));
    writer.text(2, datatype, datatype.length);
    if (shapeSizes[i] !== 0) {
      writer.delimited(3, shapeSizes[i]!);
      for (let d = 0; d < shape.length; d++) writer.varint(shape[d]!);
    }
  }
  for (let i = 0; i < outputs.length; i++) writer.bytes(6, outputs[i]!.data);
  return writer.buffer;
}

function headSize(modelName: string, modelVersion: string, id: string): number {
  return fieldSize(modelName) + fieldSize(modelVersion) + fieldSize(id);
}

/** proto3 leaves out what is empty. */
function fieldSize(text: string): number {
  return text === '' ? 0 : delimitedSize(textSize(text));
}

function writeHead(writer: ProtobufWriter, modelName: string, modelVersion: string, id: string): void {
  if (modelName !== '') writer.text(1, modelName, textSize(modelName));
  if (modelVersion !== '') writer.text(2, modelVersion, textSize(modelVersion));
  if (id !== '') writer.text(3, id, textSize(id));
}

function writeFinal(writer: ProtobufWriter, isFinal: boolean): void {
  writer.delimited(4, FINAL_ENTRY_BYTES);
  writer.text(1, FINAL_RESPONSE, FINAL_RESPONSE.length);
  writer.delimited(2, 2);
  writer.bool(1, isFinal);
}

function parametersSize(parameters: Readonly<Record<string, RequestParameter>>): number {
  let size = 0;
  for (const key of Object.keys(parameters)) {
    size += delimitedSize(delimitedSize(textSize(key)) + delimitedSize(parameterSize(parameters[key]!)));
  }
  return size;
}

function parameterSize(value: RequestParameter): number {
  if (typeof value === 'boolean') return 2;
  if (typeof value === 'string') return delimitedSize(textSize(value));
  return isInt64(value) ? 1 + int64Size(value) : 9;
}

function writeParameters(writer: ProtobufWriter, parameters: Readonly<Record<string, RequestParameter>>): void {
  for (const key of Object.keys(parameters)) {
    const value = parameters[key]!;
    const keySize = textSize(key);
    const valueSize = parameterSize(value);
    writer.delimited(4, delimitedSize(keySize) + delimitedSize(valueSize));
    writer.text(1, key, keySize);
    writer.delimited(2, valueSize);
    if (typeof value === 'boolean') writer.bool(1, value);
    else if (typeof value === 'string') writer.text(3, value, textSize(value));
    else if (isInt64(value)) writer.int64Field(2, value);
    else writer.double(4, value);
  }
}

function isInt64(value: number): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

/** `outputs`, with those classified that the request wants so. */
function classified(requested: readonly RequestedOutput[], outputs: readonly Tensor[], source: AnswerSource): readonly Tensor[] {
  let result = outputs;
  for (let r = 0; r < requested.length; r++) {
    const { name, classification } = requested[r]!;
    if (classification === 0) continue;
    const labels = source.outputs.find((output) => output.name === name)?.labels ?? null;
    result = result.map((tensor) =>
      tensor.name === name ? classifyTensor(tensor, classification, source.maxBatchSize > 0, labels) : tensor,
    );
  }
  return result;
}
