/** One prompt of a call, as the model's tensors have it. */
export type PromptSpec =
  | { readonly kind: 'messages'; readonly json: Uint8Array }
  /** UTF-8. */
  | { readonly kind: 'text'; readonly text: Uint8Array }
  | { readonly kind: 'tokens'; readonly tokens: Int32Array };

/** A call of chat completions or of completions, decoded; nothing in it depends on the model yet. Views of the request's body. */
export interface GenerationSpec {
  readonly kind: 'chat' | 'completion';
  /** As the client wrote it; it comes back in answers. */
  readonly model: string;
  readonly prompts: readonly PromptSpec[];
  /** Answers to each prompt. */
  readonly n: number;
  readonly isStream: boolean;
  readonly includesUsage: boolean;
  /** Completions: answers begin with their prompts. */
  readonly echoes: boolean;
  readonly wantsLogprobs: boolean;
  /** No bound was given where none means the rest of the context, as in chat; the model's own default is a few tokens. */
  readonly wantsAllThatFits: boolean;
  /** Members of the sampling parameters' JSON object, `"name":value` each, without the seed. */
  readonly sampling: readonly string[];
  /** Of the first answer; the next ones count on. Null: the model takes what it likes. */
  readonly seed: number | null;
  /** What the client named that only sampling parameters can carry; '' for none. */
  readonly firstSamplingField: string;
  readonly tools: Uint8Array | null;
  readonly toolChoice: Uint8Array | null;
  /** What the model's name of a parameter is in this call: for `param` of errors. */
  readonly paramNames: ReadonlyMap<string, string>;
  /** Members that nobody reads. */
  readonly ignored: readonly string[];
}
