const SUFFIXES = [
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
] as const;

/** A number beside an axis, short: 20k, 1.5M, 0.25. */
export function formatTick(value: number): string {
  for (const [size, suffix] of SUFFIXES) {
    // Four digits are as short as two with a point and a letter.
    if (Math.abs(value) >= size * (size === 1e3 ? 10 : 1)) return `${Number((value / size).toPrecision(4))}${suffix}`;
  }
  return String(Number(value.toPrecision(4)));
}
