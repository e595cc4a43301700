/**
 * Where values lie in a JSON text, without reading them: a number must reach its decoder with all its digits. Brackets, strings and commas are
 * followed; whether a value is good JSON is its decoder's to say.
 */

import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Where the first byte that is not whitespace lies, from `at` on. */
export function skipSpace(bytes: Uint8Array, at: number): number {
  while (isSpace(bytes[at])) at++;
  return at;
}

/** Offset behind the value that starts at `at`. Throws INVALID_ARGUMENT when the text ends before it does. */
export function valueEnd(bytes: Uint8Array, at: number): number {
  const start = at;
  let depth = 0;
  do {
    const c = bytes[at];
    if (c === undefined) throw broken(start, 'a value that ends');
    if (c === QUOTE) {
      at = stringEnd(bytes, at);
    } else if (c === OPEN_BRACE || c === 0x5b) {
      depth++;
      at++;
    } else if (c === CLOSE_BRACE || c === 0x5d) {
      if (depth === 0) throw broken(at, 'a value');
      depth--;
      at++;
    } else if (depth === 0) {
      if (c === COMMA || c === COLON || isSpace(c)) throw broken(at, 'a value');
      while (isLiteral(bytes[at])) at++;
      return at;
    } else {
      at++;
    }
  } while (depth > 0);
  return at;
}

/** The members of the object that the text is, by key; each a view of `bytes`. Throws INVALID_ARGUMENT when it is none, or repeats a key. */
export function memberSpans(bytes: Uint8Array): Map<string, Uint8Array> {
  const members = new Map<string, Uint8Array>();
  let at = skipSpace(bytes, 0);
  if (bytes[at] !== OPEN_BRACE) throw broken(at, 'an object');
  at = skipSpace(bytes, at + 1);
  while (bytes[at] !== CLOSE_BRACE) {
    if (members.size > 0) {
      if (bytes[at] !== COMMA) throw broken(at, "',' or '}'");
      at = skipSpace(bytes, at + 1);
    }
    if (bytes[at] !== QUOTE) throw broken(at, 'a key in double quotes');
    const keyEnd = stringEnd(bytes, at);
    const key = keyText(bytes.subarray(at, keyEnd), at);
    if (members.has(key)) throw broken(at, `the key '${key}' once`);
    at = skipSpace(bytes, keyEnd);
    if (bytes[at] !== COLON) throw broken(at, "':'");
    at = skipSpace(bytes, at + 1);
    const end = valueEnd(bytes, at);
    members.set(key, bytes.subarray(at, end));
    at = skipSpace(bytes, end);
  }
  const end = skipSpace(bytes, at + 1);
  if (end < bytes.length) throw broken(end, 'nothing behind the object');
  return members;
}

function stringEnd(bytes: Uint8Array, start: number): number {
  for (let at = start + 1; ; at++) {
    const c = bytes[at];
    if (c === undefined) throw broken(start, 'a string that ends');
    if (c === QUOTE) return at + 1;
    if (c === BACKSLASH) at++;
  }
}

function keyText(quoted: Uint8Array, at: number): string {
  try {
    return JSON.parse(Buffer.from(quoted).toString('utf8')) as string;
  } catch {
    throw broken(at, 'a key');
  }
}

function isSpace(c: number | undefined): boolean {
  return c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09;
}

function isLiteral(c: number | undefined): boolean {
  return c !== undefined && !isSpace(c) && c !== COMMA && c !== CLOSE_BRACE && c !== 0x5d && c !== COLON && c !== QUOTE;
}

function broken(at: number, expected: string): InferenceError {
  return invalidArgument(`not JSON as expected: at byte ${at} there should be ${expected}`);
}
