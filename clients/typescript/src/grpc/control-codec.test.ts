import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import type { ModelConfig } from '../../../../backends/api/model-config.ts';
import { descriptor } from '../../../../proto/gen/descriptor.ts';
import { encodeModelConfig } from '../../../../server/model-config/encode-model-config.ts';
import { decodeMessage } from './decode-message.ts';
import { encodeMessage } from './encode-message.ts';
import { MESSAGE_FIELDS } from './message-fields.ts';

const root = protobuf.Root.fromJSON(descriptor).resolveAll();
const typeOf = (name: string): protobuf.Type => root.lookupType(`inference.${name}`);

/** Any value of a message, in the form that protobufjs takes. */
function anyMessage(type: protobuf.Type): fc.Arbitrary<Record<string, unknown>> {
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  for (const field of type.fieldsArray) {
    if (field.partOf !== null) continue;
    fields[field.name] = anyField(field);
  }
  const oneofs = type.oneofsArray.map((oneof) =>
    fc.option(fc.oneof(...oneof.fieldsArray.map((field) => anyField(field).map((value) => ({ [field.name]: value })))), { nil: {} }),
  );
  return fc
    .tuple(fc.record(fields, { requiredKeys: [] }), ...oneofs)
    .map((parts) => Object.assign({}, ...(parts as object[])) as Record<string, unknown>);
}

function anyField(field: protobuf.Field): fc.Arbitrary<unknown> {
  const value = anyValue(field);
  if (field.map) {
    const keys =
      (field as unknown as protobuf.MapField).keyType === 'string'
        ? fc.constantFrom('a', '', 'ü', 'constructor', 'x.y')
        : fc.nat().map((key) => String(key));
    return fc.dictionary(keys, value, { maxKeys: 3 });
  }
  return field.repeated ? fc.array(value, { maxLength: 4 }) : value;
}

function anyValue(field: protobuf.Field): fc.Arbitrary<unknown> {
  if (field.resolvedType instanceof protobuf.Type) return anyMessage(field.resolvedType);
  if (field.resolvedType instanceof protobuf.Enum) return fc.constantFrom(...Object.values(field.resolvedType.values));
  switch (field.type) {
    case 'bool':
      return fc.boolean();
    case 'string':
      return fc.string({ unit: 'grapheme', maxLength: 12 });
    case 'bytes':
      return fc.uint8Array({ maxLength: 200 });
    case 'int32':
      return fc.integer();
    case 'uint32':
      return fc.nat(0xffffffff);
    case 'int64':
      return fc.maxSafeInteger();
    case 'uint64':
      return fc.maxSafeNat();
    case 'float':
      return fc.float({ noNaN: true });
    default:
      return fc.double({ noNaN: true });
  }
}

const control = Object.keys(MESSAGE_FIELDS).filter((name) => !name.includes('.') && /Re(quest|sponse)$/.test(name));

/** Messages that are missing where theirs have defaults here. */
function withDefaults(type: protobuf.Type, value: Record<string, unknown>): Record<string, unknown> {
  for (const field of type.fieldsArray) {
    const inner = field.resolvedType;
    if (!(inner instanceof protobuf.Type)) continue;
    const fill = (member: unknown): unknown => withDefaults(inner, member as Record<string, unknown>);
    const member = value[field.name];
    if (Array.isArray(member)) value[field.name] = member.map(fill);
    else if (field.map) for (const key of Object.keys(member as object)) fill((member as Record<string, unknown>)[key]);
    else if (member !== null && member !== undefined) fill(member);
    else if (field.partOf === null)
      value[field.name] = fill(inner.toObject(inner.create(), { defaults: true, arrays: true, objects: true, longs: Number }));
  }
  return value;
}

