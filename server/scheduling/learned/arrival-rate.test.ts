import { expect, test } from 'vitest';
import { ArrivalRate } from './arrival-rate.ts';

const PER_SECOND = 1e9;

test('tells how often requests come, evenly or in bursts', () => {
  for (const burst of [1, 10]) {
    const rate = new ArrivalRate();
    let nowNs = 0;
    for (let i = 0; i < 400; i++) {
      nowNs += burst * 1e6;
      for (let j = 0; j < burst; j++) rate.arrived(nowNs);
    }
    // A thousand a second in both; as seen between two.
    expect(Math.abs(rate.perNs(nowNs + (burst * 1e6) / 2, 0) * PER_SECOND - 1000)).toBeLessThan(20);
  }
});

test('fades in silence, and knows nothing at first', () => {
  const rate = new ArrivalRate();
  expect(rate.perNs(5e9, 0)).toBe(0);
  for (let i = 0; i < 100; i++) rate.arrived(5e9);
  expect(rate.perNs(5e9, 0) * PER_SECOND).toBe(1000);
  expect(rate.perNs(7e9, 0) * PER_SECOND).toBeLessThan(0.001);
});

test('a request that comes alone is no rate', () => {
  const rate = new ArrivalRate();
  rate.arrived(1e9);
  expect(rate.perNs(1e9, 1)).toBe(0);
});
