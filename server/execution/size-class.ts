/** @hotpath two or three look-ups per batch, of a few integer operations each (measured by tensor-arena.bench.ts) */

/**
 * Size classes of the tensor arena, in units of 64 bytes: 1, 2, 3, 4, then four steps to each power of two: 5, 6, 7, 8, 10, 12, 14, 16, 20, ... A size
 * rounded up to its class grows by less than a quarter.
 */

/** Enough for 2^31 units. */
export const SIZE_CLASS_COUNT = 124;

/** The smallest class that holds `units` (1 or more). */
export function classFor(units: number): number {
  if (units <= 4) return units - 1;
  const last = units - 1;
  const exponent = 31 - Math.clz32(last);
  return (exponent - 2) * 4 + (last >>> (exponent - 2));
}

/** Units of a class. */
export function unitsOf(sizeClass: number): number {
  if (sizeClass < 4) return sizeClass + 1;
  return ((sizeClass & 3) + 5) * 2 ** ((sizeClass >> 2) - 1);
}

/** The largest class that a free block of `units` can serve. */
export function classWithin(units: number): number {
  const sizeClass = classFor(units);
  return unitsOf(sizeClass) === units ? sizeClass : sizeClass - 1;
}
