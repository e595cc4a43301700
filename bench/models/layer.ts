/**
 * One layer of a small network, with what training it needs. A layer looks at its inputs from one or more places, each place through the same
 * weights: a convolution has a place for each output pixel, a fully connected layer has one place that sees every input.
 * All values are in the order place, then channel. Most of the time goes into the loops of `forward` and `backward`; they leave out what
 * is zero, which after rectifying and pooling is more than half.
 */
import type { SeededRandom } from '../statistics/seeded-random.ts';
import type { Stage } from './stage.ts';

const momentum = 0.9;
const weightDecay = 1e-4;

/** For each place, which inputs it sees, as indices into the input values; -1 sees nothing (outside of the picture). */
export interface View {
  readonly inputs: number;
  readonly places: number;
  readonly seen: Int32Array;
}

/** One place that sees all of `inputs` values. */
export function wholeView(inputs: number): View {
  return { inputs, places: 1, seen: Int32Array.from({ length: inputs }, (_, index) => index) };
}

/** A place for each pixel of a square picture, which sees the 3 x 3 pixels around it in the order row, column, channel. */
export function windowView(side: number, channels: number): View {
  const places = side * side;
  const seen: number[] = [];
  for (let place = 0; place < places; place++) {
    for (let near = 0; near < 9; near++) {
      const row = Math.floor(place / side) + Math.floor(near / 3) - 1;
      const column = (place % side) + (near % 3) - 1;
      const isInside = row >= 0 && row < side && column >= 0 && column < side;
      for (let channel = 0; channel < channels; channel++) seen.push(isInside ? (row * side + column) * channels + channel : -1);
    }
  }
  return { inputs: places * channels, places, seen: Int32Array.from(seen) };
}

export class Layer implements Stage {
  /** [inputs seen from a place, channels], row-major. */
  readonly weights: Float32Array;
  readonly bias: Float32Array;
  readonly channels: number;
  readonly outputs: Float32Array;
  readonly outputErrors: Float32Array;

  readonly #view: View;
  readonly #isRectified: boolean;
  readonly #weightGradient: Float32Array;
  readonly #biasGradient: Float32Array;
  readonly #weightVelocity: Float32Array;
  readonly #biasVelocity: Float32Array;
  // The inputs of one place that are not zero: which, where their row of weights begins, and their values. Zeros follow, up to a multiple of 4.
  readonly #lit: Int32Array;
  readonly #rows: Int32Array;
  readonly #values: Float32Array;
  // The channels of one place with an error, and their errors.
  readonly #wrong: Int32Array;
  readonly #errors: Float32Array;

  /** `isRectified`: negative outputs become 0. The weights start at random. */
  constructor(view: View, channels: number, isRectified: boolean, random: SeededRandom) {
    const seenPerPlace = view.seen.length / view.places;
    this.#view = view;
    this.#isRectified = isRectified;
    this.channels = channels;
    this.weights = random.symmetric(seenPerPlace * channels, Math.sqrt(6 / seenPerPlace));
    this.bias = new Float32Array(channels);
    this.outputs = new Float32Array(view.places * channels);
    this.outputErrors = new Float32Array(view.places * channels);
    this.#weightGradient = new Float32Array(this.weights.length);
    this.#biasGradient = new Float32Array(channels);
    this.#weightVelocity = new Float32Array(this.weights.length);
    this.#biasVelocity = new Float32Array(channels);
    this.#lit = new Int32Array(seenPerPlace);
    this.#rows = new Int32Array(seenPerPlace + 3);
    this.#values = new Float32Array(seenPerPlace + 3);
    this.#wrong = new Int32Array(channels);
    this.#errors = new Float32Array(channels);
  }

