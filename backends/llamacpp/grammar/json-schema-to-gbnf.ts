import { GrammarRules } from './grammar-rules.ts';
import { SchemaCompiler } from './schema-compiler.ts';
import { MAX_DEPTH, MAX_SCHEMA_LENGTH, SchemaErrors } from './schema-limits.ts';

/**
 * GBNF for the JSON texts that a schema allows: draft 2020-12, as far as a grammar can say it. What it cannot say is refused, never passed over. Narrower than the draft in:
 * properties come in the schema's order; an object with `properties` has no others unless additionalProperties says so; a schema without `type` is of the types that its
 * keywords speak of. Wider: oneOf is anyOf; other properties' names may repeat; formats other than date, time, date-time, uuid and ipv4 are notes.
 *
 * `schema`: a JSON value, or its text. `name`: the parameter's, for errors, which are INVALID_ARGUMENT `name: #/pointer: ...`. Bounds: schema-limits.ts.
 */
export function jsonSchemaToGbnf(schema: unknown, name = 'json_schema'): string {
  const rules = new GrammarRules();
  return rules.text(jsonSchemaRules(schema, name, rules));
}

/** The same, beside other rules: the name of the schema's own. */
export function jsonSchemaRules(schema: unknown, name: string, rules: GrammarRules): string {
  const errors = new SchemaErrors(name);
  let document = schema;
  if (typeof schema === 'string') {
    if (schema.length > MAX_SCHEMA_LENGTH) throw errors.at('#', `${schema.length} characters; at most ${MAX_SCHEMA_LENGTH} are supported`);
    try {
      document = JSON.parse(schema);
    } catch (error) {
      throw errors.at('#', `not JSON: ${error instanceof Error ? error.message.slice(0, 200) : 'it does not parse'}`);
    }
  }
  if (tooDeep(document)) throw errors.at('#', `nested more than ${8 * MAX_DEPTH} deep`);
  if (typeof schema !== 'string') {
    const length = JSON.stringify(document)?.length ?? 0;
    if (length > MAX_SCHEMA_LENGTH) throw errors.at('#', `${length} characters; at most ${MAX_SCHEMA_LENGTH} are supported`);
  }
  return new SchemaCompiler(document, name, rules).root();
}

/** Level by level, without recursion: its depth is not known yet. */
function tooDeep(document: unknown): boolean {
  let level: unknown[] = [document];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > 8 * MAX_DEPTH) return true;
    const next: unknown[] = [];
    for (const value of level) if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) next.push(inner);
    level = next;
  }
  return false;
}
