import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LatencyHistogram } from './latency-histogram.ts';

function histogramOf(values: readonly number[]): LatencyHistogram {
  const histogram = new LatencyHistogram();
  for (const value of values) histogram.record(value);
  return histogram;
}

/** From single microseconds to an hour, all magnitudes alike. */
const latency = fc.oneof(
  fc.integer({ min: 0, max: 5000 }),
  fc.double({ min: 0, max: 3.6e9, noNaN: true }),
  fc.integer({ min: 0, max: 31 }).map((bit) => 2 ** bit),
);
const latencies = fc.array(latency, { minLength: 1, maxLength: 200 });

describe('LatencyHistogram', () => {
  it('gives every quantile to 0.1 %', () => {
    fc.assert(
      fc.property(latencies, fc.double({ min: 0, max: 1, noNaN: true }), (values, quantile) => {
        const sorted = values.map(Math.round).sort((a, b) => a - b);
        const exact = sorted[Math.max(1, Math.ceil(quantile * sorted.length - 1e-9)) - 1]!;
        expect(Math.abs(histogramOf(values).valueAt(quantile) - exact)).toBeLessThanOrEqual(exact * 0.001);
      }),
    );
  });

  it('is exact below 2,048 us', () => {
    const values = Array.from({ length: 2048 }, (_, i) => i);
    const histogram = histogramOf(values);
    for (const value of [0, 1, 999, 2046, 2047]) expect(histogram.valueAt((value + 1) / 2048)).toBe(value);
  });

  it('merges into the histogram of all values', () => {
    fc.assert(
      fc.property(latencies, latencies, (some, others) => {
        const merged = histogramOf(some);
        merged.add(histogramOf(others).data());
        expect(merged.data()).toEqual(histogramOf([...some, ...others]).data());
        const fromNothing = new LatencyHistogram();
        fromNothing.add(merged.data());
        fromNothing.add(new LatencyHistogram().data());
        expect(fromNothing.data()).toEqual(merged.data());
      }),
    );
  });

  it('knows mean, extremes and count, and forgets them all', () => {
    const histogram = histogramOf([10, 20, 600_000, 5_000_000_000, -3]);
    expect(histogram.count).toBe(5);
    expect(histogram.mean()).toBe((10 + 20 + 600_000 + 0xffff_ffff) / 5);
    expect(histogram.data()).toMatchObject({ minUs: 0, maxUs: 0xffff_ffff });
    histogram.reset();
    expect(histogram.data()).toEqual(new LatencyHistogram().data());
    expect(histogram.valueAt(0.5)).toBeNaN();
    expect(histogram.mean()).toBeNaN();
    histogram.record(7);
    expect(histogram.data()).toEqual(histogramOf([7]).data());
  });

  it('refuses a bucket that it does not have', () => {
    const data = { buckets: Uint32Array.of(1 << 20), counts: Uint32Array.of(1), sumUs: 1, minUs: 1, maxUs: 1 };
    expect(() => new LatencyHistogram().add(data)).toThrow(RangeError);
  });
});
