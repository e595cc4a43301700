import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';

/** A value, or arrays of arrays of it, as deep as the tensor's shape. */
export type Nested<T> = T | readonly Nested<T>[];

const MAX_DEPTH = 32;

export interface FlatValues {
  readonly leaves: readonly unknown[];
  /** As the arrays nest; [] for a single value. */
  readonly shape: readonly number[];
}

export function isFlatArray(values: unknown): values is readonly unknown[] {
  return Array.isArray(values) && !Array.isArray(values[0]);
}

/** The leaves of regular nested arrays, row-major. Throws INVALID_ARGUMENT where a row is longer or shorter than its neighbours. */
export function flatten(values: unknown, what: string): FlatValues {
  const shape: number[] = [];
  for (let level = values; Array.isArray(level); level = level[0]) {
    if (shape.length === MAX_DEPTH) throw invalidArgument(`${what}: expected arrays nested at most ${MAX_DEPTH} deep, got more`);
    shape.push(level.length);
  }
  const leaves: unknown[] = [];
  collect(values, shape, [], leaves, what);
  return { leaves, shape };
}

/** `path` holds the indices that lead to `value`. */
function collect(value: unknown, shape: readonly number[], path: number[], leaves: unknown[], what: string): void {
  const depth = path.length;
  const isArray = Array.isArray(value);
  if (depth === shape.length) {
    if (isArray) throw irregular(what, path, 'a single value', 'an array');
    leaves.push(value);
    return;
  }
  if (!isArray) throw irregular(what, path, `an array of ${shape[depth]}`, 'a single value');
  if (value.length !== shape[depth]) throw irregular(what, path, `${shape[depth]} elements`, `${value.length}`);
  // An index loop: holes of a sparse array are values too, and wrong ones.
  for (let i = 0; i < value.length; i++) {
    path.push(i);
    collect(value[i], shape, path, leaves, what);
    path.pop();
  }
}

function irregular(what: string, path: readonly number[], expected: string, got: string): InferenceError {
  const where = path.map((index) => `[${index}]`).join('');
  return invalidArgument(`${what}${where}: expected ${expected}, as at the same depth before, got ${got}: nested arrays must be regular`);
}

/** `[2][5]` for a leaf of nested values, `[21]` for one of flat ones, nothing for a single value. */
export function pathOf(shape: readonly number[] | null, index: number): string {
  if (shape === null) return `[${index}]`;
  let path = '';
  for (let d = shape.length - 1; d >= 0; d--) {
    const dim = shape[d]!;
    path = `[${index % dim}]${path}`;
    index = Math.floor(index / dim);
  }
  return path;
}
