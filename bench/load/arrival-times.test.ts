import { describe, expect, it } from 'vitest';
import { ArrivalTimes } from './arrival-times.ts';

function gaps(schedule: 'fixed' | 'poisson', seed: number, count: number): number[] {
  const arrivals = new ArrivalTimes({ kind: 'open', perSecond: 250, schedule, maxInFlight: 1 }, seed);
  arrivals.start(1000);
  let beforeMs = schedule === 'fixed' ? arrivals.nextMs - 4 : 1000;
  return Array.from({ length: count }, () => {
    const gap = arrivals.nextMs - beforeMs;
    beforeMs = arrivals.nextMs;
    arrivals.advance();
    return gap;
  });
}

describe('ArrivalTimes', () => {
  it('spaces a fixed rate evenly, and does not drift', () => {
    for (const gap of gaps('fixed', 1, 1000)) expect(gap).toBeCloseTo(4, 6);
    const thirds = new ArrivalTimes({ kind: 'open', perSecond: 3000, schedule: 'fixed', maxInFlight: 1 }, 1);
    thirds.start(0);
    for (let i = 0; i < 3_000_000; i++) thirds.advance();
    expect(thirds.nextMs).toBe(1_000_000);
  });

  it("has a Poisson process's gaps: mean and standard deviation alike, two thirds of them below the mean", () => {
    const all = gaps('poisson', 5, 100_000);
    const mean = all.reduce((sum, gap) => sum + gap, 0) / all.length;
    const variance = all.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / all.length;
    // Four standard errors of each.
    expect(Math.abs(mean - 4)).toBeLessThan(4 * (4 / Math.sqrt(all.length)));
    expect(Math.abs(variance - 16)).toBeLessThan(4 * 16 * Math.sqrt(8 / all.length));
    expect(all.filter((gap) => gap < 4).length / all.length).toBeCloseTo(1 - Math.exp(-1), 2);
  });

  it('repeats itself for the same seed, and not for another', () => {
    expect(gaps('poisson', 5, 50)).toEqual(gaps('poisson', 5, 50));
    expect(gaps('poisson', 5, 50)).not.toEqual(gaps('poisson', 6, 50));
  });
});
