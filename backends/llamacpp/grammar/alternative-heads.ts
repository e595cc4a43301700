import type { JsonObjectRules } from './merge-keywords.ts';
import { isObject, own } from './schema-keywords.ts';
import type { SchemaPart } from './schema-parts.ts';

/** What a value certainly begins with: its bracket, then properties as far as they are certain and hold nothing nested. */
export interface Head {
  readonly opening: '{' | '[';
  readonly properties: readonly HeadProperty[];
}

interface HeadProperty {
  /** Null: any key. */
  readonly key: string | null;
  /** JSON texts; null: any. */
  readonly values: ReadonlySet<string> | null;
}

/** How many properties are compared, and how many beginnings of one object. */
const MAX_COMPARED = 16;
const MAX_HEADS = 64;

export const ARRAY_HEAD: Head = { opening: '[', properties: [] };

/** One for each property that may come first. */
export function headsOfObject(object: JsonObjectRules): Head[] {
  const names = [...object.properties.keys()];
  const heads: Head[] = [];
  for (let from = 0; ; from++) {
    const name = names[from];
    if (name === undefined || heads.length === MAX_HEADS) {
      // Empty, or other properties, or too many to tell.
      heads.push({ opening: '{', properties: name === undefined && object.others === null ? [] : [{ key: null, values: null }] });
      return heads;
    }
    const properties: HeadProperty[] = [];
    for (let i = from; i < names.length && properties.length < MAX_COMPARED; i++) {
      // A later optional one may be left out: nothing is certain from there on.
      if (i > from && !object.required.has(names[i]!)) break;
      const parts = object.properties.get(names[i]!)!;
      const values = valuesOf(parts);
      properties.push({ key: names[i]!, values });
      if (values === null && !parts.some(isScalar)) break;
    }
    heads.push({ opening: '{', properties });
    if (object.required.has(name)) return heads;
  }
}

/** No text begins both, as far as it is certain. */
export function tellApart(a: Head, b: Head): boolean {
  if (a.opening !== b.opening) return true;
  for (let i = 0; i < Math.min(a.properties.length, b.properties.length); i++) {
    const left = a.properties[i]!;
    const right = b.properties[i]!;
    if (left.key === null || right.key === null) return false;
    if (left.key !== right.key) return true;
    if (left.values !== null && right.values !== null && ![...left.values].some((value) => right.values!.has(value))) return true;
  }
  return false;
}

function valuesOf(parts: readonly SchemaPart[]): ReadonlySet<string> | null {
  for (const { schema } of parts) {
    if (!isObject(schema)) continue;
    if (Object.hasOwn(schema, 'const')) return new Set([JSON.stringify(schema['const'])]);
    const listed = own(schema, 'enum');
    if (Array.isArray(listed)) return new Set(listed.map((value) => JSON.stringify(value)));
  }
  return null;
}

function isScalar({ schema }: SchemaPart): boolean {
  if (!isObject(schema)) return false;
  const types = [own(schema, 'type') ?? 'any'].flat();
  return types.every((type) => type === 'string' || type === 'number' || type === 'integer' || type === 'boolean' || type === 'null');
}
