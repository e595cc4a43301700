import fc from 'fast-check';
import type { Field, Type } from 'protobufjs';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { enumValuesOf, messageTypeOf, modelConfigType } from './model-config-schema.ts';

const anyText = fc.string({ unit: 'binary', maxLength: 12 });
const anyMapKey = anyText.filter((key) => !['__proto__', 'constructor', 'prototype'].includes(key));

/** Any configuration that the schema allows, sensible or not; for property tests. */
export const anyModelConfig: fc.Arbitrary<ModelConfig> = anyMessage(modelConfigType) as fc.Arbitrary<unknown> as fc.Arbitrary<ModelConfig>;

function anyMessage(type: Type): fc.Arbitrary<Record<string, unknown>> {
  const members: Record<string, fc.Arbitrary<unknown>> = {};
  for (const field of type.fieldsArray) members[field.name] = anyField(field);
  const oneofs = type.oneofsArray.map((oneof) => oneof.fieldsArray);
  return fc
    .tuple(fc.record(members), fc.array(fc.nat(), { minLength: oneofs.length, maxLength: oneofs.length }))
    .map(([message, choices]) => {
      for (const [index, fields] of oneofs.entries()) {
        // One more than there are members: none is a choice too.
        const chosen = choices[index]! % (fields.length + 1);
        for (const [at, field] of fields.entries()) if (at !== chosen) message[field.name] = null;
      }
      return message;
    });
}

function anyField(field: Field): fc.Arbitrary<unknown> {
  if (field.map) {
    const isNumeric = Reflect.get(field, 'keyType') !== 'string';
    const keys = isNumeric ? fc.maxSafeNat().map(String) : anyMapKey;
    return fc.array(fc.tuple(keys, anySingle(field)), { maxLength: 2 }).map((entries) => Object.fromEntries(entries));
  }
  if (field.repeated) return fc.array(anySingle(field), { maxLength: 3 });
  return messageTypeOf(field) === null ? anySingle(field) : fc.option(anySingle(field), { nil: null });
}

function anySingle(field: Field): fc.Arbitrary<unknown> {
  const messageType = messageTypeOf(field);
  if (messageType !== null) return anyMessage(messageType);
  const enumValues = enumValuesOf(field);
  if (enumValues !== null) return fc.constantFrom(...Object.keys(enumValues));
  switch (field.type) {
    case 'string':
      return anyText;
    case 'bool':
      return fc.boolean();
    case 'float':
    case 'double':
      return fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value));
    case 'int32':
      return fc.integer();
    case 'uint32':
      return fc.nat(2 ** 32 - 1);
    case 'uint64':
      return fc.maxSafeNat();
    default:
      return fc.maxSafeInteger();
  }
}
