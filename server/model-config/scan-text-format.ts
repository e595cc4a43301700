/** A field of a text-format message as it stands in the text. Offsets are in UTF-16 units; lines count from 1. */
export interface TextField {
  readonly name: string;
  readonly line: number;
  readonly start: number;
  /** Behind the value and the comma or semicolon that ends the field. */
  readonly end: number;
  /** More than one for a list. */
  readonly values: readonly TextValue[];
}

export interface TextValue {
  readonly line: number;
  /** Null for a message. */
  readonly scalar: string | null;
  readonly fields: readonly TextField[];
}

export interface TextScan {
  readonly fields: readonly TextField[];
  readonly hasComments: boolean;
}

const MAX_DEPTH = 100;
const SCALAR = /-?[ \t]*[\w.+-]+/y;
const NAME = /\w+/y;

/**
 * Where the fields of a text-format document are, whatever their names and types mean: the reader proper tells what is wrong with them. Null: it is no
 * document of that format, or deeper than any configuration.
 */
export function scanTextFormat(text: string): TextScan | null {
  const scanner = new TextScanner(text);
  try {
    return { fields: scanner.fields('', 0), hasComments: scanner.hasComments };
  } catch (error) {
    if (error instanceof ScanEnd) return null;
    throw error;
  }
}

class ScanEnd extends Error {}

class TextScanner {
  readonly #text: string;
  #at = 0;
  #line = 1;
  hasComments = false;

  constructor(text: string) {
    this.#text = text;
  }

  fields(end: string, depth: number): TextField[] {
    if (depth > MAX_DEPTH) throw new ScanEnd();
    const found: TextField[] = [];
    for (;;) {
      const next = this.#peek();
      if (next === end) {
        this.#at += end.length;
        return found;
      }
      const start = this.#at;
      const line = this.#line;
      const name = this.#match(NAME);
      if (this.#peek() === ':') this.#at++;
      const values = this.#peek() === '[' ? this.#list(depth) : [this.#value(depth)];
      const separator = this.#peek();
      if (separator === ',' || separator === ';') this.#at++;
      found.push({ name, line, start, end: this.#at, values });
    }
  }

  #list(depth: number): TextValue[] {
    this.#at++;
    const values: TextValue[] = [];
    while (this.#peek() !== ']') {
      values.push(this.#value(depth));
      if (this.#peek() === ',') this.#at++;
    }
    this.#at++;
    return values;
  }

  #value(depth: number): TextValue {
    const open = this.#peek();
    const line = this.#line;
    if (open === '{' || open === '<') {
      this.#at++;
      return { line, scalar: null, fields: this.fields(open === '{' ? '}' : '>', depth + 1) };
    }
    if (open !== '"' && open !== "'") return { line, scalar: this.#match(SCALAR), fields: [] };
    let scalar = '';
    // Strings that follow each other are one.
    for (let quote = open; quote === '"' || quote === "'"; quote = this.#peek()) scalar += this.#string(quote);
    return { line, scalar, fields: [] };
  }

  /** Between its quotes, as it is written. */
  #string(quote: string): string {
    const start = ++this.#at;
    while (this.#text[this.#at] !== quote) {
      const unit = this.#text[this.#at];
      if (unit === undefined || unit === '\n') throw new ScanEnd();
      this.#at += unit === '\\' ? 2 : 1;
    }
    return this.#text.slice(start, this.#at++);
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found === undefined) throw new ScanEnd();
    this.#at += found.length;
    return found;
  }

  /** The next character that is neither space nor comment; '' at the end. */
  #peek(): string {
    for (;;) {
      const unit = this.#text[this.#at];
      if (unit === undefined) return '';
      if (unit === '#') {
        this.hasComments = true;
        while (this.#at < this.#text.length && this.#text[this.#at] !== '\n') this.#at++;
      } else if (/\s/.test(unit)) {
        if (unit === '\n') this.#line++;
        this.#at++;
      } else return unit;
    }
  }
}
