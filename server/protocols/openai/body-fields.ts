import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import {
  CLOSE_BRACE,
  CLOSE_BRACKET,
  describeJson,
  JsonReader,
  OPEN_BRACE,
  OPEN_BRACKET,
  QUOTE,
  skipWhitespace,
  unescapeJson,
} from '../oip-json/json-reader.ts';

/** A longer body is refused: it is walked in one turn of the event loop, at about a gigabyte a second. Calls that generate have a bound of their own. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;
/** Of a chat or a completion: some million tokens of text. */
export const MAX_PROMPT_BYTES: number = 4 * 1024 * 1024;
/** JSON values of one body, token ids of prompts left out: what they cost is by their number, not their bytes. */
const MAX_VALUES = 100_000;
/** Of the object itself: names that nobody knows are looked at one by one. */
const MAX_MEMBERS = 128;
/** Of a text that is a name or a choice. */
const MAX_NAME_CHARS = 1_024;

/** Of a member that an error may begin with. */
const PLAIN_NAME = /^[a-z][a-z0-9_]{0,63}$/;

interface Place {
  readonly start: number;
  readonly end: number;
}

/**
 * The members of a request's JSON object, found in one strict walk (JsonReader: UTF-8, nesting of 100) and read one by one. What the model's host reads itself, such as messages, stays the bytes that it
 * is. A member that is null counts as left out, as clients send many. Errors are INVALID_ARGUMENT and begin with the
 * member's name; RESOURCE_EXHAUSTED for a body that is too long.
 */
export class BodyFields {
  readonly #reader: JsonReader;
  readonly #places: Map<string, Place> = new Map();
  #valuesLeft = MAX_VALUES;

  constructor(body: Uint8Array, maxBytes: number = MAX_BODY_BYTES) {
    if (body.length > maxBytes) {
      throw new InferenceError(
        'RESOURCE_EXHAUSTED',
        `the request body is ${body.length} bytes, more than the ${maxBytes} that may be here`,
      );
    }
    const reader = new JsonReader(body);
    this.#reader = reader;
    if (!reader.enter(OPEN_BRACE)) throw reader.unexpected('a JSON object');
    for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
      const name = reader.stringText();
      if (this.#places.has(name)) throw reader.repeatedKey();
      if (this.#places.size === MAX_MEMBERS) throw invalidArgument(`the request body has more than ${MAX_MEMBERS} members`);
      const start = skipWhitespace(body, reader.at);
      this.#skipMember(name);
      this.#places.set(name, { start, end: reader.at });
    }
    reader.expectEnd();
  }

  #skipMember(name: string): void {
    try {
      // Token ids are most of what a large body can hold, and are bounded by its bytes.
      if (name === 'prompt') this.#skipPrompt();
      else this.#skip();
    } catch (error) {
      if (!(error instanceof InferenceError) || error.code !== 'INVALID_ARGUMENT' || !PLAIN_NAME.test(name)) throw error;
      throw invalidArgument(`${name}: ${error.message}`);
    }
  }

  /** All that are there, null or not. */
  names(): IterableIterator<string> {
    return this.#places.keys();
  }

  has(name: string): boolean {
    const place = this.#places.get(name);
    return place !== undefined && this.#reader.bytes[place.start] !== 0x6e;
  }

  /** Its JSON, a view of the body; null: it was left out. */
  raw(name: string): Uint8Array | null {
    if (!this.has(name)) return null;
    const { start, end } = this.#places.get(name)!;
    return this.#reader.bytes.subarray(start, end);
  }

  rawText(name: string): string | null {
    const raw = this.raw(name);
    return raw === null ? null : Buffer.from(raw.buffer, raw.byteOffset, raw.length).toString('utf8');
  }

