import type { Field, Type } from 'protobufjs';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { ConfigFinding } from './config-finding.ts';
import { enumValuesOf, messageTypeOf, modelConfigType, protoNameOf } from './model-config-schema.ts';

/** Assigning such a key to an object reaches its prototype instead, or hides what every object has. */
const refusedMapKeys = new Set(['__proto__', 'constructor', 'prototype']);

const integerLimits: { readonly [type: string]: readonly [number, number] } = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint64: [0, Number.MAX_SAFE_INTEGER],
};

const wideLimits: { readonly [type: string]: readonly [bigint, bigint] } = {
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
};

/** A message as its author wrote it: snake_case names in the author's order, enums by name, unset fields missing. */
export interface ConfigDocument {
  readonly [name: string]: ConfigValue;
}
/** A bigint is a whole number that a double does not hold exactly. */
export type ConfigValue = string | number | bigint | boolean | readonly ConfigValue[] | ConfigDocument;

/**
 * A parsed JSON or YAML document (or a text-format message as a plain object) as a complete ModelConfig: every field is there, unset messages
 * and oneof members are null. Field names in snake_case or lowerCamelCase; enums by name in any case, or by number; integers as numbers
 * or decimal strings, both within +-2^53; null means "not set"; a value of `parameters` may be the text, number or boolean alone. Throws INVALID_ARGUMENT naming `source` and the path of the field; with `findings`,
 * every mistake is put there instead, and the field reads as unset.
 */
export function readConfigObject(document: unknown, source: string, findings: ConfigFinding[] | null = null): ModelConfig {
  // The descriptor that drives the reading is the one the ModelConfig type was generated from, so the shapes agree.
  return new ConfigReader(source, findings, false).readMessage(modelConfigType, document, '') as unknown as ModelConfig;
}

/** The same, as it was written, with 64-bit integers exact and with their whole range. */
export function readConfigDocument(document: unknown, source: string): ConfigDocument {
  return new ConfigReader(source, null, true).readMessage(modelConfigType, document, '') as ConfigDocument;
}

class ConfigReader {
  readonly #source: string;
  readonly #findings: ConfigFinding[] | null;
  readonly #asWritten: boolean;

  constructor(source: string, findings: ConfigFinding[] | null, asWritten: boolean) {
    this.#source = source;
    this.#findings = findings;
    this.#asWritten = asWritten;
  }

