import { describe, expect, it } from 'vitest';
import type { ModelWarmupInput } from '../../../backends/api/model-config.ts';
import { DATATYPES, type Datatype } from '../../../proto/datatype.ts';
import { fromBf16, fromFp16 } from '../../../proto/float16.ts';
import { directorySource } from '../model-directory.ts';
import { ModelFileReader } from './model-file-reader.ts';
import { sampleTensor } from './warm-up-data.ts';

const files = new ModelFileReader(directorySource('/nowhere', 'm'), false);
const input = (datatype: Datatype, dims: number[], data: Partial<ModelWarmupInput>): ModelWarmupInput => ({
  dataType: DATATYPES[datatype].configName,
  dims,
  ...{ zeroData: null, randomData: null, inputDataFile: null },
  ...data,
});

const read: Readonly<Record<Exclude<Datatype, 'BYTES'>, (view: DataView, at: number) => number>> = {
  BOOL: (view, at) => view.getUint8(at),
  UINT8: (view, at) => view.getUint8(at),
  UINT16: (view, at) => view.getUint16(at, true),
  UINT32: (view, at) => view.getUint32(at, true),
  UINT64: (view, at) => Number(view.getBigUint64(at, true)),
  INT8: (view, at) => view.getInt8(at),
  INT16: (view, at) => view.getInt16(at, true),
  INT32: (view, at) => view.getInt32(at, true),
  INT64: (view, at) => Number(view.getBigInt64(at, true)),
  FP16: (view, at) => fromFp16(view.getUint16(at, true)),
  BF16: (view, at) => fromBf16(view.getUint16(at, true)),
  FP32: (view, at) => view.getFloat32(at, true),
  FP64: (view, at) => view.getFloat64(at, true),
};

describe('the data of a warm-up sample', () => {
  it.each(Object.keys(read) as (keyof typeof read)[])(
    'is random and small for %s, the same each time, past what is made at once too',
    async (datatype) => {
      const make = () => sampleTensor('X', input(datatype, [70, 1000], { randomData: true }), 2, files);
      const { shape, data } = await make();
      expect(shape).toEqual([2, 70, 1000]);
      const size = DATATYPES[datatype].byteSize;
      expect(data.length).toBe(140_000 * size);
      const view = new DataView(data.buffer, data.byteOffset, data.length);
      const values = Array.from({ length: 140_000 }, (_, i) => read[datatype](view, i * size));
      const isFloat = /FP|BF/.test(datatype);
      const limit = isFloat ? 1 : datatype === 'BOOL' ? 2 : 10;
      expect(values.every((value) => value >= 0 && value < limit && (isFloat || Number.isInteger(value)))).toBe(true);
      expect(new Set(values).size).toBeGreaterThanOrEqual(isFloat ? 200 : limit);
      // None of the repeated parts was forgotten.
      expect(values.slice(66_000, 70_000).some((value) => value > 0)).toBe(true);
      expect(values.slice(70_000)).toEqual(values.slice(0, 70_000));
      expect(Buffer.compare((await make()).data, data)).toBe(0);
    },
  );

  it('is empty strings for BYTES, and zeros where zeros are asked for', async () => {
    for (const data of [{ randomData: true }, { zeroData: true }]) {
      expect(await sampleTensor('X', input('BYTES', [3], data), 0, files)).toEqual({
        name: 'X',
        datatype: 'BYTES',
        shape: [3],
        data: Buffer.alloc(12),
      });
    }
    expect((await sampleTensor('X', input('FP64', [2], { zeroData: true }), 3, files)).data).toEqual(Buffer.alloc(48));
  });
});
