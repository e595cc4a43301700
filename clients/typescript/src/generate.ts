import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { CallOptions } from './call-scope.ts';
import type { ExactJson } from './parse-exact-json.ts';
import type { InferParameters } from './transport.ts';

/** A scalar, or an array whose leaves are the tensor's elements in order. Text is for BYTES. */
export type GenerateValue = string | number | bigint | boolean | readonly GenerateValue[];

/** `client.generate`, `client.generateStream`: the generate extension, inputs as plain values. */
export interface GenerateCall extends CallOptions {
  readonly model: string;
  /** Left out: the version that the server's policy says. */
  readonly version?: string | number;
  readonly id?: string;
  /** By name. */
  readonly inputs: Readonly<Record<string, GenerateValue>>;
  /** For the model: `max_tokens`, `temperature` and the like. */
  readonly parameters?: InferParameters;
}

/** `model_name`, `model_version`, `id` where the request had one, and each output by its name: one element as it is, others as an array. Integers past 2^53 are bigints. */
export type GenerateResponse = Readonly<Record<string, ExactJson>>;

/** What goes over the wire. */
export interface GenerateRequest {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly body: string;
}

/** The body of a call. Throws INVALID_ARGUMENT for a value that JSON has no form for. */
export function generateBody({ id = '', inputs, parameters = {} }: GenerateCall): string {
  if (typeof inputs !== 'object' || inputs === null) throw invalidArgument('inputs: expected an object of values by name');
  const members: string[] = id === '' ? [] : [`"id":${JSON.stringify(id)}`];
  for (const [name, value] of Object.entries(inputs)) {
    if (name === 'parameters' || (name === 'id' && id !== ''))
      throw invalidArgument(`inputs.${name}: the generate extension keeps this name for itself`);
    members.push(`${JSON.stringify(name)}:${valueJson(value, `inputs.${name}`)}`);
  }
  const entries = Object.entries(parameters).map(([name, value]) => `${JSON.stringify(name)}:${valueJson(value, `parameters.${name}`)}`);
  if (entries.length > 0) members.push(`"parameters":{${entries.join(',')}}`);
  return `{${members.join(',')}}`;
}

function valueJson(value: unknown, where: string): string {
  if (typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return `[${value.map((one, index) => valueJson(one, `${where}[${index}]`)).join(',')}]`;
  if (typeof value === 'number') return Number.isFinite(value) ? JSON.stringify(value) : `"${value}"`;
  if (typeof value === 'string' || typeof value === 'boolean') return JSON.stringify(value);
  throw invalidArgument(
    `${where}: expected a string, a number, a boolean, or an array of them, got ${value === null ? 'null' : typeof value}`,
  );
}

export function noGenerate(transport: string): InferenceError {
  return new InferenceError(
    'UNIMPLEMENTED',
    `the generate extension is served over HTTP, not over ${transport}: connect to http:// or https://, or use infer and stream`,
  );
}
