import { type CodePointSet, codePointSet, complement } from './code-point-set.ts';

/** What a regular expression says, as far as a grammar can say it too. */
export type RegexNode =
  | { readonly kind: 'set'; readonly set: CodePointSet }
  | { readonly kind: 'sequence'; readonly parts: readonly RegexNode[] }
  | { readonly kind: 'choice'; readonly options: readonly RegexNode[] }
  | { readonly kind: 'repeat'; readonly of: RegexNode; readonly min: number; readonly max: number | null }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' };

/** The message says what part of the pattern a grammar cannot express. */
export class RegexUnsupported extends Error {}

const MAX_PATTERN = 2_000;
const MAX_GROUPS = 32;

const DIGIT: CodePointSet = [[0x30, 0x39]];
const WORD: CodePointSet = codePointSet([
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
]);
const SPACE: CodePointSet = codePointSet([
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]);
const NOT_LINE_END: CodePointSet = complement(
  codePointSet([
    [0x0a, 0x0a],
    [0x0d, 0x0d],
    [0x2028, 0x2029],
  ]),
);

/** ECMA-262 syntax without what looks around or back. Throws RegexUnsupported. */
export function parseRegex(pattern: string): RegexNode {
  if (pattern.length > MAX_PATTERN)
    throw new RegexUnsupported(`a pattern of ${pattern.length} characters; at most ${MAX_PATTERN} are supported`);
  try {
    new RegExp(pattern, 'u');
  } catch {
    try {
      new RegExp(pattern);
    } catch (error) {
      throw new RegexUnsupported(
        `not a regular expression: ${error instanceof Error ? error.message.slice(0, 200) : 'it does not compile'}`,
      );
    }
  }
  return new RegexParser([...pattern].map((character) => character.codePointAt(0)!)).parse();
}

class RegexParser {
  readonly #codes: readonly number[];
  #at = 0;
  #depth = 0;

  constructor(codes: readonly number[]) {
    this.#codes = codes;
  }

  parse(): RegexNode {
    const node = this.#choice();
    if (this.#at < this.#codes.length) throw new RegexUnsupported(`an unexpected ')' at ${this.#at}`);
    return node;
  }

  #peek(offset = 0): string {
    const code = this.#codes[this.#at + offset];
    return code === undefined ? '' : String.fromCodePoint(code);
  }

