import { expect, it } from 'vitest';
import { LogLimit } from './log-limit.ts';

it('passes one line a second and counts the others', () => {
  const limit = new LogLimit();
  expect([0, 1, 999, 1000, 1001, 5000].map((nowMs) => limit.pass(nowMs))).toEqual([0, -1, -1, 2, -1, 1]);
});
