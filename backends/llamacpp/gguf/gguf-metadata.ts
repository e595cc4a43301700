import { invalidArgument } from '../../../proto/inference-error.ts';
import type { GgufCursor } from './gguf-cursor.ts';

/** Bytes of a key, as the format's specification has it. */
const MAX_KEY_BYTES = 65_535;
/** Keys that are told apart; files have some dozens. llama.cpp compares each with all before it. */
const MAX_ENTRIES = 16_384;
/** Bytes of a text that is kept, such as a chat template. */
const MAX_TEXT_BYTES = 1024 * 1024;
/** Bytes of all texts that are kept. */
const MAX_TEXTS_BYTES = 8 * 1024 * 1024;
/** Numbers of an array that are kept: one a layer. */
const MAX_KEPT_NUMBERS = 1024;
/** Four times the largest vocabularies there are. */
const MAX_TOKENS = 1_048_576;
/** Bytes of a token. */
const MAX_TOKEN_BYTES = 65_536;
const TOKENS = 'tokenizer.ggml.tokens';
/** The least that an entry takes: an empty key's length, a type, a byte. */
const MIN_ENTRY_BYTES = 13;

const STRING = 8;
const ARRAY = 9;

interface ScalarFormat {
  readonly name: string;
  readonly bytes: number;
  read(cursor: GgufCursor): number | boolean;
}

const SCALARS: ReadonlyMap<number, ScalarFormat> = new Map([
  [0, { name: 'UINT8', bytes: 1, read: (cursor: GgufCursor) => cursor.uint8() }],
  [1, { name: 'INT8', bytes: 1, read: (cursor: GgufCursor) => cursor.int8() }],
  [2, { name: 'UINT16', bytes: 2, read: (cursor: GgufCursor) => cursor.uint16() }],
  [3, { name: 'INT16', bytes: 2, read: (cursor: GgufCursor) => cursor.int16() }],
  [4, { name: 'UINT32', bytes: 4, read: (cursor: GgufCursor) => cursor.uint32() }],
  [5, { name: 'INT32', bytes: 4, read: (cursor: GgufCursor) => cursor.int32() }],
  [6, { name: 'FLOAT32', bytes: 4, read: (cursor: GgufCursor) => cursor.float32() }],
  [7, { name: 'BOOL', bytes: 1, read: (cursor: GgufCursor) => cursor.uint8() !== 0 }],
  [10, { name: 'UINT64', bytes: 8, read: (cursor: GgufCursor) => cursor.uint64() }],
  [11, { name: 'INT64', bytes: 8, read: (cursor: GgufCursor) => cursor.int64() }],
  [12, { name: 'FLOAT64', bytes: 8, read: (cursor: GgufCursor) => cursor.float64() }],
]);

export interface GgufArray {
  readonly length: number;
  /** Of its elements. */
  readonly type: string;
  /** Null: texts, or too many to keep. */
  readonly numbers: readonly number[] | null;
}

/** Numbers, booleans, and the texts that the caller wants; arrays as their lengths. */
export type GgufMetadata = ReadonlyMap<string, number | boolean | string | GgufArray>;

/** Reads the `count` entries behind the header's counts. `wantsText`: keys whose text is kept; of others it is ''. */
export async function readMetadata(cursor: GgufCursor, count: number, wantsText: (key: string) => boolean): Promise<GgufMetadata> {
  if (count > MAX_ENTRIES) throw invalidArgument(`metadata: expected at most ${MAX_ENTRIES} entries, got ${count}`);
  cursor.checkLeft(count * MIN_ENTRY_BYTES, `metadata of ${count} entries`);
  const found = new Map<string, number | boolean | string | GgufArray>();
  const keys = new Set<string>();
  let textBytes = 0;
  for (let i = 0; i < count; i++) {
    const what = `metadata entry ${i}`;
    const key = await readName(cursor, `the key of ${what}`, MAX_KEY_BYTES);
    if (key === '') throw invalidArgument(`${what}: expected a key, got an empty one`);
    const field = `metadata '${shownKey(key)}'`;
    if (keys.has(key)) throw invalidArgument(`${field}: expected each key once, got it again as entry ${i}`);
    keys.add(key);
    await cursor.fill(4, field);
    const type = cursor.uint32();
    if (type === ARRAY) {
      found.set(key, await readArray(cursor, field, key === TOKENS));
    } else if (type === STRING) {
      await cursor.fill(8, field);
      const length = cursor.uint64();
      cursor.checkLeft(length, field);
      if (!wantsText(key)) {
        cursor.skip(length, field);
        found.set(key, '');
        continue;
      }
      textBytes += length;
      if (length > MAX_TEXT_BYTES) throw invalidArgument(`${field}: expected a text of at most ${MAX_TEXT_BYTES} bytes, got ${length}`);
      if (textBytes > MAX_TEXTS_BYTES)
        throw invalidArgument(`${field}: expected at most ${MAX_TEXTS_BYTES} bytes of texts up to here, got ${textBytes}`);
      await cursor.fill(length, field);
      found.set(key, cursor.text(length));
    } else {
      const format = scalarFormat(type, field);
      await cursor.fill(format.bytes, field);
      found.set(key, format.read(cursor));
    }
  }
  return found;
}

