import { expect, test } from 'vitest';
import { viewTensorData } from './tensor-data.ts';

test('bytes that begin where no element could are copied, of a Buffer too', () => {
  const values = Float32Array.of(1.5, -2, 3);
  for (const shifted of [Buffer.alloc(13), new Uint8Array(13)]) {
    shifted.set(new Uint8Array(values.buffer), 1);
    expect(viewTensorData('FP32', shifted.subarray(1))).toEqual(values);
  }
});

test('others are viewed where they lie', () => {
  const bytes = new Uint8Array(8);
  const view = viewTensorData('FP32', bytes);
  bytes[3] = 0x40;
  expect(view[0]).toBe(2);
});
