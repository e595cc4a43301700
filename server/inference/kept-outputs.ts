/** @hotpath once per step of an ensemble, and per response that has to wait for an earlier one (measured by kept-outputs.bench.ts) */

import type { Tensor } from '../../proto/tensor.ts';
import type { InferenceResponse } from './inference-response.ts';

/**
 * A response's outputs, kept beyond `onResponse`, whose tensors are borrowed.
 *
 * Ownership: made inside `onResponse`; whoever made it calls `release` once, when nobody reads the tensors any more.
 */
export class KeptOutputs {
  readonly tensors: readonly Tensor[];

  constructor(response: InferenceResponse) {
    this.tensors = response.outputs.map((output) => ({ ...output, data: output.data.slice() }));
  }

  release(): void {}
}
