import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { didYouMean, nearestName } from './nearest-name.ts';

const fields = ['name', 'platform', 'max_batch_size', 'input', 'output', 'dynamic_batching', 'default_model_filename'];

describe('nearestName', () => {
  test.each([
    ['max_batchsize', 'max_batch_size'],
    ['maxBatchSize', 'max_batch_size'],
    ['inptu', 'input'],
    ['dynamic-baching', 'dynamic_batching'],
    ['nme', 'name'],
  ])('%s is %s', (typed, meant) => {
    expect(nearestName(typed, fields)).toBe(meant);
  });

  test('gives nothing when nothing is near', () => {
    expect(nearestName('kernel_memory', fields)).toBeUndefined();
    expect(nearestName('', fields)).toBeUndefined();
    expect(nearestName('x'.repeat(10_000), fields)).toBeUndefined();
    expect(didYouMean('kernel_memory', fields)).toBe('');
    expect(nearestName('x', ['y'])).toBeUndefined();
  });

  test('finds a name with one letter left out', () => {
    fc.assert(
      fc.property(fc.constantFrom(...fields), fc.nat(), (field, at) => {
        const index = at % field.length;
        expect(nearestName(field.slice(0, index) + field.slice(index + 1), fields)).toBe(field);
      }),
    );
  });
});
