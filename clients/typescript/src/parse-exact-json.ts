import { malformedAnswer } from './infer-result.ts';

/** Integers that a double does not hold exactly are bigints. Objects have no prototype. */
export type ExactJson = null | boolean | number | bigint | string | readonly ExactJson[] | { readonly [key: string]: ExactJson };

const MAX_DEPTH = 100;
const WORDS: readonly (readonly [string, ExactJson])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
  ['Inf', Number.POSITIVE_INFINITY],
  ['-Inf', Number.NEGATIVE_INFINITY],
];
const SPACE = /[ \t\r\n]*/y;
const STRING = /"(?:[^"\\]|\\.)*"/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const INTEGER = /^-?\d+$/;

/**
 * JSON as servers write it and JSON.parse does not read it without loss: 64-bit integers exactly, and the bare words NaN, Infinity and Inf (Triton). Slower than
 * JSON.parse, so for answers that need it. Throws INTERNAL for what is no JSON.
 */
export function parseExactJson(text: string): ExactJson {
  const parser = new ExactJsonParser(text);
  return parser.parse();
}

class ExactJsonParser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): ExactJson {
    const value = this.#value(0);
    this.#match(SPACE);
    if (this.#at !== this.#text.length) throw this.#malformed('the end');
    return value;
  }

  #value(depth: number): ExactJson {
    if (depth > MAX_DEPTH) throw this.#malformed(`at most ${MAX_DEPTH} levels`);
    this.#match(SPACE);
    const first = this.#text[this.#at];
    if (first === '{') return this.#object(depth);
    if (first === '[') return this.#array(depth);
    if (first === '"') return this.#string();
    for (const [word, value] of WORDS) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    const number = this.#match(NUMBER);
    if (number === null) throw this.#malformed('a value');
    const value = Number(number);
    return INTEGER.test(number) && !Number.isSafeInteger(value) ? BigInt(number) : value;
  }

  #object(depth: number): ExactJson {
    const members = Object.create(null) as Record<string, ExactJson>;
    this.#at++;
    if (this.#take('}')) return members;
    do {
      this.#match(SPACE);
      const key = this.#string();
      if (!this.#take(':')) throw this.#malformed("':'");
      members[key] = this.#value(depth + 1);
    } while (this.#take(','));
    if (!this.#take('}')) throw this.#malformed("',' or '}'");
    return members;
  }

  #array(depth: number): ExactJson {
    const elements: ExactJson[] = [];
    this.#at++;
    if (this.#take(']')) return elements;
    do elements.push(this.#value(depth + 1));
    while (this.#take(','));
    if (!this.#take(']')) throw this.#malformed("',' or ']'");
    return elements;
  }

  #string(): string {
    const start = this.#at;
    const literal = this.#match(STRING);
    if (literal === null) throw this.#malformed('a string');
    try {
      return JSON.parse(literal) as string;
    } catch {
      this.#at = start;
      throw this.#malformed('a string');
    }
  }

  #take(character: string): boolean {
    this.#match(SPACE);
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match === null) return null;
    this.#at = pattern.lastIndex;
    return match[0];
  }

  #malformed(expected: string): Error {
    return malformedAnswer(
      `JSON: expected ${expected} at character ${this.#at}, got ${JSON.stringify(this.#text.slice(this.#at, this.#at + 20))}`,
    );
  }
}
