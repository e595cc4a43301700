/** Finds in an answer what a load generator needs of every one: whose it is, whether it is the last, whether it is an error. The tensors are not looked at. */

import { readWireId, WIRE_ID_BYTES } from './wire-id.ts';

const LENGTH_BYTES = 4;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const SPACE = 0x20;
const LOWER_T = 0x74;
const LOWER_F = 0x66;

const ID = Buffer.from('id');
const ERROR = Buffer.from('error');
const OUTPUTS = Buffer.from('outputs');
const PARAMETERS = Buffer.from('parameters');
const FINAL = Buffer.from('triton_final_response');

/**
 * One at a time; what it found stays until the next scan. It stops as soon as it knows everything, which is before the tensors in what Nereid writes, and can do with the beginning of
 * a message. The order of members does not matter; what is no JSON behind the last one needed is not noticed.
 *
 * Source: docs/websocket.md.
 */
export class AnswerScan {
  /** Of the request, as readWireId reads it; -1: none, or none of ours. */
  id = -1;
  isFinal = true;
  isError = false;
  /** Whether the answer has at least one output. */
  hasOutputs = false;
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;
  #hasFinal = false;

  /** False: `bytes[start, end)` are not enough to tell, or are no answer. `isText`: JSON alone; else a length, JSON of that length, and tensors. */
  scan(isText: boolean, bytes: Buffer, start: number, end: number): boolean {
    this.id = -1;
    this.isFinal = true;
    this.isError = false;
    this.hasOutputs = false;
    this.#hasFinal = false;
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    if (!isText) {
      if (end - start < LENGTH_BYTES) return false;
      this.#at = start + LENGTH_BYTES;
      this.#end = Math.min(end, this.#at + bytes.readUInt32LE(start));
    }
    return this.#scanMembers();
  }

  #scanMembers(): boolean {
    const bytes = this.#bytes;
    if (this.#peek() !== OPEN_BRACE) return false;
    this.#at++;
    let hasOutputsMember = false;
    for (;;) {
      if (this.#peek() === CLOSE_BRACE) return this.id >= 0;
      const keyStart = this.#at + 1;
      if (!this.#skipString()) return false;
      const keyEnd = this.#at - 1;
      if (this.#peek() !== COLON) return false;
      this.#at++;
      const first = this.#peek();
      const valueStart = this.#at;
      if (equals(bytes, keyStart, keyEnd, OUTPUTS) && first === OPEN_BRACKET) {
        this.#at++;
        const inside = this.#peek();
        if (inside < 0) return false;
        this.hasOutputs = inside !== CLOSE_BRACKET;
        hasOutputsMember = true;
        this.#at = valueStart;
        if (this.#isEnough) return true;
      } else if (equals(bytes, keyStart, keyEnd, PARAMETERS) && first === OPEN_BRACE) {
        if (!this.#scanParameters()) return false;
        if (hasOutputsMember && this.#isEnough) return true;
        if (!this.#skipSeparator()) return false;
        continue;
      }
      if (!this.#skipValue()) return false;
      if (equals(bytes, keyStart, keyEnd, ID)) this.id = this.#readId(valueStart);
      else if (equals(bytes, keyStart, keyEnd, ERROR)) this.isError = first === QUOTE;
      if (this.isError && this.id >= 0) return true;
      if (!this.#skipSeparator()) return false;
    }
  }

  get #isEnough(): boolean {
    return this.id >= 0 && this.#hasFinal;
  }

  /** A number that begins or ends where an id does is no id of ours. */
  #readId(start: number): number {
    const bytes = this.#bytes;
    if (bytes[start] !== QUOTE || this.#at - start !== WIRE_ID_BYTES + 2) return -1;
    return readWireId(bytes, start + 1);
  }

  #scanParameters(): boolean {
    const bytes = this.#bytes;
    this.#at++;
    for (;;) {
      if (this.#peek() === CLOSE_BRACE) {
        this.#at++;
        return true;
      }
      const keyStart = this.#at + 1;
      if (!this.#skipString()) return false;
      const keyEnd = this.#at - 1;
      if (this.#peek() !== COLON) return false;
      this.#at++;
      const first = this.#peek();
      if (!this.#skipValue()) return false;
      if ((first === LOWER_T || first === LOWER_F) && equals(bytes, keyStart, keyEnd, FINAL)) {
        this.#hasFinal = true;
        this.isFinal = first === LOWER_T;
      }
      if (!this.#skipSeparator()) return false;
    }
  }

  /** The next byte that is not blank, or -1. */
  #peek(): number {
    const bytes = this.#bytes;
    const end = this.#end;
    while (this.#at < end && bytes[this.#at]! <= SPACE) this.#at++;
    return this.#at < end ? bytes[this.#at]! : -1;
  }

  /** A comma, or a closing brace, which stays. */
  #skipSeparator(): boolean {
    const byte = this.#peek();
    if (byte === COMMA) {
      this.#at++;
      return true;
    }
    return byte === CLOSE_BRACE;
  }

  #skipString(): boolean {
    if (this.#peek() !== QUOTE) return false;
    const bytes = this.#bytes;
    const end = this.#end;
    let at = this.#at + 1;
    while (at < end && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
    if (at >= end) return false;
    this.#at = at + 1;
    return true;
  }

  /** Brackets are counted, not told apart: what is inside is not of interest. */
  #skipValue(): boolean {
    const first = this.#peek();
    if (first === QUOTE) return this.#skipString();
    const bytes = this.#bytes;
    const end = this.#end;
    let depth = 0;
    while (this.#at < end) {
      const byte = bytes[this.#at]!;
      if (byte === QUOTE) {
        if (!this.#skipString()) return false;
        continue;
      }
      if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        depth++;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        if (depth === 0) return true;
        depth--;
        if (depth === 0) {
          this.#at++;
          return true;
        }
      } else if (byte === COMMA && depth === 0) {
        return true;
      }
      this.#at++;
    }
    return false;
  }
}

function equals(bytes: Buffer, start: number, end: number, name: Buffer): boolean {
  if (end - start !== name.length) return false;
  for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return false;
  return true;
}
