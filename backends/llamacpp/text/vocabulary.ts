import type { TokenTable } from '../engine/token-table.ts';

/** Of an opened model, the part that texts need. */
export interface Vocabulary {
  readonly tokens: Pick<TokenTable, 'size' | 'vocabularyType' | 'bos' | 'addsBos' | 'text' | 'attributes'>;
  /** Without BOS and EOS. `parseSpecial`: the texts of control tokens become those tokens. */
  tokenize(text: string, parseSpecial: boolean): Uint32Array;
}
