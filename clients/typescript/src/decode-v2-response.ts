import { findDatatype } from '../../../proto/datatype.ts';
import { type EncodedValues, encodeValues } from './encode-values.ts';
import { checkOutput, malformedAnswer } from './infer-result.ts';
import { type ExactJson, parseExactJson } from './parse-exact-json.ts';
import { unknownDatatype } from './tensor-data.ts';
import type { InferParameter, InferResponse, OutputTensor } from './transport.ts';

type JsonObject = { readonly [key: string]: ExactJson };

/**
 * An inference response in the JSON form of the protocol: `text`, and the bytes behind it (binary tensor data extension), of which outputs are views. Throws INTERNAL when the
 * answer is none; a request's error (`{"error": ...}`) is not looked for here.
 *
 * Reads what Triton writes too: bare NaN and Infinity, 64-bit integers in full. Source: Open Inference Protocol, `$inference_response`.
 */
export function decodeV2Response(text: string, tail: Uint8Array): InferResponse {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return readResponse(parseExactJson(text), tail, true)!;
  }
  return readResponse(json as ExactJson, tail, false) ?? readResponse(parseExactJson(text), tail, true)!;
}

/** Null: a 64-bit integer was cut, and only an exact reading of the text has it. */
function readResponse(json: ExactJson, tail: Uint8Array, isExact: boolean): InferResponse | null {
  const response = readObject(json, 'response');
  const parameters = readParameters(response['parameters']);
  if (!isExact && Object.values(parameters).some(isCut)) return null;
  const list = response['outputs'];
  if (!Array.isArray(list)) throw malformedAnswer("'outputs' is not an array");
  const outputs: OutputTensor[] = [];
  let at = 0;
  for (const [index, entry] of list.entries()) {
    const where = `outputs[${index}]`;
    const output = readObject(entry as ExactJson, where);
    const name = readText(output['name'], `${where}.name`);
    const info = findDatatype(String(output['datatype']));
    if (info === undefined) throw unknownDatatype(output['datatype'], `outputs.${name}`);
    const datatype = info.name;
    const shape = output['shape'];
    if (!Array.isArray(shape) || !shape.every((dim) => typeof dim === 'number'))
      throw malformedAnswer(`outputs.${name}.shape is not an array of integers`);
    const size =
      output['parameters'] === undefined ? undefined : readObject(output['parameters'], `${where}.parameters`)['binary_data_size'];
    let data: Uint8Array | null = null;
    if (size !== undefined) {
      if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0 || size > tail.length - at) {
        throw malformedAnswer(`outputs.${name}.parameters.binary_data_size is ${String(size)}, and ${tail.length - at} bytes are left`);
      }
      data = tail.subarray(at, at + size);
      at += size;
    } else if (output['data'] !== undefined) {
      const values = output['data'];
      if (!Array.isArray(values)) throw malformedAnswer(`outputs.${name}.data is not an array`);
      const leaves = values.flat(Number.POSITIVE_INFINITY) as ExactJson[];
      if (!isExact && (datatype === 'INT64' || datatype === 'UINT64') && leaves.some(isCut)) return null;
      data = encodeLeaves(() => encodeValues(datatype, isFloat(datatype) ? leaves.map(specialFloat) : leaves, `outputs.${name}`)).data;
    }
    outputs.push(checkOutput({ name, datatype, shape: shape as number[], data }));
  }
  if (at !== tail.length) throw malformedAnswer(`${tail.length - at} bytes are left behind the last output`);
  return {
    modelName: response['model_name'] === undefined ? '' : readText(response['model_name'], 'model_name'),
    modelVersion: response['model_version'] === undefined ? '' : String(response['model_version'] as string),
    id: response['id'] === undefined ? '' : readText(response['id'], 'id'),
    parameters,
    outputs,
  };
}

function isCut(value: ExactJson): boolean {
  return typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value);
}

function isFloat(datatype: string): boolean {
  return datatype === 'FP32' || datatype === 'FP64' || datatype === 'FP16' || datatype === 'BF16';
}

/** Nereid writes them as strings, since JSON has no words for them. */
function specialFloat(value: ExactJson): ExactJson {
  if (typeof value !== 'string') return typeof value === 'bigint' ? Number(value) : value;
  switch (value) {
    case 'NaN':
      return Number.NaN;
    case 'Infinity':
      return Number.POSITIVE_INFINITY;
    case '-Infinity':
      return Number.NEGATIVE_INFINITY;
    default:
      return value;
  }
}

/** What is INVALID_ARGUMENT of a caller's values is a fault of the server's here. */
function encodeLeaves(encode: () => EncodedValues): EncodedValues {
  try {
    return encode();
  } catch (error) {
    throw malformedAnswer((error as Error).message, error);
  }
}

function readParameters(json: ExactJson | undefined): Record<string, InferParameter> {
  const parameters = Object.create(null) as Record<string, InferParameter>;
  if (json === undefined) return parameters;
  for (const [key, value] of Object.entries(readObject(json, 'parameters'))) {
    if (value !== null && typeof value !== 'object') parameters[key] = value;
  }
  return parameters;
}

function readObject(json: ExactJson, what: string): JsonObject {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw malformedAnswer(`${what} is not an object`);
  return json as JsonObject;
}

function readText(json: ExactJson | undefined, what: string): string {
  if (typeof json !== 'string') throw malformedAnswer(`${what} is not a string`);
  return json;
}
