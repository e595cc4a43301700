/** @hotpath one growing buffer that every REST answer of this thread is written into; tensors go in by chunks of numbers (measured by encode-response.bench.ts) */

import { isUtf8 } from 'node:buffer';
import { LENGTH_PREFIX_BYTES, skipBytesElement } from '../../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../../proto/datatype.ts';
import { fromBf16, fromFp16, toBf16, toFp16 } from '../../../proto/float16.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { ESCAPES, putEscapedBytes } from './escape-json.ts';
import { MAX_NUMBER_BYTES, putAscii, putDouble, putFloat32, putInteger, putInteger64 } from './put-number.ts';

const FIRST_BYTES = 64 * 1024;
/** A buffer that one large answer made is not kept past it. */
const MAX_KEPT_BYTES = 1024 * 1024;
/** Numbers written between two looks at the buffer's room. */
const CHUNK = 1_024;
/** Fewer doubles than this are written one by one. */
const MIN_JOINED = 8;

/** By bits, filled as they come up: at most 65,536 short strings each. Finding the shortest form of a 16-bit float takes microseconds. */
const fp16Texts: string[] = [];
const bf16Texts: string[] = [];

export class JsonWriter {
  private buffer: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  length = 0;

  /** Starts a new text. What {@link view} returned before is overwritten. */
  reset(): void {
    this.length = 0;
  }

  /** What was written so far, from `start` on: borrowed, until the next {@link reset}. */
  view(start = 0): Uint8Array {
    return new Uint8Array(this.buffer.buffer, this.buffer.byteOffset + start, this.length - start);
  }

  /** Lets a large buffer go. */
  release(): void {
    if (this.buffer.length > MAX_KEPT_BYTES) this.buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
    this.length = 0;
  }

  /** ASCII that needs no escapes. */
  ascii(text: string): void {
    this.length = putAscii(this.reserve(text.length), this.length, text);
  }

  /** JSON that was written before. */
  json(bytes: Uint8Array): void {
    this.reserve(bytes.length).set(bytes, this.length);
    this.length += bytes.length;
  }

  /** A whole number that a double holds exactly. */
  integer(value: number): void {
    if (value >= 4294967296) this.ascii(String(value));
    else this.length = putInteger(this.reserve(MAX_NUMBER_BYTES), this.length, value);
  }