  /** Where its value begins, for a reader of its own: `read` moves the reader over all of it. */
  walk<T>(name: string, read: (reader: JsonReader) => T): T {
    this.#reader.at = this.#places.get(name)!.start;
    return read(this.#reader);
  }

  firstByte(name: string): number {
    return this.#reader.bytes[this.#places.get(name)!.start]!;
  }

  wrong(name: string, expected: string): InferenceError {
    return invalidArgument(`${name}: expected ${expected}, got ${describeJson(this.#reader.bytes, this.#places.get(name)!.start)}`);
  }

  text(name: string): string | null {
    if (!this.has(name)) return null;
    if (this.firstByte(name) !== QUOTE) throw this.wrong(name, 'a string');
    this.#reader.at = this.#places.get(name)!.start;
    this.#reader.scanString();
    if (this.#reader.stringEnd - this.#reader.stringStart > MAX_NAME_CHARS) {
      throw invalidArgument(`${name}: expected at most ${MAX_NAME_CHARS} bytes, got ${this.#reader.stringEnd - this.#reader.stringStart}`);
    }
    return this.#reader.stringText();
  }

  /** UTF-8 of any length: a view of the body where it has no escapes. It has to be a string. */
  utf8(name: string): Uint8Array {
    const { start, end } = this.#places.get(name)!;
    return unescaped(this.#reader.bytes.subarray(start + 1, end - 1));
  }

  flag(name: string): boolean | null {
    if (!this.has(name)) return null;
    const value = this.walk(name, (reader) => reader.readBoolean());
    if (value === undefined) throw this.wrong(name, 'true or false');
    return value;
  }

  integer(name: string, min: number, max: number): number | null {
    if (!this.has(name)) return null;
    const value = this.walk(name, (reader) => reader.readInteger());
    if (value === undefined || value < min || value > max) {
      throw this.wrong(name, max === Number.MAX_SAFE_INTEGER ? `an integer of at least ${min}` : `an integer from ${min} to ${max}`);
    }
    return value;
  }

  number(name: string): number | null {
    if (!this.has(name)) return null;
    const value = this.walk(name, (reader) => reader.readNumber());
    if (value === undefined) throw this.wrong(name, 'a number');
    return value;
  }

  /** The JSON of an array or an object. */
  container(name: string, kind: 'array' | 'object'): Uint8Array | null {
    const raw = this.raw(name);
    if (raw !== null && raw[0] !== (kind === 'array' ? OPEN_BRACKET : OPEN_BRACE)) throw this.wrong(name, `an ${kind}`);
    return raw;
  }

  #skipPrompt(): void {
    const reader = this.#reader;
    if (reader.peek() !== OPEN_BRACKET) {
      this.#skip();
      return;
    }
    const { bytes } = reader;
    const end = digitsEnd(bytes, reader.at);
    if (end < 0) this.#skip();
    else reader.at = end;
  }

  #skip(): void {
    const reader = this.#reader;
    if (--this.#valuesLeft < 0) throw invalidArgument(`the request body holds more than ${MAX_VALUES} JSON values`);
    const c = reader.peek();
    if (c === OPEN_BRACE) {
      reader.enter(OPEN_BRACE);
      for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) this.#skip();
    } else if (c === OPEN_BRACKET) {
      reader.enter(OPEN_BRACKET);
      for (let isFirst = true; reader.nextElement(isFirst); isFirst = false) this.#skip();
    } else {
      reader.skipValue();
    }
  }
}

/** The UTF-8 between a string's quotes, escapes undone; a view where there are none. */
export function unescaped(bytes: Uint8Array): Uint8Array {
  if (!bytes.includes(0x5c)) return bytes;
  const out = new Uint8Array(bytes.length);
  return out.subarray(0, unescapeJson(bytes, 0, bytes.length, out, 0));
}

/** Whether an array holds nothing: its JSON, which is well-formed. */
export function isEmptyContainer(raw: Uint8Array): boolean {
  const c = raw[skipWhitespace(raw, 1)];
  return c === CLOSE_BRACKET || c === CLOSE_BRACE;
}

/** Offset behind an array of numbers, or of such arrays, as far as its letters go; -1: it is something else. Whoever reads it checks the rest. */
function digitsEnd(bytes: Uint8Array, at: number): number {
  let depth = 0;
  for (; at < bytes.length; at++) {
    const c = bytes[at]!;
    if (c === OPEN_BRACKET) {
      if (++depth > 2) return -1;
    } else if (c === CLOSE_BRACKET) {
      if (--depth === 0) return at + 1;
    } else if (!((c >= 0x30 && c <= 0x39) || c === 0x2c || c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09)) {
      return -1;
    }
  }
  return -1;
}
