import { checkKeywords, isObject, type JsonObject, own, saysSomething } from './schema-keywords.ts';
import { MAX_DEPTH, type SchemaErrors, step } from './schema-limits.ts';

/** A schema at its place. */
export interface SchemaPart {
  readonly kind: 'schema';
  readonly schema: unknown;
  readonly pointer: string;
}

/** A schema's own keywords, its $ref, allOf, anyOf and oneOf left out. */
export interface AtomPart {
  readonly kind: 'atom';
  readonly schema: JsonObject;
  readonly pointer: string;
}

/** One of these. */
export interface ChoicePart {
  readonly kind: 'choice';
  readonly options: readonly SchemaPart[];
  readonly pointer: string;
}

/** What a value must fulfil, all of a list at once. */
export type Part = SchemaPart | AtomPart | ChoicePart;

/** No value fulfils this: an alternative or an optional property of it is left out. */
export class Unsatisfiable extends Error {
  readonly pointer: string;

  constructor(pointer: string, text: string) {
    super(text);
    this.pointer = pointer;
  }
}

export function at(schema: unknown, pointer: string): SchemaPart {
  return { kind: 'schema', schema, pointer };
}

/** Follows #/..., with JSON pointer's and percent escapes. */
export function resolveRef(document: unknown, ref: unknown, pointer: string, errors: SchemaErrors): SchemaPart {
  const place = step(pointer, '$ref');
  if (typeof ref !== 'string') throw errors.at(place, `expected a string, got ${JSON.stringify(ref)?.slice(0, 50)}`);
  const shown = ref.slice(0, 100);
  if (ref !== '#' && !ref.startsWith('#/')) {
    throw errors.at(place, `'${shown}' is not supported: only references inside the schema, such as #/$defs/name, are followed`);
  }
  let target = document;
  let targetPointer = '#';
  for (const raw of ref === '#' ? [] : ref.slice(2).split('/')) {
    let key: string;
    try {
      key = decodeURIComponent(raw).replaceAll('~1', '/').replaceAll('~0', '~');
    } catch {
      throw errors.at(place, `'${shown}' has a percent sign that is no escape`);
    }
    const next = Array.isArray(target)
      ? /^\d{1,6}$/.test(key)
        ? target[Number(key)]
        : undefined
      : isObject(target)
        ? own(target, key)
        : undefined;
    if (next === undefined) throw errors.at(place, `'${shown}' points at nothing: ${targetPointer} has no '${key.slice(0, 60)}'`);
    target = next;
    targetPointer = step(targetPointer, key);
  }
  return at(target, targetPointer);
}

export interface Conjunction {
  readonly atoms: readonly AtomPart[];
  readonly choices: readonly ChoicePart[];
}

/** Opens $ref and allOf, so that only plain keywords and choices are left. */
export function flatten(parts: readonly Part[], document: unknown, errors: SchemaErrors, spend: (pointer: string) => void): Conjunction {
  const atoms: AtomPart[] = [];
  const choices: ChoicePart[] = [];
  const seen = new Set<string>();
  const walk = (part: Part, depth: number): void => {
    if (part.kind === 'atom') {
      atoms.push(part);
      return;
    }
    if (part.kind === 'choice') {
      choices.push(part);
      return;
    }
    const { schema, pointer } = part;
    spend(pointer);
    if (depth > MAX_DEPTH) throw errors.at(pointer, `$ref and allOf lead more than ${MAX_DEPTH} deep; they may lead back here`);
    if (schema === true) return;
    if (schema === false) throw new Unsatisfiable(pointer, 'no value is allowed here');
    if (!isObject(schema))
      throw errors.at(pointer, `expected a schema (an object, true or false), got ${JSON.stringify(schema)?.slice(0, 50)}`);
    // Twice the same says nothing more.
    if (seen.has(pointer)) return;
    seen.add(pointer);
    checkKeywords(schema, pointer, errors);
    if (saysSomething(schema)) atoms.push({ kind: 'atom', schema, pointer });
    if (Object.hasOwn(schema, '$ref')) walk(resolveRef(document, schema['$ref'], pointer, errors), depth + 1);
    for (const member of list(schema, 'allOf', pointer, errors)) walk(member, depth + 1);
    for (const keyword of ['anyOf', 'oneOf']) {
      if (Object.hasOwn(schema, keyword)) {
        choices.push({ kind: 'choice', options: list(schema, keyword, pointer, errors), pointer: step(pointer, keyword) });
      }
    }
  };
  for (const part of parts) walk(part, 0);
  return { atoms, choices };
}

/** The schemas of allOf, anyOf, oneOf; none where the keyword is missing. */
export function list(schema: JsonObject, keyword: string, pointer: string, errors: SchemaErrors): SchemaPart[] {
  const value = own(schema, keyword);
  if (value === undefined) return [];
  const place = step(pointer, keyword);
  if (!Array.isArray(value) || value.length === 0) throw errors.at(place, 'expected an array of schemas, not empty');
  return value.map((member, i) => at(member, step(place, i)));
}
