export type PoolingKind = 'none' | 'mean' | 'cls' | 'last' | 'rank';

/** What the header of a GGUF file says, as far as this server uses it. Everything has been checked: numbers are in range, texts bounded. */
export interface GgufSummary {
  /** Of the format: 2 or 3. */
  readonly version: number;
  /** `general.architecture`, such as `llama` or `bert`. */
  readonly architecture: string;
  /** `general.type`: `model` where the file doesn't say, `adapter` for a LoRA. */
  readonly kind: string;
  /** `general.name`; '' where the file has none. */
  readonly name: string;
  /** Trained context, in tokens; 0: the file does not say. */
  readonly contextLength: number;
  readonly embeddingLength: number;
  readonly blockCount: number;
  /** Numbers of one attention head's keys; 0: the file does not say, or its layers differ. */
  readonly headSize: number;
  /** Tokens that the layers with a window look back at; 0: there is none. */
  readonly slidingWindow: number;
  /** Null: the file does not say, as of a model that generates text. */
  readonly pooling: PoolingKind | null;
  /** False: every token sees every other one (BERT and its kin). */
  readonly isCausal: boolean;
  /** Has a classification head, as rerankers do. */
  readonly hasClassifier: boolean;
  /** How texts become tokens: `gpt2`, `llama`, `bert`, `t5` ...; '' where the file has none. */
  readonly tokenizer: string;
  /** Tokens. */
  readonly vocabularyLength: number;
  /** Ids by the name before `_token_id`: `bos`, `eos`, `eot`, `unknown`, `seperator` (sic), `padding`, `cls`, `mask` ... */
  readonly specialTokens: ReadonlyMap<string, number>;
  /** Jinja; null: the file has none. */
  readonly chatTemplate: string | null;
  /** Further ones by name (`tokenizer.chat_template.tool_use`). */
  readonly namedChatTemplates: ReadonlyMap<string, string>;
  readonly tensorCount: number;
  /** Bytes of all tensors. */
  readonly tensorBytes: number;
  /** Where tensor data begins. */
  readonly dataOffset: number;
}
