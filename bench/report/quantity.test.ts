import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countOf, durationUnitOf, formatBytes, formatCount, formatDuration, formatNumber, formatShare } from './quantity.ts';

describe('quantities', () => {
  it.each([
    [0, '0'],
    [78, '78'],
    [78.04, '78.0'],
    [9.996, '10.0'],
    [12_345.6, '12,346'],
    [1234.5, '1,235'],
    [0.0781, '0.0781'],
    [0.0001, '0'],
    [-2.345_6, '-2.35'],
    [Number.NaN, '-'],
  ])('formatNumber(%d) is %s', (value, text) => expect(formatNumber(value)).toBe(text));

  it.each([
    [78, '78 us'],
    [999.9, '1.00 ms'],
    [1234, '1.23 ms'],
    [2_500_000, '2.50 s'],
    [0, '0 us'],
    [Number.NaN, '-'],
  ])('formatDuration(%d) is %s', (us, text) => expect(formatDuration(us)).toBe(text));

  it.each([
    [0, '0 %'],
    [0.0004, 'below 0.1 %'],
    [0.0123, '1.2 %'],
    [0.5, '50 %'],
    [1, '100 %'],
  ])('formatShare(%d) is %s', (share, text) => expect(formatShare(share)).toBe(text));

  it('writes counts and bytes', () => {
    expect([formatCount(1e6), countOf(1, 'core'), countOf(2000, 'core')]).toEqual(['1,000,000', '1 core', '2,000 cores']);
    expect([formatBytes(0), formatBytes(602_112), formatBytes(1.5e12)]).toEqual(['0 B', '602 kB', '1.50 TB']);
  });

  it('is right to three digits, whatever the size', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.01, max: 1e12, noNaN: true }), (value) => {
        expect(Math.abs(Number(formatNumber(value).replaceAll(',', '')) - value)).toBeLessThanOrEqual(value * 0.0051);
        expect(formatNumber(value).replace(/\D/g, '').replace(/^0+/, '').length).toBeGreaterThanOrEqual(Number.isInteger(value) ? 1 : 2);
      }),
    );
  });

  it('chooses the unit in which the largest has four digits at the most', () => {
    expect(durationUnitOf([12, 9_999]).name).toBe('us');
    expect(durationUnitOf([12, 10_000, Number.NaN]).name).toBe('ms');
    expect(durationUnitOf([3e7]).name).toBe('s');
    expect(durationUnitOf([]).name).toBe('us');
  });
});
