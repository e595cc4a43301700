/** @hotpath an infer body to an InferenceRequest: binary tensors stay views of the body, JSON ones are scanned to bytes */

import { LENGTH_PREFIX_BYTES } from '../../../proto/bytes.ts';
import { byteSizeOf, type Datatype, elementCount } from '../../../proto/datatype.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { type InferenceCaller, InferenceRequest, type RequestedOutput } from '../../inference/inference-request.ts';
import { KnownRequest, RememberedHeaders } from './remembered-headers.ts';
import { type ReadRequest, RequestJsonParser } from './request-json.ts';
import { NO_REQUEST_PARAMETERS } from './request-parameters.ts';

/** What decoding needs to know of the model version that the request goes to; a `ModelSignature` has it all. */
export interface InferTarget {
  readonly modelName: string;
  readonly modelVersion: string;
  /** 0: no batch dimension. */
  readonly maxBatchSize: number;
  /** `dims` without the batch dimension; -1: any. */
  readonly inputs: readonly { readonly name: string; readonly datatype: Datatype; readonly dims: readonly number[] }[];
  readonly outputs: readonly { readonly name: string }[];
}

/** What requests to one model version have in common. */
interface TargetMemory {
  /** All its outputs, asked for as binary data. */
  readonly binaryOutputs: readonly RequestedOutput[];
  readonly headers: RememberedHeaders;
}

const memories = new WeakMap<InferTarget, TargetMemory>();

function memoryOf(target: InferTarget): TargetMemory {
  let memory = memories.get(target);
  if (memory === undefined) {
    const binaryOutputs = target.outputs.map(({ name }) => ({ name, classification: 0, binaryData: true }));
    memory = { binaryOutputs, headers: new RememberedHeaders() };
    memories.set(target, memory);
  }
  return memory;
}

/**
 * Decodes the body of `POST /v2/models/<model>/infer`: JSON, JSON followed by the binary inputs' bytes, or (header length 0, or an empty body without the
 * header) the bytes of the model's only input. `headerLengthText` is the value of `Inference-Header-Content-Length`, '' when it was not sent.
 *
 * Binary inputs are views of `body`, which must stay as it is until the request is answered. The model decides about names, ranks and dimensions, and about
 * binary inputs' sizes: the door checks those. Throws INVALID_ARGUMENT, or UNIMPLEMENTED for shared memory.
 *
 * Source: Open Inference Protocol, inference request and binary tensor data extension.
 */
export function decodeInferRequest(
  body: Uint8Array,
  headerLengthText: string,
  target: InferTarget,
  caller: InferenceCaller,
): InferenceRequest {
  let jsonBytes = body.length;
  if (headerLengthText !== '') jsonBytes = parseHeaderLength(headerLengthText, body.length);
  if (jsonBytes === 0) return decodeRawRequest(body, target, caller);
  const headers = jsonBytes < body.length ? memoryOf(target).headers : null;
  const known = headers?.find(body, 0, jsonBytes) ?? null;
  if (known !== null) return createInferRequest(new KnownRequest(known, body, 0, jsonBytes), target, caller);
  const parser = new RequestJsonParser(body, jsonBytes, target.inputs, target.outputs);
  try {
    parser.parse();
  } catch (error) {
    if (headerLengthText === '') throw explainBytes(error, body);
    throw explainCut(error, jsonBytes, body.length, 'Inference-Header-Content-Length');
  }
  const request = createInferRequest(parser, target, caller);
  headers?.remember(body, 0, jsonBytes, parser, null);
  return request;
}

/** The request that was read, for the model version that is to answer it. */
export function createInferRequest(read: ReadRequest, target: InferTarget, caller: InferenceCaller): InferenceRequest {
  const { id, inputs, parameters } = read;
  const { others, priority, timeoutUs, sequence } = parameters;
  const { modelName, modelVersion } = target;
  // `binary_data_output` is about outputs that the request does not list, so about all of them or none.
  const outputs = parameters.binaryDataOutput && read.outputs.length === 0 ? memoryOf(target).binaryOutputs : read.outputs;
  return new InferenceRequest({ modelName, modelVersion, id, inputs, outputs, parameters: others, priority, timeoutUs, sequence, caller });
}

