import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toFloat32 } from '../../clients/typescript/src/tensor-data.ts';
import { countBytesElements, decodeBytes } from '../../proto/bytes.ts';
import { byteSizeOf, DATATYPES, type Datatype, elementCount } from '../../proto/datatype.ts';
import { SeededRandom } from '../statistics/seeded-random.ts';
import { madeByteSize, randomTensor, zeroTensor } from './make-tensor.ts';

const datatypes = fc.constantFrom(...(Object.keys(DATATYPES) as Datatype[]));
const shapes = fc.array(fc.nat(6), { maxLength: 4 });

describe('made tensors', () => {
  it('have exactly the bytes that shape and datatype ask for', () => {
    fc.assert(
      fc.property(datatypes, shapes, fc.nat(20), fc.nat(), (datatype, shape, stringLength, seed) => {
        const count = elementCount(shape);
        const random = randomTensor(datatype, count, stringLength, new SeededRandom(seed));
        const zero = zeroTensor(datatype, count);
        expect(random.length).toBe(madeByteSize(datatype, count, stringLength));
        for (const data of [random, zero]) {
          const elements = datatype === 'BYTES' ? countBytesElements(data, '') : data.length / byteSizeOf(datatype);
          expect(elements).toBe(count);
        }
        expect(zero.every((byte) => byte === 0)).toBe(true);
      }),
    );
  });

  it('are the same for the same seed, and others for another', () => {
    for (const datatype of Object.keys(DATATYPES) as Datatype[]) {
      const made = (seed: number) => randomTensor(datatype, 50, 8, new SeededRandom(seed));
      expect(made(1)).toEqual(made(1));
      expect(made(1)).not.toEqual(made(2));
    }
  });

  it.each(['FP64', 'FP32', 'FP16', 'BF16'] as const)('%s lies in [0, 1)', (datatype) => {
    const values = toFloat32(datatype, randomTensor(datatype, 5000, 0, new SeededRandom(1)), '');
    expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...values)).toBeLessThanOrEqual(1);
    expect(values.reduce((sum, value) => sum + value, 0) / values.length).toBeCloseTo(0.5, 1);
  });

  it('whole numbers are from 0 to 127, flags 0 and 1', () => {
    const int8 = new Int8Array(randomTensor('INT8', 2000, 0, new SeededRandom(1)).buffer);
    expect([Math.min(...int8), Math.max(...int8)]).toEqual([0, 127]);
    const int64 = new BigInt64Array(randomTensor('INT64', 2000, 0, new SeededRandom(1)).buffer);
    expect(int64.every((value) => value >= 0n && value < 128n)).toBe(true);
    expect(new Set(int64).size).toBeGreaterThan(100);
    expect(new Set(randomTensor('BOOL', 100, 0, new SeededRandom(1)))).toEqual(new Set([0, 1]));
  });

  it('strings have the length asked for, and need no escapes', () => {
    for (const element of decodeBytes(randomTensor('BYTES', 20, 128, new SeededRandom(1)), '')) {
      expect(Buffer.from(element).toString()).toMatch(/^[A-Za-z0-9]{128}$/);
    }
  });
});
