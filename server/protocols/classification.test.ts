import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeBytes } from '../../proto/bytes.ts';
import { toBf16, toFp16 } from '../../proto/float16.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { classifyTensor, MAX_CLASSES } from './classification.ts';

const fp32 = (values: number[], shape = [values.length]): Tensor => ({
  name: 'Y',
  datatype: 'FP32',
  shape,
  data: new Uint8Array(Float32Array.from(values).buffer),
});
const texts = (tensor: Tensor): string[] => decodeBytes(tensor.data, 'Y').map((element) => Buffer.from(element).toString('utf8'));

describe('classification', () => {
  test('best first, the lower index first among equals, labels where there are any', () => {
    const classified = classifyTensor(fp32([0.1, 0.85, 0.85, 0.2]), 3, false, ['a', 'b', '\u00fc']);
    expect(texts(classified)).toEqual(['0.850000:1:b', '0.850000:2:\u00fc', '0.200000:3']);
    expect(classified).toMatchObject({ name: 'Y', datatype: 'BYTES', shape: [3] });
  });

  test('row by row where the first dimension is the batch', () => {
    const classified = classifyTensor(fp32([1, 2, 3, 6, 5, 4], [2, 3]), 2, true, null);
    expect(classified.shape).toEqual([2, 2]);
    expect(texts(classified)).toEqual(['3.000000:2', '2.000000:1', '6.000000:0', '5.000000:1']);
    expect(classifyTensor(fp32([1, 2], [2]), 9, false, null).shape).toEqual([2]);
    expect(classifyTensor(fp32([], [0, 3]), 2, true, null)).toMatchObject({ shape: [0, 0], data: { length: 0 } });
  });

  test('agrees with a stable sort', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.integer({ min: -5, max: 5 }), fc.constant(Number.NaN)), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 70 }),
        (values, classes) => {
          const rank = (value: number): number => (Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value);
          const sorted = values
            .map((value, index) => ({ value, index }))
            .sort((a, b) => (rank(b.value) === rank(a.value) ? a.index - b.index : rank(b.value) - rank(a.value)));
          const expected = sorted.slice(0, classes).map(({ index }) => index);
          expect(texts(classifyTensor(fp32(values), classes, false, null)).map((text) => Number(text.split(':')[1]))).toEqual(expected);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('every numeric type', () => {
    const of = (datatype: Tensor['datatype'], array: { buffer: ArrayBufferLike }): string[] =>
      texts(classifyTensor({ name: 'Y', datatype, shape: [2], data: new Uint8Array(array.buffer) }, 1, false, null));
    expect(of('INT8', Int8Array.of(-1, -2))).toEqual(['-1:0']);
    expect(of('UINT8', Uint8Array.of(1, 255))).toEqual(['255:1']);
    expect(of('INT16', Int16Array.of(-1, 2))).toEqual(['2:1']);
    expect(of('UINT16', Uint16Array.of(1, 65535))).toEqual(['65535:1']);
    expect(of('INT32', Int32Array.of(-1, -5))).toEqual(['-1:0']);
    expect(of('UINT32', Uint32Array.of(1, 4294967295))).toEqual(['4294967295:1']);
    expect(of('INT64', BigInt64Array.of(9007199254740993n, 9007199254740992n))).toEqual(['9007199254740993:0']);
    expect(of('UINT64', BigUint64Array.of(1n, 2n ** 64n - 1n))).toEqual(['18446744073709551615:1']);
    expect(of('FP64', Float64Array.of(1.5, 1e22))).toEqual(['10000000000000000000000.000000:1']);
    expect(of('FP16', Uint16Array.of(toFp16(0.5), toFp16(-1)))).toEqual(['0.500000:0']);
    expect(of('BF16', Uint16Array.of(toBf16(0.5), toBf16(3)))).toEqual(['3.000000:1']);
  });

  test('refuses what has no classes', () => {
    const refusal = (tensor: Tensor): string => {
      try {
        classifyTensor(tensor, 1, false, null);
      } catch (error) {
        expect((error as InferenceError).code).toBe('INVALID_ARGUMENT');
        return (error as InferenceError).message;
      }
      throw new Error('not refused');
    };
    expect(refusal({ name: 'Y', datatype: 'BYTES', shape: [0], data: new Uint8Array() })).toContain("unsupported type 'BYTES'");
    expect(refusal({ name: 'Y', datatype: 'BOOL', shape: [1], data: new Uint8Array(1) })).toContain("unsupported type 'BOOL'");
    expect(refusal({ name: 'Y', datatype: 'UINT8', shape: [MAX_CLASSES + 1], data: new Uint8Array(MAX_CLASSES + 1) })).toContain(
      'classification output tensor too large',
    );
  });
});
