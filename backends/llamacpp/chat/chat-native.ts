/** What chat formats need of the native model; native/ or text/ makes it once for each loaded model. */
export interface ChatNative {
  /** Compiles Jinja text (AddonJinjaRenderer); throws what the addon throws. */
  compileTemplate(text: string): CompiledTemplate;
  /** Without BOS and EOS; `parseSpecial`: texts of control tokens become those tokens. */
  tokenize(text: string, parseSpecial: boolean): Uint32Array;
  /** Null where the vocabulary has none. */
  readonly bosToken: number | null;
  /** As the vocabulary spells it; '' where there is none. */
  readonly bosText: string;
  readonly eosText: string;
  /** The vocabulary wants BOS before every prompt (shouldPrependBosToken). */
  readonly addsBos: boolean;
  /** Texts of control and unknown tokens, which must not come from messages (readControlTokens makes it). */
  readonly controlTokens: readonly string[];
}

export interface CompiledTemplate {
  /** Throws what the addon throws; a template's raise_exception too. */
  render(variables: Record<string, unknown>): string;
}
