import { describe, expect, it } from 'vitest';
import { StepWidth } from './step-width.ts';

/** Widths taken in `steps` steps of `generating` sequences, where a step of a width costs `cost(width)`. */
function run(width: StepWidth, generating: number, steps: number, cost: (width: number) => number): Map<number, number> {
  const taken = new Map<number, number>();
  for (let i = 0; i < steps; i++) {
    const chosen = width.choose(generating);
    expect(chosen).toBeGreaterThanOrEqual(1);
    expect(chosen).toBeLessThanOrEqual(generating);
    taken.set(chosen, (taken.get(chosen) ?? 0) + 1);
    width.record(chosen, cost(chosen));
  }
  return taken;
}

const shared = (width: number) => 10 + width / 10;

describe('StepWidth', () => {
  it('takes all where a step costs much by itself', () => {
    for (const generating of [2, 3, 7, 16]) expect(run(new StepWidth(16), generating, 1000, shared).get(generating)).toBeGreaterThan(970);
  });

  it('takes one at a time where two together cost more', () => {
    const taken = run(new StepWidth(16), 4, 1000, (width) => (width === 1 ? 2 : 7 + width));
    expect(taken.get(1)).toBeGreaterThan(970);
  });

  it('finds the width in the middle', () => {
    const taken = run(new StepWidth(16), 16, 1000, (width) => (width <= 4 ? 2 + width / 10 : width));
    expect(taken.get(4)).toBeGreaterThan(970);
  });

  it('does not care for a small difference', () => {
    expect(run(new StepWidth(8), 8, 1000, (width) => width * (width === 4 ? 0.97 : 1)).get(8)).toBeGreaterThan(970);
  });

  it('learns anew when costs change, and is not misled by one hold-up', () => {
    const width = new StepWidth(4);
    run(width, 4, 100, shared);
    width.record(4, 10_000);
    expect(run(width, 4, 100, shared).get(4)).toBeGreaterThan(95);
    expect(run(width, 4, 3000, (chosen) => (chosen === 1 ? 2 : 7 + chosen)).get(1)).toBeGreaterThan(1500);
  });

  it('takes one where there is one', () => {
    expect(new StepWidth(4).choose(1)).toBe(1);
  });
});
