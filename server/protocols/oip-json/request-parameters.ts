/** @hotpath the parameters of an infer request, where it has any (measured by request-json.bench.ts) */

import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { RequestParameter, RequestSequence } from '../../inference/inference-request.ts';
import { FLAG, MAX_NAME_BYTES, readUnsigned, UNSIGNED, wrongField } from './field-reader.ts';
import { type JsonReader, OPEN_BRACE, QUOTE } from './json-reader.ts';

const MAX_PARAMETERS = 1_024;
/** Of a sequence's id that is text, bytes of UTF-8. */
export const MAX_SEQUENCE_ID_BYTES = 128;
const NO_OTHERS: Readonly<Record<string, RequestParameter>> = Object.freeze(Object.create(null) as Record<string, RequestParameter>);

/**
 * The `parameters` object of an infer request: the protocol's reserved words by themselves, all others as they are, for the model; `triton_*` is INVALID_ARGUMENT. A `sequence_id`
 * of 0 or "" is none, and `sequence_start` and `sequence_end` say nothing without one. Source: parameters extension; Triton's binary data, sequence and schedule policy extensions.
 */
export class RequestParameters {
  priority = 0;
  timeoutUs = 0;
  binaryDataOutput = false;
  sequence: RequestSequence | null = null;
  /** Without a prototype: a key is the caller's word, also when it is "__proto__". Made when there is one; few requests have any. */
  others: Readonly<Record<string, RequestParameter>> = NO_OTHERS;

  constructor(reader: JsonReader | null) {
    if (reader === null) return;
    if (!reader.enter(OPEN_BRACE)) throw wrongField(reader, 'parameters', 'parameters', 'an object');
    let count = 0;
    let seen = 0;
    let sequenceId: bigint | string = '';
    let isStart = false;
    let isEnd = false;
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
        sequenceId = readSequenceId(reader);
      } else if (reader.stringIs('sequence_start')) {
        seen = reader.mark(seen, 16);
        isStart = requireFlag(reader, 'sequence_start');
      } else if (reader.stringIs('sequence_end')) {
        seen = reader.mark(seen, 32);
        isEnd = requireFlag(reader, 'sequence_end');
      } else {
        if (++count > MAX_PARAMETERS) throw invalidArgument(`parameters: expected at most ${MAX_PARAMETERS} entries, got more`);
        if (count === 1) this.others = Object.create(null) as Record<string, RequestParameter>;
        readOther(reader, this.others);
      }
    }
    if (sequenceId !== '' && sequenceId !== 0n) this.sequence = { id: sequenceId, isStart, isEnd };
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

function readSequenceId(reader: JsonReader): bigint | string {
  const isText = reader.peek() === QUOTE;
  if (!isText) {
    const id = reader.readUint64();
    if (id !== undefined) return id;
    throw wrongField(
      reader,
      'sequence_id',
      'parameters.sequence_id',
      `an integer from 0 to 2^64 - 1, or a string of at most ${MAX_SEQUENCE_ID_BYTES} bytes`,
    );
  }
  reader.scanString();
  const text = reader.stringText();
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_SEQUENCE_ID_BYTES) throw sequenceIdTooLong(bytes);
  return text;
}

export function sequenceIdTooLong(bytes: number): InferenceError {
  return invalidArgument(
    `Unable to parse 'sequence_id': parameters.sequence_id: expected at most ${MAX_SEQUENCE_ID_BYTES} bytes, got ${bytes}`,
  );
}
