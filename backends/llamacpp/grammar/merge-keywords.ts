import { isObject, type JsonObject, KEYWORD_TYPES, own, unevaluated } from './schema-keywords.ts';
import { MAX_ENUM, MAX_ENUM_LENGTH, MAX_PROPERTIES, MAX_REPETITIONS, type SchemaErrors, step } from './schema-limits.ts';
import { type AtomPart, at, type SchemaPart, Unsatisfiable } from './schema-parts.ts';

export const JSON_TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;
export type JsonType = (typeof JSON_TYPES)[number];

/** What several schemas say together; null: nothing. */
export interface MergedSchema {
  readonly pointer: string;
  /** `integer` is left out where `number` is in. */
  readonly types: ReadonlySet<JsonType>;
  readonly values: readonly unknown[] | null;
  readonly object: JsonObjectRules;
  readonly array: JsonArrayRules;
  readonly minLength: number;
  readonly maxLength: number | null;
  readonly pattern: string | null;
  readonly format: string | null;
  readonly minimum: number | null;
  readonly maximum: number | null;
  readonly exclusiveMinimum: number | null;
  readonly exclusiveMaximum: number | null;
}

export interface JsonObjectRules {
  /** In the order of the schema. */
  readonly properties: ReadonlyMap<string, readonly SchemaPart[]>;
  readonly required: ReadonlySet<string>;
  /** Null: no others. */
  readonly others: readonly SchemaPart[] | null;
  readonly minProperties: number;
  readonly maxProperties: number | null;
}

export interface JsonArrayRules {
  readonly first: readonly (readonly SchemaPart[])[];
  /** Null: no more than `first`. */
  readonly rest: readonly SchemaPart[] | null;
  readonly minItems: number;
  readonly maxItems: number | null;
}

export function mergeKeywords(atoms: readonly AtomPart[], pointer: string, errors: SchemaErrors): MergedSchema {
  return {
    pointer,
    types: mergeTypes(atoms, pointer, errors),
    values: mergeValues(atoms, pointer, errors),
    object: mergeObjects(atoms, errors),
    array: mergeArrays(atoms, errors),
    minLength: largest(counts(atoms, 'minLength', errors)) ?? 0,
    maxLength: smallest(counts(atoms, 'maxLength', errors)),
    pattern: only(atoms, 'pattern', errors),
    format: only(atoms, 'format', errors),
    minimum: largest(numbers(atoms, 'minimum', errors)),
    maximum: smallest(numbers(atoms, 'maximum', errors)),
    exclusiveMinimum: largest(numbers(atoms, 'exclusiveMinimum', errors)),
    exclusiveMaximum: smallest(numbers(atoms, 'exclusiveMaximum', errors)),
  };
}

/** Where no schema names a type, those that its keywords speak of; all where there are none. */
function mergeTypes(atoms: readonly AtomPart[], pointer: string, errors: SchemaErrors): ReadonlySet<JsonType> {
  let types: Set<JsonType> | null = null;
  const implied = new Set<JsonType>();
  for (const atom of atoms) {
    const named = own(atom.schema, 'type');
    if (named === undefined) {
      for (const key of Object.keys(atom.schema)) {
        const type = KEYWORD_TYPES.get(key);
        if (type !== undefined) implied.add(type);
      }
    } else {
      const allowed = readTypes(named, step(atom.pointer, 'type'), errors);
      types = types === null ? allowed : intersect(types, allowed);
    }
    const multiple = own(atom.schema, 'multipleOf');
    if (multiple === 1)
      types = intersect(types ?? new Set(JSON_TYPES), new Set<JsonType>(['object', 'array', 'string', 'integer', 'boolean', 'null']));
    else if (multiple !== undefined) {
      throw errors.at(
        step(atom.pointer, 'multipleOf'),
        `only a multipleOf of 1 can become a grammar, got ${JSON.stringify(multiple)?.slice(0, 50)}`,
      );
    }
  }
  const result = types ?? (implied.size > 0 ? implied : new Set(JSON_TYPES));
  if (result.size === 0) throw new Unsatisfiable(pointer, 'its types exclude each other: no value is allowed');
  if (result.has('number')) result.delete('integer');
  return result;
}

