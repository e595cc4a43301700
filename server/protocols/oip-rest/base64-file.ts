import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { OverrideFile } from '../../repository/load-parameters.ts';
import { type ContentPieces, PIECE_BYTES, writeOverrideFile } from '../../repository/override/override-file-writer.ts';
import { BACKSLASH } from '../oip-json/json-reader.ts';
import type { JsonString } from './outline-json.ts';

const PAD = 0x3d;
const SLASH = 0x2f;
const NO_DIGIT = 64;
/** RFC 4648 section 4: by letter, 0 to 63. */
const DIGITS = new Uint8Array(256).fill(NO_DIGIT);
for (const [value, letter] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries()) {
  DIGITS[letter.charCodeAt(0)] = value;
}

/** Letters decoded at a time; a multiple of 4. */
const LETTERS_PER_PIECE = PIECE_BYTES;

/**
 * A file as the base64 text of a JSON string, decoded while it is written. Strict: the standard alphabet with padding and no line breaks. The body
 * must stay as it is until then.
 */
export class Base64File implements OverrideFile {
  readonly byteLength: number;
  readonly #text: JsonString;
  readonly #where: string;

  /** `where` names it in messages. Throws INVALID_ARGUMENT when its length shows that it is no base64. */
  constructor(text: JsonString, where: string) {
    const { letters } = text;
    if (letters % 4 !== 0 || letters < 0) throw wrongBase64(where, `a multiple of 4 letters, padded with '=', got ${Math.max(letters, 1)}`);
    this.byteLength = (letters / 4) * 3 - countPadding(text);
    this.#text = text;
    this.#where = where;
  }

  writeTo(path: string): Promise<void> {
    return writeOverrideFile(path, new Base64Pieces(this.#text, this.#where));
  }
}

class Base64Pieces implements ContentPieces {
  readonly #text: JsonString;
  readonly #where: string;
  readonly #out: Buffer;
  readonly #letters: Uint8Array;
  #at: number;

  constructor(text: JsonString, where: string) {
    this.#text = text;
    this.#where = where;
    this.#at = text.start;
    const letters = Math.min(LETTERS_PER_PIECE, text.end - text.start + 3);
    this.#out = Buffer.allocUnsafe(Math.ceil(letters / 4) * 3);
    this.#letters = text.hasEscape ? new Uint8Array(letters) : text.bytes;
  }

  next(): Uint8Array | null {
    const { bytes, end, hasEscape } = this.#text;
    if (this.#at >= end) return null;
    let from = 0;
    let to = 0;
    if (hasEscape) {
      to = this.#unescape();
    } else {
      from = this.#at;
      to = Math.min(from + LETTERS_PER_PIECE, end);
      this.#at = to;
    }
    return this.#decode(hasEscape ? this.#letters : bytes, from, to, this.#at >= end);
  }

  /** Fills `#letters`; returns how many. */
  #unescape(): number {
    const { bytes, end } = this.#text;
    const letters = this.#letters;
    let count = 0;
    let at = this.#at;
    while (at < end && count < letters.length) {
      const c = bytes[at]!;
      if (c !== BACKSLASH) {
        letters[count++] = c;
        at++;
      } else {
        letters[count++] = this.#escaped(at);
        at += bytes[at + 1] === 0x75 ? 6 : 2;
      }
    }
    this.#at = at;
    return count;
  }

  /** The letter that the escape at `at` stands for. Of all escapes, only these can stand for a letter of base64. */
  #escaped(at: number): number {
    const { bytes, start } = this.#text;
    if (bytes[at + 1] === SLASH) return SLASH;
    const code = bytes[at + 1] === 0x75 ? asciiEscape(bytes, at + 2) : 0;
    if (code === 0) throw wrongBase64(this.#where, `letters of base64, got another escape at byte ${at - start} of the string`);
    return code;
  }

  #decode(letters: Uint8Array, from: number, to: number, isLast: boolean): Uint8Array {
    const out = this.#out;
    let length = 0;
    let padding = 0;
    if (isLast) while (padding < 2 && letters[to - 1 - padding] === PAD) padding++;
    const whole = padding === 0 ? to : to - 4;
    for (let at = from; at < whole; at += 4) {
      const a = DIGITS[letters[at]!]!;
      const b = DIGITS[letters[at + 1]!]!;
      const c = DIGITS[letters[at + 2]!]!;
      const d = DIGITS[letters[at + 3]!]!;
      if (((a | b | c | d) & NO_DIGIT) !== 0) throw this.#wrongLetter(letters, at, 4);
      out[length++] = (a << 2) | (b >> 4);
      out[length++] = (b << 4) | (c >> 2);
      out[length++] = (c << 6) | d;
    }
    if (padding === 0) return out.subarray(0, length);
    const a = DIGITS[letters[whole]!]!;
    const b = DIGITS[letters[whole + 1]!]!;
    const c = padding === 1 ? DIGITS[letters[whole + 2]!]! : 0;
    if (((a | b | c) & NO_DIGIT) !== 0) throw this.#wrongLetter(letters, whole, 4 - padding);
    if ((padding === 1 ? c & 3 : b & 15) !== 0)
      throw wrongBase64(this.#where, 'an end as encoders write it, got bits that belong to no byte');
    out[length++] = (a << 2) | (b >> 4);
    if (padding === 1) out[length++] = (b << 4) | (c >> 2);
    return out.subarray(0, length);
  }

  #wrongLetter(letters: Uint8Array, at: number, count: number): InferenceError {
    let wrong = at;
    while (wrong < at + count - 1 && DIGITS[letters[wrong]!] !== NO_DIGIT) wrong++;
    const byte = letters[wrong]!;
    const shown = byte > 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : `byte 0x${byte.toString(16).padStart(2, '0')}`;
    return wrongBase64(this.#where, `letters A-Z, a-z, 0-9, '+' and '/' without line breaks, and '=' at the end alone, got ${shown}`);
  }
}

/** The code that four hexadecimal digits stand for; 0 when they do not, or when it is not of ASCII. */
function asciiEscape(bytes: Uint8Array, at: number): number {
  const high = bytes[at + 2]! - 0x30;
  const c = bytes[at + 3]!;
  const letter = c | 0x20;
  const low = c >= 0x30 && c <= 0x39 ? c - 0x30 : letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
  return bytes[at] === 0x30 && bytes[at + 1] === 0x30 && high >= 0 && high <= 7 && low >= 0 ? high * 16 + low : 0;
}

/** Of what is not base64 the count is wrong, and decoding says why. */
function countPadding({ bytes, start, end }: JsonString): number {
  const from = Math.max(start, end - 12);
  const tail = Buffer.from(bytes.buffer, bytes.byteOffset + from, end - from).toString('latin1');
  return /(?:=|\\u003[dD]){0,2}$/.exec(tail)![0].replaceAll(/\\u003[dD]/g, '=').length;
}

function wrongBase64(where: string, text: string): InferenceError {
  return invalidArgument(`${where}: expected base64: ${text}`);
}