  #choice(): RegexNode {
    const options = [this.#sequence()];
    while (this.#peek() === '|') {
      this.#at++;
      options.push(this.#sequence());
    }
    return options.length === 1 ? options[0]! : { kind: 'choice', options };
  }

  #sequence(): RegexNode {
    const parts: RegexNode[] = [];
    for (;;) {
      const next = this.#peek();
      if (next === '' || next === '|' || next === ')') break;
      parts.push(this.#quantified());
    }
    return parts.length === 1 ? parts[0]! : { kind: 'sequence', parts };
  }

  #quantified(): RegexNode {
    const of = this.#atom();
    const range = this.#quantifier();
    if (range === null) return of;
    if (this.#peek() === '?') this.#at++;
    if (of.kind === 'start' || of.kind === 'end') throw new RegexUnsupported('a repeated anchor');
    return { kind: 'repeat', of, min: range[0], max: range[1] };
  }

  #quantifier(): [number, number | null] | null {
    switch (this.#peek()) {
      case '*':
        this.#at++;
        return [0, null];
      case '+':
        this.#at++;
        return [1, null];
      case '?':
        this.#at++;
        return [0, 1];
      case '{': {
        const rest = String.fromCodePoint(...this.#codes.slice(this.#at, this.#at + 24));
        const found = /^\{(\d{1,9})(?:(,)(\d{1,9})?)?\}/.exec(rest);
        if (found === null) return null;
        this.#at += found[0].length;
        const min = Number(found[1]);
        return [min, found[2] === undefined ? min : found[3] === undefined ? null : Number(found[3])];
      }
      default:
        return null;
    }
  }

  #atom(): RegexNode {
    const code = this.#codes[this.#at++]!;
    switch (String.fromCodePoint(code)) {
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '.':
        return { kind: 'set', set: NOT_LINE_END };
      case '(':
        return this.#group();
      case '[':
        return { kind: 'set', set: this.#class() };
      case '\\':
        return { kind: 'set', set: this.#escape(false) };
      default:
        return one(code);
    }
  }

  #group(): RegexNode {
    if (++this.#depth > MAX_GROUPS) throw new RegexUnsupported(`groups nested more than ${MAX_GROUPS} deep`);
    if (this.#peek() === '?') {
      const kind = this.#peek(1);
      if (kind === ':') this.#at += 2;
      else if (kind === '<' && this.#peek(2) !== '=' && this.#peek(2) !== '!') {
        while (this.#peek() !== '>' && this.#peek() !== '') this.#at++;
        this.#at++;
      } else throw new RegexUnsupported(`(?${kind} at ${this.#at - 1}: lookaround and flags cannot become a grammar`);
    }
    const node = this.#choice();
    this.#at++;
    this.#depth--;
    return node;
  }

  #class(): CodePointSet {
    const negated = this.#peek() === '^';
    if (negated) this.#at++;
    const ranges: (readonly [number, number])[] = [];
    while (this.#peek() !== ']') {
      const from = this.#classAtom();
      if (this.#peek() === '-' && this.#peek(1) !== ']' && this.#peek(1) !== '') {
        this.#at++;
        const to = this.#classAtom();
        const single = from.length === 1 && to.length === 1 && from[0]![0] === from[0]![1] && to[0]![0] === to[0]![1];
        // [\w-.]: the hyphen is one of the characters.
        if (single) ranges.push([from[0]![0], to[0]![0]]);
        else ranges.push(...from, ...to, [0x2d, 0x2d]);
      } else ranges.push(...from);
    }
    this.#at++;
    const set = codePointSet(ranges);
    return negated ? complement(set) : set;
  }

  #classAtom(): CodePointSet {
    const code = this.#codes[this.#at++]!;
    return code === 0x5c ? this.#escape(true) : [[code, code]];
  }

  #escape(inClass: boolean): CodePointSet {
    const code = this.#codes[this.#at++]!;
    const letter = String.fromCodePoint(code);
    switch (letter) {
      case 'd':
        return DIGIT;
      case 'D':
        return complement(DIGIT);
      case 'w':
        return WORD;
      case 'W':
        return complement(WORD);
      case 's':
        return SPACE;
      case 'S':
        return complement(SPACE);
      case 'n':
        return [[10, 10]];
      case 'r':
        return [[13, 13]];
      case 't':
        return [[9, 9]];
      case 'f':
        return [[12, 12]];
      case 'v':
        return [[11, 11]];
      case 'x':
        return this.#hex(2);
      case 'u':
        return this.#peek() === '{' ? this.#bracedHex() : this.#hex(4);
      case 'b':
        if (inClass) return [[8, 8]];
        break;
      default:
        if (!/[A-Za-z0-9]/.test(letter)) return [[code, code]];
    }
    throw new RegexUnsupported(`\\${letter} at ${this.#at - 2} cannot become a grammar`);
  }

  #hex(length: number): CodePointSet {
    const text = String.fromCodePoint(...this.#codes.slice(this.#at, this.#at + length));
    if (!/^[0-9a-fA-F]+$/.test(text) || text.length !== length)
      throw new RegexUnsupported(`an escape at ${this.#at} that is not hexadecimal`);
    this.#at += length;
    const code = Number.parseInt(text, 16);
    if (code >= 0xd800 && code <= 0xdfff) throw new RegexUnsupported('half a surrogate pair: write \\u{...}');
    return [[code, code]];
  }

  #bracedHex(): CodePointSet {
    const end = this.#codes.indexOf(0x7d, this.#at);
    const code = Number.parseInt(String.fromCodePoint(...this.#codes.slice(this.#at + 1, Math.min(end, this.#at + 9))), 16);
    if (end < 0 || !(code <= 0x10ffff)) throw new RegexUnsupported(`an escape at ${this.#at} that is not a code point`);
    this.#at = end + 1;
    return [[code, code]];
  }
}

function one(code: number): RegexNode {
  return { kind: 'set', set: [[code, code]] };
}
