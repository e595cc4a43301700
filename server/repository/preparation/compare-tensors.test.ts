import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeBytes } from '../../../proto/bytes.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { coordinates, type Difference, findDifference, type Tolerance } from './compare-tensors.ts';

const exactly: Tolerance = { absolute: 0, relative: 0 };

/** Compares a few elements at a time; the other turns are counted. */
function compare(expected: Tensor, got: Tensor, tolerance = exactly): { difference: Difference | null; turns: number } {
  const search = findDifference(expected, got, tolerance, 4);
  for (let turns = 0; ; turns++) {
    const step = search.next();
    if (step.done) return { difference: step.value, turns };
  }
}

/** At an odd offset, as views of a body are. */
function doubles(values: readonly number[]): Tensor {
  const bytes = new Uint8Array(1 + values.length * 8);
  bytes.set(new Uint8Array(Float64Array.from(values).buffer), 1);
  return { name: 'X', datatype: 'FP64', shape: [values.length], data: bytes.subarray(1) };
}

const strings = (values: readonly string[]): Tensor => ({
  name: 'X',
  datatype: 'BYTES',
  shape: [values.length],
  data: encodeBytes(values),
});

describe('findDifference', () => {
  it('finds the first element that differs by more than it may, wherever it stands', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double(), { minLength: 1, maxLength: 40 }),
        fc.nat(),
        fc.double(),
        fc.double({ min: 0, max: 2, noNaN: true }),
        (values, at, other, absolute) => {
          const index = at % values.length;
          const changed = values.with(index, other);
          const wanted = values[index]!;
          const isEqual = Object.is(wanted, other) || Math.abs(wanted - other) <= absolute;
          expect(compare(doubles(values), doubles(changed), { absolute, relative: 0 }).difference?.index).toBe(isEqual ? undefined : index);
        },
      ),
    );
  });

  it('finds the first string that differs', () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1, maxLength: 20 }), fc.nat(), fc.string(), (values, at, other) => {
        const index = at % values.length;
        const found = compare(strings(values), strings(values.with(index, other))).difference?.index;
        expect(found).toBe(values[index] === other ? undefined : index);
      }),
    );
  });

  it('lets others have a turn, and takes a tolerance that overflows for what it is', () => {
    expect(compare(doubles(new Array(12).fill(1)), doubles(new Array(12).fill(1))).turns).toBe(2);
    const allowed = { absolute: 0, relative: 1e10 };
    expect(compare(doubles([1e300]), doubles([-1e300]), allowed).difference).toBeNull();
    expect(compare(doubles([1e300]), doubles([Number.POSITIVE_INFINITY]), allowed).difference).toMatchObject({ index: 0, got: 'Infinity' });
  });
});

it('coordinates name the place of an element', () => {
  expect([coordinates(0, []), coordinates(5, [6]), coordinates(7, [2, 2, 3])]).toEqual(['[]', '[5]', '[1,0,1]']);
});
