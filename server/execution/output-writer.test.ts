import { beforeEach, describe, expect, it } from 'vitest';
import type { ModelMetadata } from '../../backends/api/backend.ts';
import { BY_FRAME } from './execution-record.ts';
import { OutputWriter } from './output-writer.ts';

const metadata: ModelMetadata = {
  inputs: [],
  outputs: [
    { name: 'A', datatype: 'FP32', shape: [-1, 4], optional: false },
    { name: 'B', datatype: 'BYTES', shape: [-1], optional: false },
  ],
};

describe('OutputWriter', () => {
  let writer: OutputWriter;
  const area = new Uint8Array(1024);

  beforeEach(() => {
    writer = new OutputWriter();
    writer.begin(metadata, 'm', area, 128, 256);
  });

  it('places outputs in the area, on tensor boundaries, and others beside it', () => {
    const first = writer.allocate('A', 'FP32', [2, 4], 32);
    expect(first.byteOffset).toBe(128);
    expect(writer.outputAt(0)).toMatchObject({ offset: 128, byteLength: 32, large: null });
    const second = writer.allocate('B', 'BYTES', [3], 193);
    expect(writer.outputAt(1)).toMatchObject({ offset: BY_FRAME, byteLength: 193, large: second });
    expect(second.buffer).not.toBe(area.buffer);
    expect(writer.overflowCount).toBe(1);
    writer.assertComplete();
    writer.begin(metadata, 'm', area, 128, 256);
    writer.allocate('A', 'FP32', [2, 4], 32);
    expect(writer.allocate('B', 'BYTES', [3], 192).byteOffset).toBe(192);
    expect(writer.overflowCount).toBe(0);
  });

  it('takes outputs in any order', () => {
    writer.allocate('B', 'BYTES', [0], 0);
    writer.allocate('A', 'FP32', [1, 4], 16);
    writer.assertComplete();
  });

  it.each<[string, () => void, string]>([
    ['an unknown name', () => writer.allocate('C', 'FP32', [1, 4], 16), "wrote output 'C', which it doesn't have"],
    ['another datatype', () => writer.allocate('A', 'FP64', [1, 4], 32), "gave output 'A' as FP64, its metadata says FP32"],
    ['another rank', () => writer.allocate('A', 'FP32', [4], 16), "gave output 'A' the shape [4], its metadata says [-1,4]"],
    ['another dimension', () => writer.allocate('A', 'FP32', [1, 5], 20), "gave output 'A' the shape [1,5], its metadata says [-1,4]"],
    ['a negative dimension', () => writer.allocate('A', 'FP32', [-1, 4], 16), "gave output 'A' the shape [-1,4], its metadata says [-1,4]"],
    ['another size', () => writer.allocate('A', 'FP32', [1, 4], 17), "gave output 'A' 17 bytes"],
    ['too little for the lengths', () => writer.allocate('B', 'BYTES', [3], 11), "gave output 'B' 11 bytes"],
    ['more than a frame holds', () => writer.allocate('B', 'BYTES', [3], 2 ** 33), 'use smaller batches'],
    ['an output missing', () => writer.assertComplete(), "ended without its output 'A', 'B'"],
  ])('refuses %s', (_, allocate, message) => {
    expect(allocate).toThrow(message);
  });

  it('refuses an output written twice', () => {
    writer.allocate('A', 'FP32', [1, 4], 16);
    expect(() => writer.allocate('A', 'FP32', [1, 4], 16)).toThrow("wrote output 'A' twice");
  });
});
