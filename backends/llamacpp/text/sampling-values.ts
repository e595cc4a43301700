import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';

/** Counts fit the native library's 32-bit integers. */
export const MAX_COUNT = 0x7fff_ffff;
const MAX_STOPS = 16;
/** Bytes of UTF-8. */
const MAX_STOP_BYTES = 1024;
const MAX_BIASES = 1024;
const MAX_BIAS = 100;
/** What a JSON number may be beyond a double's exact integers: still the same seed each time. */
const MAX_SEED = 2 ** 64;
/** llama.cpp takes it for "no seed". */
const NO_SEED = 0xffff_ffff;
const TOKEN_ID = /^(0|[1-9]\d{0,9})$/;
const NUMBER_TEXT = /^-?\d{1,20}(\.\d{1,20})?([eE][+-]?\d{1,3})?$/;

/*
 * Each reader takes the value of the parameter `name`, from JSON or from the protocol. `undefined` and `null`: not given. All throw
 * INVALID_ARGUMENT that begins with the name. The text of a number, or of true and false, is taken for it: clients of Triton's vLLM backend send
 * such texts.
 */

export function number(name: string, value: unknown, low: number, high: number): number | undefined {
  if (value === undefined || value === null) return undefined;
  const given = numberOf(value);
  if (typeof given !== 'number' || !(given >= low && given <= high)) throw wrong(name, `a number from ${low} to ${high}`, value);
  return given;
}

export function integer(name: string, value: unknown, low: number, high: number): number | undefined {
  if (value === undefined || value === null) return undefined;
  const given = numberOf(value);
  if (!Number.isInteger(given) || (given as number) < low || (given as number) > high) {
    throw wrong(name, `an integer from ${low} to ${high}`, value);
  }
  // No negative zero.
  return (given as number) + 0;
}

function numberOf(value: unknown): unknown {
  return typeof value === 'string' && NUMBER_TEXT.test(value) ? Number(value) : value;
}

export function flag(name: string, value: unknown): boolean | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'boolean') return value;
  const text = typeof value === 'string' ? value.toLowerCase() : '';
  if (text !== 'true' && text !== 'false') throw wrong(name, 'true or false', value);
  return text === 'true';
}

export function text(name: string, value: unknown, maxBytes: number): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string' || value.length === 0) throw wrong(name, 'a text that is not empty', value);
  const bytes = Buffer.byteLength(value);
  if (bytes > maxBytes) throw invalidArgument(`${name}: expected at most ${maxBytes} bytes, got ${bytes}`);
  return value;
}

export function json(name: string, value: string, maxBytes: number): unknown {
  if (value.length > maxBytes)
    throw invalidArgument(`${name}: expected at most ${maxBytes} bytes of JSON, got ${Buffer.byteLength(value)}`);
  try {
    return JSON.parse(value) as unknown;
  } catch (error) {
    throw invalidArgument(
      `${name}: expected JSON text, got ${shown(value)} (${error instanceof Error ? error.message.slice(0, 120) : ''})`,
    );
  }
}

/** 32 bits; undefined: another each time, which -1 asks for too. */
export function seed(name: string, value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  const given = numberOf(value);
  if (!Number.isInteger(given) || Math.abs(given as number) > MAX_SEED) throw wrong(name, 'an integer of at most 64 bits', value);
  if (given === -1) return undefined;
  const bits = BigInt.asUintN(64, BigInt(given as number));
  const folded = Number((bits ^ (bits >> 32n)) & 0xffff_ffffn);
  return folded === NO_SEED ? NO_SEED - 1 : folded;
}

/** A string or a list of them. */
export function stops(name: string, value: unknown): readonly string[] {
  if (value === undefined || value === null) return [];
  const list = typeof value === 'string' ? [value] : value;
  if (!Array.isArray(list)) throw wrong(name, 'a string or a list of strings', value);
  if (list.length > MAX_STOPS) throw invalidArgument(`${name}: expected at most ${MAX_STOPS} strings, got ${list.length}`);
  for (const [i, stop] of list.entries()) {
    const where = list.length > 1 ? `${name}: [${i}]` : name;
    if (typeof stop !== 'string' || stop.length === 0) throw wrong(where, 'a string that is not empty', stop);
    if (!stop.isWellFormed()) throw wrong(where, 'text without lone surrogates', stop);
    const bytes = Buffer.byteLength(stop);
    if (bytes > MAX_STOP_BYTES) throw invalidArgument(`${where}: expected at most ${MAX_STOP_BYTES} bytes of UTF-8, got ${bytes}`);
  }
  return list as string[];
}

/** A request parameter is one string: a list of strings in JSON, or else a stop string itself, also where it begins with a bracket. */
export function listedStops(value: string): readonly string[] {
  if (value.startsWith('[')) {
    try {
      const list: unknown = JSON.parse(value);
      if (Array.isArray(list) && list.every((stop) => typeof stop === 'string')) return list as string[];
    } catch {
      // Text, then.
    }
  }
  return [value];
}

export function tokens(name: string, value: unknown, vocabularySize: number, maxCount: number): readonly number[] {
  if (value === undefined || value === null) return [];
  const list = typeof value === 'string' ? json(name, value, maxCount * 16) : value;
  if (!Array.isArray(list)) throw wrong(name, 'a list of token ids', value);
  if (list.length > maxCount) throw invalidArgument(`${name}: expected at most ${maxCount} token ids, got ${list.length}`);
  for (const token of list) {
    if (!Number.isInteger(token) || token < 0 || token >= vocabularySize)
      throw wrong(name, `token ids from 0 to ${vocabularySize - 1}`, token);
  }
  return list as number[];
}

/** Token ids to biases from -100 to 100; -100 bars a token, as in OpenAI's API. */
export function logitBias(name: string, value: unknown, vocabularySize: number): ReadonlyMap<number, number> | undefined {
  if (value === undefined || value === null) return undefined;
  const object = typeof value === 'string' ? json(name, value, MAX_BIASES * 64) : value;
  if (typeof object !== 'object' || object === null || Array.isArray(object)) throw wrong(name, 'an object of token ids and biases', value);
  const entries = Object.entries(object as Record<string, unknown>);
  if (entries.length > MAX_BIASES) throw invalidArgument(`${name}: expected at most ${MAX_BIASES} entries, got ${entries.length}`);
  const biases = new Map<number, number>();
  for (const [key, bias] of entries) {
    const token = TOKEN_ID.test(key) ? Number(key) : vocabularySize;
    if (token >= vocabularySize) throw wrong(name, `token ids from 0 to ${vocabularySize - 1} as keys`, key);
    if (typeof bias !== 'number' || !(bias >= -MAX_BIAS && bias <= MAX_BIAS)) {
      throw wrong(`${name}: ${key}`, `a number from -${MAX_BIAS} to ${MAX_BIAS}`, bias);
    }
    if (bias !== 0) biases.set(token, bias === -MAX_BIAS ? Number.NEGATIVE_INFINITY : bias);
  }
  return biases.size === 0 ? undefined : biases;
}

function wrong(name: string, expected: string, value: unknown): InferenceError {
  return invalidArgument(`${name}: expected ${expected}, got ${shown(value)}`);
}

/** A value as an error shows it: short, and however deep it is. */
export function shown(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? `a list of ${value.length}` : 'an object';
  if (typeof value !== 'string') return String(value);
  const text = JSON.stringify(value.slice(0, 60));
  return value.length > 60 ? `${text}...` : text;
}
