/**
 * One layer of a small network, with what training it needs. A layer looks at its inputs from one or more places, each place through the same
 * weights: a convolution has a place for each output pixel, a fully connected layer has one place that sees every input.
 * All values are in the order place, then channel.
 */
import type { SeededRandom } from './seeded-random.ts';

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

/**
 * Places `stride` pixels apart in a square picture, each seeing 3 x 3 pixels (in the order row, column, channel) with the first place's
 * middle on the first pixel.
 */
export function windowView(side: number, channels: number, stride: number): View {
  const placesPerSide = Math.ceil(side / stride);
  const seen: number[] = [];
  for (let place = 0; place < placesPerSide ** 2; place++) {
    for (let near = 0; near < 9; near++) {
      const row = Math.floor(place / placesPerSide) * stride + Math.floor(near / 3) - 1;
      const column = (place % placesPerSide) * stride + (near % 3) - 1;
      const isInside = row >= 0 && row < side && column >= 0 && column < side;
      for (let channel = 0; channel < channels; channel++) seen.push(isInside ? (row * side + column) * channels + channel : -1);
    }
  }
  return { inputs: side * side * channels, places: placesPerSide ** 2, seen: Int32Array.from(seen) };
}

export class Layer {
  /** [inputs seen from a place, channels], row-major. */
  readonly weights: Float32Array;
  readonly bias: Float32Array;
  readonly channels: number;
  /** What `forward` gave last: [places, channels]. */
  readonly outputs: Float32Array;
  /** How the loss changes with each output; filled by whoever reads the outputs, before `backward`. */
  readonly outputErrors: Float32Array;

  readonly #view: View;
  readonly #isRectified: boolean;
  readonly #weightGradient: Float32Array;
  readonly #biasGradient: Float32Array;
  readonly #weightVelocity: Float32Array;
  readonly #biasVelocity: Float32Array;

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
  }

  forward(inputs: Float32Array): void {
    const { weights, bias, channels, outputs } = this;
    const { places, seen } = this.#view;
    const seenPerPlace = seen.length / places;
    for (let place = 0; place < places; place++) {
      const out = place * channels;
      outputs.set(bias, out);
      for (let near = 0; near < seenPerPlace; near++) {
        const index = seen[place * seenPerPlace + near]!;
        const value = index < 0 ? 0 : inputs[index]!;
        if (value === 0) continue;
        const at = near * channels;
        for (let channel = 0; channel < channels; channel++) outputs[out + channel]! += value * weights[at + channel]!;
      }
    }
    if (!this.#isRectified) return;
    for (let i = 0; i < outputs.length; i++) if (outputs[i]! < 0) outputs[i] = 0;
  }

  /** Adds to the gradients, for the `inputs` last given to `forward`; `inputErrors`, where given, is filled for the layer before. */
  backward(inputs: Float32Array, inputErrors: Float32Array | null): void {
    const { weights, channels, outputs, outputErrors } = this;
    const { places, seen } = this.#view;
    const seenPerPlace = seen.length / places;
    const weightGradient = this.#weightGradient;
    const biasGradient = this.#biasGradient;
    if (this.#isRectified) for (let i = 0; i < outputs.length; i++) if (outputs[i] === 0) outputErrors[i] = 0;
    inputErrors?.fill(0);
    for (let place = 0; place < places; place++) {
      const out = place * channels;
      for (let channel = 0; channel < channels; channel++) biasGradient[channel]! += outputErrors[out + channel]!;
      for (let near = 0; near < seenPerPlace; near++) {
        const index = seen[place * seenPerPlace + near]!;
        // The layer before is rectified wherever it exists, so an input of 0 takes no error back either.
        const value = index < 0 ? 0 : inputs[index]!;
        if (value === 0) continue;
        const at = near * channels;
        let error = 0;
        for (let channel = 0; channel < channels; channel++) {
          const outputError = outputErrors[out + channel]!;
          weightGradient[at + channel]! += outputError * value;
          error += outputError * weights[at + channel]!;
        }
        if (inputErrors !== null) inputErrors[index]! += error;
      }
    }
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
