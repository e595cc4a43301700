/** @hotpath names and values of the few headers that matter, in the bytes of an answer's head (measured by response-parser.bench.ts) */

const SPACE = 32;
const TAB = 9;
const COLON = 58;
const COMMA = 44;
const SEMICOLON = 59;
const ZERO = 48;
/** Digits of the largest number that is read exactly, less one. */
const MAX_DIGITS = 15;

export function isSpace(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

/** Whether the line is `name:`, in whatever case; `name` in small letters. */
export function isHeader(bytes: Buffer, from: number, to: number, name: Buffer): boolean {
  const { length } = name;
  if (to - from <= length || bytes[from + length] !== COLON) return false;
  // What is no letter has the bit already, but for bytes that no header name has.
  for (let i = 0; i < length; i++) if ((bytes[from + i]! | 0x20) !== name[i]) return false;
  return true;
}

/** A whole number with spaces around it; -1: it is none. */
export function readDigits(bytes: Buffer, from: number, to: number): number {
  while (from < to && isSpace(bytes[from]!)) from++;
  while (to > from && isSpace(bytes[to - 1]!)) to--;
  if (from === to || to - from > MAX_DIGITS) return -1;
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = bytes[at]! - ZERO;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** Whether `token`, in small letters, is one of a list with commas. */
export function hasToken(bytes: Buffer, from: number, to: number, token: string): boolean {
  let at = from;
  while (at < to) {
    while (at < to && (isSpace(bytes[at]!) || bytes[at] === COMMA)) at++;
    let matched = 0;
    while (at + matched < to && matched < token.length && (bytes[at + matched]! | 0x20) === token.charCodeAt(matched)) matched++;
    if (matched === token.length && (at + matched === to || isEndOfToken(bytes[at + matched]!))) return true;
    while (at < to && bytes[at] !== COMMA) at++;
  }
  return false;
}

function isEndOfToken(byte: number): boolean {
  return byte === COMMA || byte === SEMICOLON || isSpace(byte);
}
