import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBytes } from '../../../proto/bytes.ts';
import type { Datatype } from '../../../proto/datatype.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import { encodeValues } from './encode-values.ts';
import { readStrings, toFloat32, viewTensorData } from './tensor-data.ts';

const refusal = (datatype: Datatype, values: unknown): string => {
  try {
    encodeValues(datatype, values, 'inputs.x');
  } catch (error) {
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(error).toBeInstanceOf(InferenceError);
    return (error as Error).message;
  }
  throw new Error(`${datatype} took ${String(values)}`);
};

const integers = {
  INT8: [-128, 127],
  INT16: [-32768, 32767],
  INT32: [-2147483648, 2147483647],
  UINT8: [0, 255],
  UINT16: [0, 65535],
  UINT32: [0, 4294967295],
} as const;

describe('encodeValues', () => {
  it.each(Object.entries(integers))('%s takes all of its range and nothing past it', (name, [min, max]) => {
    const datatype = name as keyof typeof integers;
    expect([...viewTensorData(datatype, encodeValues(datatype, [min, 0, max], 'x').data)]).toEqual([min, 0, max]);
    for (const wrong of [min - 1, max + 1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, '1', true, 1n, null, undefined]) {
      expect(refusal(datatype, [1, wrong])).toBe(
        `inputs.x[1]: expected an integer from ${min} to ${max} for ${datatype}, got ${typeof wrong === 'string' ? '"1"' : typeof wrong === 'bigint' ? '1n' : String(wrong)}`,
      );
    }
  });

  it('64-bit integers are exact, as bigints over all of their range and as safe numbers', () => {
    const signed = [-(2n ** 63n), -1n, 2n ** 63n - 1n];
    expect([...viewTensorData('INT64', encodeValues('INT64', signed, 'x').data)]).toEqual(signed);
    expect([...viewTensorData('UINT64', encodeValues('UINT64', [0n, 2n ** 64n - 1n, 7], 'x').data)]).toEqual([0n, 2n ** 64n - 1n, 7n]);
    expect([...viewTensorData('INT64', encodeValues('INT64', [Number.MAX_SAFE_INTEGER, -5], 'x').data)]).toEqual([2n ** 53n - 1n, -5n]);
    expect(refusal('INT64', [2 ** 53])).toContain(
      '[0]: expected a bigint, or a number that is a safe integer for INT64, got 9007199254740992',
    );
    expect(refusal('INT64', [2n ** 63n])).toContain('expected an integer from -9223372036854775808 to 9223372036854775807');
    expect(refusal('UINT64', [-1])).toContain('expected an integer from 0 to 18446744073709551615 for UINT64, got -1');
    expect(refusal('UINT64', BigInt64Array.of(1n, -1n))).toContain('inputs.x[1]');
  });

  it('floats take numbers, special ones too, and refuse what would become infinite', () => {
    const special = [Number.NaN, Number.POSITIVE_INFINITY, -0, 1.5];
    for (const datatype of ['FP32', 'FP64', 'FP16', 'BF16'] as const) {
      const data = encodeValues(datatype, special, 'x').data;
      const values = datatype === 'FP64' ? viewTensorData('FP64', data) : toFloat32(datatype, data, 'x');
      expect([...values]).toEqual(special);
    }
    expect(viewTensorData('FP32', encodeValues('FP32', [3.4028235677973362e38], 'x').data)[0]).toBe(3.4028234663852886e38);
    expect(refusal('FP32', [3.4028235677973366e38])).toContain('expected a number within its range for FP32');
    expect(refusal('FP16', [0, 65520])).toBe('inputs.x[1]: expected a number within its range for FP16, got 65520');
    expect(refusal('FP64', ['1'])).toContain('expected a number for FP64, got "1"');
  });

  it('a typed array of the same layout is not copied; another one is checked value by value', () => {
    const own = Float32Array.of(1, 2, 3).subarray(1);
    const { data, count } = encodeValues('FP32', own, 'x');
    expect([data.buffer === own.buffer, data.byteOffset, data.length, count]).toEqual([true, 4, 8, 2]);
    expect([...viewTensorData('FP32', encodeValues('FP32', Uint8ClampedArray.of(7, 9), 'x').data)]).toEqual([7, 9]);
    expect([...viewTensorData('UINT8', encodeValues('UINT8', Buffer.from([7, 9]), 'x').data)]).toEqual([7, 9]);
    expect(encodeValues('FP16', Uint16Array.of(0x3c00), 'x').data).toEqual(Uint8Array.of(0, 0x3c));
    expect(refusal('INT8', Float32Array.of(1, 128))).toContain('inputs.x[1]: expected an integer from -128 to 127 for INT8, got 128');
    expect(refusal('BOOL', Uint8Array.of(1, 2))).toBe('inputs.x[1]: expected true, false, 1 or 0 for BOOL, got 2');
  });

  it('BYTES are text and bytes, one or many', () => {
    const { data, count } = encodeValues('BYTES', ['é', Uint8Array.of(1, 2)], 'x');
    expect(decodeBytes(data, 'x').map((one) => [...one])).toEqual([
      [0xc3, 0xa9],
      [1, 2],
    ]);
    expect(count).toBe(2);
    expect(encodeValues('BYTES', 'abc', 'x').count).toBe(1);
    expect(encodeValues('BYTES', Uint8Array.of(9, 9), 'x').count).toBe(1);
    expect(refusal('BYTES', ['a', 5])).toBe('inputs.x[1]: expected a string or a Uint8Array for BYTES, got 5');
    expect(() => readStrings(encodeValues('BYTES', [Uint8Array.of(0xff)], 'x').data, 'outputs.y')).toThrow('outputs.y[0]: expected UTF-8');
  });

  it('nested arrays give their shape, and must be regular', () => {
    expect(encodeValues('INT32', [[[1, 2, 3]], [[4, 5, 6]]], 'x').nestedShape).toEqual([2, 1, 3]);
    expect(encodeValues('INT32', 5, 'x').nestedShape).toEqual([]);
    expect(encodeValues('INT32', [[], []], 'x')).toMatchObject({ count: 0, nestedShape: [2, 0] });
    expect(refusal('INT32', [[1, 2], [3]])).toBe(
      'inputs.x[1]: expected 2 elements, as at the same depth before, got 1: nested arrays must be regular',
    );
    expect(refusal('INT32', [[1, 2], 3])).toContain('inputs.x[1]: expected an array of 2');
    expect(refusal('INT32', [[1], [[2]]])).toContain('inputs.x[1][0]: expected a single value');
    expect(
      refusal('INT32', [
        [1, 2],
        [3, 2 ** 40],
      ]),
    ).toContain('inputs.x[1][1]: expected an integer');
    let deep: unknown = 1;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    expect(refusal('INT32', [deep])).toContain('nested at most 32 deep');
  });

  it('flat numbers read back as they were, whatever the datatype', () => {
    for (const [datatype, [min, max]] of Object.entries(integers)) {
      fc.assert(
        fc.property(fc.array(fc.integer({ min, max })), (values) => {
          const data = encodeValues(datatype as Datatype, values, 'x').data;
          expect([...(viewTensorData(datatype as 'INT8', data) as Iterable<number>)]).toEqual(values);
        }),
        { numRuns: 30 },
      );
    }
    fc.assert(
      fc.property(fc.array(fc.double()), (values) => {
        expect([...viewTensorData('FP64', encodeValues('FP64', values, 'x').data)]).toEqual(values);
      }),
    );
  });
});
