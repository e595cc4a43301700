import { type Datatype, elementCount } from '../../../proto/datatype.ts';
import { fromBf16, fromFp16 } from '../../../proto/float16.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import { readStrings, viewTensorData } from './tensor-data.ts';
import type { InferParameter, InferParameters, InferRequest, InputTensor, RequestedOutput, SharedMemoryRange } from './transport.ts';

export interface V2Request {
  /** The JSON, UTF-8. */
  readonly header: Uint8Array;
  /** The binary tensors' bytes, in the order of `inputs`, as they go behind the header; borrowed from the inputs. Empty: the request is all JSON. */
  readonly tail: readonly Uint8Array[];
}

const utf8 = new TextEncoder();

/**
 * An inference request in the JSON form of the protocol, with the binary tensor extension unless `request.json`. `envelope` comes first: what a wire without
 * paths needs (`model_name`, ...). Model name and version are not written otherwise.
 *
 * Numbers of JSON tensors are exact; NaN and the infinities are bare words, which Triton reads and JSON does not have.
 * Source: Open Inference Protocol, `$inference_request`; Triton's binary tensor data, classification and shared memory extensions.
 */
export function encodeV2Request(request: InferRequest, envelope: Readonly<Record<string, InferParameter>> = {}): V2Request {
  const members = Object.entries(envelope).map(([key, value]) => `${JSON.stringify(key)}:${parameterText(value, key)}`);
  if (request.id !== '') members.push(`"id":${JSON.stringify(request.id)}`);
  const binaryOutput: InferParameters = request.outputs.length === 0 && !request.json ? { binary_data_output: true } : {};
  const parameters = { ...request.parameters, ...binaryOutput };
  if (Object.keys(parameters).length > 0) members.push(`"parameters":${parametersText(parameters)}`);
  const tail: Uint8Array[] = [];
  members.push(`"inputs":[${request.inputs.map((input) => inputText(input, request.json, tail)).join(',')}]`);
  if (request.outputs.length > 0) members.push(`"outputs":[${request.outputs.map(outputText).join(',')}]`);
  return { header: utf8.encode(`{${members.join(',')}}`), tail };
}

function inputText(input: InputTensor, json: boolean, tail: Uint8Array[]): string {
  const { name, datatype, shape, data } = input;
  const head = `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":[${shape.join(',')}]`;
  if (!(data instanceof Uint8Array)) return `${head},"parameters":${parametersText(rangeParameters(data))}}`;
  // Of a tensor without elements Triton does not read the data, and a body that is nothing but JSON needs no header.
  if (json || elementCount(shape) === 0) return `${head},"data":[${dataText(name, datatype, data)}]}`;
  if (data.length > 0) tail.push(data);
  return `${head},"parameters":{"binary_data_size":${data.length}}}`;
}

function outputText(output: RequestedOutput): string {
  const parameters: Record<string, InferParameter> = {};
  if (output.classification > 0) parameters['classification'] = output.classification;
  if (output.sharedMemory !== null) Object.assign(parameters, rangeParameters(output.sharedMemory));
  else if (output.binaryData) parameters['binary_data'] = true;
  const tail = Object.keys(parameters).length > 0 ? `,"parameters":${parametersText(parameters)}` : '';
  return `{"name":${JSON.stringify(output.name)}${tail}}`;
}

function rangeParameters({ region, byteSize, offset }: SharedMemoryRange): Record<string, InferParameter> {
  const required = { shared_memory_region: region, shared_memory_byte_size: byteSize };
  return offset === 0 ? required : { ...required, shared_memory_offset: offset };
}

function parametersText(parameters: InferParameters): string {
  return `{${Object.entries(parameters)
    .map(([key, value]) => `${JSON.stringify(key)}:${parameterText(value, `parameters.${key}`)}`)
    .join(',')}}`;
}

function parameterText(value: InferParameter, what: string): string {
  switch (typeof value) {
    case 'bigint':
      return String(value);
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    default:
      if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value);
      throw invalidArgument(`${what}: expected a string, a boolean, a bigint or a finite number, got ${String(value)}`);
  }
}

/** The elements, without brackets. */
function dataText(name: string, datatype: Datatype, bytes: Uint8Array): string {
  switch (datatype) {
    case 'BYTES':
      return readStrings(bytes, `inputs.${name}`, 'JSON has no place for them, leave out { json: true }')
        .map((text) => JSON.stringify(text))
        .join(',');
    case 'BOOL':
      return Array.from(bytes, (value) => value !== 0).join(',');
    case 'FP16':
      return Array.from(viewTensorData('FP16', bytes), (bits) => floatText(fromFp16(bits))).join(',');
    case 'BF16':
      return Array.from(viewTensorData('BF16', bytes), (bits) => floatText(fromBf16(bits))).join(',');
    case 'FP32':
    case 'FP64':
      return Array.from(viewTensorData(datatype, bytes), floatText).join(',');
    default:
      return viewTensorData(datatype, bytes).join(',');
  }
}

/** As JavaScript writes it, which is a JSON number or one of the words that Triton takes; only -0 is written as 0 there. */
function floatText(value: number): string {
  return Object.is(value, -0) ? '-0.0' : String(value);
}
