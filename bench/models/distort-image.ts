/** Makes a new training image out of one: the same digit as another hand might have written it. */
import type { SeededRandom } from '../statistics/seeded-random.ts';

const side = 8;
const largestPixel = 16;

// How far another hand may differ: radians, share of the height, share of the size, pixels.
const largestTurn = 0.2;
const largestSlant = 0.25;
const largestStretch = 0.12;
const largestShift = 1;

/**
 * Copies `pixels`, scaled to 0..1, to `image`, slightly and randomly moved, turned, slanted and stretched about the middle, as another
 * hand would have written it. What comes in at the edges is empty.
 */
export function distortImage(pixels: Float32Array, random: SeededRandom, image: Float32Array): void {
  const angle = (random.next() * 2 - 1) * largestTurn;
  const slant = (random.next() * 2 - 1) * largestSlant;
  const wide = 1 + (random.next() * 2 - 1) * largestStretch;
  const high = 1 + (random.next() * 2 - 1) * largestStretch;
  const right = (random.next() * 2 - 1) * largestShift;
  const down = (random.next() * 2 - 1) * largestShift;
  const middle = (side - 1) / 2;
  const cos = Math.cos(angle);
  const sin = Math.sin(angle);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const y = (row - middle - down) * high;
      const x = (column - middle - right) * wide + slant * y;
      image[row * side + column] = sample(pixels, middle + sin * x + cos * y, middle + cos * x - sin * y) / largestPixel;
    }
  }
}

/** The image's value between pixels, by the four around the place. */
function sample(pixels: Float32Array, row: number, column: number): number {
  const top = Math.floor(row);
  const left = Math.floor(column);
  const below = row - top;
  const beside = column - left;
  return (
    (pixelAt(pixels, top, left) * (1 - beside) + pixelAt(pixels, top, left + 1) * beside) * (1 - below) +
    (pixelAt(pixels, top + 1, left) * (1 - beside) + pixelAt(pixels, top + 1, left + 1) * beside) * below
  );
}

function pixelAt(pixels: Float32Array, row: number, column: number): number {
  return row >= 0 && row < side && column >= 0 && column < side ? pixels[row * side + column]! : 0;
}
