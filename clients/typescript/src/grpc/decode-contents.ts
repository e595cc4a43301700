import { LENGTH_PREFIX_BYTES } from '../../../../proto/bytes.ts';
import { byteSizeOf, type Datatype, elementCount } from '../../../../proto/datatype.ts';
import { invalidArgument } from '../../../../proto/inference-error.ts';
import { DELIMITED, FIXED32, FIXED64, type MessageFields, type ProtobufReader } from '../../../../proto/protobuf-reader.ts';

/** `InferTensorContents`, by field number. */
const LISTS = [
  '',
  'bool_contents',
  'int_contents',
  'int64_contents',
  'uint_contents',
  'uint64_contents',
  'fp32_contents',
  'fp64_contents',
  'bytes_contents',
];
const CONTENTS: MessageFields = { name: 'InferTensorContents', fields: LISTS };
const BYTES_LIST = 8;

/** The list that holds each datatype; 0: none, it travels raw. */
const LIST_OF: { readonly [D in Datatype]: number } = {
  BOOL: 1,
  INT8: 2,
  INT16: 2,
  INT32: 2,
  INT64: 3,
  UINT8: 4,
  UINT16: 4,
  UINT32: 4,
  UINT64: 5,
  FP16: 0,
  BF16: 0,
  FP32: 6,
  FP64: 7,
  BYTES: BYTES_LIST,
};

/**
 * A tensor's `contents`, from `start` to `stop` of the reader's bytes, in the layout of raw contents. Nereid and Triton never answer so; other servers of the Open Inference
 * Protocol do. Throws INVALID_ARGUMENT for lists that are not the datatype's, and for more elements than the shape has.
 */
export function decodeContents(
  reader: ProtobufReader,
  start: number,
  stop: number,
  datatype: Datatype,
  shape: readonly number[],
  where: string,
): Uint8Array {
  const list = LIST_OF[datatype];
  if (list === 0) throw invalidArgument(`${where}: ${datatype} has no typed contents, it travels in raw_output_contents`);
  const count = elementCount(shape);
  // Each element takes a byte at least, so an honest list is no longer than its message.
  if (count < 0 || count > stop - start)
    throw invalidArgument(`${where}: shape [${shape}] has no room in contents of ${stop - start} bytes`);
  reader.open(start, stop, CONTENTS);
  const writer = datatype === 'BYTES' ? new TextWriter(stop - start) : new ElementWriter(datatype, count, where);
  while (reader.next()) {
    reader.uncounted();
    if (reader.field !== list) {
      if (reader.field < LISTS.length)
        throw invalidArgument(`${where}: expected ${datatype} in ${LISTS[list]}, got ${LISTS[reader.field]}`);
      reader.skip();
    } else {
      writer.take(reader);
    }
  }
  return writer.bytes();
}

/** Elements of a fixed size, packed or one by one. */
class ElementWriter {
  readonly #out: Uint8Array;
  readonly #view: DataView;
  readonly #size: number;
  readonly #wire: number;
  readonly #datatype: Datatype;
  readonly #where: string;
  #at = 0;

  constructor(datatype: Datatype, count: number, where: string) {
    this.#datatype = datatype;
    this.#size = byteSizeOf(datatype);
    this.#out = new Uint8Array(count * this.#size);
    this.#view = new DataView(this.#out.buffer);
    this.#wire = datatype === 'FP32' ? FIXED32 : datatype === 'FP64' ? FIXED64 : 0;
    this.#where = where;
  }

  take(reader: ProtobufReader): void {
    if (reader.wireType === this.#wire) {
      this.#element(reader);
      return;
    }
    if (reader.wireType !== DELIMITED) throw reader.wrongWireType(this.#wire);
    const outerEnd = reader.enter(CONTENTS);
    while (reader.at < reader.end) this.#element(reader);
    reader.leave(outerEnd, CONTENTS);
  }

  /** Lists that end early are seen by who checks the answer. */
  bytes(): Uint8Array {
    return this.#out.subarray(0, this.#at);
  }

  #element(reader: ProtobufReader): void {
    const at = this.#at;
    const size = this.#size;
    if (at + size > this.#out.length)
      throw invalidArgument(`${this.#where}: more than the ${this.#out.length / size} elements of its shape`);
    if (this.#wire === 0) {
      reader.varint();
      // Narrower ones are cut, as servers do with what they take.
      if (this.#datatype === 'BOOL') this.#out[at] = reader.low === 0 && reader.high === 0 ? 0 : 1;
      else if (size === 1) this.#out[at] = reader.low;
      else if (size === 2) this.#view.setUint16(at, reader.low, true);
      else this.#view.setInt32(at, reader.low, true);
      if (size === 8) this.#view.setInt32(at + 4, reader.high, true);
    } else {
      if (reader.at + size > reader.end) throw invalidArgument(`${this.#where}: contents that end within an element`);
      for (let i = 0; i < size; i++) this.#out[at + i] = reader.bytes[reader.at + i]!;
      reader.at += size;
    }
    this.#at = at + size;
  }
}

/** BYTES elements, which get the length in front that raw contents have. */
class TextWriter {
  #out: Uint8Array;
  #at = 0;

  constructor(sizeHint: number) {
    this.#out = new Uint8Array(sizeHint);
  }

  take(reader: ProtobufReader): void {
    reader.takeRange();
    const length = reader.stop - reader.start;
    const end = this.#at + LENGTH_PREFIX_BYTES + length;
    if (end > this.#out.length) {
      const larger = new Uint8Array(Math.max(end, this.#out.length * 2));
      larger.set(this.#out);
      this.#out = larger;
    }
    new DataView(this.#out.buffer).setUint32(this.#at, length, true);
    this.#out.set(reader.rangeView(), this.#at + LENGTH_PREFIX_BYTES);
    this.#at = end;
  }

  bytes(): Uint8Array {
    return this.#out.subarray(0, this.#at);
  }
}