function readTypes(value: unknown, pointer: string, errors: SchemaErrors): Set<JsonType> {
  const listed = Array.isArray(value) ? value : [value];
  const types = new Set<JsonType>();
  for (const one of listed) {
    const type = JSON_TYPES.find((known) => known === one);
    if (type === undefined)
      throw errors.at(pointer, `expected ${JSON_TYPES.join(', ')}, or an array of them, got ${JSON.stringify(value)?.slice(0, 80)}`);
    types.add(type);
  }
  if (types.size === 0) throw errors.at(pointer, 'an empty array allows no type');
  return types;
}

/** An integer is a number. */
function intersect(a: ReadonlySet<JsonType>, b: ReadonlySet<JsonType>): Set<JsonType> {
  const out = new Set<JsonType>();
  for (const type of a) {
    if (b.has(type)) out.add(type);
    else if (type === 'integer' && b.has('number')) out.add('integer');
    else if (type === 'number' && b.has('integer')) out.add('integer');
  }
  return out;
}

function mergeValues(atoms: readonly AtomPart[], pointer: string, errors: SchemaErrors): readonly unknown[] | null {
  let values: Map<string, unknown> | null = null;
  const narrow = (listed: readonly unknown[], place: string): void => {
    if (listed.length > MAX_ENUM) throw errors.at(place, `${listed.length} values; at most ${MAX_ENUM} are supported`);
    const texts = listed.map((value) => JSON.stringify(value));
    const length = texts.reduce((sum, text) => sum + text.length, 0);
    if (length > MAX_ENUM_LENGTH) throw errors.at(place, `${length} characters of values; at most ${MAX_ENUM_LENGTH} are supported`);
    const before = values;
    values = new Map();
    for (const [i, text] of texts.entries()) if (before === null || before.has(text)) values.set(text, listed[i]);
  };
  for (const { schema, pointer: place } of atoms) {
    const listed = own(schema, 'enum');
    if (listed !== undefined) {
      if (!Array.isArray(listed) || listed.length === 0) throw errors.at(step(place, 'enum'), 'expected an array of values, not empty');
      narrow(listed, step(place, 'enum'));
    }
    if (Object.hasOwn(schema, 'const')) narrow([schema['const']], step(place, 'const'));
  }
  if (values !== null && (values as Map<string, unknown>).size === 0)
    throw new Unsatisfiable(pointer, 'its enum and const have no value in common');
  return values === null ? null : [...(values as Map<string, unknown>).values()];
}

function mergeObjects(atoms: readonly AtomPart[], errors: SchemaErrors): JsonObjectRules {
  const properties = new Map<string, SchemaPart[]>();
  const required = new Set<string>();
  const closed: JsonObject[] = [];
  const others: { known: JsonObject; part: SchemaPart }[] = [];
  let opened = false;
  let named = false;
  for (const { schema, pointer } of atoms) {
    named ||= own(schema, 'properties') !== undefined || own(schema, 'unevaluatedProperties') === false;
    const known = own(schema, 'properties') ?? {};
    const place = step(pointer, 'properties');
    if (!isObject(known)) throw errors.at(place, 'expected an object of schemas');
    for (const [name, property] of Object.entries(known)) {
      const part = at(property, step(place, name));
      const before = properties.get(name);
      if (before === undefined) properties.set(name, [part]);
      else before.push(part);
    }
    const names = own(schema, 'required') ?? [];
    if (!Array.isArray(names)) throw errors.at(step(pointer, 'required'), 'expected an array of property names');
    for (const [i, name] of names.entries()) {
      if (typeof name !== 'string')
        throw errors.at(step(step(pointer, 'required'), i), `expected a property's name, got ${JSON.stringify(name)?.slice(0, 50)}`);
      required.add(name);
    }
    const keyword = own(schema, 'additionalProperties') === undefined ? 'unevaluatedProperties' : 'additionalProperties';
    const additional = own(schema, 'additionalProperties') ?? unevaluated(schema, 'unevaluatedProperties');
    if (additional === false) closed.push(known);
    else if (additional !== undefined) {
      opened = true;
      if (additional !== true) others.push({ known, part: at(additional, step(pointer, keyword)) });
    }
  }
  for (const name of required) if (!properties.has(name)) properties.set(name, [at(true, '#')]);
  if (properties.size > MAX_PROPERTIES) {
    throw errors.at(step(atoms[0]!.pointer, 'properties'), `${properties.size} properties; at most ${MAX_PROPERTIES} are supported`);
  }
  for (const [name, parts] of properties) {
    for (const { known, part } of others) if (!Object.hasOwn(known, name)) parts.push(part);
    if (closed.some((known) => !Object.hasOwn(known, name))) parts.push(at(false, '#'));
  }
  const anyOthers = closed.length === 0 && (opened || !named);
  return {
    properties,
    required,
    others: anyOthers ? others.map(({ part }) => part) : null,
    minProperties: largest(counts(atoms, 'minProperties', errors)) ?? 0,
    maxProperties: smallest(counts(atoms, 'maxProperties', errors)),
  };
}