  forward(inputs: Float32Array): void {
    const { weights, bias, channels, outputs } = this;
    const rows = this.#rows;
    const values = this.#values;
    for (let place = 0; place < this.#view.places; place++) {
      const out = place * channels;
      outputs.set(bias, out);
      const lit = this.#look(place, inputs);
      // Four inputs at a time: each output is read and written once for all of them.
      for (let i = 0; i < lit; i += 4) {
        const value0 = values[i]!;
        const value1 = values[i + 1]!;
        const value2 = values[i + 2]!;
        const value3 = values[i + 3]!;
        const row0 = rows[i]!;
        const row1 = rows[i + 1]!;
        const row2 = rows[i + 2]!;
        const row3 = rows[i + 3]!;
        for (let channel = 0; channel < channels; channel++) {
          outputs[out + channel]! +=
            value0 * weights[row0 + channel]! +
            value1 * weights[row1 + channel]! +
            value2 * weights[row2 + channel]! +
            value3 * weights[row3 + channel]!;
        }
      }
    }
    if (!this.#isRectified) return;
    for (let i = 0; i < outputs.length; i++) if (outputs[i]! < 0) outputs[i] = 0;
  }

  /** Adds to the gradients. The stage before is rectified wherever it exists, so an input of 0 takes no error back. */
  backward(inputs: Float32Array, inputErrors: Float32Array | null): void {
    const { weights } = this;
    const { places, seen } = this.#view;
    const seenPerPlace = seen.length / places;
    const rows = this.#rows;
    const values = this.#values;
    const channelsWrong = this.#wrong;
    const errors = this.#errors;
    const weightGradient = this.#weightGradient;
    inputErrors?.fill(0);
    for (let place = 0; place < places; place++) {
      const wrong = this.#blame(place);
      if (wrong === 0) continue;
      const lit = this.#look(place, inputs);
      for (let i = 0; i < lit; i++) {
        const row = rows[i]!;
        const value = values[i]!;
        let inputError = 0;
        for (let j = 0; j < wrong; j++) {
          const at = row + channelsWrong[j]!;
          const error = errors[j]!;
          weightGradient[at]! += error * value;
          inputError += error * weights[at]!;
        }
        if (inputErrors !== null) inputErrors[seen[place * seenPerPlace + this.#lit[i]!]!]! += inputError;
      }
    }
  }

  /** Gathers the inputs that `place` sees and that are not zero; returns how many. */
  #look(place: number, inputs: Float32Array): number {
    const { places, seen } = this.#view;
    const seenPerPlace = seen.length / places;
    const { channels } = this;
    const lit = this.#lit;
    const rows = this.#rows;
    const values = this.#values;
    let count = 0;
    for (let near = 0; near < seenPerPlace; near++) {
      const index = seen[place * seenPerPlace + near]!;
      const value = index < 0 ? 0 : inputs[index]!;
      if (value === 0) continue;
      lit[count] = near;
      rows[count] = near * channels;
      values[count] = value;
      count++;
    }
    rows.fill(0, count, count + 3);
    values.fill(0, count, count + 3);
    return count;
  }

  /** Gathers the channels of `place` that have an error, adding to the gradient of their bias; returns how many. */
  #blame(place: number): number {
    const { channels, outputs, outputErrors } = this;
    const wrong = this.#wrong;
    const errors = this.#errors;
    const isRectified = this.#isRectified;
    let count = 0;
    for (let channel = 0; channel < channels; channel++) {
      const out = place * channels + channel;
      const error = outputErrors[out]!;
      if (error === 0 || (isRectified && outputs[out] === 0)) continue;
      this.#biasGradient[channel]! += error;
      wrong[count] = channel;
      errors[count] = error;
      count++;
    }
    return count;
  }

  /** One step of gradient descent with momentum by the mean gradient of `images` images; empties the gradients. */
  step(learningRate: number, images: number): void {
    descend(this.weights, this.#weightGradient, this.#weightVelocity, learningRate, images);
    descend(this.bias, this.#biasGradient, this.#biasVelocity, learningRate, images);
  }
}

function descend(values: Float32Array, gradient: Float32Array, velocity: Float32Array, learningRate: number, images: number): void {
  for (let i = 0; i < values.length; i++) {
    const moved = momentum * velocity[i]! - learningRate * (gradient[i]! / images + weightDecay * values[i]!);
    velocity[i] = moved;
    values[i]! += moved;
    gradient[i] = 0;
  }
}
