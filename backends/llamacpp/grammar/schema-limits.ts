import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';

/** JSON text of a schema, characters. */
export const MAX_SCHEMA_LENGTH = 256 * 1024;
/** Schemas inside schemas, and values inside const and enum. */
export const MAX_DEPTH = 64;
/** Schemas looked at, with what merging allOf and anyOf makes of them. */
export const MAX_NODES = 5_000;
/** Rules that llama.cpp makes of the grammar, with those of repetitions. */
export const MAX_RULES = 20_000;
/** Characters of GBNF. */
export const MAX_GRAMMAR_LENGTH = 1024 * 1024;
/** Of minLength, maxLength, minItems, maxItems, minProperties, maxProperties. */
export const MAX_REPETITIONS = 100_000;
/** Values of one enum. */
export const MAX_ENUM = 5_000;
/** Characters of the values of one enum, as JSON. */
export const MAX_ENUM_LENGTH = 128 * 1024;
/** Properties of one object: llama.cpp walks all optional ones at once. */
export const MAX_PROPERTIES = 1_000;

/** What goes wrong names the place in the schema by its JSON pointer. */
export class SchemaErrors {
  readonly #name: string;

  /** `name`: the parameter that the schema came in. */
  constructor(name: string) {
    this.#name = name;
  }

  at(pointer: string, text: string): InferenceError {
    const place = pointer.length > 300 ? `${pointer.slice(0, 300)}...` : pointer;
    return invalidArgument(`${this.#name}: ${place}: ${text}`);
  }
}

/** One step of a JSON pointer. */
export function step(pointer: string, key: string | number): string {
  return `${pointer}/${typeof key === 'number' ? key : key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}
