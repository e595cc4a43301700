import { expect, test } from 'vitest';
import { MessagePool } from './message-pool.ts';

const MIB = 1024 * 1024;

test('gives the same memory again, and never to two at once', () => {
  const pool = new MessagePool();
  const first = pool.take(600_000);
  const second = pool.take(600_000);
  expect([first.length, second.length, first.buffer === second.buffer]).toEqual([MIB, MIB, false]);
  pool.give(first);
  expect(pool.keptBytes).toBe(MIB);
  expect(pool.take(700_000)).toBe(first);
  expect(pool.keptBytes).toBe(0);
});

test('keeps neither small nor very large ones, and no more than its bound', () => {
  const pool = new MessagePool();
  for (const bytes of [100, 65_535, 17 * MIB]) {
    expect(pool.take(bytes).length).toBe(bytes);
    pool.give(Buffer.alloc(bytes));
  }
  expect(pool.keptBytes).toBe(0);
  for (let i = 0; i < 10; i++) pool.give(Buffer.allocUnsafeSlow(16 * MIB));
  expect(pool.keptBytes).toBe(64 * MIB);
});
