import { encodeValues } from '../../clients/typescript/src/encode-values.ts';
import type { InferParameters, InputTensor } from '../../clients/typescript/src/transport.ts';
import { DATATYPES, type Datatype, elementCount, findDatatype } from '../../proto/datatype.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { TargetModel } from '../target/target.ts';
import { fits, unknownTensor } from './input-shapes.ts';
import { isObject, type JsonObject, kindOf } from './read-json.ts';

/** A request as it was read: its shapes have the batch in them. */
export interface ReadRequest {
  readonly inputs: readonly (InputTensor & { readonly data: Uint8Array })[];
  readonly parameters: InferParameters;
  /** Empty: all. */
  readonly outputs: readonly string[];
}

/**
 * A V2 inference request in JSON, as `--record-requests` of Nereid writes them and as clients send them. The model's metadata, where the server has them, must fit. `what` names it in
 * errors, which are INVALID_ARGUMENT. An `id` is not taken over: requests are sent many times.
 *
 * Source: Open Inference Protocol, `$inference_request`.
 */
export function readRequest(json: JsonObject, model: TargetModel, what: string): ReadRequest {
  const list = json['inputs'];
  if (!Array.isArray(list) || list.length === 0) throw invalidArgument(`${what}.inputs: expected a list of inputs, got ${kindOf(list)}`);
  const inputs = list.map((input: unknown, index) => readInput(input, model, `${what}.inputs[${index}]`));
  const missing = model.inputs.find((input) => !input.isOptional && !inputs.some(({ name }) => name === input.name));
  if (missing !== undefined) throw invalidArgument(`${what}.inputs: expected '${missing.name}', which is not optional, got none`);
  const outputs = (json['outputs'] ?? []) as unknown;
  if (!Array.isArray(outputs) || !outputs.every((output) => isObject(output) && typeof output['name'] === 'string')) {
    throw invalidArgument(`${what}.outputs: expected a list of objects with a name, got ${kindOf(outputs)}`);
  }
  return { inputs, parameters: readParameters(json['parameters'], what), outputs: outputs.map((output: { name: string }) => output.name) };
}

function readInput(json: unknown, model: TargetModel, what: string): InputTensor & { readonly data: Uint8Array } {
  if (!isObject(json)) throw invalidArgument(`${what}: expected an object, got ${kindOf(json)}`);
  const { name, shape, data } = json;
  if (typeof name !== 'string') throw invalidArgument(`${what}.name: expected a string, got ${kindOf(name)}`);
  const datatype = readDatatype(json['datatype'], `${what}.datatype`);
  if (!Array.isArray(shape) || elementCount(shape as number[]) < 0) {
    throw invalidArgument(`${what}.shape: expected a list of whole numbers from 0 on, got ${kindOf(shape)}`);
  }
  checkAgainst(model, name, datatype, shape as number[], what);
  if (!Array.isArray(data)) throw invalidArgument(`${what}.data: expected a list of values, got ${kindOf(data)}`);
  const encoded = encodeValues(datatype, data, `${what}.data`);
  const expected = elementCount(shape as number[]);
  if (encoded.count !== expected) {
    throw invalidArgument(`${what}.data: expected ${expected} elements for shape [${shape.join(', ')}], got ${encoded.count}`);
  }
  return { name, datatype, shape: shape as number[], data: encoded.data };
}

function readDatatype(json: unknown, what: string): Datatype {
  const info = findDatatype(String(json));
  if (info !== undefined) return info.name;
  const names = Object.keys(DATATYPES);
  throw invalidArgument(`${what}: expected one of ${names.join(', ')}, got ${kindOf(json)}${didYouMean(String(json), names)}`);
}

/** A server that does not describe its inputs takes what it takes. */
function checkAgainst(model: TargetModel, name: string, datatype: Datatype, shape: readonly number[], what: string): void {
  if (model.inputs.length === 0) return;
  const input = model.inputs.find((one) => one.name === name);
  if (input === undefined) throw unknownTensor(`${what}.name`, name, model.inputs);
  if (input.datatype !== datatype)
    throw invalidArgument(`${what}.datatype: expected ${input.datatype} for input '${name}', got ${datatype}`);
  if (!fits(input.shape, shape)) {
    throw invalidArgument(`${what}.shape: expected [${input.shape.join(', ')}] (-1: any) for input '${name}', got [${shape.join(', ')}]`);
  }
}

function readParameters(json: unknown, what: string): InferParameters {
  if (json === undefined) return {};
  if (!isObject(json)) throw invalidArgument(`${what}.parameters: expected an object, got ${kindOf(json)}`);
  for (const [name, value] of Object.entries(json)) {
    if (!['string', 'number', 'bigint', 'boolean'].includes(typeof value)) {
      throw invalidArgument(`${what}.parameters.${name}: expected a string, a number or a boolean, got ${kindOf(value)}`);
    }
  }
  return json as InferParameters;
}
