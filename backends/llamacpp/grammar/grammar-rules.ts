/** Longest repetition written as one: llama.cpp refuses 2000 and above. */
const LONGEST_RUN = 1_000;

/** The rules of a GBNF text that grows. Expressions are GBNF text; rules of equal text are one rule. */
export class GrammarRules {
  readonly #bodies = new Map<string, string>();
  readonly #byBody = new Map<string, string>();
  #length = 0;
  #repeated = 0;
  #next = 0;

  /** Rules as llama.cpp counts them: each step of an optional repetition and each group is one. */
  get ruleCount(): number {
    return this.#bodies.size + this.#repeated;
  }

  /** Characters of all rules. */
  get length(): number {
    return this.#length;
  }

  get bodies(): ReadonlyMap<string, string> {
    return this.#bodies;
  }

  /** At most so many: a bar in a literal counts too. */
  alternativeCount(name: string): number {
    return this.#bodies.get(name)?.split(' | ').length ?? 1;
  }

  /** A name whose rule comes later (`define`): what recursion refers to. */
  reserve(): string {
    return `r${this.#next++}`;
  }

  define(name: string, body: string): void {
    this.#bodies.set(name, body);
    this.#length += name.length + body.length + 6;
  }

  /** The name of a rule of that text. */
  add(body: string): string {
    const known = this.#byBody.get(body);
    if (known !== undefined) return known;
    const name = this.reserve();
    this.#byBody.set(body, name);
    this.define(name, body);
    return name;
  }

  /** Rules that others name; those that are there already stay. */
  addNamed(rules: Readonly<Record<string, string>>): void {
    for (const [name, body] of Object.entries(rules)) {
      if (this.#bodies.has(name)) continue;
      this.define(name, body);
      this.#repeated += 30;
    }
  }

  /** `rule` (a name) `min` to `max` times; null: without end. An expression for a sequence. */
  repeat(rule: string, min: number, max: number | null): string {
    const exact = this.#exactly(rule, min);
    if (max === null) {
      this.#repeated++;
      return join(exact, `${rule}*`);
    }
    return join(exact, this.#upTo(rule, max - min));
  }

  text(root: string): string {
    let out = `root ::= ${root}\n`;
    for (const [name, body] of this.#bodies) out += `${name} ::= ${body}\n`;
    return out;
  }

  #exactly(rule: string, count: number): string {
    if (count === 0) return '';
    if (count === 1) return rule;
    this.#repeated += Math.min(count, LONGEST_RUN) / 20;
    if (count <= LONGEST_RUN) return `${rule}{${count}}`;
    const block = this.add(`${rule}{${LONGEST_RUN}}`);
    return join(this.#exactly(block, Math.floor(count / LONGEST_RUN)), this.#exactly(rule, count % LONGEST_RUN));
  }

  /** 0 to `count`. Long ones: whole blocks, then less than a block; the last block may be cut shorter. */
  #upTo(rule: string, count: number): string {
    if (count === 0) return '';
    if (count === 1) {
      this.#repeated++;
      return `${rule}?`;
    }
    if (count <= LONGEST_RUN) {
      this.#repeated += count;
      return `${rule}{0,${count}}`;
    }
    const size = Math.ceil(Math.sqrt(count + 1));
    const blocks = Math.floor(count / size);
    const block = this.add(`${rule}{${size}}`);
    const partial = join(this.#upTo(block, blocks - 1), this.#upTo(rule, size - 1));
    const full = join(this.#exactly(block, blocks), this.#upTo(rule, count % size));
    return this.add(`${partial} | ${full}`);
  }
}

function join(a: string, b: string): string {
  return a === '' ? b : b === '' ? a : `${a} ${b}`;
}

/** Text as a GBNF literal. */
export function literal(text: string): string {
  let out = '"';
  for (const character of text) out += escapeCharacter(character.codePointAt(0)!);
  return `${out}"`;
}

/** A code point inside a GBNF literal or class. */
export function escapeCharacter(code: number): string {
  if (code === 0x22) return '\\"';
  if (code === 0x5c) return '\\\\';
  if (code === 0x5d) return '\\]';
  if (code === 0x5b) return '\\[';
  if (code === 0x0a) return '\\n';
  if (code === 0x0d) return '\\r';
  if (code === 0x09) return '\\t';
  // - and ^ mean something in a class; \x takes two digits, \U eight.
  if (code === 0x2d || code === 0x5e || code < 0x20 || code === 0x7f) return `\\x${code.toString(16).padStart(2, '0')}`;
  if (code >= 0xd800 && code <= 0xdfff) return `\\u${code.toString(16).padStart(4, '0')}`;
  return String.fromCodePoint(code);
}

/** `a | b`, in parentheses where there are several. */
export function alternatives(expressions: readonly string[]): string {
  return expressions.length === 1 ? expressions[0]! : `(${expressions.join(' | ')})`;
}
