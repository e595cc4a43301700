/** @hotpath the bytes that each generated token stands for */

import { TOKEN_ATTRIBUTES, VOCABULARY_TYPES } from '../engine/token-table.ts';
import type { Vocabulary } from './vocabulary.ts';

const NONE: Uint8Array = new Uint8Array(0);
const SPACE_MARK = '\u2581';
const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/**
 * What tokens say: a table of bytes, each made when its token is first met; a token past the vocabulary throws. As llama.cpp's `token_to_piece` has
 * them, without the clean-ups of its `detokenize` (spaces in front of punctuation, the first space), which change text that was generated.
 */
export class TokenText {
  readonly size: number;
  readonly #table: Vocabulary['tokens'];
  readonly #type: number;
  /** A BPE vocabulary that spells spaces as SentencePiece does, not with the byte alphabet. */
  readonly #marksSpaces: boolean;
  readonly #bytes: (Uint8Array | undefined)[];
  readonly #json: (string | undefined)[];

  constructor(vocabulary: Vocabulary) {
    const { size, vocabularyType } = vocabulary.tokens;
    this.size = size;
    this.#table = vocabulary.tokens;
    this.#type = vocabularyType;
    this.#marksSpaces = vocabularyType === VOCABULARY_TYPES.bytePair && marksSpaces(vocabulary);
    this.#bytes = new Array<Uint8Array | undefined>(size);
    this.#json = new Array<string | undefined>(size);
  }

  /** Empty for control tokens, which text does not show. Part of a character, or none at all, where the vocabulary cuts so. */
  bytes(token: number): Uint8Array {
    let bytes = this.#bytes[token];
    if (bytes === undefined) {
      bytes = this.#read(token, false);
      this.#bytes[token] = bytes;
    }
    return bytes;
  }

  /** As {@link bytes}, but a control token stands for its own name. */
  shownBytes(token: number): Uint8Array {
    return isSpecial(this.#table.attributes(token)) ? this.#read(token, true) : this.bytes(token);
  }

  /** `"token":"...","bytes":[...]`, as OpenAI's log probabilities have them; a control token by its name, parts of characters as U+FFFD. */
  json(token: number): string {
    let json = this.#json[token];
    if (json === undefined) {
      const bytes = this.shownBytes(token);
      json = `"token":${JSON.stringify(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'))},"bytes":[${bytes.join(',')}]`;
      this.#json[token] = json;
    }
    return json;
  }

  #read(token: number, showsSpecial: boolean): Uint8Array {
    const attributes = this.#table.attributes(token);
    if (isSpecial(attributes) && !showsSpecial) return NONE;
    const text = this.#table.text(token);
    const isLiteral = isSpecial(attributes) || (attributes & TOKEN_ATTRIBUTES.userDefined) !== 0;
    const isByte = (attributes & TOKEN_ATTRIBUTES.byte) !== 0;
    switch (this.#type) {
      case VOCABULARY_TYPES.sentencePiece:
      case VOCABULARY_TYPES.wordPiece:
      case VOCABULARY_TYPES.unigram:
        if (isLiteral) return utf8(text);
        if ((attributes & TOKEN_ATTRIBUTES.normal) !== 0) return utf8(text.replaceAll(SPACE_MARK, ' '));
        return isByte ? namedByte(text) : NONE;
      case VOCABULARY_TYPES.bytePair:
        if (isLiteral) return utf8(text);
        if ((attributes & TOKEN_ATTRIBUTES.normal) !== 0)
          return this.#marksSpaces ? utf8(text.replaceAll(SPACE_MARK, ' ')) : alphabetBytes(text);
        if (!isByte) return NONE;
        return BYTE_TOKEN.test(text) ? namedByte(text) : alphabetBytes(text);
      case VOCABULARY_TYPES.plamo2:
        return isByte && BYTE_TOKEN.test(text) ? namedByte(text) : utf8(text);
      case VOCABULARY_TYPES.rwkv:
        return unescaped(text);
      default:
        return utf8(text);
    }
  }
}

function isSpecial(attributes: number): boolean {
  return (attributes & (TOKEN_ATTRIBUTES.unknown | TOKEN_ATTRIBUTES.control)) !== 0;
}

function marksSpaces(vocabulary: Vocabulary): boolean {
  for (const token of vocabulary.tokenize('a b', false)) if (vocabulary.tokens.text(token).includes(SPACE_MARK)) return true;
  return false;
}

function utf8(text: string): Uint8Array {
  return Buffer.from(text, 'utf8');
}

function namedByte(text: string): Uint8Array {
  const match = BYTE_TOKEN.exec(text);
  return match === null ? NONE : Uint8Array.of(Number.parseInt(match[1]!, 16));
}

/** Printable bytes stand for themselves, the others for characters from U+0100 on: the alphabet of GPT-2's vocabulary. */
const BYTE_OF: ReadonlyMap<string, number> = byteAlphabet();

function byteAlphabet(): Map<string, number> {
  const bytes = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    bytes.set(String.fromCharCode(isPrintable ? byte : next++), byte);
  }
  return bytes;
}

function alphabetBytes(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    const byte = BYTE_OF.get(character);
    if (byte === undefined) bytes.push(...utf8(character));
    else bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

const ESCAPES: Readonly<Record<string, number>> = { t: 0x09, n: 0x0a, r: 0x0d };

/** RWKV's vocabulary writes bytes as \xHH. */
function unescaped(text: string): Uint8Array {
  const parts = text.split(/\\(x[0-9a-fA-F]{2}|.)/su);
  return Buffer.concat(
    parts.map((part, i) => {
      if (i % 2 === 0) return utf8(part);
      const byte = part.length === 3 ? Number.parseInt(part.slice(1), 16) : ESCAPES[part];
      return byte === undefined ? utf8(part) : Uint8Array.of(byte);
    }),
  );
}
