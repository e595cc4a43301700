import { type TokenTable, VOCABULARY_TYPES } from '../engine/token-table.ts';
import type { Vocabulary } from '../text/vocabulary.ts';

/** Of an opened model, what making tokens of its texts takes. */
export interface EmbeddingVocabulary extends Vocabulary {
  readonly tokens: TokenTable;
  readonly addonModel: { sepToken(): number };
}

/** Tokens around a text, and between a query and a document, as the model was trained with; empty where it has none. */
export interface SpecialTokens {
  readonly begin: readonly number[];
  readonly end: readonly number[];
  readonly between: readonly number[];
  /** Behind the document of a pair. */
  readonly pairEnd: readonly number[];
}

/**
 * As llama.cpp adds them to a text (`llama_vocab::tokenize`), which the addon's `tokenize` does not. A pair is `[CLS] query [SEP] document [SEP]` for WordPiece,
 * `<s> query </s></s> document </s>` elsewhere.
 */
export function specialTokens({ tokens, addonModel }: EmbeddingVocabulary): SpecialTokens {
  const bos = listOf(tokens.bos);
  const eos = listOf(tokens.eos);
  const sepToken = addonModel.sepToken();
  const sep = sepToken < 0 ? [] : [sepToken];
  if (tokens.vocabularyType === VOCABULARY_TYPES.wordPiece) return { begin: bos, end: sep, between: sep, pairEnd: sep };
  return {
    begin: tokens.addsBos ? bos : [],
    end: tokens.addsEos ? eos : [],
    between: [...eos, ...sep],
    pairEnd: eos.length > 0 ? eos : sep,
  };
}

function listOf(token: number | null): readonly number[] {
  return token === null ? [] : [token];
}
