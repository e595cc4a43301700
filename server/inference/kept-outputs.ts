/** @hotpath once per step of an ensemble, and per response that has to wait for an earlier one */

import type { Tensor } from '../../proto/tensor.ts';
import { type TensorMemory, tensorMemoryOf } from '../../proto/tensor-memory.ts';
import type { InferenceResponse } from './inference-response.ts';

/** Up to here the copy, which lies on V8's own heap, costs a fifth of a hold, and gives the batch's memory back at once. */
const SMALL_BYTES = 64;

/**
 * A response's outputs, kept beyond `onResponse`, whose tensors are borrowed. Where they lie in a host's tensor memory they stay there, and the host has less of it meanwhile; what the host can't spare,
 * and what lies in other memory that is used again, is copied.
 *
 * Ownership: made inside `onResponse`; whoever made it calls `release` once, when nobody reads the tensors any more (a second call does nothing). What is never released is lost to its host until that
 * ends: half of its tensor memory at most.
 */
export class KeptOutputs {
  readonly tensors: readonly Tensor[];
  /** Memory and hold, in turns; null: everything was copied. */
  #holds: (TensorMemory | number)[] | null = null;

  constructor(response: InferenceResponse) {
    const { outputs } = response;
    const tensors = new Array<Tensor>(outputs.length);
    for (let i = 0; i < outputs.length; i++) tensors[i] = this.#keep(outputs[i]!);
    this.tensors = tensors;
  }

  release(): void {
    const holds = this.#holds;
    if (holds === null) return;
    this.#holds = null;
    for (let i = 0; i < holds.length; i += 2) (holds[i] as TensorMemory).release(holds[i + 1] as number);
  }

  #keep(output: Tensor): Tensor {
    const { name, datatype, shape, data } = output;
    const memory = data.length > SMALL_BYTES ? tensorMemoryOf(data) : null;
    if (memory !== null) {
      const hold = memory.keep(data);
      if (hold >= 0) {
        if (this.#holds === null) this.#holds = [memory, hold];
        else this.#holds.push(memory, hold);
        return output;
      }
    }
    // Not `slice`, which gives a view where `data` is a Buffer.
    return { name, datatype, shape, data: new Uint8Array(data) };
  }
}
