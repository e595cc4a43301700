import { describe, expect, it } from 'vitest';
import { encodeInput, InferInput } from './infer-input.ts';
import type { InputTensor } from './transport.ts';

const encode = (shape: readonly number[], input: unknown, datatype = 'FP32'): InputTensor =>
  encodeInput('x', input, { name: 'x', datatype, shape });
const ramp = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('the shape of an input', () => {
  it.each([
    ['all fixed', [2, 3], ramp(6), [2, 3]],
    ['a free batch dimension', [-1, 3], ramp(6), [2, 3]],
    ['a batch of one', [-1, 1, 2, 2], ramp(4), [1, 1, 2, 2]],
    ['one free in the middle', [2, -1, 2], ramp(8), [2, 2, 2]],
    ['batch and length free: one row', [-1, -1], ramp(5), [1, 5]],
    ['free and empty', [-1, 3], [], [0, 3]],
    ['nested as the dimensions', [-1, -1], [ramp(3), ramp(3)], [2, 3]],
    ['nested, the batch dimension left out', [-1, 2, 3], [ramp(3), ramp(3)], [1, 2, 3]],
    ['a single value', [-1, 1], 7, [1, 1]],
    ['a scalar', [], 7, []],
    ['given', [-1, -1], { data: ramp(6), shape: [3, 2] }, [3, 2]],
    ['given, with a zero', [-1, 2], { data: [], shape: [0, 2] }, [0, 2]],
  ])('%s', (_, dims, input, shape) => {
    expect(encode(dims, input).shape).toEqual(shape);
  });

  it.each([
    ['too many for a fixed shape', [2, 3], ramp(7), 'inputs.x: expected 6 values for shape [2,3], got 7'],
    ['no whole number of rows', [-1, 4], ramp(6), 'inputs.x: expected a multiple of 4 values for shape [-1,4], got 6'],
    ['open', [-1, -1, -1], ramp(6), 'inputs.x: [-1,-1,-1] leaves 3 dimensions open, and 6 values do not tell them: give its shape'],
    ['two open, no batch', [2, -1, -1], ramp(8), 'leaves 2 dimensions open'],
    ['nested otherwise', [-1, 3], [ramp(2), ramp(2)], 'inputs.x: expected arrays nested as shape [-1,3] (-1: any), got [2,2]'],
    ['given, and wrong', [-1], { data: ramp(3), shape: [4] }, 'inputs.x: expected 4 elements of FP32 for shape [4], got 3'],
    ['given, negative', [-1], { data: ramp(3), shape: [-1] }, 'inputs.x.shape: expected integers >= 0'],
    ['raw bytes without', [-1, 2], { raw: new Uint8Array(8) }, 'inputs.x.shape: expected a shape'],
    [
      'raw bytes of another size',
      [-1, 2],
      { raw: new Uint8Array(7), shape: [1, 2] },
      'expected 2 elements of FP32 for shape [1,2], got 1.75',
    ],
    ['nothing', [1], {}, 'expected values, or an object with one of data, raw, sharedMemory, got none'],
    ['two sources', [1], { data: [1], raw: new Uint8Array(4) }, 'got 2 of them'],
    ['an unknown datatype', [1], { data: [1], datatype: 'FP23' }, "got 'FP23'; did you mean 'FP32'?"],
  ])('%s is refused', (_, dims, input, message) => {
    expect(() => encode(dims, input)).toThrow(message);
  });

  it('follows without metadata from nested and from flat values', () => {
    expect(encodeInput('x', { data: Float32Array.of(1, 2) }, null)).toMatchObject({ datatype: 'FP32', shape: [2] });
    expect(encodeInput('x', { data: [['a'], ['b']] }, null)).toMatchObject({ datatype: 'BYTES', shape: [2, 1] });
    expect(encodeInput('x', { data: [[true]] }, null)).toMatchObject({ datatype: 'BOOL', shape: [1, 1] });
    expect(() => encodeInput('x', { data: [1, 2] }, null)).toThrow('inputs.x: expected a datatype, since plain numbers may be any');
  });

  it('InferInput holds one of values, raw bytes and shared memory', () => {
    const input = new InferInput('x', [1, 2], 'INT16').setData([1, 2]);
    expect(encodeInput('x', input, null).data).toEqual(Uint8Array.of(1, 0, 2, 0));
    input.setRaw(Uint8Array.of(5, 0, 6, 0));
    expect(encodeInput('x', input, null).data).toEqual(Uint8Array.of(5, 0, 6, 0));
    input.setSharedMemory('r', 4, 8);
    expect(encodeInput('x', input, null)).toEqual({
      name: 'x',
      datatype: 'INT16',
      shape: [1, 2],
      data: { region: 'r', byteSize: 4, offset: 8 },
    });
  });
});
