/** @hotpath the parameters of an infer request, where it has any (measured by request-json.bench.ts) */

import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { RequestParameter } from '../../inference/inference-request.ts';
import { FLAG, MAX_NAME_BYTES, readText, readUnsigned, UNSIGNED, wrongField, wrongText } from './field-reader.ts';
import { type JsonReader, OPEN_BRACE, QUOTE } from './json-reader.ts';

const MAX_PARAMETERS = 1_024;
const NO_OTHERS: Readonly<Record<string, RequestParameter>> = Object.freeze(Object.create(null) as Record<string, RequestParameter>);

/**
 * The `parameters` object of an infer request: the protocol's reserved words by themselves, all others as they are, for the model. Sequence words that ask for a
 * sequence are UNIMPLEMENTED, `triton_*` is INVALID_ARGUMENT. Source: parameters extension; Triton's binary data, sequence and schedule policy extensions.
 */
export class RequestParameters {
  priority = 0;
  timeoutUs = 0;
  binaryDataOutput = false;
  /** Without a prototype: a key is the caller's word, also when it is "__proto__". Made when there is one; few requests have any. */
  others: Readonly<Record<string, RequestParameter>> = NO_OTHERS;

  constructor(reader: JsonReader | null) {
    if (reader === null) return;
    if (!reader.enter(OPEN_BRACE)) throw wrongField(reader, 'parameters', 'parameters', 'an object');
    let count = 0;
    let seen = 0;
    for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
      if (reader.stringIs('binary_data_output')) {
        seen = reader.mark(seen, 1);
        this.binaryDataOutput = requireFlag(reader, 'binary_data_output');
      } else if (reader.stringIs('priority')) {
        seen = reader.mark(seen, 2);
        this.priority = requireUnsigned(reader, 'priority');
      } else if (reader.stringIs('timeout')) {
        seen = reader.mark(seen, 4);
        this.timeoutUs = requireUnsigned(reader, 'timeout');
      } else if (reader.stringIs('sequence_id')) {
        seen = reader.mark(seen, 8);
        refuseSequence('sequence_id', asksForSequence(reader));
      } else if (reader.stringIs('sequence_start')) {
        seen = reader.mark(seen, 16);
        refuseSequence('sequence_start', requireFlag(reader, 'sequence_start'));
      } else if (reader.stringIs('sequence_end')) {
        seen = reader.mark(seen, 32);
        refuseSequence('sequence_end', requireFlag(reader, 'sequence_end'));
      } else {
        if (++count > MAX_PARAMETERS) throw invalidArgument(`parameters: expected at most ${MAX_PARAMETERS} entries, got more`);
        if (count === 1) this.others = Object.create(null) as Record<string, RequestParameter>;
        readOther(reader, this.others);
      }
    }
  }
}

/** What a request without parameters has. */
export const NO_REQUEST_PARAMETERS: Readonly<RequestParameters> = new RequestParameters(null);

function readOther(reader: JsonReader, parameters: Record<string, RequestParameter>): void {
  const keyBytes = reader.stringEnd - reader.stringStart;
  if (keyBytes > MAX_NAME_BYTES) throw invalidArgument(`parameters: expected keys of at most ${MAX_NAME_BYTES} bytes, got ${keyBytes}`);
  const key = reader.stringText();
  if (key in parameters) throw reader.repeatedKey();
  if (key.startsWith('triton_')) {
    throw invalidArgument(`parameter keys starting with 'triton_' are reserved for Triton usage: parameters.${key}: use another name`);
  }
  const c = reader.peek();
  let value: RequestParameter | undefined;
  if (c === QUOTE) {
    reader.scanString();
    value = reader.stringText();
  } else {
    value = c === 0x74 || c === 0x66 ? reader.readBoolean() : reader.readNumber();
  }
  if (value === undefined) {
    throw wrongField(reader, 'parameters', `parameters.${key}`, 'a string, a boolean, or a number that a double holds exactly');
  }
  parameters[key] = value;
}

function requireUnsigned(reader: JsonReader, name: string): number {
  const value = readUnsigned(reader);
  if (value === undefined) throw wrongField(reader, name, `parameters.${name}`, UNSIGNED);
  return value;
}

function requireFlag(reader: JsonReader, name: string): boolean {
  const value = reader.readBoolean();
  if (value === undefined) throw wrongField(reader, name, `parameters.${name}`, FLAG);
  return value;
}

/** 0 and "" mean "no sequence". */
function asksForSequence(reader: JsonReader): boolean {
  if (reader.peek() !== QUOTE) return requireUnsigned(reader, 'sequence_id') !== 0;
  const text = readText(reader);
  if (text === undefined) throw wrongText(reader, 'sequence_id', 'parameters.sequence_id');
  return text !== '';
}

function refuseSequence(name: string, asks: boolean): void {
  if (!asks) return;
  throw new InferenceError(
    'UNIMPLEMENTED',
    `parameters.${name}: this server does not batch sequences yet: send requests that stand alone, without sequence_id, sequence_start and sequence_end`,
  );
}
