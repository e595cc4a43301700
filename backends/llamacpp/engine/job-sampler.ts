import { randomInt } from 'node:crypto';
import type { AddonGrammarState, AddonSampler, AddonSamplerSettings } from '../native/llama-addon.ts';
import type { GenerationJob } from './generation-job.ts';
import type { SamplerPool } from './sampler-pool.ts';
import type { TokenTable } from './token-table.ts';

/** The samplers of one job, borrowed: `dispose` gives them back, not before a step that uses them has ended. */
export class JobSampler {
  readonly chooser: AddonSampler;
  /** Leaves the model's logits as they are; null where nobody asks for log probabilities. */
  readonly observer: AddonSampler | null;
  /** How many tokens must come before one that ends; 0: none, or they have come. */
  endsBiasedUntil: number;
  readonly #settings: AddonSamplerSettings;
  readonly #job: GenerationJob;
  readonly #pool: SamplerPool;
  #isDisposed = false;

  constructor(pool: SamplerPool, tokens: TokenTable, contextSize: number, job: GenerationJob, grammar: AddonGrammarState | null) {
    this.#pool = pool;
    this.#job = job;
    // Where a grammar has come to its end, only a token that ends fits it.
    this.endsBiasedUntil = grammar === null && !job.ignoresEnd ? job.minTokens : 0;
    const settings = samplerSettings(job, contextSize);
    this.#settings = settings;
    if (grammar !== null) settings.grammarEvaluationState = grammar;
    const avoidsEnds = grammar === null && (job.ignoresEnd || job.minTokens > 0);
    const avoided = avoidsEnds ? (job.ignoresEnd ? tokens.endTokens : [...tokens.endTokens, ...job.stopTokens]) : [];
    setBias(settings, job, avoided);
    this.chooser = pool.take(settings);
    this.observer = job.topLogprobs < 0 ? null : pool.take({ temperature: 0 });
  }

  /** From the next token on, those that end may be chosen. `text`: prompt and what came of it. */
  allowEnds(text: Uint32Array): void {
    this.endsBiasedUntil = 0;
    const settings = this.#settings;
    setBias(settings, this.#job, []);
    if (settings.repeatPenaltyTokens !== undefined) settings.repeatPenaltyTokens = penalised(this.#job, text);
    this.chooser.applyConfig(settings);
  }

  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#pool.giveBack(this.chooser);
    if (this.observer !== null) this.#pool.giveBack(this.observer);
  }
}

function samplerSettings({ sampling, prompt }: GenerationJob, contextSize: number): AddonSamplerSettings {
  const { temperature, topP, topK, minP, repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0 } = sampling;
  const settings: AddonSamplerSettings = { temperature, seed: sampling.seed ?? randomInt(2 ** 32) };
  if (topP !== undefined && topP < 1) settings.topP = topP;
  if (topK !== undefined && topK > 0) settings.topK = topK;
  if (minP !== undefined && minP > 0) settings.minP = minP;
  if (repetitionPenalty === 1 && frequencyPenalty === 0 && presencePenalty === 0) return settings;
  const last = sampling.penaltyLastTokens ?? -1;
  settings.repeatPenalty = repetitionPenalty;
  settings.repeatPenaltyFrequencyPenalty = frequencyPenalty;
  settings.repeatPenaltyPresencePenalty = presencePenalty;
  settings.repeatPenaltyMaxTokens = last < 0 ? contextSize : Math.min(last, contextSize);
  // OpenAI's two look at what was generated; a penalty of repetition at the prompt too, and llama.cpp has one history for all three.
  settings.repeatPenaltyTokens = repetitionPenalty === 1 ? new Uint32Array(0) : prompt;
  return settings;
}

function penalised({ sampling, prompt }: GenerationJob, text: Uint32Array): Uint32Array {
  return (sampling.repetitionPenalty ?? 1) === 1 ? text.slice(prompt.length) : text.slice();
}

function setBias(settings: AddonSamplerSettings, { sampling }: GenerationJob, avoided: Iterable<number>): void {
  const biases = new Map(sampling.logitBias);
  for (const token of avoided) biases.set(token, Number.NEGATIVE_INFINITY);
  delete settings.tokenBiasKeys;
  delete settings.tokenBiasValues;
  if (biases.size === 0) return;
  settings.tokenBiasKeys = Uint32Array.from(biases.keys());
  settings.tokenBiasValues = Float32Array.from(biases.values());
}
