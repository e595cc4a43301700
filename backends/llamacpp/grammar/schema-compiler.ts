import { ARRAY_HEAD, type Head, headsOfObject, tellApart } from './alternative-heads.ts';
import { arrayRule } from './array-rule.ts';
import type { GrammarRules } from './grammar-rules.ts';
import { JSON_PRIMITIVES } from './json-primitives.ts';
import { oneOfTexts } from './literal-trie.ts';
import { JSON_TYPES, type JsonType, type MergedSchema, mergeKeywords } from './merge-keywords.ts';
import { CountedProperties, objectRule } from './object-rule.ts';
import { recursiveGroups } from './recursive-groups.ts';
import { numberRule, stringRule } from './scalar-rules.ts';
import { checkKeywords, isObject, KEYWORD_TYPES, saysOnly } from './schema-keywords.ts';
import { MAX_DEPTH, MAX_GRAMMAR_LENGTH, MAX_NODES, MAX_RULES, SchemaErrors, step } from './schema-limits.ts';
import { type AtomPart, at, type ChoicePart, flatten, list, type Part, resolveRef, Unsatisfiable } from './schema-parts.ts';

/** Alternatives before a character is read: llama.cpp walks all ways, however often they meet, and tries every token of the vocabulary on each. */
const MAX_WAYS = 2_000;

/** One schema on its way to GBNF. */
export class SchemaCompiler {
  readonly #rules: GrammarRules;
  readonly #errors: SchemaErrors;
  readonly #document: unknown;
  /** By the places of what it fulfils; reserved before it is compiled, which is how recursion ends. */
  readonly #known = new Map<string, string>();
  readonly #impossible = new Map<string, Unsatisfiable>();
  /** Rules that a rule may begin with at once: no character is read between. */
  readonly #direct = new Map<string, readonly string[]>();
  /** What objects and arrays begin with, by their rules. */
  readonly #heads = new Map<string, readonly Head[]>();
  #isRecursive = false;
  #nodes = 0;
  #depth = 0;

  /** `rules`: where its rules go, beside those of others. */
  constructor(document: unknown, name: string, rules: GrammarRules) {
    this.#rules = rules;
    this.#document = document;
    this.#errors = new SchemaErrors(name);
    this.#rules.addNamed(JSON_PRIMITIVES);
  }

  /** The name of the rule for the whole document. */
  root(): string {
    let root: string;
    try {
      root = this.#compile([at(this.#document, '#')], '#');
    } catch (error) {
      if (error instanceof Unsatisfiable) throw this.#errors.at(error.pointer, error.message);
      throw error;
    }
    this.#checkWays(root);
    if (this.#isRecursive) this.#checkRecursion();
    return root;
  }

  readonly #spend = (pointer: string): void => {
    if (++this.#nodes > MAX_NODES) throw this.#errors.at(pointer, `more than ${MAX_NODES} schemas, counting what allOf and anyOf multiply`);
    if (this.#rules.ruleCount > MAX_RULES || this.#rules.length > MAX_GRAMMAR_LENGTH) {
      throw this.#errors.at(
        pointer,
        `the grammar gets too large (at most ${MAX_RULES} rules): lower maxLength, maxItems or the number of properties`,
      );
    }
  };

  readonly #compile = (parts: readonly Part[], pointer: string): string => {
    const place = parts.length === 1 ? parts[0]!.pointer : pointer;
    this.#spend(place);
    const key = parts.map(partKey).join('\n');
    const impossible = this.#impossible.get(key);
    if (impossible !== undefined) throw impossible;
    const known = this.#known.get(key);
    if (known !== undefined) {
      this.#isRecursive ||= !this.#direct.has(known);
      return known;
    }
    if (this.#depth >= MAX_DEPTH) throw this.#errors.at(place, `schemas nested more than ${MAX_DEPTH} deep`);
    const name = this.#rules.reserve();
    this.#known.set(key, name);
    this.#depth++;
    try {
      const options = this.#options(parts, place);
      this.#direct.set(name, options);
      this.#rules.define(name, options.join(' | '));
      this.#spend(place);
      return name;
    } catch (error) {
      if (error instanceof Unsatisfiable) {
        this.#impossible.set(key, error);
        // Recursion may name it already: a rule that nothing matches.
        this.#rules.define(name, '[^\\x00-\\U0010ffff]');
      }
      throw error;
    } finally {
      this.#depth--;
    }
  };

