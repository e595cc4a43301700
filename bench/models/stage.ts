/** One step of a network from its inputs to its outputs, which can take the outputs' errors back to the inputs. */
export interface Stage {
  /** What `forward` gave last. */
  readonly outputs: Float32Array;
  /** How the loss changes with each output; filled by whoever reads the outputs, before `backward`. */
  readonly outputErrors: Float32Array;

  forward(inputs: Float32Array): void;

  /** For the `inputs` last given to `forward`; `inputErrors`, where given, is filled for the stage before, which must be rectified. */
  backward(inputs: Float32Array, inputErrors: Float32Array | null): void;
}
