import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Axis, fittingAxis, linearAxis, logAxis, spanAxis } from './axis.ts';
import { formatTick } from './format-tick.ts';

const positive = fc.array(fc.double({ min: 1e-3, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 20 });

function expectSound(axis: Axis, values: readonly number[]): void {
  expect(axis.ticks.length).toBeGreaterThanOrEqual(2);
  expect(axis.ticks.length).toBeLessThanOrEqual(16);
  for (const value of values) {
    expect(axis.place(value)).toBeGreaterThanOrEqual(-0.001);
    expect(axis.place(value)).toBeLessThanOrEqual(1.001);
  }
  for (const [i, tick] of axis.ticks.entries()) if (i > 0) expect(axis.place(tick)).toBeGreaterThan(axis.place(axis.ticks[i - 1]!));
  expect(new Set(axis.ticks.map(formatTick)).size).toBe(axis.ticks.length);
}

describe('axes', () => {
  it('hold every value, with ticks that rise and read differently', () => {
    fc.assert(
      fc.property(positive, (values) => {
        expectSound(linearAxis(values), values);
        expectSound(logAxis(values), values);
        expectSound(fittingAxis(values), values);
      }),
    );
  });

  it('have ticks that people count in', () => {
    expect(linearAxis([8_500]).ticks).toEqual([0, 2000, 4000, 6000, 8000, 10_000]);
    expect(linearAxis([0.7]).ticks).toEqual([0, 0.2, 0.4, 0.6, 0.8]);
    expect(logAxis([0.3, 250]).ticks).toEqual([0.1, 1, 10, 100, 1000]);
    expect(logAxis([3, 40]).ticks).toEqual([2, 5, 10, 20, 50]);
    expect(spanAxis(1.5, 7.5).ticks).toEqual([2, 3, 4, 5, 6, 7]);
    expect(linearAxis([]).ticks).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  });

  it('are logarithmic where values span more than a factor of 20', () => {
    expect(fittingAxis([10, 150]).kind).toBe('linear');
    expect(fittingAxis([10, 250]).kind).toBe('log');
    expect(fittingAxis([]).kind).toBe('linear');
    expect(logAxis([1, 10]).place(0)).toBe(Number.NEGATIVE_INFINITY);
  });

  it('write numbers short', () => {
    expect([0, 0.25, 9_000, 10_000, 1_500_000, 2e9].map(formatTick)).toEqual(['0', '0.25', '9000', '10k', '1.5M', '2G']);
  });
});
