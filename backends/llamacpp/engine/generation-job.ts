/** What the text side of this backend asks of its engine, which knows tokens alone. */
export interface GenerationJob {
  /** Never empty; fits the context of a sequence, which the caller has checked. */
  readonly prompt: Uint32Array;
  /** 1 or more. */
  readonly maxTokens: number;
  readonly sampling: SamplerSettings;
  /** GBNF that has been compiled before; null: any text. */
  readonly grammar: string | null;
  /** Likeliest tokens to tell beside each chosen one, 0 or more; -1: no log probabilities at all. */
  readonly topLogprobs: number;
  /** End-of-generation tokens don't end it. */
  readonly ignoresEnd: boolean;
  /** End-of-generation tokens are not chosen before so many others. */
  readonly minTokens: number;
  /** Further tokens that end it; none of them is given. */
  readonly stopTokens: ReadonlySet<number>;
  /** Nobody waits: its sequence is free after the step that runs. */
  readonly signal: AbortSignal;
  /** Called at each step that brings it no token but gets it on: its prompt is being read, or it waits for a sequence while others run. */
  readonly progress?: (() => void) | undefined;
}

/** Ranges have been checked. Left out: that sampler is not used. Names as in llama.cpp, where OpenAI has none. */
export interface SamplerSettings {
  /** 0: always the likeliest token. */
  readonly temperature: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly frequencyPenalty?: number;
  readonly presencePenalty?: number;
  /** How many of the last tokens the three penalties look at; -1: all. */
  readonly penaltyLastTokens?: number;
  /** Token id to what is added to its logit; -Infinity: never. */
  readonly logitBias?: ReadonlyMap<number, number>;
  /** 32 bits; left out: another one each time. */
  readonly seed?: number;
}

export interface GeneratedToken {
  readonly token: number;
  /** Natural logarithm, of the model's own distribution (before the samplers); NaN where none was asked for. */
  readonly logprob: number;
  /** Likeliest first; null where none was asked for. */
  readonly top: readonly TokenLogprob[] | null;
}

export interface TokenLogprob {
  readonly token: number;
  readonly logprob: number;
}

/** `stop`: an end-of-generation or stop token; `length`: `maxTokens`, or the sequence's context is full. */
export type EngineFinish = 'stop' | 'length';

/**
 * A job in the engine. The iteration gives its tokens and ends; ending it early frees the sequence as `signal` does. Throws what made the engine fail. The engine runs a bounded
 * number of tokens ahead of who iterates, then leaves the sequence out of its steps.
 */
export interface Generation extends AsyncIterable<GeneratedToken> {
  /** Of the prompt, tokens that were in the sequence already; known from the first token on. */
  readonly cachedTokens: number;
  /** Null until the iteration has ended by itself. */
  readonly finish: EngineFinish | null;
}
