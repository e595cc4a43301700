import type { Stage } from './stage.ts';

/** The largest of each 2 x 2 pixels of a square picture, for each channel alone. All values are in the order place, then channel. */
export class MaxPool implements Stage {
  readonly outputs: Float32Array;
  readonly outputErrors: Float32Array;

  readonly #side: number;
  readonly #channels: number;
  /** For each output, which input it came from. */
  readonly #sources: Int32Array;

  /** `side`, an even number: pixels in a row of the inputs. */
  constructor(side: number, channels: number) {
    const values = (side / 2) ** 2 * channels;
    this.#side = side;
    this.#channels = channels;
    this.#sources = new Int32Array(values);
    this.outputs = new Float32Array(values);
    this.outputErrors = new Float32Array(values);
  }

  forward(inputs: Float32Array): void {
    const { outputs } = this;
    const sources = this.#sources;
    const channels = this.#channels;
    const row = this.#side * channels;
    let out = 0;
    for (let top = 0; top < inputs.length; top += 2 * row) {
      for (let corner = top; corner < top + row; corner += 2 * channels) {
        for (let channel = 0; channel < channels; channel++) {
          const upper = corner + channel;
          const lower = upper + row;
          let source = upper;
          if (inputs[upper + channels]! > inputs[source]!) source = upper + channels;
          if (inputs[lower]! > inputs[source]!) source = lower;
          if (inputs[lower + channels]! > inputs[source]!) source = lower + channels;
          sources[out] = source;
          outputs[out] = inputs[source]!;
          out++;
        }
      }
    }
  }

  backward(_inputs: Float32Array, inputErrors: Float32Array | null): void {
    if (inputErrors === null) return;
    const { outputErrors } = this;
    const sources = this.#sources;
    inputErrors.fill(0);
    for (let i = 0; i < sources.length; i++) inputErrors[sources[i]!] = outputErrors[i]!;
  }
}
