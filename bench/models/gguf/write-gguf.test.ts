import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { halfFloatBits, halfFloatValue } from './half-float.ts';
import { TENSOR_FORMATS } from './tensor-types.ts';
import { type GgufModel, writeGguf, writeGgufFile } from './write-gguf.ts';

test('half-precision numbers: known bits, and every one of them comes back', () => {
  expect([0, 1, -2, 65504, 65520, 2 ** -24, 2 ** -26, 0.1, Number.POSITIVE_INFINITY].map(halfFloatBits)).toEqual([
    0, 0x3c00, 0xc000, 0x7bff, 0x7c00, 1, 0, 0x2e66, 0x7c00,
  ]);
  for (let bits = 0; bits < 0x10000; bits++) {
    const value = halfFloatValue(bits);
    if (!Number.isNaN(value)) expect(halfFloatBits(value)).toBe(bits);
  }
});

test('quantised rows are within half a step of what went in', () => {
  fc.assert(
    fc.property(fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 32, maxLength: 32 }), (values) => {
      const row = Float32Array.from(values);
      const largest = Math.max(...row.map(Math.abs));
      const view = new DataView(new ArrayBuffer(34));
      TENSOR_FORMATS.Q8_0.encode(row, view, 0);
      const scale8 = halfFloatValue(view.getUint16(0, true));
      // A scale in half precision is a two-thousandth off.
      row.forEach((value, i) => {
        expect(Math.abs(view.getInt8(2 + i) * scale8 - value)).toBeLessThanOrEqual(largest / 250 + largest / 1000 + 1e-4);
      });
      TENSOR_FORMATS.Q4_0.encode(row, view, 0);
      const scale4 = halfFloatValue(view.getUint16(0, true));
      row.forEach((value, i) => {
        const byte = view.getUint8(2 + (i % 16));
        const nibble = i < 16 ? byte & 15 : byte >>> 4;
        // The end that the largest value does not lie at has one step less.
        expect(Math.abs((nibble - 8) * scale4 - value)).toBeLessThanOrEqual(largest / 8 + largest / 1000 + 1e-4);
      });
    }),
    { seed: 1 },
  );
});

const model: GgufModel = {
  metadata: {
    'general.alignment': { type: 'uint32', value: 64 },
    'a.int64': { type: 'int64', value: -3n },
    'a.list': { type: 'array', of: 'string', values: ['x', 'é'] },
  },
  tensors: [
    { name: 'one', dims: [3], type: 'F32', values: Float32Array.of(1, 2, 3) },
    { name: 'two', dims: [2, 2], type: 'F16', values: (row, into) => into.fill(row + 1) },
  ],
};

test('header and tensors stand where the format has them, each aligned', () => {
  const bytes = writeGguf(model);
  const view = new DataView(bytes.buffer);
  expect(Buffer.from(bytes.subarray(0, 4)).toString()).toBe('GGUF');
  expect([view.getUint32(4, true), view.getBigUint64(8, true), view.getBigUint64(16, true)]).toEqual([3, 2n, 3n]);
  expect(bytes.length % 64).toBe(0);
  const data = bytes.length - 128;
  expect([0, 4, 8].map((at) => view.getFloat32(data + at, true))).toEqual([1, 2, 3]);
  expect([0, 2, 4, 6].map((at) => halfFloatValue(view.getUint16(data + 64 + at, true)))).toEqual([1, 1, 2, 2]);
});

test('a file has the same bytes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-gguf-'));
  try {
    await writeGgufFile(join(folder, 'a.gguf'), model);
    expect(Buffer.compare(readFileSync(join(folder, 'a.gguf')), writeGguf(model))).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('rows that do not fill their blocks are refused', () => {
  const wrong: GgufModel = { metadata: {}, tensors: [{ name: 'w', dims: [33], type: 'Q8_0', values: new Float32Array(33) }] };
  expect(() => writeGguf(wrong)).toThrow('w: expected rows of a multiple of 32 for Q8_0, got 33');
});
