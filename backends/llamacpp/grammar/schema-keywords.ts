import { nearestName } from '../../../proto/nearest-name.ts';
import { type SchemaErrors, step } from './schema-limits.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An own key's value: a schema may name a property `constructor`. */
export function own(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Say nothing about which values are allowed, or are read where they stand. */
const ANNOTATIONS: ReadonlySet<string> = new Set([
  ...['$schema', '$id', 'id', '$anchor', '$comment', '$defs', 'definitions', '$vocabulary', '$dynamicAnchor', 'strict'],
  ...[
    'title',
    'description',
    'default',
    'example',
    'examples',
    'deprecated',
    'readOnly',
    'writeOnly',
    'nullable',
    'discriminator',
    'xml',
    'externalDocs',
  ],
  ...['contentEncoding', 'contentMediaType', 'contentSchema'],
]);

/** Which types a keyword speaks of. */
export const KEYWORD_TYPES: ReadonlyMap<string, 'object' | 'array' | 'string' | 'number'> = new Map([
  ...['properties', 'required', 'additionalProperties', 'unevaluatedProperties', 'minProperties', 'maxProperties'].map(
    (k) => [k, 'object'] as const,
  ),
  ...['items', 'prefixItems', 'additionalItems', 'unevaluatedItems', 'minItems', 'maxItems', 'uniqueItems'].map(
    (k) => [k, 'array'] as const,
  ),
  ...['minLength', 'maxLength', 'pattern', 'format'].map((k) => [k, 'string'] as const),
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'].map((k) => [k, 'number'] as const),
]);

const APPLICATORS: ReadonlySet<string> = new Set(['$ref', 'allOf', 'anyOf', 'oneOf']);
const GENERAL: ReadonlySet<string> = new Set(['type', 'enum', 'const']);

const UNSUPPORTED: ReadonlySet<string> = new Set([
  ...['not', 'if', 'then', 'else', 'dependentRequired', 'dependentSchemas', 'dependencies', 'patternProperties', 'propertyNames'],
  ...['contains', 'minContains', 'maxContains', '$dynamicRef', '$recursiveRef'],
]);

const ALL: readonly string[] = [...ANNOTATIONS, ...KEYWORD_TYPES.keys(), ...APPLICATORS, ...GENERAL, ...UNSUPPORTED];

/** Refuses keywords that a grammar cannot express, and misspelt ones; others that JSON Schema does not know say nothing, as it wants. */
export function checkKeywords(schema: JsonObject, pointer: string, errors: SchemaErrors): void {
  for (const key of Object.keys(schema)) {
    if (KEYWORD_TYPES.has(key) || GENERAL.has(key) || APPLICATORS.has(key) || ANNOTATIONS.has(key)) continue;
    if (UNSUPPORTED.has(key))
      throw errors.at(step(pointer, key), `'${key}' cannot become a grammar; leave it out and check the answer yourself`);
    const nearest = nearestName(key, ALL);
    if (nearest !== undefined) throw errors.at(step(pointer, key), `unknown keyword '${key}'; did you mean '${nearest}'?`);
  }
  for (const key of ['unevaluatedProperties', 'unevaluatedItems']) {
    const value = own(schema, key) ?? true;
    // Merged objects have no others than their properties, so false is kept.
    if (value === true || !hasApplicator(schema) || (value === false && key === 'unevaluatedProperties')) continue;
    throw errors.at(
      step(pointer, key),
      `'${key}' beside $ref, allOf, anyOf or oneOf cannot become a grammar; leave it out and check the answer yourself`,
    );
  }
  if (own(schema, 'uniqueItems') === true) {
    throw errors.at(step(pointer, 'uniqueItems'), `'uniqueItems' cannot become a grammar; leave it out and check the answer yourself`);
  }
}

/** What `keyword`, `unevaluatedProperties` or `unevaluatedItems`, says where nothing beside it is there to evaluate any: undefined, nothing. */
export function unevaluated(schema: JsonObject, keyword: 'unevaluatedProperties' | 'unevaluatedItems'): unknown {
  const value = own(schema, keyword);
  return value === true || hasApplicator(schema) ? undefined : value;
}

function hasApplicator(schema: JsonObject): boolean {
  for (const keyword of APPLICATORS) if (Object.hasOwn(schema, keyword)) return true;
  return false;
}

/** The schema says nothing besides this keyword. */
export function saysOnly(schema: JsonObject, keyword: string): boolean {
  for (const key of Object.keys(schema)) {
    if (key !== keyword && (KEYWORD_TYPES.has(key) || GENERAL.has(key) || APPLICATORS.has(key))) return false;
  }
  return Object.hasOwn(schema, keyword);
}

/** The schema itself allows or forbids something, apart from $ref, allOf, anyOf and oneOf. */
export function saysSomething(schema: JsonObject): boolean {
  return Object.keys(schema).some((key) => KEYWORD_TYPES.has(key) || GENERAL.has(key));
}
