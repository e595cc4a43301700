/** @hotpath a cursor over a protobuf message, in place: nothing is copied but the strings that are asked for (measured by decode-infer-request.bench.ts) */

import { isUtf8 } from 'node:buffer';
import { type InferenceError, invalidArgument } from './inference-error.ts';

/** How errors name a message and its fields. */
export interface MessageFields {
  readonly name: string;
  /** By field number; 0 has none. */
  readonly fields: readonly string[];
}

export const VARINT = 0;
export const FIXED64 = 1;
export const DELIMITED = 2;
export const FIXED32 = 5;

const WIRE_TYPES = ['varint', '64-bit', 'length-delimited', 'start of a group', 'end of a group', '32-bit', 'reserved (6)', 'reserved (7)'];
const TWO_TO_32 = 4_294_967_296;
/** A message with more fields than this has no honest sender; those of a field that may repeat without end are not counted. */
const MAX_FIELDS = 65_536;

/** Names that were read lately, by a hash of their bytes. Few and short: what a client invents takes no memory to speak of. */
const KEPT_NAMES = 256;
const MAX_KEPT_NAME = 64;
const keptNames: string[] = new Array<string>(KEPT_NAMES).fill('');

const scratch = new DataView(new ArrayBuffer(8));

/**
 * Reads one message field by field: `while (reader.next()) switch (reader.field) ...`. Strict: what is cut short, a length beyond its message, a wrong wire type for a
 * field that is read, a group, invalid UTF-8 and a varint of more than 64 bits are INVALID_ARGUMENT that names the field.
 *
 * Source: protobuf encoding, proto3.
 */
export class ProtobufReader {
  readonly bytes: Uint8Array;
  /** The next byte to read. */
  at = 0;
  /** Where the message that is being read ends. */
  end: number;
  message: MessageFields;
  /** Of the field at hand, after {@link next}. */
  field = 0;
  wireType = 0;
  /** The field's bytes, after {@link takeRange}. */
  start = 0;
  stop = 0;
  /** The value's halves as signed 32-bit numbers, after {@link takeVarint}. */
  low = 0;
  high = 0;
  private fieldsLeft = MAX_FIELDS;
  private readonly buffer: Buffer;

  constructor(bytes: Uint8Array, message: MessageFields) {
    this.bytes = bytes;
    this.buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.end = bytes.length;
    this.message = message;
  }

  /** Moves to the next field; false at the end of the message. */
  next(): boolean {
    if (this.at >= this.end) return false;
    let tag = this.bytes[this.at]!;
    if (tag < 0x80) {
      this.at++;
    } else {
      this.field = 0;
      this.varint();
      tag = this.low >>> 0;
      if (this.high !== 0) tag = 0;
    }
    this.field = tag >>> 3;
    this.wireType = tag & 7;
    if (this.field === 0)
      throw invalidArgument(`${this.message.name}: a field number of 0, or above what protobuf has, before byte ${this.at}`);
    if (--this.fieldsLeft < 0) throw invalidArgument(`${this.message.name}: expected at most ${MAX_FIELDS} fields in a request, got more`);
    return true;
  }

  /** The field at hand is one of a list whose bytes are worth their work: it does not count. */
  uncounted(): void {
    this.fieldsLeft++;
  }

  /** Passes over the field at hand, whatever it is. */
  skip(): void {
    switch (this.wireType) {
      case VARINT:
        this.varint();
        return;
      case FIXED64:
        this.skipBytes(8);
        return;
      case DELIMITED:
        this.takeRange();
        return;
      case FIXED32:
        this.skipBytes(4);
        return;
      default:
        throw invalidArgument(
          `${this.where()}: wire type ${WIRE_TYPES[this.wireType]} has no place in a proto3 message, before byte ${this.at}`,
        );
    }
  }

  /** Takes a length-delimited field's bytes: {@link start} to {@link stop}. */
  takeRange(): void {
    if (this.wireType !== DELIMITED) throw this.wrongWireType(DELIMITED);
    let length = this.at < this.end ? this.bytes[this.at]! : 0x80;
    if (length < 0x80) {
      this.at++;
    } else {
      this.varint();
      length = (this.low >>> 0) + (this.high >>> 0) * TWO_TO_32;
    }
    if (length > this.end - this.at) {
      throw invalidArgument(
        `${this.where()}: a length of ${length} bytes, of which the message has ${this.end - this.at} (at byte ${this.at})`,
      );
    }
    this.start = this.at;
    this.at += length;
    this.stop = this.at;
  }

  /** Back to the beginning of the whole message. */
  rewind(message: MessageFields): void {
    this.open(0, this.bytes.length, message);
    this.fieldsLeft = MAX_FIELDS;
  }

  /** Reads `start` to `stop`, ranges taken before, as a message of its own. */
  open(start: number, stop: number, message: MessageFields): void {
    this.at = start;
    this.end = stop;
    this.message = message;
    this.field = 0;
  }

  /** Goes into the message that the field at hand holds; its end is for {@link leave}, as is the message around it. */
  enter(message: MessageFields): number {
    this.takeRange();
    const outerEnd = this.end;
    this.at = this.start;
    this.end = this.stop;
    this.message = message;
    return outerEnd;
  }