  /** A JSON string. */
  string(text: string): void {
    const out = this.reserve(text.length + 2);
    let at = this.length;
    out[at++] = 0x22;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c >= 0x80 || ESCAPES[c] !== 0) {
        this.anyString(text);
        return;
      }
      out[at++] = c;
    }
    out[at++] = 0x22;
    this.length = at;
  }

  private anyString(text: string): void {
    const json = JSON.stringify(text);
    this.reserve(json.length * 3);
    this.length += this.buffer.write(json, this.length, 'utf8');
  }

  /** The tensor's elements as one flat JSON array. Throws INVALID_ARGUMENT when a BYTES element is no text. */
  tensorData(tensor: Tensor): void {
    this.ascii('[');
    this.tensorValues(tensor);
    this.ascii(']');
  }

  /** The same without its brackets: of a tensor of one element, a JSON value. */
  tensorValues(tensor: Tensor): void {
    const { datatype } = tensor;
    if (datatype === 'BYTES') this.strings(tensor);
    else this.numbers(datatype, aligned(tensor.data, byteSizeOf(datatype)));
  }

  private numbers(datatype: Datatype, data: Uint8Array): void {
    const { buffer, byteOffset } = data;
    const count = data.length / byteSizeOf(datatype);
    switch (datatype) {
      case 'FP32':
        this.float32s(new Float32Array(buffer, byteOffset, count));
        break;
      case 'FP64':
        this.float64s(new Float64Array(buffer, byteOffset, count));
        break;
      case 'INT64':
      case 'UINT64':
        this.integers64(new Uint32Array(buffer, byteOffset, count * 2), datatype === 'INT64');
        break;
      case 'BOOL':
        this.booleans(data);
        break;
      case 'FP16':
      case 'BF16':
        this.floats16(new Uint16Array(buffer, byteOffset, count), datatype === 'FP16');
        break;
      case 'INT8':
        this.integers(new Int8Array(buffer, byteOffset, count));
        break;
      case 'UINT8':
        this.integers(data);
        break;
      case 'INT16':
        this.integers(new Int16Array(buffer, byteOffset, count));
        break;
      case 'UINT16':
        this.integers(new Uint16Array(buffer, byteOffset, count));
        break;
      case 'INT32':
        this.integers(new Int32Array(buffer, byteOffset, count));
        break;
      default:
        this.integers(new Uint32Array(buffer, byteOffset, count));
    }
  }

  private float32s(values: Float32Array): void {
    for (let from = 0; from < values.length; from += CHUNK) {
      const out = this.reserve(CHUNK * MAX_NUMBER_BYTES);
      const to = Math.min(from + CHUNK, values.length);
      let at = this.length;
      for (let i = from; i < to; i++) {
        if (i !== 0) out[at++] = 0x2c;
        at = putFloat32(out, at, values[i]!);
      }
      this.length = at;
    }
  }

  private float64s(values: Float64Array): void {
    for (let from = 0; from < values.length; from += CHUNK) {
      const out = this.reserve(CHUNK * MAX_NUMBER_BYTES);
      const to = Math.min(from + CHUNK, values.length);
      let at = this.length;
      if (from !== 0) out[at++] = 0x2c;
      if (to - from >= MIN_JOINED && arePlain(values, from, to)) {
        // One call writes the digits of all of them, another copies them: quicker than a call for each.
        const json = JSON.stringify(Array.from(values.subarray(from, to)));
        at += out.write(json.slice(1, -1), at, 'latin1');
      } else {
        for (let i = from; i < to; i++) {
          if (i !== from) out[at++] = 0x2c;
          at = putDouble(out, at, values[i]!);
        }
      }
      this.length = at;
    }
  }

  private integers(values: Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array): void {
    for (let from = 0; from < values.length; from += CHUNK) {
      const out = this.reserve(CHUNK * MAX_NUMBER_BYTES);
      const to = Math.min(from + CHUNK, values.length);
      let at = this.length;
      for (let i = from; i < to; i++) {
        if (i !== 0) out[at++] = 0x2c;
        at = putInteger(out, at, values[i]!);
      }
      this.length = at;
    }
  }

  /** `words`: low and high halves in turn. */
  private integers64(words: Uint32Array, isSigned: boolean): void {
    for (let from = 0; from < words.length; from += 2 * CHUNK) {
      const out = this.reserve(CHUNK * MAX_NUMBER_BYTES);
      const to = Math.min(from + 2 * CHUNK, words.length);
      let at = this.length;
      for (let i = from; i < to; i += 2) {
        if (i !== 0) out[at++] = 0x2c;
        at = putInteger64(out, at, words[i]!, words[i + 1]!, isSigned);
      }
      this.length = at;
    }
  }

  private floats16(values: Uint16Array, isFp16: boolean): void {
    const texts = isFp16 ? fp16Texts : bf16Texts;
    for (let from = 0; from < values.length; from += CHUNK) {
      const out = this.reserve(CHUNK * MAX_NUMBER_BYTES);
      const to = Math.min(from + CHUNK, values.length);
      let at = this.length;
      for (let i = from; i < to; i++) {
        if (i !== 0) out[at++] = 0x2c;
        const bits = values[i]!;
        texts[bits] ??= shortestFloat16(bits, isFp16);
        at = putAscii(out, at, texts[bits]!);
      }
      this.length = at;
    }
  }

  private booleans(data: Uint8Array): void {
    for (let from = 0; from < data.length; from += CHUNK) {
      const out = this.reserve(CHUNK * MAX_NUMBER_BYTES);
      const to = Math.min(from + CHUNK, data.length);
      let at = this.length;
      for (let i = from; i < to; i++) {
        if (i !== 0) out[at++] = 0x2c;
        at = putAscii(out, at, data[i] === 0 ? 'false' : 'true');
      }
      this.length = at;
    }
  }

  private strings(tensor: Tensor): void {
    const { data } = tensor;
    let index = 0;
    for (let at = 0; at < data.length; index++) {
      const end = skipBytesElement(data, at);
      // The model's fault, if ever: its outputs are checked where they enter.
      if (end < 0) throw new InferenceError('INTERNAL', `output '${tensor.name}': element ${index} of its BYTES is cut`);
      if (index !== 0) this.ascii(',');
      this.bytesString(data, at + LENGTH_PREFIX_BYTES, end, tensor.name, index);
      at = end;
    }
  }

  private bytesString(data: Uint8Array, start: number, end: number, output: string, index: number): void {
    let seen = 0;
    let more = 0;
    for (let i = start; i < end; i++) {
      const c = data[i]!;
      const letter = ESCAPES[c]!;
      if (letter !== 0) more += letter === 0x75 ? 5 : 1;
      seen |= c;
    }
    if (seen >= 0x80 && !isUtf8(data.subarray(start, end))) {
      throw new InferenceError(
        'INVALID_ARGUMENT',
        `output '${output}': element ${index} is not valid UTF-8, so JSON cannot carry it: ask for this output with parameters.binary_data true`,
      );
    }
    const out = this.reserve(end - start + more + 2);
    let at = this.length;
    out[at++] = 0x22;
    if (more === 0 && end - start >= 64) {
      out.set(data.subarray(start, end), at);
      at += end - start;
    } else {
      at = putEscapedBytes(out, at, data, start, end);
    }
    out[at++] = 0x22;
    this.length = at;
  }

  /** The buffer, with room for `bytes` more. */
  private reserve(bytes: number): Buffer {
    const needed = this.length + bytes;
    if (needed > this.buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.buffer.length));
      this.buffer.copy(larger, 0, 0, this.length);
      this.buffer = larger;
    }
    return this.buffer;
  }
}

/** Whether JSON.stringify keeps all of these as they are: no NaN, no infinity, no negative zero. */
function arePlain(values: Float64Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const value = values[i]!;
    if (value - value !== 0 || (value === 0 && 1 / value < 0)) return false;
  }
  return true;
}

/** The bytes where a typed array of that element size can lie over them: a copy, when they begin between elements. */
function aligned(data: Uint8Array, elementBytes: number): Uint8Array {
  return data.byteOffset % elementBytes === 0 ? data : new Uint8Array(data);
}

function shortestFloat16(bits: number, isFp16: boolean): string {
  const value = isFp16 ? fromFp16(bits) : fromBf16(bits);
  if (value - value !== 0) return Number.isNaN(value) ? '"NaN"' : value > 0 ? '"Infinity"' : '"-Infinity"';
  if (value === 0) return 1 / value < 0 ? '-0' : '0';
  for (let precision = 1; precision < 6; precision++) {
    const rounded = Number(value.toPrecision(precision));
    if ((isFp16 ? toFp16(rounded) : toBf16(rounded)) === bits) return String(rounded);
  }
  return String(value);
}
