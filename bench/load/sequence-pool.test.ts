import { describe, expect, it } from 'vitest';
import { SequencePool } from './sequence-pool.ts';

const plan = { minLength: 3, maxLength: 3, firstId: 1_000_000_001 };

describe('SequencePool', () => {
  it('gives the sequence that has waited longest, and a new one where all are in flight', () => {
    const pool = new SequencePool(plan, 1);
    const first = pool.take();
    const second = pool.take();
    expect([first.stamp, second.stamp]).toEqual([
      { id: 1_000_000_001, isStart: true, isEnd: false },
      { id: 1_000_000_002, isStart: true, isEnd: false },
    ]);
    pool.giveBack(second, false);
    pool.giveBack(first, false);
    expect(pool.take()).toBe(second);
    expect(pool.take()).toBe(first);
    expect(second).toMatchObject({ position: 1, stamp: { isStart: false, isEnd: false } });
    pool.giveBack(second, false);
    expect(pool.take()).toMatchObject({ position: 2, stamp: { id: 1_000_000_002, isStart: false, isEnd: true } });
    pool.giveBack(second, false);
    expect(pool.take().stamp.id).toBe(1_000_000_003);
  });

  it('leaves what is broken or given up, and never uses an ID again', () => {
    const pool = new SequencePool(plan, 1);
    pool.giveBack(pool.take(), true);
    const kept = pool.take();
    expect(kept.stamp.id).toBe(1_000_000_002);
    pool.giveBack(kept, false);
    pool.abandonAll();
    expect(pool.take().stamp).toEqual({ id: 1_000_000_003, isStart: true, isEnd: false });
  });

  it('spreads lengths evenly between the least and the most', () => {
    const pool = new SequencePool({ ...plan, minLength: 1, maxLength: 4 }, 3);
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) {
      const sequence = pool.take();
      counts[sequence.length - 1]!++;
      expect(sequence.stamp.isEnd).toBe(sequence.length === 1);
    }
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});