  /** The rules any of which a value may follow. */
  #options(parts: readonly Part[], pointer: string): string[] {
    const single = parts.length === 1 ? parts[0]! : null;
    if (single?.kind === 'schema' && isObject(single.schema)) checkKeywords(single.schema, pointer, this.#errors);
    if (single?.kind === 'schema' && isObject(single.schema) && saysOnly(single.schema, '$ref')) {
      return [this.#compile([resolveRef(this.#document, single.schema['$ref'], pointer, this.#errors)], pointer)];
    }
    if (single?.kind === 'schema' && isObject(single.schema)) {
      for (const keyword of ['anyOf', 'oneOf'] as const) {
        if (saysOnly(single.schema, keyword))
          return this.#anyOf(
            list(single.schema, keyword, pointer, this.#errors).map((option) => [option]),
            pointer,
          );
      }
    }
    const { atoms, choices } = flatten(parts, this.#document, this.#errors, this.#spend);
    const choice = choices[0];
    if (choice !== undefined) {
      const others: readonly (AtomPart | ChoicePart)[] = [...atoms, ...choices.slice(1)];
      return this.#anyOf(
        choice.options.map((option) => [...others, option]),
        choice.pointer,
      );
    }
    if (atoms.length === 0) return ['value'];
    return this.#types(mergeKeywords(atoms, pointer, this.#errors), atoms);
  }

  #anyOf(options: readonly (readonly Part[])[], pointer: string): string[] {
    const names = new Set<string>();
    let reason: Unsatisfiable | null = null;
    for (const option of options) {
      try {
        names.add(this.#compile(option, pointer));
      } catch (error) {
        if (!(error instanceof Unsatisfiable)) throw error;
        reason = error;
      }
    }
    if (names.size === 0) throw reason ?? new Unsatisfiable(pointer, 'no alternative is possible');
    return [...names];
  }

  #types(schema: MergedSchema, atoms: readonly AtomPart[]): string[] {
    if (schema.values !== null) return [this.#values(schema, schema.values, atoms)];
    const names: string[] = [];
    let reason: Unsatisfiable | null = null;
    for (const type of JSON_TYPES) {
      if (!schema.types.has(type)) continue;
      try {
        names.push(this.#type(type, schema));
      } catch (error) {
        if (!(error instanceof Unsatisfiable)) throw error;
        reason = error;
      }
    }
    if (names.length === 0) throw reason!;
    return names;
  }

  #type(type: JsonType, schema: MergedSchema): string {
    switch (type) {
      case 'object': {
        const { properties, others, minProperties, maxProperties } = schema.object;
        if (properties.size === 0 && others?.length === 0 && minProperties === 0 && maxProperties === null) return 'object';
        try {
          return this.#headed(objectRule(schema.object, schema.pointer, this.#rules, this.#compile), headsOfObject(schema.object));
        } catch (error) {
          if (!(error instanceof CountedProperties)) throw error;
          throw this.#errors.at(schema.pointer, 'minProperties and maxProperties beside optional properties cannot become a grammar');
        }
      }
      case 'array': {
        const { first, rest, minItems, maxItems } = schema.array;
        if (first.length === 0 && rest?.length === 0 && minItems === 0 && maxItems === null) return 'array';
        return this.#headed(arrayRule(schema.array, schema.pointer, this.#rules, this.#compile), [ARRAY_HEAD]);
      }
      case 'string':
        return stringRule(schema, this.#rules, this.#errors);
      case 'number':
      case 'integer':
        return numberRule(schema, type === 'integer', this.#rules, this.#errors);
      default:
        return type;
    }
  }

  /** Of enum and const, what the other keywords allow; compact, as JSON.stringify writes it. */
  #values(schema: MergedSchema, values: readonly unknown[], atoms: readonly AtomPart[]): string {
    const allowed: unknown[] = [];
    for (const value of values) {
      if (nesting(value, MAX_DEPTH) === 0) throw this.#errors.at(schema.pointer, `values nested more than ${MAX_DEPTH} deep`);
      if (allows(schema, value)) allowed.push(value);
    }
    if (allowed.length === 0) throw new Unsatisfiable(schema.pointer, 'its type or bounds allow none of the values of its enum or const');
    for (const { schema: atom, pointer } of atoms) {
      for (const keyword of ['pattern', 'properties', 'required', 'items', 'prefixItems']) {
        if (!Object.hasOwn(atom, keyword) || !allowed.some((value) => kindOf(value) === KEYWORD_TYPES.get(keyword))) continue;
        throw this.#errors.at(step(pointer, keyword), `'${keyword}' beside enum or const is not supported: leave it out`);
      }
    }
    const texts = allowed.map((value) => JSON.stringify(value));
    return this.#rules.add(oneOfTexts(texts, this.#rules));
  }

  /** Refuses a schema that refers to itself with nothing between, and one whose alternatives meet so often that llama.cpp would walk for ever. */
  #checkWays(root: string): void {
    const ways = new Map<string, number>();
    const open = new Set<string>();
    // Each name twice: to open it, and to count what it leads to.
    for (const start of [root, ...this.#direct.keys()]) {
      const todo = [start];
      while (todo.length > 0) {
        const name = todo[todo.length - 1]!;
        if (ways.has(name)) {
          todo.pop();
          continue;
        }
        const next = this.#direct.get(name);
        if (next === undefined) {
          ways.set(name, this.#rules.alternativeCount(name));
          continue;
        }
        if (open.has(name)) {
          todo.pop();
          open.delete(name);
          const count = next.reduce((sum, other) => sum + ways.get(other)!, 1);
          if (count > MAX_WAYS)
            throw this.#errors.at(
              this.#placeOf(name),
              `its alternatives begin in too many ways (at most ${MAX_WAYS}); say constants in one enum`,
            );
          ways.set(name, count);
          continue;
        }
        open.add(name);
        for (const other of next) {
          if (open.has(other)) throw this.#errors.at(this.#placeOf(other), 'it refers to itself with no object or array between');
          if (!ways.has(other)) todo.push(other);
        }
      }
    }
  }

  #headed(rule: string, heads: readonly Head[]): string {
    this.#heads.set(rule, heads);
    return rule;
  }

  /**
   * Alternatives that contain themselves must be told apart before they do: llama.cpp follows all that are possible, and would follow twice as many at each level, until its host
   * stands still.
   */
  #checkRecursion(): void {
    const groups = recursiveGroups(this.#rules.bodies);
    for (const [name, options] of this.#direct) {
      const back = options.filter((option) => groups.get(option) === groups.get(name));
      for (const [i, option] of back.entries()) {
        for (const other of back.slice(i + 1)) {
          if (this.#allHeads(option).every((a) => this.#allHeads(other).every((b) => tellApart(a, b)))) continue;
          throw this.#errors.at(
            this.#placeOf(name),
            'two alternatives that contain themselves begin alike: put a required property first whose name or const tells them apart',
          );
        }
      }
    }
  }

  /** Of what a rule may begin with; #checkWays has bounded the ways. */
  #allHeads(rule: string): readonly Head[] {
    return this.#heads.get(rule) ?? (this.#direct.get(rule) ?? []).flatMap((option) => this.#allHeads(option));
  }

