import { invalidArgument } from '../../../proto/inference-error.ts';
import { BACKSLASH, malformedJson, QUOTE } from '../oip-json/json-reader.ts';

/** A string of a JSON text, between its quotes: views of the text, escapes as they are. */
export interface JsonString {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly hasEscape: boolean;
  /** Bytes that it has when escapes count as one; of broken escapes, whatever they come to. */
  readonly letters: number;
}

export interface JsonOutline {
  /** The text with every long string empty, and whitespace outside strings as it was. */
  readonly text: Uint8Array;
  /** The strings that were cut out, by the place of their opening quote in `text`. */
  readonly longStrings: ReadonlyMap<number, JsonString>;
}

/** Texts up to this size are read as they are. */
const MAX_SHORT_TEXT_BYTES = 64 * 1024;
/** Strings of more bytes than this, escapes as they are written, are cut out. */
const MAX_SHORT_STRING_BYTES = 64;
/** Bytes looked at in one turn of the event loop: a millisecond. */
const TURN_BYTES = 512 * 1024;
/** What may be left without the long strings: read in one turn. */
const MAX_OUTLINE_BYTES = 256 * 1024;
const MAX_LONG_STRINGS = 4_000;

/**
 * Cuts the long strings out of a large JSON text, so that what is left can be read at once. It looks at strings alone: whether the rest is JSON is
 * for its reader to say. Control characters in long strings are refused here, their UTF-8 and escapes are not looked at. INVALID_ARGUMENT also when
 * what is left is too large.
 */
export async function outlineJson(bytes: Uint8Array): Promise<JsonOutline> {
  const longStrings = new Map<number, JsonString>();
  if (bytes.length <= MAX_SHORT_TEXT_BYTES) return { text: bytes, longStrings };
  const scanner = new StringScanner(bytes);
  const kept: Uint8Array[] = [];
  let keptBytes = 0;
  let from = 0;
  const keep = (to: number): void => {
    keptBytes += to - from;
    if (keptBytes > MAX_OUTLINE_BYTES || longStrings.size > MAX_LONG_STRINGS) {
      throw invalidArgument(
        `request body: expected at most ${MAX_OUTLINE_BYTES} bytes beside long strings, of which there may be ${MAX_LONG_STRINGS}`,
      );
    }
    kept.push(bytes.subarray(from, to));
  };
  for (let limit = TURN_BYTES; !scanner.isDone; limit += TURN_BYTES) {
    while (scanner.nextString(limit)) {
      if (scanner.end - scanner.start <= MAX_SHORT_STRING_BYTES) continue;
      keep(scanner.start);
      const { start, end, escapeBytes } = scanner;
      longStrings.set(keptBytes - 1, { bytes, start, end, hasEscape: escapeBytes > 0, letters: end - start - escapeBytes });
      from = scanner.end;
    }
    if (!scanner.isDone) await new Promise((resolve) => setImmediate(resolve));
  }
  keep(bytes.length);
  return { text: longStrings.size === 0 ? bytes : Buffer.concat(kept), longStrings };
}

/** Finds one string after the other, and can stop anywhere. */
class StringScanner {
  readonly bytes: Uint8Array;
  /** The string last found, between its quotes. */
  start = 0;
  end = 0;
  /** What its escapes are longer than the one byte that most stand for. */
  escapeBytes = 0;
  isDone = false;
  #at = 0;
  #isInside = false;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** False: none ends before `limit`, or there is none any more, which `isDone` tells. */
  nextString(limit: number): boolean {
    const { bytes } = this;
    const stop = Math.min(limit, bytes.length);
    if (!this.#isInside) {
      while (this.#at < stop && bytes[this.#at] !== QUOTE) this.#at++;
      if (this.#at >= stop) return this.#stopped();
      this.start = ++this.#at;
      this.escapeBytes = 0;
      this.#isInside = true;
    }
    let at = this.#at;
    for (; at < stop; at++) {
      const c = bytes[at]!;
      if (c === QUOTE) break;
      if (c < 0x20) throw malformedJson('raw control character in a string', at);
      if (c === BACKSLASH) {
        at++;
        this.escapeBytes += bytes[at] === 0x75 ? 5 : 1;
      }
    }
    this.#at = at;
    if (at >= stop) {
      if (stop === bytes.length) throw malformedJson('unterminated string', this.start - 1);
      return false;
    }
    this.end = at;
    this.#at = at + 1;
    this.#isInside = false;
    return true;
  }

  #stopped(): boolean {
    this.isDone = this.#at >= this.bytes.length;
    return false;
  }
}

/** The same of a string in a text that is read at once. */
export function shortString(bytes: Uint8Array, start: number, end: number): JsonString {
  let letters = 0;
  let hasEscape = false;
  for (let at = start; at < end; letters++) {
    if (bytes[at] !== BACKSLASH) {
      at++;
    } else {
      hasEscape = true;
      at += bytes[at + 1] === 0x75 ? 6 : 2;
    }
  }
  return { bytes, start, end, hasEscape, letters };
}
