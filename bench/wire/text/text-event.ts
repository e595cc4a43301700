/** @hotpath what a measurement needs of an event's JSON, in one pass and without its objects */

const QUOTE = 34;
const BACKSLASH = 92;
const COLON = 58;
const COMMA = 44;
const OPEN_BRACKET = 91;
const CLOSE_BRACKET = 93;
const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;
const SPACE = 32;
const ZERO = 48;
const SMALL_N = 110;
/** More digits are no number of tokens. */
const MAX_COUNT = 2 ** 31;

const key = (name: string): Buffer => Buffer.from(name);
const TEXT_OUTPUT = key('text_output');
const CONTENT = key('content');
const TEXT = key('text');
const REFUSAL = key('refusal');
const REASONING = key('reasoning');
const REASONING_CONTENT = key('reasoning_content');
const TOOL_CALLS = key('tool_calls');
const COMPLETION_TOKENS = key('completion_tokens');
const ERROR = key('error');
const MODEL_NAME = key('model_name');

/**
 * Reads an event of a stream, or a whole answer, of a language model: whether it brings text, what it says of usage, whether it is an error. Any spacing and any order of members will do; what is no JSON is
 * not noticed.
 */
export class TextEvent {
  /** OpenAI: `content`, `text`, `reasoning_content`, `reasoning` or `refusal` that is a string with something in it, or a call of a tool. Generate: the same of `text_output`, a string or an array of them. */
  hasText = false;
  /** Generate: whether there was a `text_output`. A model without one streams other things. */
  hasTextOutput = false;
  /** `completion_tokens` of OpenAI's usage; -1: not there. */
  completionTokens = -1;
  /** `error` at the top that is not null, and no `model_name` beside it: a model may have an output of that name. */
  isError = false;
  readonly #isGenerate: boolean;
  #hasError = false;
  #hasModelName = false;

  constructor(protocol: 'openai' | 'generate') {
    this.#isGenerate = protocol === 'generate';
  }

  /** Reads `bytes[from, to)`. */
  read(bytes: Buffer, from: number, to: number): void {
    this.hasText = false;
    this.hasTextOutput = false;
    this.completionTokens = -1;
    this.#hasError = false;
    this.#hasModelName = false;
    let depth = 0;
    let at = from;
    while (at < to) {
      const byte = bytes[at]!;
      if (byte === QUOTE) {
        const end = skipString(bytes, at + 1, to);
        const value = skipTo(bytes, end, to, COLON);
        if (value < 0) at = end;
        else {
          this.#member(bytes, at + 1, end - 1, skipSpace(bytes, value + 1, to), to, depth);
          at = value + 1;
        }
        continue;
      }
      if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
      else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--;
      at++;
    }
    this.isError = this.#hasError && !this.#hasModelName;
  }

  /** The member whose key is `bytes[from, end)` and whose value begins at `value`. Keys with escapes are none of these. */
  #member(bytes: Buffer, from: number, end: number, value: number, to: number, depth: number): void {
    if (this.#isGenerate) {
      if (is(bytes, from, end, TEXT_OUTPUT)) {
        this.hasTextOutput = true;
        if (isText(bytes, value, to) || isArrayWithText(bytes, value, to)) this.hasText = true;
      }
    } else {
      switch (end - from) {
        case TEXT.length:
          if (is(bytes, from, end, TEXT) && isText(bytes, value, to)) this.hasText = true;
          break;
        case CONTENT.length:
          if ((is(bytes, from, end, CONTENT) || is(bytes, from, end, REFUSAL)) && isText(bytes, value, to)) this.hasText = true;
          break;
        case REASONING.length:
          if (is(bytes, from, end, REASONING) && isText(bytes, value, to)) this.hasText = true;
          break;
        case TOOL_CALLS.length:
          if (is(bytes, from, end, TOOL_CALLS) && isArrayWithMembers(bytes, value, to)) this.hasText = true;
          break;
        case COMPLETION_TOKENS.length:
          if (is(bytes, from, end, COMPLETION_TOKENS)) this.completionTokens = readCount(bytes, value, to);
          else if (is(bytes, from, end, REASONING_CONTENT) && isText(bytes, value, to)) this.hasText = true;
          break;
        default:
      }
    }
    if (depth !== 1) return;
    if (is(bytes, from, end, ERROR)) this.#hasError = bytes[value] !== SMALL_N;
    else if (is(bytes, from, end, MODEL_NAME)) this.#hasModelName = true;
  }
}

function is(bytes: Buffer, from: number, end: number, name: Buffer): boolean {
  if (end - from !== name.length) return false;
  for (let i = 0; i < name.length; i++) if (bytes[from + i] !== name[i]) return false;
  return true;
}

/** Behind the closing quote of a string whose inside begins at `at`; `to` + 1 for one that does not end. */
function skipString(bytes: Buffer, at: number, to: number): number {
  while (at < to) {
    const byte = bytes[at]!;
    if (byte === QUOTE) return at + 1;
    at += byte === BACKSLASH ? 2 : 1;
  }
  return to + 1;
}

function skipSpace(bytes: Buffer, at: number, to: number): number {
  while (at < to && bytes[at]! <= SPACE) at++;
  return at;
}

/** Where `wanted` stands behind spaces; -1: something else does. */
function skipTo(bytes: Buffer, at: number, to: number, wanted: number): number {
  const found = skipSpace(bytes, at, to);
  return found < to && bytes[found] === wanted ? found : -1;
}

/** A string with something in it. */
function isText(bytes: Buffer, at: number, to: number): boolean {
  return at + 1 < to && bytes[at] === QUOTE && bytes[at + 1] !== QUOTE;
}

/** An array of strings, one of which has something in it. */
function isArrayWithText(bytes: Buffer, at: number, to: number): boolean {
  if (at >= to || bytes[at] !== OPEN_BRACKET) return false;
  for (let i = skipSpace(bytes, at + 1, to); i < to && bytes[i] === QUOTE; i = skipSpace(bytes, i + 1, to)) {
    if (isText(bytes, i, to)) return true;
    i = skipTo(bytes, i + 2, to, COMMA);
    if (i < 0) return false;
  }
  return false;
}

function isArrayWithMembers(bytes: Buffer, at: number, to: number): boolean {
  if (at >= to || bytes[at] !== OPEN_BRACKET) return false;
  const first = skipSpace(bytes, at + 1, to);
  return first < to && bytes[first] !== CLOSE_BRACKET;
}

/** -1: no whole number. */
function readCount(bytes: Buffer, at: number, to: number): number {
  let count = -1;
  for (; at < to; at++) {
    const digit = bytes[at]! - ZERO;
    if (digit < 0 || digit > 9) break;
    count = (count < 0 ? 0 : count) * 10 + digit;
    if (count > MAX_COUNT) return -1;
  }
  return count;
}