  #placeOf(name: string): string {
    for (const [key, rule] of this.#known) if (rule === name) return key.split('\n', 1)[0]!.slice(1);
    return '#';
  }
}

/** First a letter: a part of the document, one of its atoms, or a synthetic schema. */
function partKey(part: Part): string {
  if (part.kind !== 'schema') return `${part.kind === 'atom' ? 'a' : 'c'}${part.pointer}`;
  return typeof part.schema === 'boolean' ? `${part.schema ? 't' : 'f'}#` : `s${part.pointer}`;
}

/** Levels left, 0 where `value` has more than `levels`. */
function nesting(value: unknown, levels: number): number {
  if (typeof value !== 'object' || value === null) return levels;
  if (levels <= 1) return 0;
  let left = levels;
  for (const inner of Object.values(value)) {
    left = Math.min(left, nesting(inner, levels - 1));
    if (left === 0) return 0;
  }
  return left;
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
}

function allows(schema: MergedSchema, value: unknown): boolean {
  if (value === null) return schema.types.has('null');
  if (Array.isArray(value))
    return schema.types.has('array') && value.length >= schema.array.minItems && value.length <= (schema.array.maxItems ?? value.length);
  switch (typeof value) {
    case 'object':
      return schema.types.has('object');
    case 'boolean':
      return schema.types.has('boolean');
    case 'string': {
      const length = [...value].length;
      return schema.types.has('string') && length >= schema.minLength && length <= (schema.maxLength ?? length);
    }
    case 'number': {
      if (!schema.types.has('number') && !(schema.types.has('integer') && Number.isInteger(value))) return false;
      if (value < (schema.minimum ?? value) || value > (schema.maximum ?? value)) return false;
      return value > (schema.exclusiveMinimum ?? Number.NEGATIVE_INFINITY) && value < (schema.exclusiveMaximum ?? Number.POSITIVE_INFINITY);
    }
    default:
      return false;
  }
}
