/** Reads the handwritten digits that the example model is trained and tested on (see `data/README.md`). */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { modelsFolder } from './models-folder.ts';

/** Pixels of one image: 8 rows of 8. */
export const digitPixels: number = 64;

/** Of the 1,797 rows, the first are for training and the last, which no training step ever sees, for testing. */
export const digitTrainingRows: number = 1500;

export interface Digits {
  /** Row-major, `digitPixels` values from 0 (paper) to 16 (ink) for each image. */
  readonly pixels: Float32Array;
  /** The digit that each image shows, 0 to 9. */
  readonly labels: Uint8Array;
}

/** The images used for training and those kept for testing. */
export function readDigits(): { readonly training: Digits; readonly test: Digits } {
  const rows = gunzipSync(readFileSync(new URL('data/digits.csv.gz', modelsFolder)))
    .toString('utf8')
    .trimEnd()
    .split('\n')
    .slice(1);
  const pixels = new Float32Array(rows.length * digitPixels);
  const labels = new Uint8Array(rows.length);
  for (const [index, row] of rows.entries()) {
    const values = row.split(',').map(Number);
    if (values.length !== digitPixels + 1) throw new RangeError(`row ${index} has ${values.length} columns, expected ${digitPixels + 1}`);
    pixels.set(values.slice(0, digitPixels), index * digitPixels);
    labels[index] = values[digitPixels]!;
  }
  const split = digitTrainingRows * digitPixels;
  return {
    training: { pixels: pixels.subarray(0, split), labels: labels.subarray(0, digitTrainingRows) },
    test: { pixels: pixels.subarray(split), labels: labels.subarray(digitTrainingRows) },
  };
}
