import { expect, it } from 'vitest';
import { Turns } from './turns.ts';

it('gives a turn to whoever came first, and one alone at a time', async () => {
  const turns = new Turns();
  const order: string[] = [];
  let running = 0;
  const work = async (name: string, count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      await turns.take();
      expect(++running).toBe(1);
      await Promise.resolve();
      order.push(`${name}${i}`);
      running--;
      turns.end();
    }
  };
  await Promise.all([work('a', 4), work('b', 2), work('c', 1)]);
  expect(order.slice(0, 3)).toEqual(['a0', 'b0', 'c0']);
  expect(order.slice(3, 5).sort()).toEqual(['a1', 'b1']);
  expect(order.length).toBe(7);
  expect(turns.take()).toBeNull();
});
