/** One thing of a sequence: a rule, or characters. `elements`: how many llama.cpp makes of it. */
export interface GbnfItem {
  /** Null: characters. */
  readonly rule: string | null;
  readonly elements: number;
  readonly min: number;
  readonly max: number | null;
}

/** Alternatives, each a sequence. Groups are rules of their own, with names that no text can have. */
export type GbnfRules = Map<string, readonly (readonly GbnfItem[])[]>;

/** The message says what is wrong, and in which line. */
export class GbnfError extends Error {}

/** llama.cpp's own bound is 2000, exclusive. */
const MAX_REPETITIONS = 1_999;
const MAX_GROUPS = 64;
const MAX_ELEMENTS = 200_000;

const NAME = /[a-zA-Z0-9-]+/y;
const SPACE = /(?:[ \t]|#[^\r\n]*)*/y;
const SPACE_AND_LINES = /(?:[ \t\r\n]|#[^\r\n]*)*/y;
const LINE_END = /\r\n|\r|\n|$/y;
const COUNT = /\{[ \t]*(\d{1,9})[ \t]*(,)?[ \t]*(\d{1,9})?[ \t]*\}/y;
const ESCAPE = /\\(?:[trn\\"[\]-]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})/y;
const TOKEN = /!?<\[\d{1,9}\]>/y;

/** Reads GBNF as llama.cpp does, in time that grows with the text alone. Throws GbnfError. */
export class GbnfParser {
  readonly #text: string;
  readonly #rules: GbnfRules = new Map();
  #at = 0;
  #depth = 0;
  #groups = 0;
  #elements = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): GbnfRules {
    this.#take(SPACE_AND_LINES);
    while (this.#at < this.#text.length) {
      const name = this.#take(NAME);
      if (name === '') throw this.#error('expected the name of a rule (letters, digits, -)');
      this.#take(SPACE);
      if (!this.#text.startsWith('::=', this.#at)) throw this.#error(`expected ::= after ${name}`);
      this.#at += 3;
      this.#take(SPACE_AND_LINES);
      this.#rules.set(name, this.#alternatives(SPACE));
      LINE_END.lastIndex = this.#at;
      if (!LINE_END.test(this.#text)) throw this.#error("expected the rule's end, or a literal, a class, a rule or a group");
      this.#take(SPACE_AND_LINES);
    }
    return this.#rules;
  }

  #error(text: string): GbnfError {
    const line = this.#text.slice(0, this.#at).split(/\r\n|\r|\n/).length;
    const next = this.#text.slice(this.#at, this.#at + 20).split(/[\r\n]/, 1)[0]!;
    return new GbnfError(`line ${line}: ${text}, got ${next === '' ? 'its end' : JSON.stringify(next)}`);
  }

  #take(expression: RegExp): string {
    expression.lastIndex = this.#at;
    const found = expression.exec(this.#text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }

  #alternatives(space: RegExp): GbnfItem[][] {
    const out = [this.#sequence(space)];
    while (this.#text[this.#at] === '|') {
      this.#at++;
      this.#take(SPACE_AND_LINES);
      out.push(this.#sequence(space));
    }
    return out;
  }

  #sequence(space: RegExp): GbnfItem[] {
    const items: GbnfItem[] = [];
    for (;;) {
      const item = this.#item();
      if (item === null) return items;
      this.#take(space);
      const marked = this.#at;
      const [min, max] = this.#repetition(space);
      if (item.elements === 0 && this.#at > marked) throw this.#error('a repetition of something that may be empty');
      const copies = Math.max(min, max ?? min, 1);
      this.#elements += item.elements * copies + 2;
      if (this.#elements > MAX_ELEMENTS)
        throw this.#error(`the grammar is too large: more than ${MAX_ELEMENTS} elements, counting repetitions`);
      items.push({ ...item, min, max });
    }
  }

  #item(): { rule: string | null; elements: number } | null {
    switch (this.#text[this.#at]) {
      case '"':
        return { rule: null, elements: this.#quoted('"') };
      case '[': {
        const elements = this.#quoted(']');
        if (elements === 0) throw this.#error('an empty class matches nothing');
        return { rule: null, elements };
      }
      case '.':
        this.#at++;
        return { rule: null, elements: 1 };
      case '<':
      case '!':
        if (this.#take(TOKEN) === '') throw this.#error('tokens are written by their number, as <[123]>');
        return { rule: null, elements: 1 };
      case '(': {
        if (++this.#depth > MAX_GROUPS) throw this.#error(`groups nested more than ${MAX_GROUPS} deep`);
        this.#at++;
        this.#take(SPACE_AND_LINES);
        const rule = `(${this.#groups++})`;
        this.#rules.set(rule, this.#alternatives(SPACE_AND_LINES));
        if (this.#text[this.#at] !== ')') throw this.#error("expected ')'");
        this.#at++;
        this.#depth--;
        return { rule, elements: 1 };
      }
      default: {
        const rule = this.#take(NAME);
        return rule === '' ? null : { rule, elements: 1 };
      }
    }
  }

  /** The characters of a literal or a class; its end too is read. */
  #quoted(end: string): number {
    this.#at++;
    if (end === ']' && this.#text[this.#at] === '^') this.#at++;
    let count = 0;
    while (this.#text[this.#at] !== end) {
      const character = this.#text[this.#at];
      if (character === undefined) throw this.#error(`expected ${end}`);
      if (character !== '\\') this.#at++;
      else if (this.#take(ESCAPE) === '')
        throw this.#error('expected an escape: \\t \\r \\n \\\\ \\" \\[ \\] \\- \\x.. \\u.... \\U........');
      count++;
    }
    this.#at++;
    return count;
  }

  /** llama.cpp takes several after each other, and means what few expect. */
  #repetition(space: RegExp): [number, number | null] {
    let min = 1;
    let max: number | null = 1;
    let any = false;
    for (;;) {
      const next = this.#repetitionMark();
      if (next === null) return [min, max];
      if (any) throw this.#error('a repetition of a repetition: put the inner one in parentheses');
      any = true;
      [min, max] = next;
      this.#take(space);
    }
  }

  #repetitionMark(): [number, number | null] | null {
    switch (this.#text[this.#at]) {
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
        COUNT.lastIndex = this.#at;
        const found = COUNT.exec(this.#text);
        if (found === null) throw this.#error('expected {n}, {n,} or {n,m}');
        const min = Number(found[1]);
        const max = found[2] === undefined ? min : found[3] === undefined ? null : Number(found[3]);
        if (found[2] === undefined && found[3] !== undefined) throw this.#error('expected {n}, {n,} or {n,m}');
        if (max !== null && max < min) throw this.#error(`the most is below the least`);
        if (Math.max(min, max ?? 0) > MAX_REPETITIONS) throw this.#error(`at most ${MAX_REPETITIONS} repetitions are supported`);
        this.#at += found[0].length;
        return [min, max];
      }
      default:
        return null;
    }
  }
}
