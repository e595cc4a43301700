import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseGrpcTimeout } from './grpc-timeout.ts';

const MS_OF_UNIT = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 };

test('1 to 8 digits and a unit are milliseconds', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 99_999_999 }), fc.constantFrom('H', 'M', 'S', 'm', 'u', 'n'), (amount, unit) => {
      expect(parseGrpcTimeout(`${amount}${unit}`)).toBe(amount * MS_OF_UNIT[unit as keyof typeof MS_OF_UNIT]);
      expect(parseGrpcTimeout(`${String(amount).padStart(8, '0')}${unit}`)).toBe(amount * MS_OF_UNIT[unit as keyof typeof MS_OF_UNIT]);
      expect(parseGrpcTimeout(`${String(amount).padStart(9, '0')}${unit}`)).toBe(-1);
    }),
  );
});

test('anything else is -1', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      fc.pre(!/^\d{1,8}[HMSmun]$/.test(text));
      expect(parseGrpcTimeout(text)).toBe(-1);
    }),
  );
});