function mergeArrays(atoms: readonly AtomPart[], errors: SchemaErrors): JsonArrayRules {
  const first: SchemaPart[][] = [];
  const rests: { from: number; part: SchemaPart }[] = [];
  for (const { schema, pointer } of atoms) {
    let prefix = own(schema, 'prefixItems');
    let place = step(pointer, 'prefixItems');
    let rest = own(schema, 'items');
    let restPlace = step(pointer, 'items');
    if (prefix === undefined && Array.isArray(rest)) {
      // Draft 7's tuples.
      prefix = rest;
      place = restPlace;
      rest = own(schema, 'additionalItems');
      restPlace = step(pointer, 'additionalItems');
    } else if (rest === undefined) {
      rest = unevaluated(schema, 'unevaluatedItems');
      restPlace = step(pointer, 'unevaluatedItems');
    }
    const items = prefix ?? [];
    if (!Array.isArray(items)) throw errors.at(place, 'expected an array of schemas');
    if (items.length > MAX_PROPERTIES) throw errors.at(place, `${items.length} schemas; at most ${MAX_PROPERTIES} are supported`);
    for (const [i, item] of items.entries()) {
      first[i] ??= [];
      first[i].push(at(item, step(place, i)));
    }
    if (rest !== undefined) rests.push({ from: items.length, part: at(rest, restPlace) });
  }
  for (const { from, part } of rests) for (const parts of first.slice(from)) parts.push(part);
  const ends = rests.some(({ part }) => part.schema === false);
  return {
    first,
    rest: ends ? null : rests.map(({ part }) => part),
    minItems: largest(counts(atoms, 'minItems', errors)) ?? 0,
    maxItems: smallest(counts(atoms, 'maxItems', errors)),
  };
}

function numbers(atoms: readonly AtomPart[], keyword: string, errors: SchemaErrors): number[] {
  const out: number[] = [];
  for (const { schema, pointer } of atoms) {
    const value = own(schema, keyword);
    if (value === undefined) continue;
    if (typeof value !== 'number') throw errors.at(step(pointer, keyword), `expected a number, got ${JSON.stringify(value)?.slice(0, 50)}`);
    out.push(value);
  }
  return out;
}

function counts(atoms: readonly AtomPart[], keyword: string, errors: SchemaErrors): number[] {
  const out = numbers(atoms, keyword, errors);
  for (const value of out) {
    if (Number.isSafeInteger(value) && value >= 0 && value <= MAX_REPETITIONS) continue;
    const place = atoms.find(({ schema }) => own(schema, keyword) === value)!.pointer;
    throw errors.at(step(place, keyword), `expected a whole number from 0 to ${MAX_REPETITIONS}, got ${value}`);
  }
  return out;
}

function largest(values: readonly number[]): number | null {
  return values.length === 0 ? null : Math.max(...values);
}

function smallest(values: readonly number[]): number | null {
  return values.length === 0 ? null : Math.min(...values);
}

function only(atoms: readonly AtomPart[], keyword: string, errors: SchemaErrors): string | null {
  let found: string | null = null;
  for (const { schema, pointer } of atoms) {
    const value = own(schema, keyword);
    if (value === undefined) continue;
    if (typeof value !== 'string') throw errors.at(step(pointer, keyword), `expected a string, got ${JSON.stringify(value)?.slice(0, 50)}`);
    if (found !== null && found !== value)
      throw errors.at(step(pointer, keyword), `two different ${keyword}s for one value cannot become a grammar`);
    found = value;
  }
  return found;
}
