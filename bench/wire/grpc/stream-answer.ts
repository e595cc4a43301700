import { ID_DIGITS } from './infer-message.ts';
import { ProtocolFault } from './protocol-fault.ts';

const FINAL_RESPONSE = Buffer.from('triton_final_response');
const ERROR_CODE = Buffer.from('error_code');

/** Wire types. */
const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

/**
 * The few fields of a `ModelStreamInferResponse` that say whose it is, read without making anything. Of a long message the beginning is enough: what says so stands before the tensors.
 * Source: Triton's decoupled extension; the response parameter `error_code` is Nereid's.
 */
export class StreamAnswer {
  /** The id, where it is one of the lane's: ten digits. -1: it is another one; -2: there is none. */
  number = NO_ID;
  /** The parameter triton_final_response; null: the server does not say. */
  isFinal: boolean | null = null;
  hasOutputs = false;
  hasError = false;
  /** '' without an error, and where the server gives no code. */
  errorCode = '';
  errorMessage = '';
  #at = 0;

  /** Reads `bytes[from, to)`, the message or its beginning. Throws ProtocolFault for what is no such message. */
  read(bytes: Buffer, from: number, to: number): void {
    this.number = NO_ID;
    this.isFinal = null;
    this.hasOutputs = false;
    this.hasError = false;
    this.errorCode = '';
    this.errorMessage = '';
    this.#at = from;
    while (this.#at < to) {
      const tag = bytes[this.#at++]!;
      if (tag === 0x0a) {
        const length = this.#varint(bytes, to);
        // An empty one is none.
        this.hasError = length > 0;
        this.errorMessage = bytes.toString('utf8', this.#at, Math.min(to, this.#at + length));
        this.#at += length;
      } else if (tag === 0x12) {
        const length = this.#varint(bytes, to);
        const end = this.#at + length;
        this.#readResponse(bytes, Math.min(to, end));
        this.#at = end;
      } else {
        this.#skip(bytes, tag, to);
      }
    }
  }

  /** A `ModelInferResponse`. */
  #readResponse(bytes: Buffer, to: number): void {
    while (this.#at < to) {
      const tag = bytes[this.#at++]!;
      if (tag === 0x1a) {
        const length = this.#varint(bytes, to);
        this.number = length === ID_DIGITS && this.#at + length <= to ? numberAt(bytes, this.#at) : length === 0 ? NO_ID : FOREIGN_ID;
        this.#at += length;
      } else if (tag === 0x22) {
        const length = this.#varint(bytes, to);
        const end = this.#at + length;
        if (end <= to) this.#readParameter(bytes, end);
        this.#at = end;
      } else {
        if (tag === 0x2a || tag === 0x32) this.hasOutputs = true;
        this.#skip(bytes, tag, to);
      }
    }
  }

  /** An entry of the parameters: the key stands before the value. */
  #readParameter(bytes: Buffer, to: number): void {
    let key: Buffer | null = null;
    while (this.#at < to) {
      const tag = bytes[this.#at++]!;
      if (tag !== 0x0a && tag !== 0x12) {
        this.#skip(bytes, tag, to);
        continue;
      }
      const length = this.#varint(bytes, to);
      const end = this.#at + length;
      if (tag === 0x0a) {
        key = isAt(FINAL_RESPONSE, bytes, this.#at, length)
          ? FINAL_RESPONSE
          : isAt(ERROR_CODE, bytes, this.#at, length)
            ? ERROR_CODE
            : null;
      } else if (key === FINAL_RESPONSE) {
        // A bool that is false may be left out.
        this.isFinal = length >= 2 && bytes[this.#at] === 0x08 && bytes[this.#at + 1] === 1;
      } else if (key === ERROR_CODE && bytes[this.#at] === 0x1a) {
        this.errorCode = bytes.toString('latin1', this.#at + 2, Math.min(end, to));
      }
      this.#at = end;
    }
  }

  /** Passes over a field, past the end where the message is cut. */
  #skip(bytes: Buffer, tag: number, to: number): void {
    // Field numbers above 15 have longer tags, and no use here.
    if (tag >= 0x80) this.#varint(bytes, to);
    switch (tag & 7) {
      case VARINT:
        this.#varint(bytes, to);
        return;
      case FIXED64:
        this.#at += 8;
        return;
      case DELIMITED: {
        const length = this.#varint(bytes, to);
        this.#at += length;
        return;
      }
      case FIXED32:
        this.#at += 4;
        return;
      default:
        throw new ProtocolFault('an answer on the stream that is no ModelStreamInferResponse');
    }
  }

  #varint(bytes: Buffer, to: number): number {
    let value = 0;
    let scale = 1;
    while (this.#at < to) {
      const byte = bytes[this.#at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      scale *= 0x80;
    }
    return value;
  }
}

export const NO_ID = -2;
export const FOREIGN_ID = -1;

function numberAt(bytes: Buffer, at: number): number {
  let number = 0;
  for (let i = 0; i < ID_DIGITS; i++) {
    const digit = bytes[at + i]! - 0x30;
    if (digit < 0 || digit > 9) return FOREIGN_ID;
    number = number * 10 + digit;
  }
  return number;
}

function isAt(text: Buffer, bytes: Buffer, at: number, length: number): boolean {
  if (length !== text.length) return false;
  for (let i = 0; i < length; i++) if (bytes[at + i] !== text[i]) return false;
  return true;
}
