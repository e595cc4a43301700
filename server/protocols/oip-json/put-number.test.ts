import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { putDouble, putFloat32, putInteger, putInteger64 } from './put-number.ts';

const out = new Uint8Array(64);

function written(end: number): string {
  return Buffer.from(out.subarray(0, end)).toString('latin1');
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

function fromBits(bits: number): number {
  singleBits[0] = bits;
  return single[0]!;
}

/** How many digits the shortest decimal needs that reads back as the float32. */
function fewestDigits(value: number): number {
  for (let precision = 1; precision < 9; precision++) if (Math.fround(Number(value.toPrecision(precision))) === value) return precision;
  return 9;
}

function significantDigits(text: string): number {
  return text.replace(/e.*/, '').replace(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '').length;
}

describe('float32', () => {
  test('every exponent, with mantissas at and beside its ends and strewn between, reads back exactly and is the shortest', () => {
    for (let exponent = 0; exponent < 255; exponent++) {
      const mantissas = [0, 1, 2, 3, 0x400000, 0x3fffff, 0x7ffffe, 0x7fffff];
      for (let i = 0; i < 120; i++) mantissas.push(((i + exponent) * 2654435761) % 0x800000);
      for (const mantissa of mantissas) {
        const value = fromBits(exponent * 0x800000 + mantissa);
        const text = written(putFloat32(out, 0, value));
        if (Math.fround(JSON.parse(text) as number) !== value) throw new Error(`${value}: ${text}`);
        if (significantDigits(text) > Math.max(1, fewestDigits(value))) throw new Error(`${value}: ${text} is not the shortest`);
      }
    }
  });

  test('half a million bit patterns read back exactly, through a double as every JSON reader goes', () => {
    for (let i = 0, bits = 12345; i < 500_000; i++, bits = (Math.imul(bits, 1664525) + 1013904223) >>> 0) {
      const value = fromBits(bits);
      if (!Number.isFinite(value)) continue;
      const text = written(putFloat32(out, 0, value));
      if (!Object.is(Math.fround(Number(text)), value)) throw new Error(`${bits}: ${value}: ${text}`);
    }
  });

  test('is the nearest of the shortest, in the form of JavaScript', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const text = written(putFloat32(out, 0, value));
        const shortest = Number(value.toPrecision(fewestDigits(Math.abs(value)) || 1));
        if (Object.is(value, -0)) expect(text).toBe('-0');
        else if (Math.fround(shortest) === value && Math.abs(value) > 2 ** -126)
          expect(Math.abs(Number(text) - value)).toBeLessThanOrEqual(Math.abs(shortest - value));
        expect(text).toBe(Object.is(value, -0) ? '-0' : String(Number(text)));
      }),
      { numRuns: 5_000 },
    );
  });

  test.each([
    [0, '0'],
    [-0, '-0'],
    [1, '1'],
    [-1.5, '-1.5'],
    [Math.fround(0.1), '0.1'],
    [Math.fround(2.34567), '2.34567'],
    [16777216, '16777216'],
    [Math.fround(1e-6), '0.000001'],
    [Math.fround(1e-7), '1e-7'],
    [Math.fround(1.5e-9), '1.5e-9'],
    [Math.fround(1e21), '1e+21'],
    [Math.fround(1e20), '100000000000000000000'],
    [fromBits(1), '1e-45'],
    [fromBits(0x7f7fffff), '3.4028235e+38'],
    [fromBits(0x00800000), '1.1754944e-38'],
    [Number.NaN, '"NaN"'],
    [Number.POSITIVE_INFINITY, '"Infinity"'],
    [Number.NEGATIVE_INFINITY, '"-Infinity"'],
  ])('%f is %s', (value, text) => {
    expect(written(putFloat32(out, 0, value))).toBe(text);
  });
});

describe('double', () => {
  test('reads back exactly', () => {
    fc.assert(
      fc.property(fc.double(), (value) => {
        const text = written(putDouble(out, 0, value));
        if (Number.isFinite(value)) expect(JSON.parse(text)).toBe(value);
        else expect(JSON.parse(text)).toBe(String(value));
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('integers', () => {
  test('32 bits and their sign', () => {
    fc.assert(
      fc.property(fc.integer({ min: -4294967295, max: 4294967295 }), (value) => {
        expect(written(putInteger(out, 0, value))).toBe(String(value));
      }),
      { numRuns: 5_000 },
    );
    for (let power = 0; power < 10; power++) {
      for (const near of [-1, 0, 1]) expect(written(putInteger(out, 0, 10 ** power + near))).toBe(String(10 ** power + near));
    }
  });

  test('64 bits, signed and not', () => {
    const ends = [
      0n,
      1n,
      999999999n,
      1000000000n,
      4294967295n,
      4294967296n,
      10n ** 18n - 1n,
      10n ** 18n,
      2n ** 63n - 1n,
      2n ** 63n,
      2n ** 64n - 1n,
    ];
    fc.assert(
      fc.property(fc.oneof(fc.bigInt(0n, 2n ** 64n - 1n), fc.constantFrom(...ends)), (value) => {
        const low = Number(value & 0xffffffffn);
        const high = Number(value >> 32n);
        expect(written(putInteger64(out, 0, low, high, false))).toBe(String(value));
        expect(written(putInteger64(out, 0, low, high, true))).toBe(String(BigInt.asIntN(64, value)));
      }),
      { numRuns: 5_000 },
    );
  });
});
