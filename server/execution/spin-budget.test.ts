import { expect, it } from 'vitest';
import { SpinBudget } from './spin-budget.ts';

function triesIn(budget: SpinBudget, waits: number, isSuccess: boolean): number {
  let tries = 0;
  for (let i = 0; i < waits; i++) {
    if (!budget.take()) continue;
    tries++;
    if (isSuccess) budget.succeeded();
    else budget.failed();
  }
  return tries;
}

it('spins each time while it pays', () => {
  expect(triesIn(new SpinBudget(), 1000, true)).toBe(1000);
});

it('hardly spins while it does not pay, and every time again once it does', () => {
  const budget = new SpinBudget();
  expect(triesIn(budget, 10_000, false)).toBeLessThan(10_000 / 60);
  // Within one pause of any failure it tries again.
  expect(triesIn(budget, 65 + 1000, true)).toBeGreaterThanOrEqual(1000);
});
