import type { Field, Type } from 'protobufjs';
import { configSupport } from './config-support.ts';
import { enumValuesOf, messageTypeOf, modelConfigType, protoNameOf, qualifiedNameOf } from './model-config-schema.ts';

/** As JSON. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

/** What the .proto file says about a message, a field or an enum value (`ModelInput.Format.FORMAT_NHWC`); null: nothing. */
export type ProtoComment = (qualifiedName: string) => string | null;

const limits: Readonly<Record<string, readonly [number, number]>> = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint64: [0, Number.MAX_SAFE_INTEGER],
};

/**
 * A JSON Schema (draft 7, which editors know) of config.yaml and config.json, in snake_case. It tells what this server does with a field; fields that it
 * refuses are in it, so that an editor can say why. Narrower than the reader: no camelCase, no enums by number or in small letters, no null.
 */
export function createConfigSchema(comment: ProtoComment): JsonSchema {
  const definitions: Record<string, JsonSchema> = {};
  const writer = new SchemaWriter(comment, definitions);
  const root = writer.message(modelConfigType);
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Model configuration',
    ...root,
    definitions: Object.fromEntries(Object.entries(definitions).sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

class SchemaWriter {
  readonly #comment: ProtoComment;
  readonly #definitions: Record<string, JsonSchema>;

  constructor(comment: ProtoComment, definitions: Record<string, JsonSchema>) {
    this.#comment = comment;
    this.#definitions = definitions;
  }

  message(type: Type): JsonSchema {
    const properties: Record<string, JsonSchema> = {};
    for (const field of type.fieldsArray) properties[protoNameOf(field)] = { ...this.#describe(field), ...this.#field(field) };
    const exclusive = type.oneofsArray.flatMap(({ fieldsArray }) => pairsOf(fieldsArray.map(protoNameOf)));
    return {
      ...text(this.#comment(nameOf(type))),
      type: 'object',
      additionalProperties: false,
      properties,
      ...(exclusive.length > 0 ? { allOf: exclusive.map((pair) => ({ not: { required: pair } })) } : {}),
    };
  }

  #field(field: Field): JsonSchema {
    const one = this.#single(field);
    if (field.map) {
      const isText = Reflect.get(field, 'keyType') === 'string';
      return { type: 'object', ...(isText ? {} : { propertyNames: { pattern: '^-?(0|[1-9][0-9]*)$' } }), additionalProperties: one };
    }
    return field.repeated ? { type: 'array', items: one } : one;
  }

  #single(field: Field): JsonSchema {
    const type = messageTypeOf(field);
    if (type !== null) {
      const name = nameOf(type);
      if (this.#definitions[name] === undefined) {
        // Named before it is written, for a message that holds itself.
        this.#definitions[name] = {};
        this.#definitions[name] = this.message(type);
      }
      // Beside a $ref, draft 7 ignores every other keyword.
      const reference = { $ref: `#/definitions/${name}` };
      return name === 'ModelParameter' ? { anyOf: [reference, { type: ['string', 'number', 'boolean'] }] } : { allOf: [reference] };
    }
    const values = enumValuesOf(field);
    if (values !== null) return { type: 'string', enum: Object.keys(values) };
    switch (field.type) {
      case 'string':
        return { type: 'string' };
      case 'bool':
        return { type: 'boolean' };
      case 'float':
      case 'double':
        return { type: 'number' };
      default: {
        const [minimum, maximum] = limits[field.type] ?? [];
        return { type: ['integer', 'string'], minimum, maximum, pattern: '^-?(0|[1-9][0-9]*)$' };
      }
    }
  }

  /** What the field is, what its values are, and what this server does with it. */
  #describe(field: Field): JsonSchema {
    const qualifiedName = qualifiedNameOf(field);
    const lines = [this.#comment(qualifiedName) ?? ''];
    const values = enumValuesOf(field);
    const enumName = field.resolvedType?.fullName.replace(/^\.inference\./, '') ?? '';
    for (const value of values === null ? [] : Object.keys(values)) {
      const meaning = this.#comment(`${enumName}.${value}`);
      if (meaning !== null) lines.push(`${value}: ${meaning}`);
    }
    const support = configSupport[qualifiedName];
    const warning =
      support === undefined || support.level === 'supported'
        ? null
        : `${support.level === 'refused' ? 'Not supported' : 'Has no effect'}${support.appliesTo === undefined ? '' : ' with certain values'}: ${support.why}.`;
    if (warning !== null) lines.push(warning);
    // The second is what editors mark a field with.
    return { ...text(lines.filter((line) => line !== '').join('\n')), ...(warning === null ? {} : { deprecationMessage: warning }) };
  }
}

function text(description: string | null): JsonSchema {
  return description === null || description === '' ? {} : { description };
}

function nameOf(type: Type): string {
  return type.fullName.replace(/^\.inference\./, '');
}

function pairsOf(names: readonly string[]): string[][] {
  return names.flatMap((first, index) => names.slice(index + 1).map((second) => [first, second]));
}
