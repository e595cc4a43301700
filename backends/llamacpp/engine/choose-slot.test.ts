import { describe, expect, it } from 'vitest';
import type { ActiveGeneration } from './active-generation.ts';
import { chooseSlot, type SlotChoice } from './choose-slot.ts';
import { SequenceSlot } from './sequence-slot.ts';

const job = {} as ActiveGeneration;

function slot(id: number, tokens: readonly number[], lastUsed: number, isBusy = false): SequenceSlot {
  const made = new SequenceSlot(id, 1024);
  made.tokens.set(tokens);
  made.length = tokens.length;
  made.end = tokens.length;
  made.lastUsed = lastUsed;
  made.job = isBusy ? job : null;
  return made;
}

function choose(
  slots: readonly SequenceSlot[],
  prompt: readonly number[],
  canCopy = false,
): { slot: number | null; shared: number; source: number | null } {
  const choice: SlotChoice = { slot: null, shared: 0, source: null, sourceShared: 0 };
  chooseSlot(slots, Uint32Array.from(prompt), canCopy, choice);
  return { slot: choice.slot?.id ?? null, shared: choice.shared, source: choice.source?.id ?? null };
}

const range = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);

describe('chooseSlot', () => {
  it('takes the longest shared prefix', () => {
    const slots = [slot(0, [1, 2, 3], 1), slot(1, [1, 2, 3, 4, 5], 2), slot(2, [9, 9], 3)];
    expect(choose(slots, [1, 2, 3, 4, 5, 6])).toEqual({ slot: 1, shared: 5, source: null });
  });

  it('takes the one not used for longest, where two share as much', () => {
    expect(choose([slot(0, [1, 2, 3], 5), slot(1, [1, 2, 3], 4), slot(2, [1, 2, 3], 6)], [1, 2, 3, 4])).toMatchObject({ slot: 1 });
    expect(choose([slot(0, [5], 5), slot(1, [6], 4), slot(2, [7], 6)], [1, 2])).toEqual({ slot: 1, shared: 0, source: null });
  });

  it('takes an empty one before it loses a long text for a few tokens', () => {
    const slots = [slot(0, [1, 2, ...range(100, 50)], 1), slot(1, [], 2), slot(2, [], 0)];
    expect(choose(slots, [1, 2, 3])).toEqual({ slot: 1, shared: 0, source: null });
    expect(choose(slots, [1, 2, ...range(100, 30)])).toEqual({ slot: 0, shared: 32, source: null });
    // Nothing is empty: what it shares is of use all the same.
    expect(choose([slots[0]!], [1, 2, 3])).toEqual({ slot: 0, shared: 2, source: null });
  });

  it('leaves busy ones alone', () => {
    expect(choose([slot(0, [1, 2, 3], 1, true), slot(1, [8], 2)], [1, 2, 3, 4])).toEqual({ slot: 1, shared: 0, source: null });
    expect(choose([slot(0, [1, 2, 3], 1, true)], [1, 2, 3, 4])).toMatchObject({ slot: null });
  });

  it('copies a prefix that is long enough', () => {
    const prefix = range(0, 40);
    const slots = [slot(0, [...prefix, 500], 1, true), slot(1, [], 2)];
    expect(choose(slots, [...prefix, 600], true)).toEqual({ slot: 1, shared: 0, source: 0 });
    expect(choose(slots, [...prefix, 600], false).source).toBeNull();
    expect(choose(slots, [...range(0, 20), 600], true).source).toBeNull();
    // Most of it is here already.
    expect(choose([...slots, slot(2, range(0, 30), 3)], [...prefix, 600], true)).toEqual({ slot: 2, shared: 30, source: null });
  });
});
