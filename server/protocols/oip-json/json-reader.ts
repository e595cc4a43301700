/** @hotpath walks the JSON of an infer request once, byte by byte; builds strings only for what is not known beforehand (measured by request-json.bench.ts) */

import { isUtf8 } from 'node:buffer';
import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';

export const MAX_JSON_DEPTH = 100;

export const QUOTE = 0x22;
export const COMMA = 0x2c;
export const MINUS = 0x2d;
export const COLON = 0x3a;
export const OPEN_BRACKET = 0x5b;
export const BACKSLASH = 0x5c;
export const CLOSE_BRACKET = 0x5d;
export const OPEN_BRACE = 0x7b;
export const CLOSE_BRACE = 0x7d;

const MAX_QUOTED_IN_MESSAGE = 40;

/** Where the first byte that is not JSON whitespace lies, from `at` on; `bytes.length` when there is none. */
export function skipWhitespace(bytes: Uint8Array, at: number): number {
  let c = bytes[at]!;
  while (c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09) c = bytes[++at]!;
  return at;
}

/** A refusal of text that is not JSON; Triton's clients match its first words. */
export function malformedJson(reason: string, offset: number): InferenceError {
  return invalidArgument(`failed to parse the request JSON buffer: ${reason} at ${offset}`);
}

export function nestedTooDeep(offset: number): InferenceError {
  return malformedJson(`JSON nesting depth exceeds maximum allowed limit (${MAX_JSON_DEPTH})`, offset);
}

/** What stands at `at`, in words for an error message: the literal itself when it is short, else its beginning. */
export function describeJson(bytes: Uint8Array, at: number): string {
  const c = bytes[at];
  if (c === undefined) return 'the end of the JSON';
  if (c === OPEN_BRACE) return 'an object';
  if (c === OPEN_BRACKET) return 'an array';
  let end = at + 1;
  if (c === QUOTE) {
    while (end < bytes.length && bytes[end] !== QUOTE) end += bytes[end] === BACKSLASH ? 2 : 1;
    end++;
  } else {
    while (end < bytes.length && isLiteralByte(bytes[end]!)) end++;
  }
  const shown = Buffer.from(bytes.buffer, bytes.byteOffset + at, Math.min(end, bytes.length, at + MAX_QUOTED_IN_MESSAGE) - at).toString(
    'utf8',
  );
  return end - at > MAX_QUOTED_IN_MESSAGE ? `${shown}...` : shown;
}

function isLiteralByte(c: number): boolean {
  return c > 0x20 && c !== COMMA && c !== CLOSE_BRACKET && c !== CLOSE_BRACE && c !== COLON && c !== QUOTE;
}

/** Two-character escapes: the byte they stand for, 0 for what is no escape. */
const SIMPLE_ESCAPE = new Uint8Array(256);
for (const [letter, byte] of [
  ['"', 0x22],
  ['\\', 0x5c],
  ['/', 0x2f],
  ['b', 0x08],
  ['f', 0x0c],
  ['n', 0x0a],
  ['r', 0x0d],
  ['t', 0x09],
] as const) {
  SIMPLE_ESCAPE[letter.charCodeAt(0)] = byte;
}

function hexFour(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = 0; i < 4; i++) {
    const c = bytes[at + i]!;
    const letter = c | 0x20;
    if (c >= 0x30 && c <= 0x39) value = value * 16 + c - 0x30;
    else if (letter >= 0x61 && letter <= 0x66) value = value * 16 + letter - 0x57;
    else return -1;
  }
  return value;
}

/** Behind the escape, or the pair of them, whose backslash stands at `at`. */
function escapeEnd(bytes: Uint8Array, at: number): number {
  const letter = bytes[at + 1];
  if (letter === undefined || SIMPLE_ESCAPE[letter] !== 0) return at + 2;
  const code = letter === 0x75 ? hexFour(bytes, at + 2) : -1;
  if (code < 0) throw malformedJson('invalid escape in a string', at);
  if (code < 0xd800 || code > 0xdfff) return at + 6;
  const low = code < 0xdc00 && bytes[at + 6] === BACKSLASH && bytes[at + 7] === 0x75 ? hexFour(bytes, at + 8) : -1;
  if (low < 0xdc00 || low > 0xdfff) throw malformedJson('lone surrogate in a string', at);
  return at + 12;
}

