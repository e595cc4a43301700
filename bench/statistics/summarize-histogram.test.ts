import fc from 'fast-check';
import { decodeFromCompressedBase64 } from 'hdr-histogram-js';
import { describe, expect, it } from 'vitest';
import { LatencyHistogram } from '../load/latency-histogram.ts';
import { MergedHistogram } from './merged-histogram.ts';
import { histogramOf, SimulatedSamples } from './simulated-samples.case.ts';
import { summarizeHistograms } from './summarize-histogram.ts';

const latency = fc.oneof(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 3_600_000_000 }));
const windowsOf = fc.array(fc.array(latency, { maxLength: 200 }), { minLength: 1, maxLength: 6 });

describe('MergedHistogram', () => {
  it('agrees with the histogram that the load keeps', () => {
    fc.assert(
      fc.property(windowsOf, fc.double({ min: 0, max: 1, noNaN: true }), (windows, share) => {
        const kept = new LatencyHistogram();
        for (const value of windows.flat()) kept.record(value);
        const merged = new MergedHistogram(windows.map(histogramOf));
        expect(merged.quantile(share * 100)).toBe(kept.valueAt(share));
        expect(merged.count).toBe(kept.count);
      }),
    );
  });

  it('has the quantiles of all samples together', () => {
    fc.assert(
      fc.property(windowsOf, fc.integer({ min: 0, max: 10_000 }), (windows, basisPoints) => {
        const sorted = windows.flat().sort((a, b) => a - b);
        fc.pre(sorted.length > 0);
        const merged = new MergedHistogram(windows.map(histogramOf));
        expect(merged.count).toBe(sorted.length);
        const rank = Math.max(1, Math.ceil((basisPoints * sorted.length) / 10_000));
        const exact = sorted[rank - 1]!;
        expect(Math.abs(merged.quantile(basisPoints / 100) - exact)).toBeLessThanOrEqual(exact * 0.0005);
      }),
    );
  });

  it('is nothing when there is nothing', () => {
    const merged = new MergedHistogram([histogramOf([]), histogramOf([])]);
    expect(merged.count).toBe(0);
    expect(merged.quantile(50)).toBeNaN();
  });
});

describe('summarizeHistograms', () => {
  it('tells a quantile when ten samples lie beyond it, and the median always', () => {
    const named = (count: number): string[] =>
      Object.keys(summarizeHistograms([histogramOf(Array.from({ length: count }, (_, i) => i))]).quantiles);
    expect(named(1)).toEqual(['50']);
    expect(named(99)).toEqual(['50']);
    expect(named(100)).toEqual(['50', '90']);
    expect(named(1_000)).toEqual(['50', '90', '95', '99']);
    expect(named(9_999)).toEqual(['50', '90', '95', '99']);
    expect(named(10_000)).toEqual(['50', '90', '95', '99', '99.9']);
    expect(named(100_000)).toEqual(['50', '90', '95', '99', '99.9', '99.99']);
    expect(() => summarizeHistograms([histogramOf([])])).toThrow('at least one sample');
  });

  it('keeps mean, extremes, order, and a curve that rises from the smallest to the largest', () => {
    fc.assert(
      fc.property(windowsOf, (windows) => {
        const all = windows.flat();
        fc.pre(all.length > 0);
        const summary = summarizeHistograms(windows.map(histogramOf));
        expect(summary).toMatchObject({ count: all.length, min: Math.min(...all), max: Math.max(...all) });
        expect(summary.mean).toBeCloseTo(all.reduce((sum, value) => sum + value, 0) / all.length, 3);
        const quantiles = Object.values(summary.quantiles);
        for (const [i, { value, low, high }] of quantiles.entries()) {
          expect(value).toBeGreaterThanOrEqual(quantiles[i - 1]?.value ?? 0);
          expect(low).toBeLessThanOrEqual(value);
          expect(high).toBeGreaterThanOrEqual(value);
        }
        expect(summary.curve.length).toBeLessThanOrEqual(200);
        expect(summary.curve[0]).toEqual([0, summary.min]);
        expect(summary.curve.at(-1)).toEqual([100, summary.max]);
        for (const [i, [percentile, us]] of summary.curve.slice(1).entries()) {
          expect(percentile).toBeGreaterThan(summary.curve[i]![0]);
          expect(us).toBeGreaterThanOrEqual(summary.curve[i]![1]);
        }
      }),
    );
  });

  it('has a curve of at most 200 points for a billion samples', () => {
    const huge = { buckets: Uint32Array.of(10, 20), counts: Uint32Array.of(4e9, 4e9), sumUs: 12e10, minUs: 10, maxUs: 20 };
    expect(summarizeHistograms([huge]).curve.length).toBeLessThanOrEqual(200);
  });

  it('writes what other HdrHistogram libraries read', () => {
    fc.assert(
      fc.property(windowsOf, (windows) => {
        const all = windows.flat();
        fc.pre(all.length > 0);
        const { hdr, max } = summarizeHistograms(windows.map(histogramOf));
        const read = decodeFromCompressedBase64(hdr);
        expect(read.totalCount).toBe(all.length);
        expect(Math.abs(read.maxValue - max)).toBeLessThanOrEqual(max * 0.001);
        const exact = new MergedHistogram(windows.map(histogramOf)).quantile(90);
        expect(Math.abs(read.getValueAtPercentile(90) - exact)).toBeLessThanOrEqual(exact * 0.001);
      }),
      { numRuns: 30 },
    );
  });

  it('has a wider interval when windows differ, though their samples do not', () => {
    const samples = new SimulatedSamples(5);
    const alike = Array.from({ length: 8 }, () => histogramOf(samples.logNormal(1000, 0.1, 500)));
    const apart = Array.from({ length: 8 }, (_, i) => histogramOf(samples.logNormal(900 + 30 * i, 0.1, 500)));
    const width = (windows: typeof alike): number => {
      const { low, high } = summarizeHistograms(windows).quantiles['50']!;
      return high - low;
    };
    expect(width(apart)).toBeGreaterThan(5 * width(alike));
  });
});
