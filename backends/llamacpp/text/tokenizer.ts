import { setImmediate as nextTurn } from 'node:timers/promises';
import { VOCABULARY_TYPES } from '../engine/token-table.ts';
import type { Vocabulary } from './vocabulary.ts';

/**
 * Text given to the addon at once, UTF-16 units. Some of its pre-tokenizers recurse for each character of a word: a run of 32,768 of them ends the
 * process.
 */
const PIECE_LENGTH = 4096;
/** Of the spelling of a control token, UTF-16 units. */
const LONGEST_CONTROL = 64;
/** Pieces between two turns of the event loop, a few ms. */
const PIECES_A_TURN = 2;
/** Where the whole text must go at once: under a millisecond. */
const SMALL_TEXT = 8192;

/** Text to tokens, however long the text. */
export class Tokenizer {
  readonly #vocabulary: Vocabulary;
  readonly #isCut: boolean;
  #longestToken = 0;

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
    this.#isCut = vocabulary.tokens.vocabularyType === VOCABULARY_TYPES.bytePair;
  }

  /** Without BOS and EOS. */
  tokenize(text: string, parsesSpecial: boolean): Uint32Array {
    if (!this.#isCut || text.length <= PIECE_LENGTH) return this.#vocabulary.tokenize(text, parsesSpecial);
    const parts: Uint32Array[] = [];
    for (let at = 0; at < text.length; ) {
      const end = pieceEnd(text, at);
      parts.push(this.#vocabulary.tokenize(text.slice(at, end), parsesSpecial));
      at = end;
    }
    return joined(parts, 0);
  }

  /**
   * A prompt: with BOS where the vocabulary wants it, and where the text is empty (nothing then, where there is no BOS); texts of control tokens
   * are text. Other requests get their turn in between. A number: there are more than `maxTokens`, at least that many; no more of the text is read
   * than shows it.
   */
  async prompt(text: string, maxTokens: number): Promise<Uint32Array | number> {
    const parts: Uint32Array[] = [];
    let count = 0;
    const { bos, addsBos } = this.#vocabulary.tokens;
    if (bos !== null && (addsBos || text.length === 0)) {
      parts.push(Uint32Array.of(bos));
      count = 1;
    }
    if (!this.#isCut) {
      if (text.length > SMALL_TEXT) {
        const least = Math.ceil(Buffer.byteLength(text) / this.#longest());
        if (least > maxTokens) return least;
      }
      parts.push(this.#vocabulary.tokenize(text, false));
      count += parts.at(-1)!.length;
      return count > maxTokens ? count : joined(parts, count);
    }
    for (let at = 0, turn = 1; at < text.length; turn++) {
      const end = pieceEnd(text, at);
      const part = this.#vocabulary.tokenize(text.slice(at, end), false);
      parts.push(part);
      count += part.length;
      if (count > maxTokens) return count;
      at = end;
      if (turn % PIECES_A_TURN === 0 && at < text.length) await nextTurn();
    }
    return joined(parts, count);
  }

  /** Bytes of the longest spelling; looked for when the first long text comes. */
  #longest(): number {
    if (this.#longestToken > 0) return this.#longestToken;
    let longest = 1;
    const { tokens } = this.#vocabulary;
    for (let token = 0; token < tokens.size; token++) longest = Math.max(longest, Buffer.byteLength(tokens.text(token)));
    this.#longestToken = longest;
    return longest;
  }
}

/** Behind a word, where no vocabulary joins tokens, or anywhere when no word ends in the second half. */
function pieceEnd(text: string, start: number): number {
  const limit = start + PIECE_LENGTH;
  if (limit >= text.length) return text.length;
  for (let at = limit; at > start + PIECE_LENGTH / 2; at--) {
    if (text.charCodeAt(at) === 0x20 && isLetter(text.charCodeAt(at + 1)) && isLetter(text.charCodeAt(at - 1))) return at;
  }
  // Not inside the text of a control token, which may be one here.
  const opening = Math.max(text.lastIndexOf('<', limit), text.lastIndexOf('[', limit));
  if (opening > start && limit - opening < LONGEST_CONTROL) return opening;
  const isSplit = (text.charCodeAt(limit) & 0xfc00) === 0xdc00;
  return isSplit ? limit - 1 : limit;
}

function isLetter(unit: number): boolean {
  return (unit >= 0x61 && unit <= 0x7a) || (unit >= 0x41 && unit <= 0x5a);
}

function joined(parts: readonly Uint32Array[], count: number): Uint32Array {
  if (parts.length === 1) return parts[0]!;
  const tokens = new Uint32Array(count || parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    tokens.set(part, at);
    at += part.length;
  }
  return tokens;
}