  readMessage(type: Type, value: unknown, path: string): Record<string, unknown> {
    const given = new Map<Field, unknown>();
    for (const [key, member] of Object.entries(this.#object(value, path))) {
      const field = findField(type, key);
      if (field === undefined) {
        const names = type.fieldsArray.map(protoNameOf);
        const hint = didYouMean(key, names) || `; ${type.name} has: ${names.join(', ')}`;
        this.#fail(joinPath(path, key), `unknown field${hint}`);
      } else if (given.has(field)) {
        this.#fail(joinPath(path, protoNameOf(field)), 'given twice, in snake_case and in camelCase; keep one');
      } else if (member !== null && member !== undefined) given.set(field, member);
    }
    for (const oneof of type.oneofsArray) {
      const chosen = oneof.fieldsArray.filter((field) => given.has(field)).map(protoNameOf);
      if (chosen.length > 1) this.#fail(path, `only one of ${chosen.join(' and ')} may be given`);
    }
    const result: Record<string, unknown> = {};
    for (const field of this.#asWritten ? given.keys() : type.fieldsArray) {
      const name = protoNameOf(field);
      const read = given.has(field) ? this.#field(field, given.get(field), joinPath(path, name)) : unsetValue(field);
      result[this.#asWritten ? name : field.name] = read;
    }
    return result;
  }

  #field(field: Field, value: unknown, path: string): unknown {
    if (field.map) {
      const result: Record<string, unknown> = {};
      for (const [key, member] of Object.entries(this.#object(value, path))) {
        const memberPath = `${path}[${JSON.stringify(key)}]`;
        if (refusedMapKeys.has(key)) this.#fail(memberPath, 'this key is not allowed; choose another');
        else result[this.#mapKey(field, key, memberPath)] = this.#single(field, member, memberPath);
      }
      return result;
    }
    if (field.repeated) {
      if (Array.isArray(value)) return value.map((member: unknown, index) => this.#single(field, member, `${path}[${index}]`));
      return this.#fail(path, `expected a list, got ${show(value)}`, []);
    }
    return this.#single(field, value, path);
  }

  #single(field: Field, value: unknown, path: string): unknown {
    const messageType = messageTypeOf(field);
    if (messageType !== null)
      return this.readMessage(messageType, isParameter(messageType) && isText(value) ? { string_value: String(value) } : value, path);
    const enumValues = enumValuesOf(field);
    if (enumValues !== null) return this.#enum(enumValues, value, path);
    switch (field.type) {
      case 'string':
        if (typeof value === 'string') return value;
        return this.#fail(path, `expected a string, got ${show(value)}${isScalar(value) ? '; put it in quotes' : ''}`, '');
      case 'bool':
        return typeof value === 'boolean' ? value : this.#fail(path, `expected true or false, got ${show(value)}`, false);
      case 'float':
      case 'double':
        // Infinity and NaN have no meaning in any field there is, and would not survive JSON on their way to a host.
        if (typeof value === 'number' && Number.isFinite(value)) return value === 0 ? 0 : value;
        if (typeof value === 'bigint') return Number(value);
        return this.#fail(path, `expected a finite number, got ${show(value)}`, 0);
      default:
        return this.#integer(field.type, value, path);
    }
  }

  #enum(values: Readonly<Record<string, number>>, value: unknown, path: string): string {
    const names = Object.keys(values);
    const wanted = typeof value === 'bigint' ? Number(value) : value;
    const found = names.find((name) => (typeof wanted === 'string' ? name === wanted.toUpperCase() : values[name] === wanted));
    if (found !== undefined) return found;
    const hint = typeof value === 'string' ? didYouMean(value, names) : '';
    return this.#fail(path, `expected one of ${names.join(', ')}, got ${show(value)}${hint}`, names[0]!);
  }

  #integer(type: string, value: unknown, path: string): number | bigint {
    const limits = integerLimits[type];
    if (limits === undefined) return this.#fail(path, `no reader for the type ${type}`, 0);
    const isDecimal = typeof value === 'string' && /^-?(0|[1-9][0-9]*)$/.test(value);
    const number = isDecimal || typeof value === 'bigint' ? Number(value) : value;
    if (typeof number !== 'number' || !Number.isInteger(number)) return this.#fail(path, `expected an integer, got ${show(value)}`, 0);
    const wide = this.#asWritten ? wideLimits[type] : undefined;
    if (wide !== undefined && !Number.isSafeInteger(number)) {
      const exact = BigInt(isDecimal ? (value as string) : (value as number | bigint));
      if (exact >= wide[0] && exact <= wide[1]) return exact;
      return this.#fail(path, `expected an integer from ${wide[0]} to ${wide[1]}, got ${show(value)}`, 0);
    }
    if (number < limits[0] || number > limits[1]) {
      return this.#fail(path, `expected an integer from ${limits[0]} to ${limits[1]}, got ${show(value)}`, 0);
    }
    // -0 is printed and compared as something else than 0.
    return number === 0 ? 0 : number;
  }

  #mapKey(field: Field, key: string, path: string): string {
    const keyType: unknown = Reflect.get(field, 'keyType');
    return keyType === 'string' ? key : String(this.#integer(String(keyType), key, path));
  }

  #object(value: unknown, path: string): object {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
    return this.#fail(path, `expected an object, got ${show(value)}`, {});
  }

  /** The mistake into the findings, and `instead` as the value; without findings, INVALID_ARGUMENT. */
  #fail<T>(path: string, problem: string, instead?: T): T {
    if (this.#findings === null)
      throw invalidArgument(path === '' ? `${this.#source}: ${problem}` : `${this.#source}: ${path}: ${problem}`);
    this.#findings.push({ severity: 'error', field: path, message: problem });
    return instead as T;
  }
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

function joinPath(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

/** `parameters: { threads: 2 }` is short for `{ threads: { string_value: "2" } }`. */
function isParameter(type: Type): boolean {
  return type.name === 'ModelParameter';
}

function isText(value: unknown): boolean {
  return typeof value === 'string' || isScalar(value);
}

function isScalar(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean';
}

/** A value for an error message, short whatever came. */
function show(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