describe('control messages', () => {
  test('there are those of eighteen RPCs', () => {
    expect(control).toHaveLength(36);
  });

  test.each(control.filter((name) => name.endsWith('Response') && name !== 'ModelConfigResponse'))(
    '%s is read as protobufjs reads it',
    (name) => {
      const type = typeOf(name);
      fc.assert(
        fc.property(anyMessage(type), (value) => {
          const bytes = type.encode(type.fromObject(value)).finish();
          const read = type.toObject(type.decode(bytes), { defaults: true, arrays: true, objects: true, longs: Number, enums: String });
          expect(decodeMessage(name, bytes)).toEqual(withDefaults(type, read));
        }),
        { numRuns: 60 },
      );
    },
  );

  test.each(control.filter((name) => name.endsWith('Request')))('protobufjs reads the %s that is written', (name) => {
    const type = typeOf(name);
    const plain = { longs: Number, arrays: true, objects: true, defaults: true };
    fc.assert(
      fc.property(anyMessage(type), (value) => {
        const expected = type.toObject(type.decode(type.encode(type.fromObject(value)).finish()), plain);
        expect(type.toObject(type.decode(encodeMessage(name, value)), plain)).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });
});

describe('a model configuration', () => {
  const type = typeOf('ModelConfigResponse');

  test('is the object that REST has', () => {
    fc.assert(
      fc.property(anyMessage(typeOf('ModelConfig')), (config) => {
        const bytes = type.encode(type.fromObject({ config })).finish();
        const read = type.toObject(type.decode(bytes), { defaults: true, arrays: true, objects: true, longs: Number, enums: String });
        const rest = JSON.parse(JSON.stringify(encodeModelConfig(read['config'] as ModelConfig), shortFloats)) as unknown;
        expect(JSON.parse(JSON.stringify(decodeMessage('ModelConfigResponse', bytes)['config'], shortFloats))).toEqual(rest);
      }),
      { numRuns: 150 },
    );
  });

  test('has the decimals that were written, not those of the float', () => {
    const sequence = { direct: { minimumSlotUtilization: 0.1 } };
    const bytes = type.encode(type.fromObject({ config: { sequenceBatching: sequence } })).finish();
    const config = decodeMessage('ModelConfigResponse', bytes)['config'];
    expect(config).toMatchObject({ sequence_batching: { direct: { minimum_slot_utilization: 0.1 } } });
  });

  /** A float as the one of its decimals; the other side has the double. */
  function shortFloats(_key: string, value: unknown): unknown {
    return typeof value === 'number' && !Number.isInteger(value) ? Math.fround(value) : value;
  }
});

describe('messages that are none', () => {
  const whole = typeOf('ModelStatisticsResponse')
    .encode({ modelStats: [{ name: 'digits', version: '1', inferenceStats: { success: { count: 3, ns: 70_000 } } }] })
    .finish();

  test('that are cut anywhere are INTERNAL, or the part before', () => {
    for (let length = 0; length < whole.length; length++) {
      try {
        decodeMessage('ModelStatisticsResponse', whole.subarray(0, length));
        expect(length).toBe(0);
      } catch (error) {
        expect(error).toMatchObject({ code: 'INTERNAL', phase: 'answered' });
      }
    }
  });

  test('made of any bytes end in an object or INTERNAL', () => {
    fc.assert(
      fc.property(fc.constantFrom(...control), fc.uint8Array({ maxLength: 60 }), (name, bytes) => {
        try {
          expect(typeof decodeMessage(name, bytes)).toBe('object');
        } catch (error) {
          expect(error).toMatchObject({ code: 'INTERNAL' });
        }
      }),
    );
  });

  test('a key of __proto__ is a key', () => {
    const type = typeOf('LogSettingsResponse');
    const settings = Object.fromEntries([['__proto__', { boolParam: true }]]);
    const read = decodeMessage('LogSettingsResponse', type.encode({ settings }).finish())['settings'] as object;
    expect(Object.keys(read)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
  });

  test('a number that is no whole one is the caller’s mistake', () => {
    const region = { name: 'r', key: '/r', offset: 1.5, byteSize: 4 };
    expect(() => encodeMessage('SystemSharedMemoryRegisterRequest', region)).toThrow(/offset: expected a whole number from 0 .* got 1.5/);
    expect(() => encodeMessage('SystemSharedMemoryRegisterRequest', { ...region, offset: -1 })).toThrow(/got -1/);
  });
});
