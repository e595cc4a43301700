import type { AddonModel, AddonSampler, AddonSamplerSettings, LlamaAddon } from '../native/llama-addon.ts';

/** Native samplers for one job after another: each holds memory for the whole vocabulary, which only a garbage collection frees, and V8 does not know of it. */
export class SamplerPool {
  readonly #addon: LlamaAddon;
  readonly #model: AddonModel;
  readonly #max: number;
  readonly #free: AddonSampler[] = [];

  /** `max`: of those that are kept while nobody uses them. */
  constructor(addon: LlamaAddon, model: AddonModel, max: number) {
    this.#addon = addon;
    this.#model = model;
    this.#max = max;
  }

  /** One as if it were new. */
  take(settings: AddonSamplerSettings): AddonSampler {
    const sampler = this.#free.pop() ?? new this.#addon.AddonSampler(this.#model);
    // Whatever an earlier job has set is taken back; random numbers begin anew only where the seed is another one.
    sampler.applyConfig({ temperature: 0, seed: ((settings.seed ?? 0) ^ 1) >>> 0 });
    sampler.applyConfig(settings);
    return sampler;
  }

  giveBack(sampler: AddonSampler): void {
    if (this.#free.length < this.#max) this.#free.push(sampler);
    else sampler.dispose();
  }

  dispose(): void {
    for (const sampler of this.#free.splice(0)) sampler.dispose();
  }
}