async function readArray(cursor: GgufCursor, field: string, areTokens: boolean): Promise<GgufArray> {
  await cursor.fill(12, field);
  const type = cursor.uint32();
  const length = cursor.uint64();
  if (type === ARRAY) throw invalidArgument(`${field}: expected an array of numbers, booleans or texts, got an array of arrays`);
  if (type === STRING) {
    cursor.checkLeft(length * 8, `${field}, an array of ${length} texts`);
    if (areTokens) await checkTokens(cursor, field, length);
    else
      for (let i = 0; i < length; i++) {
        if (!cursor.has(8)) await cursor.fill(8, field);
        cursor.skip(cursor.uint64(), field);
      }
    return { length, type: 'STRING', numbers: null };
  }
  const format = scalarFormat(type, field);
  cursor.checkLeft(length * format.bytes, `${field}, an array of ${length} values`);
  if (length > MAX_KEPT_NUMBERS) {
    cursor.skip(length * format.bytes, field);
    return { length, type: format.name, numbers: null };
  }
  await cursor.fill(length * format.bytes, field);
  const numbers: number[] = [];
  for (let i = 0; i < length; i++) numbers.push(Number(format.read(cursor)));
  return { length, type: format.name, numbers };
}

/** llama.cpp ends the process where a token stands twice. */
async function checkTokens(cursor: GgufCursor, field: string, count: number): Promise<void> {
  if (count < 1 || count > MAX_TOKENS) throw invalidArgument(`${field}: expected 1 to ${MAX_TOKENS} tokens, got ${count}`);
  const seen = new Set<string>();
  for (let id = 0; id < count; id++) {
    if (!cursor.has(8)) await cursor.fill(8, field);
    const length = cursor.uint64();
    if (length > MAX_TOKEN_BYTES)
      throw invalidArgument(`${field}: expected tokens of at most ${MAX_TOKEN_BYTES} bytes, got ${length} for token ${id}`);
    if (!cursor.has(length)) await cursor.fill(length, field);
    // Of those without a text, it makes different ones.
    if (length === 0) continue;
    const token = cursor.latin1(length);
    if (seen.has(token)) throw invalidArgument(`${field}: expected each token once, got token ${id} again: '${shownKey(token)}'`);
    seen.add(token);
  }
}

function scalarFormat(type: number, field: string): ScalarFormat {
  const format = SCALARS.get(type);
  if (format === undefined) throw invalidArgument(`${field}: expected a type from 0 to 12, got ${type}`);
  return format;
}

/** A length and so many bytes of text. */
export async function readName(cursor: GgufCursor, what: string, maxBytes: number): Promise<string> {
  await cursor.fill(8, what);
  const length = cursor.uint64();
  if (length > maxBytes) throw invalidArgument(`${what}: expected at most ${maxBytes} bytes, got ${length}`);
  await cursor.fill(length, what);
  return cursor.text(length);
}

/** For messages: what a file calls something may be long, or hold anything. */
export function shownKey(key: string): string {
  const plain = key.replace(/[^\x20-\x7e]/g, '?');
  return plain.length > 64 ? `${plain.slice(0, 61)}...` : plain;
}
