import { invalidArgument } from '../../../proto/inference-error.ts';

/**
 * The shape of an input whose caller gave none. `dims` are the metadata's, the batch dimension included (-1: any); null when there is no metadata.
 *
 * - Nested arrays (two levels and more) say their shape themselves. One level less than the model has dimensions, and a free first one: a batch of one.
 * - Flat values: all dimensions fixed, or one free, and the free one follows from the count. Two free ones, of which one is the first: a batch of one, and the
 *   other one follows. With more it could be anything: INVALID_ARGUMENT, asking for `shape`.
 */
export function deduceShape(
  dims: readonly number[] | null,
  count: number,
  nestedShape: readonly number[] | null,
  what: string,
): readonly number[] {
  if (dims === null) return nestedShape ?? [count];
  if (nestedShape !== null && (nestedShape.length > 1 || nestedShape.length === dims.length)) return placeNested(dims, nestedShape, what);
  const free = dims.flatMap((dim, axis) => (dim < 0 ? [axis] : []));
  const fixed = dims.reduce((product, dim) => (dim < 0 ? product : product * dim), 1);
  const axis = free.length === 2 && free[0] === 0 ? free[1] : free[0];
  if (free.length > 2 || (free.length === 2 && free[0] !== 0)) {
    throw invalidArgument(`${what}: [${dims}] leaves ${free.length} dimensions open, and ${count} values do not tell them: give its shape`);
  }
  if (axis === undefined) {
    if (count !== fixed) throw invalidArgument(`${what}: expected ${fixed} values for shape [${dims}], got ${count}`);
    return dims;
  }
  if (fixed === 0 || count % fixed !== 0) {
    throw invalidArgument(`${what}: expected a multiple of ${fixed} values for shape [${dims}], got ${count}`);
  }
  return dims.map((dim, at) => (at === axis ? count / fixed : dim < 0 ? 1 : dim));
}

function placeNested(dims: readonly number[], nestedShape: readonly number[], what: string): readonly number[] {
  const isOneOfBatch = nestedShape.length === dims.length - 1 && dims[0]! < 0;
  const shape = isOneOfBatch ? [1, ...nestedShape] : nestedShape;
  if (shape.length !== dims.length || shape.some((dim, axis) => dims[axis]! >= 0 && dims[axis] !== dim)) {
    throw invalidArgument(`${what}: expected arrays nested as shape [${dims}] (-1: any), got [${nestedShape}]`);
  }
  return shape;
}
