/** @hotpath writes a protobuf message into one buffer of its exact size (measured by encode-infer-response.bench.ts) */

const SEVEN_BITS = 128;

/** Bytes of a varint; `value` is a whole number from 0 to 2^53 - 1. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  if (value < 0x10000000) return 4;
  let size = 5;
  for (let rest = Math.floor(value / 0x800000000); rest >= 1; rest = Math.floor(rest / SEVEN_BITS)) size++;
  return size;
}

/** Bytes of an int64 as a varint: a negative one takes ten. */
export function int64Size(value: number): number {
  return value < 0 ? 10 : varintSize(value);
}

/** Bytes of a length-delimited field of `length` bytes, its tag (of a field number below 16) included. */
export function delimitedSize(length: number): number {
  return 1 + varintSize(length) + length;
}

/** UTF-8 bytes of `text`. */
export function textSize(text: string): number {
  const { length } = text;
  if (length > 64) return Buffer.byteLength(text, 'utf8');
  for (let i = 0; i < length; i++) if (text.charCodeAt(i) >= 0x80) return Buffer.byteLength(text, 'utf8');
  return length;
}

/** The caller has summed the sizes up: a buffer too small is its fault, and a RangeError. Field numbers are below 16, so a tag is one byte. */
export class ProtobufWriter {
  readonly buffer: Buffer;
  at = 0;

  /** `buffer`: in place of one of its own; `size` bytes of it are used. */
  constructor(size: number, buffer: Buffer = Buffer.allocUnsafe(size)) {
    this.buffer = buffer.length === size ? buffer : buffer.subarray(0, size);
  }

  /** Tag and length of a length-delimited field; its bytes are to follow. */
  delimited(field: number, length: number): void {
    this.buffer[this.at++] = (field << 3) | 2;
    this.varint(length);
  }

  /** `size`: its {@link textSize}. */
  text(field: number, text: string, size: number): void {
    this.delimited(field, size);
    const { buffer } = this;
    if (size === text.length && size <= 64) {
      let at = this.at;
      for (let i = 0; i < size; i++) buffer[at++] = text.charCodeAt(i);
      this.at = at;
    } else {
      this.at += buffer.write(text, this.at, size, 'utf8');
    }
  }

  bytes(field: number, bytes: Uint8Array): void {
    this.delimited(field, bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  bool(field: number, value: boolean): void {
    this.buffer[this.at++] = field << 3;
    this.buffer[this.at++] = value ? 1 : 0;
  }

  int64Field(field: number, value: number): void {
    this.buffer[this.at++] = field << 3;
    this.int64(value);
  }

  double(field: number, value: number): void {
    this.buffer[this.at++] = (field << 3) | 1;
    this.at = this.buffer.writeDoubleLE(value, this.at);
  }

  /** `value` is a whole number within ±(2^53 - 1). */
  int64(value: number): void {
    if (value >= 0) {
      this.varint(value);
      return;
    }
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest >= 0x80n; rest >>= 7n) this.buffer[this.at++] = Number(rest & 0x7fn) | 0x80;
    this.buffer[this.at++] = Number(rest);
  }

  varint(value: number): void {
    const { buffer } = this;
    let at = this.at;
    while (value >= 0x80) {
      buffer[at++] = (value % SEVEN_BITS) | 0x80;
      value = Math.floor(value / SEVEN_BITS);
    }
    buffer[at++] = value;
    this.at = at;
  }
}
