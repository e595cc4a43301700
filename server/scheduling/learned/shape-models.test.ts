import { expect, test } from 'vitest';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import { int32Request, Ledger } from '../scheduling-fixtures.ts';
import { MAX_SHAPES, ShapeModels } from './shape-models.ts';
import { SizeGrid } from './size-grid.ts';

const caller = new Ledger();

function shaped(...dims: readonly number[]): InferenceRequest {
  return int32Request('', caller, [{ shape: dims, values: [] }]);
}

test('a model without open dimensions has one for all', () => {
  const models = new ShapeModels(new SizeGrid(8), [], 1);
  expect(models.find(shaped(1, 4))).toBe(models.of(shaped(8, 4)));
});

test('shapes are told apart beyond the batch dimension; large ones by a quarter of a doubling', () => {
  const models = new ShapeModels(new SizeGrid(8), [0], 1);
  expect(models.find(shaped(1, 7))).toBeNull();
  const seven = models.of(shaped(1, 7));
  expect(models.of(shaped(5, 7))).toBe(seven);
  expect(models.of(shaped(1, 8))).not.toBe(seven);
  expect(models.of(shaped(1, 7, 1))).not.toBe(seven);
  expect(models.of(shaped(1, 500))).toBe(models.of(shaped(1, 510)));
  expect(models.of(shaped(1, 500))).not.toBe(models.of(shaped(1, 700)));
});

test('keeps the shapes used last, and never more than its bound', () => {
  const models = new ShapeModels(new SizeGrid(8), [0], 1);
  const kept = models.of(shaped(1, 1));
  for (let i = 0; i < 500; i++) {
    models.of(shaped(1, 2 + (i % 15), 1 + Math.floor(i / 15)));
    expect(models.of(shaped(1, 1))).toBe(kept);
    expect(models.size).toBeLessThanOrEqual(MAX_SHAPES);
  }
  expect(models.size).toBe(MAX_SHAPES);
});
