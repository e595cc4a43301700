/** @hotpath reads single fields of a request's JSON; what a refusal says is put together only when one is due (measured by request-json.bench.ts) */

import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { describeJson, type JsonReader, QUOTE } from './json-reader.ts';

/** Bytes of a name, an id, a parameter's key: all come back in messages and logs. */
export const MAX_NAME_BYTES = 1_024;

/** The value at the cursor is of another kind than `member`, at the path `where`, takes. */
export function wrongField(reader: JsonReader, member: string, where: string, expected: string): InferenceError {
  return invalidArgument(`Unable to parse '${member}': ${where}: expected ${expected}, got ${describeJson(reader.bytes, reader.at)}`);
}

/** Takes a short string; undefined (and the cursor stays) for anything else, see {@link wrongText}. */
export function readText(reader: JsonReader): string | undefined {
  if (reader.peek() !== QUOTE) return undefined;
  const start = reader.at;
  reader.scanString();
  if (reader.stringEnd - reader.stringStart > MAX_NAME_BYTES) {
    reader.at = start;
    return undefined;
  }
  return reader.stringText();
}

export function wrongText(reader: JsonReader, member: string, where: string): InferenceError {
  if (reader.peek() !== QUOTE) return wrongField(reader, member, where, 'a string');
  return invalidArgument(
    `Unable to parse '${member}': ${where}: expected at most ${MAX_NAME_BYTES} bytes, got ${reader.stringEnd - reader.stringStart}`,
  );
}

/** Takes an integer from 0 to 2^53 - 1; undefined (and the cursor stays) for anything else. */
export function readUnsigned(reader: JsonReader): number | undefined {
  reader.peek();
  const start = reader.at;
  const value = reader.readInteger();
  if (value === undefined || value >= 0) return value;
  reader.at = start;
  return undefined;
}

export const UNSIGNED = 'an integer >= 0';
export const FLAG = 'true or false';
