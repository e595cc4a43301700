import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bootstrapRatio } from './bootstrap.ts';
import { SimulatedSamples, shareOf } from './simulated-samples.case.ts';

const windows = fc.array(fc.double({ min: 1, max: 1e6, noNaN: true }), { minLength: 2, maxLength: 12 });

describe('bootstrapRatio', () => {
  it('is the same for the same seed, and holds the ratio', () => {
    fc.assert(
      fc.property(windows, windows, fc.integer(), (base, other, seed) => {
        const ratio = bootstrapRatio(base, other, { seed, draws: 200 })!;
        expect(bootstrapRatio(base, other, { seed, draws: 200 })).toEqual(ratio);
        expect(ratio.low).toBeLessThanOrEqual(ratio.high);
        const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
        expect(ratio.value / (mean(other) / mean(base))).toBeCloseTo(1, 9);
      }),
      { numRuns: 50 },
    );
  });

  it('is 1, exactly, of equal windows that do not differ', () => {
    expect(bootstrapRatio([5, 5, 5], [5, 5, 5])).toEqual({ value: 1, low: 1, high: 1 });
    expect(bootstrapRatio([5, 5, 5], [10, 10, 10], { statistic: 'median' })).toEqual({ value: 2, low: 2, high: 2 });
  });

  it('does not tell from too few windows, nor from what is not above 0', () => {
    expect(bootstrapRatio([5], [5, 6])).toBeNull();
    expect(bootstrapRatio([5, 6], [])).toBeNull();
    expect(bootstrapRatio([0, 0], [1, 2])).toBeNull();
    expect(bootstrapRatio([1, Number.NaN], [1, 2])).toBeNull();
    // One dead window among live ones is a wide interval, not a fault.
    expect(bootstrapRatio([10, 11, 10], [10, 0, 11])!.low).toBeLessThan(0.7);
  });

  it('takes many windows without many more draws', () => {
    const samples = new SimulatedSamples(9);
    const many = Array.from({ length: 50_000 }, () => 100 + samples.normal());
    const { value, low, high } = bootstrapRatio(many, many.toReversed())!;
    expect(value).toBeCloseTo(1, 9);
    // A standard deviation of 1 % over 50,000 windows, on either side.
    expect(high - low).toBeGreaterThan(0.000_2);
    expect(high - low).toBeLessThan(0.000_3);
  });

  it.each([
    [5, 5, 'mean', 0.05],
    [5, 9, 'mean', 0.2],
    [20, 20, 'mean', 0.1],
    [15, 15, 'median', 0.1],
  ] as const)('of %d and %d windows holds the true ratio of %ss 95 times in 100', (baseCount, otherCount, statistic, spread) => {
    const samples = new SimulatedSamples(baseCount * 100 + otherCount);
    const make = (count: number, middle: number): number[] => Array.from({ length: count }, () => middle * (1 + spread * samples.normal()));
    const coverage = shareOf(1200, () => {
      const { low, high } = bootstrapRatio(make(baseCount, 100), make(otherCount, 120), { statistic, draws: 600 })!;
      return low <= 1.2 && 1.2 <= high;
    });
    expect(coverage).toBeGreaterThan(0.92);
    expect(coverage).toBeLessThan(0.985);
  });
});
