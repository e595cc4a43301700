import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';

/** Checks a value read from JSON and gives it with its type. `source` names the file and `path` the field ('points[2].latency') in the error that it throws. */
export type Shape<T> = (value: unknown, source: string, path: string) => T;

export const text: Shape<string> = (value, source, path) => (typeof value === 'string' ? value : refuse(source, path, 'a string', value));
export const number: Shape<number> = (value, source, path) => (typeof value === 'number' ? value : refuse(source, path, 'a number', value));
export const flag: Shape<boolean> = (value, source, path) =>
  typeof value === 'boolean' ? value : refuse(source, path, 'true or false', value);
/** JSON has no NaN; it was written as null. */
export const numberOrNaN: Shape<number> = (value, source, path) => (value === null ? Number.NaN : number(value, source, path));

export function oneOf<const T extends string>(choices: readonly T[]): Shape<T> {
  return (value, source, path) => {
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    const near = typeof value === 'string' ? didYouMean(value, choices) : '';
    return refuse(source, path, `one of ${choices.join(', ')}`, value, near);
  };
}

export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return (value, source, path) => (value === null ? null : shape(value, source, path));
}

export function list<T>(shape: Shape<T>): Shape<readonly T[]> {
  return (value, source, path) => {
    if (!Array.isArray(value)) return refuse(source, path, 'an array', value);
    return value.map((item, i) => shape(item, source, `${path}[${i}]`));
  };
}

export function record<T>(shape: Shape<T>): Shape<Readonly<Record<string, T>>> {
  return (value, source, path) =>
    Object.fromEntries(Object.entries(asObject(value, source, path)).map(([name, item]) => [name, shape(item, source, join(path, name))]));
}

/** All fields must be there; others are left out of the result. */
export function object<T extends object>(fields: { readonly [K in keyof T]: Shape<T[K]> }): Shape<T> {
  return (value, source, path) => {
    const given = asObject(value, source, path);
    const result: Partial<T> = {};
    for (const name of Object.keys(fields) as (keyof T & string)[]) {
      if (!Object.hasOwn(given, name)) {
        throw invalidArgument(`${source}: ${join(path, name)}: expected, but not there${didYouMean(name, Object.keys(given))}`);
      }
      result[name] = fields[name](given[name], source, join(path, name));
    }
    return result as T;
  };
}

function asObject(value: unknown, source: string, path: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return refuse(source, path, 'an object', value);
  return value as Record<string, unknown>;
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

function refuse(source: string, path: string, expected: string, value: unknown, hint = ''): never {
  const got = JSON.stringify(value) ?? 'nothing';
  const shown = got.length > 60 ? `${got.slice(0, 60)}...` : got;
  throw invalidArgument(`${source}: ${path === '' ? 'the whole' : path}: expected ${expected}, got ${shown}${hint}`);
}