  leave(outerEnd: number, outer: MessageFields): void {
    this.at = this.end;
    this.end = outerEnd;
    this.message = outer;
  }

  /** The range as text, when `text` is it; ASCII only. */
  rangeIs(text: string): boolean {
    const { bytes, start } = this;
    const length = text.length;
    if (this.stop - start !== length) return false;
    for (let i = 0; i < length; i++) {
      const byte = bytes[start + i]!;
      if (byte !== text.charCodeAt(i) || byte >= 0x80) return false;
    }
    return true;
  }

  /** The range as text. `maxBytes`: of what comes back in messages and logs. */
  rangeText(maxBytes: number): string {
    const { bytes, start, stop } = this;
    const length = stop - start;
    if (length > maxBytes) throw invalidArgument(`${this.where()}: expected at most ${maxBytes} bytes, got ${length}`);
    if (length === 0) return '';
    let seen = 0;
    if (length <= 64) for (let i = start; i < stop; i++) seen |= bytes[i]!;
    else seen = 0x80;
    if (seen < 0x80) return this.buffer.toString('latin1', start, stop);
    if (!isUtf8(this.rangeView())) throw invalidArgument(`${this.where()}: invalid UTF-8 in a string, at byte ${start}`);
    return this.buffer.toString('utf8', start, stop);
  }

  /** As {@link rangeText}, for text that comes again and again: it is made once, and then found. */
  rangeName(maxBytes: number): string {
    const { bytes, start, stop } = this;
    const length = stop - start;
    if (length === 0) return '';
    if (length > MAX_KEPT_NAME) return this.rangeText(maxBytes);
    const slot = (length * 37 + bytes[start]! * 5 + bytes[stop - 1]! + bytes[start + (length >> 1)]! * 3) % KEPT_NAMES;
    const kept = keptNames[slot]!;
    if (this.rangeIs(kept)) return kept;
    const name = this.rangeText(maxBytes);
    keptNames[slot] = name;
    return name;
  }

  takeText(maxBytes: number): string {
    this.takeRange();
    return this.rangeText(maxBytes);
  }

  /** The range's bytes, as a view. */
  rangeView(): Uint8Array {
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + this.start, this.stop - this.start);
  }

  /** Takes a varint field's value: {@link low} and {@link high}. */
  takeVarint(): void {
    if (this.wireType !== VARINT) throw this.wrongWireType(VARINT);
    this.varint();
  }

  takeBool(): boolean {
    this.takeVarint();
    return this.low !== 0 || this.high !== 0;
  }

  /** Takes an int64; NaN when no number holds it exactly (beyond 2^53). */
  takeInt64(): number {
    this.takeVarint();
    return this.int64();
  }

  /** The varint just read, as an int64. */
  int64(): number {
    const value = this.high * TWO_TO_32 + (this.low >>> 0);
    return Number.isSafeInteger(value) ? value : Number.NaN;
  }

  /** The varint just read, as a uint64. */
  uint64(): number {
    const value = (this.high >>> 0) * TWO_TO_32 + (this.low >>> 0);
    return Number.isSafeInteger(value) ? value : Number.NaN;
  }

  takeDouble(): number {
    if (this.wireType !== FIXED64) throw this.wrongWireType(FIXED64);
    const start = this.at;
    this.skipBytes(8);
    for (let i = 0; i < 8; i++) scratch.setUint8(i, this.bytes[start + i]!);
    return scratch.getFloat64(0, true);
  }

  /** Reads a varint at the cursor, whatever the wire type: an element of a packed list. */
  varint(): void {
    const { bytes, end } = this;
    let at = this.at;
    let low = 0;
    let high = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= end) throw invalidArgument(`${this.where()}: a varint that the end of the message cuts, at byte ${this.at}`);
      const byte = bytes[at++]!;
      if (shift < 28) {
        low |= (byte & 0x7f) << shift;
      } else if (shift === 28) {
        low |= byte << 28;
        high = (byte & 0x7f) >>> 4;
      } else if (shift < 63) {
        high |= (byte & 0x7f) << (shift - 32);
      } else {
        if (byte > 1) throw invalidArgument(`${this.where()}: a varint of more than 64 bits, at byte ${this.at}`);
        high |= byte << 31;
      }
      if (byte < 0x80) break;
    }
    this.at = at;
    this.low = low;
    this.high = high;
  }

  /** `ModelInferRequest.inputs.shape`: the message and the field at hand. */
  where(): string {
    if (this.field === 0) return this.message.name;
    return `${this.message.name}.${this.message.fields[this.field] ?? `<field ${this.field}>`}`;
  }

  wrongWireType(expected: number): InferenceError {
    return invalidArgument(
      `${this.where()}: expected wire type ${WIRE_TYPES[expected]}, got ${WIRE_TYPES[this.wireType]}, before byte ${this.at}: the message was made from another .proto file`,
    );
  }

  private skipBytes(count: number): void {
    if (count > this.end - this.at) {
      throw invalidArgument(`${this.where()}: needs ${count} bytes, of which the message has ${this.end - this.at} (at byte ${this.at})`);
    }
    this.at += count;
  }
}
