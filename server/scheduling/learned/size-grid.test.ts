import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SizeGrid } from './size-grid.ts';

test('has each small size, then steps of at most an eighth, and ends with the largest batch', () => {
  expect([...new SizeGrid(1).sizes]).toEqual([1]);
  expect([...new SizeGrid(5).sizes]).toEqual([1, 2, 3, 4, 5]);
  expect([...new SizeGrid(24).sizes]).toEqual([...Array.from({ length: 16 }, (_, i) => i + 1), 18, 20, 22, 24]);
  expect(new SizeGrid(2 ** 31 - 1).sizes.length).toBeLessThan(240);
});

test('finds the sizes around any number of rows', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5000 }), fc.double({ min: 0, max: 6000, noNaN: true }), (maxRows, rows) => {
      const grid = new SizeGrid(maxRows);
      const sizes = [...grid.sizes];
      const below = sizes.findLastIndex((size) => size <= rows);
      expect(grid.below(rows)).toBe(Math.max(0, below));
      const distance = Math.min(...sizes.map((size) => Math.abs(size - rows)));
      expect(Math.abs(sizes[grid.nearest(rows)]! - rows)).toBe(distance);
    }),
  );
});
