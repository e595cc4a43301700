import { expect, test } from 'vitest';
import { MaxPool } from './max-pool.ts';

test('takes the largest of each 2 x 2 pixels, and gives the errors back to those', () => {
  const pool = new MaxPool(4, 2);
  // The second channel is the first one's negative.
  const pixels = [3, 9, 1, 2, 4, 5, 8, 7, 6, 0, 11, 12, 10, 13, 15, 14];
  const inputs = Float32Array.from(pixels.flatMap((pixel) => [pixel, -pixel]));
  pool.forward(inputs);
  expect([...pool.outputs]).toEqual([9, -3, 8, -1, 13, -0, 15, -11]);

  pool.outputErrors.set([1, 2, 3, 4, 5, 6, 7, 8]);
  const errors = new Float32Array(inputs.length).fill(99);
  pool.backward(inputs, errors);
  const given = [...errors.entries()].filter(([, error]) => error !== 0);
  expect(given).toEqual([
    [1, 2],
    [2, 1],
    [5, 4],
    [12, 3],
    [19, 6],
    [21, 8],
    [26, 5],
    [28, 7],
  ]);
});
