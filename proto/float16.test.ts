import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fromBf16, fromFp16, toBf16, toFp16 } from './float16.ts';

test.each([
  ['FP16', toFp16, fromFp16, 0x7c00],
  ['BF16', toBf16, fromBf16, 0x7f80],
] as const)('every %s comes back from its value, and a NaN as the quiet one', (_, round, widen, infinity) => {
  for (let bits = 0; bits < 0x10000; bits++) {
    const isNoNumber = (bits & 0x7fff) > infinity;
    if (isNoNumber) expect(round(widen(bits)) & 0x7fff).toBeGreaterThan(infinity);
    else if (round(widen(bits)) !== bits) expect(round(widen(bits)), bits.toString(16)).toBe(bits);
  }
});

test.each([
  ['FP16', toFp16, fromFp16, 65504],
  ['BF16', toBf16, fromBf16, 3.3895313892515355e38],
] as const)('%s rounds to the nearest, and no further than its range', (_, round, widen, largest) => {
  fc.assert(
    fc.property(fc.double({ min: -largest, max: largest, noNaN: true }), (value) => {
      const bits = round(value);
      const error = Math.abs(widen(bits) - value);
      for (const near of [bits - 1, bits + 1]) {
        if (near >= 0 && Math.abs(widen(near) - value) < error) throw new Error(`${value}: ${bits} is no nearer than ${near}`);
      }
    }),
  );
  expect(round(largest)).toBeGreaterThan(0);
  expect(round(largest * 1.01)).toBe(-1);
  expect(widen(round(Number.POSITIVE_INFINITY))).toBe(Number.POSITIVE_INFINITY);
  expect(Object.is(widen(round(-0)), -0)).toBe(true);
});
