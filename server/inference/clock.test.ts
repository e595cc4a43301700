import { describe, expect, test } from 'vitest';
import { systemClock } from './clock.ts';

describe('the system clock', () => {
  test.each([0, 50_000, 400_000, 1_000_000, 2_500_000])('calls back once, not before %d ns have passed', async (delayNs) => {
    let calls = 0;
    const startNs = systemClock.nowNs();
    await new Promise<void>((resolve) => {
      systemClock.schedule(() => {
        calls++;
        resolve();
      }, delayNs);
    });
    // setTimeout's milliseconds are counted from the start of the turn.
    expect(systemClock.nowNs() - startNs).toBeGreaterThanOrEqual(delayNs < 1e6 ? delayNs : delayNs - 1e6);
    await new Promise((resolve) => setTimeout(resolve, 3));
    expect(calls).toBe(1);
  });

  test.each([300_000, 2_000_000])('does not call back when it was cleared: %d ns', async (delayNs) => {
    let calls = 0;
    const timer = systemClock.schedule(() => {
      calls++;
    }, delayNs);
    await new Promise((resolve) => setImmediate(resolve));
    systemClock.clear(timer);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(calls).toBe(0);
  });

  test('sleeps where a callback may be late', () => {
    const exact = systemClock.schedule(() => {}, 100_000);
    const late = systemClock.schedule(() => {}, 100_000, true);
    const sleeping = setTimeout(() => {}, 1);
    expect([exact, late].map((timer) => timer.constructor === sleeping.constructor)).toEqual([false, true]);
    for (const timer of [exact, late, sleeping]) systemClock.clear(timer);
  });
});
