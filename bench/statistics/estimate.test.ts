import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { estimateMean, estimateMedian } from './estimate.ts';
import { SimulatedSamples, shareOf } from './simulated-samples.case.ts';
import { isStable } from './stability.ts';
import { studentT95 } from './student-t.ts';

const finite = fc.double({ min: -1e9, max: 1e9, noNaN: true });

describe('studentT95', () => {
  it.each([
    [1, 12.7062],
    [4, 2.7764],
    [10, 2.2281],
    [11, 2.201],
    [20, 2.086],
    [60, 2.0003],
    [1e6, 1.96],
  ])('is what the tables say for %d degrees of freedom', (degrees, expected) => {
    expect(studentT95(degrees)).toBeCloseTo(expected, 3);
  });

  it('falls as the degrees rise, whole or not, and refuses less than one', () => {
    for (let degrees = 1; degrees < 40; degrees += 0.25) expect(studentT95(degrees)).toBeGreaterThan(studentT95(degrees + 0.25));
    expect(() => studentT95(0.5)).toThrow('expected at least 1, got 0.5');
  });
});

describe('estimateMean', () => {
  it('is what a textbook computes', () => {
    // Mean 10, s = 1, n = 4: 3.1824 / 2 to either side.
    const { value, low, high } = estimateMean([9, 11, 10 - Math.SQRT1_2 * Math.sqrt(0.5 * 2), 10 + Math.SQRT1_2 * Math.sqrt(0.5 * 2)]);
    const s = Math.sqrt((1 + 1 + 0.5 + 0.5) / 3);
    expect(value).toBeCloseTo(10, 12);
    expect(high - value).toBeCloseTo((3.182446 * s) / 2, 5);
    expect(value - low).toBeCloseTo(high - value, 12);
  });

  it('moves and grows with its values, and holds their mean', () => {
    fc.assert(
      fc.property(fc.array(finite, { minLength: 1, maxLength: 30 }), finite, (values, shift) => {
        const { value, low, high } = estimateMean(values);
        expect(low).toBeLessThanOrEqual(value);
        expect(high).toBeGreaterThanOrEqual(value);
        const moved = estimateMean(values.map((one) => one + shift));
        expect(moved.value - value).toBeCloseTo(shift, 4);
        expect(moved.high - moved.low).toBeCloseTo(high - low, 3);
      }),
    );
  });

  it('has no interval of one value, and none to give of no value', () => {
    expect(estimateMean([7])).toEqual({ value: 7, low: 7, high: 7 });
    expect(() => estimateMean([])).toThrow('expected at least one value');
  });

  it.each([2, 5, 12])('holds the true mean 95 times in 100, of %d values', (count) => {
    const samples = new SimulatedSamples(count);
    const coverage = shareOf(4000, () => {
      const { low, high } = estimateMean(Array.from({ length: count }, () => 100 + 10 * samples.normal()));
      return low <= 100 && 100 <= high;
    });
    expect(coverage).toBeGreaterThan(0.935);
    expect(coverage).toBeLessThan(0.965);
  });
});

describe('estimateMedian', () => {
  it('lies between values of the sample, whichever their order', () => {
    fc.assert(
      fc.property(fc.array(finite, { minLength: 1, maxLength: 40 }), (values) => {
        const estimate = estimateMedian(values);
        expect(values).toContain(estimate.low);
        expect(values).toContain(estimate.high);
        expect(estimate.low).toBeLessThanOrEqual(estimate.value);
        expect(estimate.high).toBeGreaterThanOrEqual(estimate.value);
        expect(estimateMedian(values.toReversed())).toEqual(estimate);
      }),
    );
  });

  it.each([
    [5, 0, 4],
    [6, 0, 5],
    [8, 0, 7],
    [9, 1, 7],
    [15, 3, 11],
    [20, 5, 14],
  ])('of %d values takes those with the ranks of the tables, %d and %d', (count, low, high) => {
    expect(estimateMedian(Array.from({ length: count }, (_, i) => i))).toMatchObject({ low, high });
  });

  // Ranks are whole, so it holds the true one somewhat more often than 95 times in 100; at 201 the ranks come from the normal distribution.
  it.each([
    [6, 0.95, 0.985],
    [25, 0.945, 0.975],
    [200, 0.94, 0.975],
    [201, 0.94, 0.975],
  ])('holds the true median of a skewed distribution, of %d values', (count, least, most) => {
    const samples = new SimulatedSamples(count);
    const coverage = shareOf(3000, () => {
      const { low, high } = estimateMedian(Array.from({ length: count }, () => Math.exp(samples.normal())));
      return low <= 1 && 1 <= high;
    });
    expect(coverage).toBeGreaterThan(least);
    expect(coverage).toBeLessThan(most);
  });
});

describe('isStable', () => {
  it('looks at the last windows only', () => {
    expect(isStable([1, 500, 100, 104, 96], 3, 0.05)).toBe(true);
    expect(isStable([100, 104, 96, 110], 3, 0.05)).toBe(false);
    expect(isStable([100, 100], 3, 0.05)).toBe(false);
    expect(isStable([100, Number.NaN, 100], 3, 0.05)).toBe(false);
    expect(isStable([0, 0, 0], 3, 0.05)).toBe(true);
  });

  it('does not depend on the unit', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 3, maxLength: 8 }), (values) => {
        expect(
          isStable(
            values.map((value) => value * 1024),
            3,
            0.2,
          ),
        ).toBe(isStable(values, 3, 0.2));
      }),
    );
  });
});