/**
 * Writes the string's bytes between its quotes, escapes undone, as UTF-8 into `out` from `to` on; returns the offset behind them. What it writes is
 * never longer than what it reads. Refuses unknown escapes and lone surrogates; raw UTF-8 is taken as it is (checked elsewhere).
 */
export function unescapeJson(bytes: Uint8Array, start: number, end: number, out: Uint8Array, to: number): number {
  for (let at = start; at < end; ) {
    const c = bytes[at++]!;
    if (c !== BACKSLASH) {
      out[to++] = c;
      continue;
    }
    const letter = bytes[at++]!;
    const simple = SIMPLE_ESCAPE[letter]!;
    if (simple !== 0) {
      out[to++] = simple;
      continue;
    }
    let code = letter === 0x75 && at + 4 <= end ? hexFour(bytes, at) : -1;
    if (code < 0) throw malformedJson('invalid escape in a string', at - 2);
    at += 4;
    if (code >= 0xd800 && code <= 0xdfff) {
      const low = code < 0xdc00 && at + 6 <= end && bytes[at] === BACKSLASH && bytes[at + 1] === 0x75 ? hexFour(bytes, at + 2) : -1;
      if (low < 0xdc00 || low > 0xdfff) throw malformedJson('lone surrogate in a string', at - 6);
      code = 0x10000 + (code - 0xd800) * 0x400 + (low - 0xdc00);
      at += 6;
    }
    if (code < 0x80) {
      out[to++] = code;
    } else if (code < 0x800) {
      out[to++] = 0xc0 | (code >> 6);
      out[to++] = 0x80 | (code & 0x3f);
    } else if (code < 0x10000) {
      out[to++] = 0xe0 | (code >> 12);
      out[to++] = 0x80 | ((code >> 6) & 0x3f);
      out[to++] = 0x80 | (code & 0x3f);
    } else {
      out[to++] = 0xf0 | (code >> 18);
      out[to++] = 0x80 | ((code >> 12) & 0x3f);
      out[to++] = 0x80 | ((code >> 6) & 0x3f);
      out[to++] = 0x80 | (code & 0x3f);
    }
  }
  return to;
}

/**
 * A cursor over one JSON text. Strict: RFC 8259, valid UTF-8, no byte order mark, no repeated keys, nesting to {@link MAX_JSON_DEPTH}. All its errors are
 * INVALID_ARGUMENT and say the byte offset.
 */
