import { invalidArgument } from '../../../proto/inference-error.ts';
import { VOCABULARY_TYPES } from '../engine/token-table.ts';
import { type EmbeddingVocabulary, specialTokens } from './special-tokens.ts';

/** Tokens that every pair has, or the place of one of its two texts. */
export type PairPart = Uint32Array | 'query' | 'document';

export interface PairForm {
  readonly parts: readonly PairPart[];
  /** What stands before a text, and is tokenized with it: a space belongs to the word behind it. */
  readonly prefix: { readonly query: string; readonly document: string };
}

/**
 * How a model wants a query and a document. `template`: its own form (GGUF `tokenizer.chat_template.rerank`), text with `{query}` and `{document}`, special tokens in it being such; null: that of its
 * vocabulary. INVALID_ARGUMENT: the template lacks one of the two, or the vocabulary has nothing to set them apart.
 */
export function pairForm(model: EmbeddingVocabulary, template: string | null): PairForm {
  const special = specialTokens(model);
  const prefix = { query: '', document: '' };
  if (template === null) {
    if (special.between.length === 0) {
      throw invalidArgument(
        'task: expected generate or embed, got rerank: the model has no separator or end token, and no template of pairs',
      );
    }
    const parts = [
      Uint32Array.from(special.begin),
      'query',
      Uint32Array.from(special.between),
      'document',
      Uint32Array.from(special.pairEnd),
    ] as const;
    return { parts, prefix };
  }
  const pieces = template.split(/\{(query|document)\}/);
  if (!pieces.includes('query') || !pieces.includes('document')) {
    throw invalidArgument("the model's template of pairs (tokenizer.chat_template.rerank): expected {query} and {document} in it");
  }
  // SentencePiece puts a space before every text itself.
  const space = model.tokens.vocabularyType === VOCABULARY_TYPES.sentencePiece ? '' : ' ';
  const parts = pieces.map((piece, index): PairPart => {
    // The split has the texts' names at odd places.
    if (index % 2 === 1) return piece as 'query' | 'document';
    const next = pieces[index + 1] as 'query' | 'document' | undefined;
    const takesSpace = next !== undefined && piece.endsWith(' ');
    if (takesSpace) prefix[next] = space;
    const text = takesSpace ? piece.slice(0, -1) : piece;
    const tokens = text === '' ? [] : [...model.tokenize(text, true)];
    const begin = index === 0 && tokens[0] !== special.begin[0] ? special.begin : [];
    const end = next === undefined && tokens.at(-1) !== special.end[0] ? special.end : [];
    return Uint32Array.from([...begin, ...tokens, ...end]);
  });
  return { parts, prefix };
}
