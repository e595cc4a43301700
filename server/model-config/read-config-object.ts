import type { Field, Type } from 'protobufjs';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { enumValuesOf, messageTypeOf, modelConfigType, protoNameOf } from './model-config-schema.ts';

/** Assigning such a key to an object reaches its prototype instead, or hides what every object has. */
const refusedMapKeys = new Set(['__proto__', 'constructor', 'prototype']);

const integerLimits: { readonly [type: string]: readonly [number, number] } = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint64: [0, Number.MAX_SAFE_INTEGER],
};

/**
 * A parsed JSON or YAML document (or a text-format message as a plain object) as a complete ModelConfig: every field is there, unset messages
 * and oneof members are null. Field names in snake_case or lowerCamelCase; enums by name in any case, or by number; integers as numbers
 * or decimal strings, both within +-2^53; null means "not set". Throws INVALID_ARGUMENT naming `source` and the path of the field.
 */
export function readConfigObject(document: unknown, source: string): ModelConfig {
  // The descriptor that drives the reading is the one the ModelConfig type was generated from, so the shapes agree.
  return readMessage(modelConfigType, document, '', source) as unknown as ModelConfig;
}

function readMessage(type: Type, value: unknown, path: string, source: string): Record<string, unknown> {
  const given = new Map<Field, unknown>();
  for (const [key, member] of Object.entries(asObject(value, path, source))) {
    const field = findField(type, key);
    if (field === undefined) {
      const names = type.fieldsArray.map(protoNameOf);
      const hint = didYouMean(key, names) || `; ${type.name} has: ${names.join(', ')}`;
      throw fail(source, joinPath(path, key), `unknown field${hint}`);
    }
    if (given.has(field)) throw fail(source, joinPath(path, protoNameOf(field)), 'given twice, in snake_case and in camelCase; keep one');
    if (member !== null && member !== undefined) given.set(field, member);
  }
  for (const oneof of type.oneofsArray) {
    const chosen = oneof.fieldsArray.filter((field) => given.has(field)).map(protoNameOf);
    if (chosen.length > 1) throw fail(source, path, `only one of ${chosen.join(' and ')} may be given`);
  }
  const result: Record<string, unknown> = {};
  for (const field of type.fieldsArray) {
    const fieldPath = joinPath(path, protoNameOf(field));
    result[field.name] = given.has(field) ? readField(field, given.get(field), fieldPath, source) : unsetValue(field);
  }
  return result;
}

function readField(field: Field, value: unknown, path: string, source: string): unknown {
  if (field.map) {
    const result: Record<string, unknown> = {};
    for (const [key, member] of Object.entries(asObject(value, path, source))) {
      const memberPath = `${path}[${JSON.stringify(key)}]`;
      if (refusedMapKeys.has(key)) throw fail(source, memberPath, 'this key is not allowed; choose another');
      result[readMapKey(field, key, memberPath, source)] = readSingle(field, member, memberPath, source);
    }
    return result;
  }
  if (field.repeated) {
    if (!Array.isArray(value)) throw fail(source, path, `expected a list, got ${show(value)}`);
    return value.map((member: unknown, index) => readSingle(field, member, `${path}[${index}]`, source));
  }
  return readSingle(field, value, path, source);
}

function readSingle(field: Field, value: unknown, path: string, source: string): unknown {
  const messageType = messageTypeOf(field);
  if (messageType !== null) return readMessage(messageType, value, path, source);
  const enumValues = enumValuesOf(field);
  if (enumValues !== null) return readEnum(enumValues, value, path, source);
  switch (field.type) {
    case 'string':
      if (typeof value !== 'string')
        throw fail(source, path, `expected a string, got ${show(value)}${isScalar(value) ? '; put it in quotes' : ''}`);
      return value;
    case 'bool':
      if (typeof value !== 'boolean') throw fail(source, path, `expected true or false, got ${show(value)}`);
      return value;
    case 'float':
    case 'double':
      // Infinity and NaN have no meaning in any field there is, and would not survive JSON on their way to a host.
      if (typeof value !== 'number' || !Number.isFinite(value)) throw fail(source, path, `expected a finite number, got ${show(value)}`);
      return value === 0 ? 0 : value;
    default:
      return readInteger(field.type, value, path, source);
  }
}

function readEnum(values: Readonly<Record<string, number>>, value: unknown, path: string, source: string): string {
  const names = Object.keys(values);
  const found = names.find((name) => (typeof value === 'string' ? name === value.toUpperCase() : values[name] === value));
  if (found !== undefined) return found;
  const hint = typeof value === 'string' ? didYouMean(value, names) : '';
  throw fail(source, path, `expected one of ${names.join(', ')}, got ${show(value)}${hint}`);
}

function readInteger(type: string, value: unknown, path: string, source: string): number {
  const limits = integerLimits[type];
  if (limits === undefined) throw fail(source, path, `no reader for the type ${type}`);
  const isDecimal = typeof value === 'string' && /^-?(0|[1-9][0-9]*)$/.test(value);
  const number = isDecimal ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number)) throw fail(source, path, `expected an integer, got ${show(value)}`);
  if (number < limits[0] || number > limits[1]) {
    throw fail(source, path, `expected an integer from ${limits[0]} to ${limits[1]}, got ${show(value)}`);
  }
  // -0 is printed and compared as something else than 0.
  return number === 0 ? 0 : number;
}

function readMapKey(field: Field, key: string, path: string, source: string): string {
  const keyType: unknown = Reflect.get(field, 'keyType');
  return keyType === 'string' ? key : String(readInteger(String(keyType), key, path, source));
}

function unsetValue(field: Field): unknown {
  if (field.map) return {};
  if (field.repeated) return [];
  if (field.partOf !== null || messageTypeOf(field) !== null) return null;
  const enumValues = enumValuesOf(field);
  if (enumValues !== null) return Object.keys(enumValues).find((name) => enumValues[name] === 0);
  if (field.type === 'string') return '';
  return field.type === 'bool' ? false : 0;
}

function findField(type: Type, key: string): Field | undefined {
  return type.fieldsArray.find((field) => field.name === key || protoNameOf(field) === key);
}

function asObject(value: unknown, path: string, source: string): object {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw fail(source, path, `expected an object, got ${show(value)}`);
}

function joinPath(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

function isScalar(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'boolean';
}

/** A value for an error message, short whatever came. */
function show(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function fail(source: string, path: string, problem: string): Error {
  return invalidArgument(path === '' ? `${source}: ${problem}` : `${source}: ${path}: ${problem}`);
}
