import { describe, expect, it } from 'vitest';
import { encodeBytes } from '../../../proto/bytes.ts';
import type { Datatype } from '../../../proto/datatype.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { StepCondition } from './step-condition.ts';

function holds(datatype: Datatype, data: Uint8Array | null, equals: string[] = [], not = false): boolean {
  // Bytes as they lie in a larger buffer, at an odd place.
  const around = new Uint8Array((data?.length ?? 0) + 3);
  if (data !== null) around.set(data, 3);
  const tensor: Tensor | null = data === null ? null : { name: 'T', datatype, shape: [1], data: around.subarray(3) };
  return new StepCondition(0, { tensor: 'T', equals, not }).holds(tensor);
}

const bytesOf = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer);

describe('a condition', () => {
  it.each<[Datatype, Uint8Array, Uint8Array, string, string]>([
    ['BOOL', Uint8Array.of(1), Uint8Array.of(0), 'true', 'false'],
    ['UINT8', Uint8Array.of(200), Uint8Array.of(0), '200', '-56'],
    ['INT8', Uint8Array.of(200), Uint8Array.of(0), '-56', '200'],
    ['INT16', bytesOf(Int16Array.of(-2)), bytesOf(Int16Array.of(0)), '-2', '65534'],
    ['UINT16', bytesOf(Uint16Array.of(65534)), bytesOf(Uint16Array.of(0)), '65534', '-2'],
    ['INT32', bytesOf(Int32Array.of(-7)), bytesOf(Int32Array.of(0)), '-7', '7'],
    ['UINT32', bytesOf(Uint32Array.of(4e9)), bytesOf(Uint32Array.of(0)), '4000000000', '4'],
    ['INT64', bytesOf(BigInt64Array.of(-9007199254740993n)), bytesOf(BigInt64Array.of(0n)), '-9007199254740993', '-9007199254740992'],
    ['UINT64', bytesOf(BigUint64Array.of(2n ** 64n - 1n)), bytesOf(BigUint64Array.of(0n)), '18446744073709551615', '-1'],
    ['FP32', bytesOf(Float32Array.of(0.1)), bytesOf(Float32Array.of(0)), '0.1', '0.2'],
    ['FP64', bytesOf(Float64Array.of(0.1)), bytesOf(Float64Array.of(-0)), '0.1', '0.10000001'],
    ['FP16', bytesOf(Uint16Array.of(0x2e66)), bytesOf(Uint16Array.of(0x8000)), '0.1', '0.2'],
    ['BF16', bytesOf(Uint16Array.of(0x3dcd)), bytesOf(Uint16Array.of(0)), '0.1', '0.2'],
    ['BYTES', encodeBytes(['größe', 'x']), encodeBytes(['', 'x']), 'größe', 'größ'],
  ])('of %s: true, not zero or not empty; and its text', (datatype, set, unset, same, other) => {
    expect([holds(datatype, set), holds(datatype, unset), holds(datatype, set, [], true)]).toEqual([true, false, false]);
    expect([holds(datatype, set, [other, same]), holds(datatype, set, [other]), holds(datatype, set, [other], true)]).toEqual([
      true,
      false,
      true,
    ]);
  });

  it('of nothing does not hold, so that its opposite does', () => {
    expect([holds('INT32', null), holds('INT32', null, [], true), holds('FP32', new Uint8Array(0)), holds('BYTES', null, [''])]).toEqual([
      false,
      true,
      false,
      false,
    ]);
    expect(holds('FP32', bytesOf(Float32Array.of(Number.NaN)))).toBe(false);
    expect(holds('FP32', bytesOf(Float32Array.of(0)), ['', 'x', 'true'])).toBe(false);
    expect([holds('INT64', bytesOf(BigInt64Array.of(1n)), ['true']), holds('INT32', bytesOf(Int32Array.of(0)), ['false'])]).toEqual([
      true,
      true,
    ]);
  });
});
