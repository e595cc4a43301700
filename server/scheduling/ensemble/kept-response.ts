/** @hotpath one object per response of a step (measured by ensemble-scheduler.bench.ts) */

import type { InferenceResponse } from '../../inference/inference-response.ts';
import { KeptOutputs } from '../../inference/kept-outputs.ts';

/** A response of a step, as long as tensors of the ensemble are read from it. */
export class KeptResponse {
  #kept: KeptOutputs | null = null;
  #slots = 0;

  /** `slots`: how many tensors are read from it, each until `dropSlot`. Within `onResponse`. */
  keep(response: InferenceResponse, slots: number): KeptOutputs {
    this.#slots = slots;
    this.#kept = new KeptOutputs(response);
    return this.#kept;
  }

  dropSlot(): void {
    if (--this.#slots === 0) this.release();
  }

  release(): void {
    const kept = this.#kept;
    this.#kept = null;
    kept?.release();
  }
}
