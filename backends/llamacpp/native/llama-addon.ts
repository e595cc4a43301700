/** What we use of the prebuilt addon of node-llama-cpp (packages `@node-llama-cpp/<platform>`), as its C++ has it. No two calls may run on one context at once. */
export interface LlamaAddon {
  readonly AddonModel: new (path: string, parameters: AddonModelParameters) => AddonModel;
  readonly AddonModelLora: new (model: AddonModel, path: string) => AddonModelLora;
  readonly AddonContext: new (model: AddonModel, parameters: AddonContextParameters) => AddonContext;
  readonly AddonSampler: new (model: AddonModel) => AddonSampler;
  /** Takes GBNF text; throws when it does not parse. */
  readonly AddonGrammar: new (
    text: string,
  ) => AddonGrammar;
  /** A grammar at its start, or a copy of another state. */
  readonly AddonGrammarEvaluationState: {
    new (model: AddonModel, grammar: AddonGrammar): AddonGrammarState;
    new (state: AddonGrammarState): AddonGrammarState;
  };
  readonly AddonJinjaRenderer: new (template: string) => AddonJinjaRenderer;
  setLogger(log: (level: number, text: string) => void): void;
  /** 2 errors, 3 and warnings, 4 and information, 6 everything. */
  setLoggerLogLevel(level: number): void;
  loadBackends(folder?: string): void;
  init(): Promise<void>;
  systemInfo(): string;
  /** False: a build or a machine without one. */
  getGpuType(): string | false | undefined;
  /** Bytes. */
  getGpuVramInfo(): { readonly total: number; readonly used: number };
}

export interface AddonModelParameters {
  readonly gpuLayers?: number;
  readonly vocabOnly?: boolean;
  readonly useMmap?: boolean;
  readonly useMlock?: boolean;
  readonly checkTensors?: boolean;
  /** Metadata in place of the file's; 0: a whole number. */
  readonly overridesList?: readonly (readonly [key: string, value: number, type: 0])[];
}

export interface AddonModel {
  /** False: llama.cpp does not take the file; its log says why. */
  init(): Promise<boolean>;
  loadLora(lora: AddonModelLora): Promise<void>;
  /** Frees the LoRAs as well; every context goes first. */
  dispose(): Promise<void>;
  tokenize(text: string, parseSpecial: boolean): Uint32Array;
  getTrainContextSize(): number;
  getEmbeddingVectorSize(): number;
  getModelDescription(): string;
  getModelSize(): number;
  getTotalParameters(): number;
  /** -1: none. */
  tokenBos(): number;
  tokenEos(): number;
  eotToken(): number;
  sepToken(): number;
  /** As the vocabulary has it (`▁the`, `Ġthe`, `<0x0A>`). A token past the vocabulary ends the process. */
  getTokenString(token: number): string | undefined;
  getTokenAttributes(token: number): number;
  isEogToken(token: number): boolean;
  getVocabularyType(): number;
  shouldPrependBosToken(): boolean;
  shouldAppendEosToken(): boolean;
}

export interface AddonModelLora {
  dispose(): Promise<void>;
}

export interface AddonContextParameters {
  /** Of all sequences together; each has an equal part. */
  readonly contextSize: number;
  readonly batchSize: number;
  readonly sequences: number;
  readonly flashAttention: boolean | 'auto';
  readonly threads: number;
  /** GGML types. */
  readonly kvCacheKeyType?: number;
  readonly kvCacheValueType?: number;
  readonly embeddings?: boolean;
  readonly ranking?: boolean;
}

export interface AddonContext {
  init(): Promise<boolean>;
  dispose(): Promise<void>;
  getContextSize(): number;
  /** Begins an empty batch for that many tokens. */
  initBatch(tokens: number): void;
  /** `logitIndexes`: those of `tokens` (in order) whose logits are wanted. The tokens are copied. */
  addToBatch(sequence: number, firstPosition: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  /** `logitIndex`: the token's place in the batch. -1: no token was left to choose from. */
  sampleToken(logitIndex: number, sampler: AddonSampler): Promise<number>;
  /**
   * With logits: [token, , , pairs of token and logit, sum of exp(logit - highest)]. The pairs are the `top` highest (sorting the vocabulary for that), then, in no certain
   * order, those of `tokens` and the chosen one where `withChosen` says so; a token may be there twice.
   */
  sampleToken(
    logitIndex: number,
    sampler: AddonSampler,
    probabilities: false,
    confidence: false,
    logits: readonly [tokens: readonly number[], withHighest: false, withLowest: false, withChosen: boolean, top: number],
    totalWeight: true,
  ): Promise<SampledLogits>;
  /** From `start` (-1: the first) to before `end` (-1: the last). False: this model's memory cannot forget a part, and has not changed. */
  removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean;
  /** All of it; throws where that fails. */
  disposeSequence(sequence: number): void;
  /** -1: empty. Over 0: the model has a sliding window, and what is before is gone. */
  getSequenceKvCacheMinPosition(sequence: number): number;
  getSequenceKvCacheMaxPosition(sequence: number): number;
  /** All of it; done when the next batch is. */
  copySequenceStateFromOtherSequence?(target: number, source: number): Promise<number>;
  /** Of sequence 0, pooled; or of the batch's last token. */
  getEmbedding(tokens: number, maxSize?: number): Float64Array;
  setLoras(loras: readonly AddonModelLora[], scales: readonly number[]): void;
}

export type SampledLogits = readonly [number, unknown, unknown, readonly number[] | undefined, number | undefined];

export interface AddonSampler {
  applyConfig(settings: AddonSamplerSettings): void;
  dispose(): void;
}

/** A key that is there with the value undefined is read as a number: leave it out. */
export interface AddonSamplerSettings {
  temperature: number;
  minP?: number;
  topK?: number;
  topP?: number;
  seed?: number;
  repeatPenalty?: number;
  repeatPenaltyMaxTokens?: number;
  /** What the penalties have seen before the next token. */
  repeatPenaltyTokens?: Uint32Array;
  repeatPenaltyPresencePenalty?: number;
  repeatPenaltyFrequencyPenalty?: number;
  grammarEvaluationState?: AddonGrammarState;
  tokenBiasKeys?: Uint32Array;
  tokenBiasValues?: Float32Array;
}

export interface AddonGrammar {
  isTextCompatible(text: string): boolean;
}

declare const grammarState: unique symbol;

export interface AddonGrammarState {
  readonly [grammarState]: never;
}

export interface AddonJinjaRenderer {
  render(items: Readonly<Record<string, unknown>>): string;
}