function parseHeaderLength(text: string, bodyBytes: number): number {
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) {
      throw invalidArgument(
        `Unable to parse Inference-Header-Content-Length: expected a number of bytes, digits only, got '${text.slice(0, 40)}'; a negative size is out of range`,
      );
    }
    length = length * 10 + digit;
  }
  if (length > bodyBytes) {
    throw invalidArgument(
      `Inference-Header-Content-Length: inference header size should be in range (0, ${bodyBytes}), the size of the body, got ${text.slice(0, 40)}: value is out of range`,
    );
  }
  return length;
}

/** Bytes that are no text: a header was forgotten. */
function explainBytes(error: unknown, body: Uint8Array): unknown {
  if (!(error instanceof InferenceError) || error.code !== 'INVALID_ARGUMENT' || !hasControlBytes(body)) return error;
  return invalidArgument(
    `${error.message} (the body holds bytes that are no text: send Inference-Header-Content-Length, the length of the JSON before them, or 0 where the body is the model's one input as it is)`,
  );
}

function hasControlBytes(body: Uint8Array): boolean {
  const end = Math.min(body.length, 65_536);
  for (let i = 0; i < end; i++) {
    const byte = body[i]!;
    if (byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) return true;
  }
  return false;
}

/** JSON that ends too early where its length, told by `saidBy`, cut it: that is what to look at. */
export function explainCut(error: unknown, jsonBytes: number, bodyBytes: number, saidBy: string): unknown {
  if (!(error instanceof InferenceError) || error.code !== 'INVALID_ARGUMENT' || jsonBytes === bodyBytes) return error;
  if (!/the end of the JSON|unterminated|behind the JSON/.test(error.message)) return error;
  return invalidArgument(`${error.message} (the JSON is the first ${jsonBytes} of the body's ${bodyBytes} bytes: ${saidBy} says so)`);
}

/** The whole body is the one input of the model; all outputs come back as binary data. */
function decodeRawRequest(body: Uint8Array, target: InferTarget, caller: InferenceCaller): InferenceRequest {
  const input = target.inputs[0];
  if (input === undefined || target.inputs.length !== 1) {
    throw invalidArgument(
      `Raw request must only have 1 input (found 1) to be deduced but got ${target.inputs.length} inputs in '${target.modelName}' model configuration: send JSON, with Inference-Header-Content-Length where bytes follow it`,
    );
  }
  const shape = target.maxBatchSize > 0 ? [1, ...input.dims] : [...input.dims];
  const tensor: Tensor = { name: input.name, datatype: input.datatype, shape, data: input.datatype === 'BYTES' ? frame(body) : body };
  if (input.datatype === 'BYTES') {
    if (elementCount(input.dims) !== 1) {
      throw invalidArgument(
        `For BYTE datatype raw input '${input.name}', the model must have input shape [1], got [${input.dims.join(',')}]: send JSON or framed binary data`,
      );
    }
  } else {
    deduceVariableDimension(shape, input.name, body.length, byteSizeOf(input.datatype));
  }
  return new InferenceRequest({
    modelName: target.modelName,
    modelVersion: target.modelVersion,
    id: '',
    inputs: [tensor],
    outputs: memoryOf(target).binaryOutputs,
    parameters: NO_REQUEST_PARAMETERS.others,
    priority: 0,
    timeoutUs: 0,
    caller,
  });
}

/** Replaces the one -1 of `shape`, if there is one, by what the number of bytes says. */
function deduceVariableDimension(shape: number[], name: string, bytes: number, elementBytes: number): void {
  let variable = -1;
  let fixed = elementBytes;
  for (let i = 0; i < shape.length; i++) {
    if (shape[i]! >= 0) {
      fixed *= shape[i]!;
    } else if (variable < 0) {
      variable = i;
    } else {
      throw invalidArgument(
        `The shape of the raw input '${name}' can not be deduced because there are more than one variable-sized dimension: [${shape.join(',')}]: send JSON with the shape`,
      );
    }
  }
  if (variable < 0) return;
  if (fixed === 0 || bytes % fixed !== 0) {
    throw invalidArgument(
      `The shape of the raw input '${name}' can not be deduced: expected a body of a multiple of ${fixed} bytes for [${shape.join(',')}], got ${bytes}`,
    );
  }
  shape[variable] = bytes / fixed;
}

/** One BYTES element. The only copy in this file: the length has to stand before the bytes. */
function frame(body: Uint8Array): Uint8Array {
  const framed = Buffer.allocUnsafe(LENGTH_PREFIX_BYTES + body.length);
  framed.writeUInt32LE(body.length, 0);
  framed.set(body, LENGTH_PREFIX_BYTES);
  return framed;
}