export class JsonReader {
  readonly bytes: Uint8Array;
  at: number;
  /** The string last scanned, between its quotes. */
  stringStart = 0;
  stringEnd = 0;
  stringHasEscape = false;
  stringIsAscii = true;
  private depth = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.at = 0;
    if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) throw malformedJson('byte order mark', 0);
  }

  /** Moves to the next byte that is not whitespace and returns it; -1 at the end. */
  peek(): number {
    this.at = skipWhitespace(this.bytes, this.at);
    return this.at < this.bytes.length ? this.bytes[this.at]! : -1;
  }

  unexpected(expected: string): InferenceError {
    return malformedJson(`expected ${expected}, got ${describeJson(this.bytes, this.at)}`, this.at);
  }

  /** Takes '{' or '['; false when something else stands here. */
  enter(open: number): boolean {
    if (this.peek() !== open) return false;
    if (++this.depth > MAX_JSON_DEPTH) throw nestedTooDeep(this.at);
    this.at++;
    return true;
  }

  /**
   * In an object: takes the next key (then {@link stringIs} and {@link stringText} tell it) with its colon and returns true; or takes '}' and returns false.
   * `isFirst` is true for the call after {@link enter}.
   */
  nextKey(isFirst: boolean): boolean {
    let c = this.peek();
    if (c === CLOSE_BRACE) {
      this.depth--;
      this.at++;
      return false;
    }
    if (!isFirst) {
      if (c !== COMMA) throw this.unexpected("',' or '}'");
      this.at++;
      c = this.peek();
    }
    if (c !== QUOTE) throw this.unexpected('a key in double quotes');
    this.scanString();
    if (this.peek() !== COLON) throw this.unexpected("':'");
    this.at++;
    return true;
  }

  /** In an array: true when an element follows (its comma taken), false when ']' was taken. */
  nextElement(isFirst: boolean): boolean {
    const c = this.peek();
    if (c === CLOSE_BRACKET) {
      this.depth--;
      this.at++;
      return false;
    }
    if (isFirst) return true;
    if (c !== COMMA) throw this.unexpected("',' or ']'");
    this.at++;
    if (this.peek() === CLOSE_BRACKET) throw this.unexpected('a value');
    return true;
  }

  /** Takes the string whose opening quote stands at the cursor and checks all of it; its escapes only where `checksEscapes`, as {@link stringText} does so. */
  scanString(checksEscapes = false): void {
    const bytes = this.bytes;
    let at = this.at + 1;
    let seen = 0;
    this.stringStart = at;
    this.stringHasEscape = false;
    for (;;) {
      const c = bytes[at];
      if (c === undefined) throw malformedJson('unterminated string', this.at);
      if (c === QUOTE) break;
      if (c < 0x20) throw malformedJson('raw control character in a string', at);
      if (c === BACKSLASH) {
        this.stringHasEscape = true;
        at = checksEscapes ? escapeEnd(bytes, at) : at + 2;
        continue;
      }
      seen |= c;
      at++;
    }
    this.stringEnd = at;
    this.stringIsAscii = seen < 0x80;
    if (seen >= 0x80 && !isUtf8(bytes.subarray(this.stringStart, at))) throw malformedJson('invalid UTF-8 in a string', this.at);
    this.at = at + 1;
  }

  /** Whether the string last scanned is `text`; builds no string where both are plain ASCII. */
  stringIs(text: string): boolean {
    if (this.stringHasEscape || !this.stringIsAscii) return this.stringText() === text;
    const length = text.length;
    const start = this.stringStart;
    if (this.stringEnd - start !== length) return false;
    const bytes = this.bytes;
    for (let i = 0; i < length; i++) if (bytes[start + i] !== text.charCodeAt(i)) return false;
    return true;
  }

  stringText(): string {
    const start = this.stringStart;
    const length = this.stringEnd - start;
    if (this.stringHasEscape) {
      const out = Buffer.allocUnsafe(length);
      return out.toString('utf8', 0, unescapeJson(this.bytes, start, this.stringEnd, out, 0));
    }
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset + start, length).toString(this.stringIsAscii ? 'latin1' : 'utf8');
  }

  /** Takes `true` or `false`; undefined (and the cursor stays) when something else stands here. */
  readBoolean(): boolean | undefined {
    const c = this.peek();
    if (c === 0x74 && this.takeWord('true')) return true;
    if (c === 0x66 && this.takeWord('false')) return false;
    return undefined;
  }

  /**
   * Takes an integer literal that a double counts exactly; undefined (and the cursor stays) for anything else, so that the caller can say what it
   * expected.
   */
  readInteger(): number | undefined {
    this.peek();
    const end = this.numberEnd();
    if (end < 0) return undefined;
    const value = this.literalValue(end);
    if (!Number.isSafeInteger(value) || !this.isPlainInteger(end)) return undefined;
    this.at = end;
    // -0 is 0 here.
    return value + 0;
  }

  /** Takes an integer literal from 0 to 2^64 - 1, exactly; undefined (and the cursor stays) for anything else. */
  readUint64(): bigint | undefined {
    this.peek();
    const { at } = this;
    const end = this.numberEnd();
    // 20 digits are the most that fit.
    if (end < 0 || end - at > 20 || this.bytes[at] === MINUS || !this.isPlainInteger(end)) return undefined;
    const value = BigInt(Buffer.from(this.bytes.buffer, this.bytes.byteOffset + at, end - at).toString('latin1'));
    if (value > 0xffff_ffff_ffff_ffffn) return undefined;
    this.at = end;
    return value;
  }

  /** Takes any number. An integer literal that a double does not hold exactly is refused (undefined), as is one past the range of a double. */
  readNumber(): number | undefined {
    this.peek();
    const end = this.numberEnd();
    if (end < 0) return undefined;
    const value = this.literalValue(end);
    if (!Number.isFinite(value) || (this.isPlainInteger(end) && !Number.isSafeInteger(value))) return undefined;
    this.at = end;
    return value;
  }

  /** Takes any value and checks it; keys that repeat within an object are refused here too. */
  skipValue(): void {
    const c = this.peek();
    if (c === QUOTE) {
      this.scanString(true);
    } else if (c === OPEN_BRACE) {
      this.enter(OPEN_BRACE);
      const keys = new Set<string>();
      for (let isFirst = true; this.nextKey(isFirst); isFirst = false) {
        this.addKey(keys);
        this.skipValue();
      }
    } else if (c === OPEN_BRACKET) {
      this.enter(OPEN_BRACKET);
      for (let isFirst = true; this.nextElement(isFirst); isFirst = false) this.skipValue();
    } else if (!this.takeWord('true') && !this.takeWord('false') && !this.takeWord('null')) {
      const end = this.numberEnd();
      if (end < 0) throw this.unexpected('a JSON value');
      this.at = end;
    }
  }

  /** Notes the key last scanned; refuses it when the object had it before. */
  addKey(keys: Set<string>): void {
    const key = this.stringText();
    if (keys.has(key)) throw this.repeatedKey();
    keys.add(key);
  }

  /** Notes a known key by its bit; refuses it when the object had it before. */
  mark(seen: number, bit: number): number {
    if ((seen & bit) !== 0) throw this.repeatedKey();
    return seen | bit;
  }

  repeatedKey(): InferenceError {
    return malformedJson(`the key ${describeJson(this.bytes, this.stringStart - 1)} is repeated within its object`, this.stringStart - 1);
  }

  /** Refuses whatever follows the document. */
  expectEnd(): void {
    if (this.peek() !== -1) throw malformedJson(`unexpected ${describeJson(this.bytes, this.at)} behind the JSON document`, this.at);
  }

  private takeWord(word: string): boolean {
    const bytes = this.bytes;
    const at = this.at;
    for (let i = 0; i < word.length; i++) if (bytes[at + i] !== word.charCodeAt(i)) return false;
    const next = bytes[at + word.length];
    if (next !== undefined && isLiteralByte(next)) return false;
    this.at = at + word.length;
    return true;
  }

  /** End of the number literal at the cursor, or -1 when there is none of JSON's grammar. */
  private numberEnd(): number {
    const bytes = this.bytes;
    let at = this.at;
    if (bytes[at] === MINUS) at++;
    at = bytes[at] === 0x30 ? at + 1 : skipDigits(bytes, at);
    if (at > 0 && bytes[at] === 0x2e) at = skipDigits(bytes, at + 1);
    if (at > 0 && (bytes[at]! | 0x20) === 0x65) {
      at++;
      at = skipDigits(bytes, bytes[at] === MINUS || bytes[at] === 0x2b ? at + 1 : at);
    }
    if (at < 0) return -1;
    return at < bytes.length && isLiteralByte(bytes[at]!) ? -1 : at;
  }

  private isPlainInteger(end: number): boolean {
    for (let at = this.at; at < end; at++) if (this.bytes[at]! > 0x39 || this.bytes[at] === 0x2e) return false;
    return true;
  }

  private literalValue(end: number): number {
    const bytes = this.bytes;
    let value = 0;
    // Most are shapes and sizes: a few digits.
    if (end - this.at <= 15) {
      let at = this.at;
      for (; at < end; at++) {
        const digit = bytes[at]! - 0x30;
        if (digit < 0 || digit > 9) break;
        value = value * 10 + digit;
      }
      if (at === end) return value;
    }
    return Number(Buffer.from(bytes.buffer, bytes.byteOffset + this.at, end - this.at).toString('latin1'));
  }
}

function skipDigits(bytes: Uint8Array, at: number): number {
  const start = at;
  while (bytes[at]! >= 0x30 && bytes[at]! <= 0x39) at++;
  return at === start ? -1 : at;
}
