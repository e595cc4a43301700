/** @hotpath the typed contents of an input to its bytes; packed FP32 and FP64 stay views of the message (measured by decode-infer-request.bench.ts) */

import { LENGTH_PREFIX_BYTES } from '../../../proto/bytes.ts';
import { byteSizeOf, type Datatype, elementCount, MAX_TENSOR_BYTES } from '../../../proto/datatype.ts';
import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { DELIMITED, FIXED32, FIXED64, type MessageFields, type ProtobufReader, VARINT } from '../../../proto/protobuf-reader.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { tensorLabel } from './tensor-label.ts';

const CONTENTS: MessageFields = {
  name: 'ModelInferRequest.inputs.contents',
  fields: [
    '',
    'bool_contents',
    'int_contents',
    'int64_contents',
    'uint_contents',
    'uint64_contents',
    'fp32_contents',
    'fp64_contents',
    'bytes_contents',
  ],
};
const BYTES_FIELD = 8;

/** A datatype's list in `InferTensorContents`. */
interface ContentsForm {
  readonly field: number;
  readonly wireType: number;
  /** Of an element, both included; the 64-bit types hold all there is. */
  readonly min: number;
  readonly max: number;
  readonly isSigned: boolean;
}

const FORMS: Readonly<Record<Datatype, ContentsForm | null>> = {
  BOOL: { field: 1, wireType: VARINT, min: 0, max: 1, isSigned: false },
  INT8: { field: 2, wireType: VARINT, min: -128, max: 127, isSigned: true },
  INT16: { field: 2, wireType: VARINT, min: -32768, max: 32767, isSigned: true },
  INT32: { field: 2, wireType: VARINT, min: -2147483648, max: 2147483647, isSigned: true },
  INT64: { field: 3, wireType: VARINT, min: 0, max: 0, isSigned: false },
  UINT8: { field: 4, wireType: VARINT, min: 0, max: 255, isSigned: false },
  UINT16: { field: 4, wireType: VARINT, min: 0, max: 65535, isSigned: false },
  UINT32: { field: 4, wireType: VARINT, min: 0, max: 4294967295, isSigned: false },
  UINT64: { field: 5, wireType: VARINT, min: 0, max: 0, isSigned: false },
  FP16: null,
  BF16: null,
  FP32: { field: 6, wireType: FIXED32, min: 0, max: 0, isSigned: false },
  FP64: { field: 7, wireType: FIXED64, min: 0, max: 0, isSigned: false },
  BYTES: { field: BYTES_FIELD, wireType: DELIMITED, min: 0, max: 0, isSigned: false },
};

/**
 * The elements of `InferTensorContents` as the tensor's bytes. `ranges` are the message's pieces, start and stop by turns (a message field that comes twice is merged).
 * They are counted before anything is allocated, so a shape alone costs nothing.
 *
 * Throws INVALID_ARGUMENT for another list than the datatype's, another number of elements than the shape's, and a value that the datatype cannot hold (Triton cuts it to size).
 */
export function decodeContents(reader: ProtobufReader, ranges: readonly number[], index: number, tensor: Tensor): Uint8Array {
  const { name, datatype, shape } = tensor;
  const form = FORMS[datatype];
  if (form === null) {
    throw invalidArgument(
      `${tensorLabel('inputs', index, name)}.contents: ${datatype} has no list there: send the tensor's bytes in raw_input_contents`,
    );
  }
  const elementBytes = byteSizeOf(datatype);
  const expected = elementCount(shape);
  if (expected < 0 || expected * elementBytes > MAX_TENSOR_BYTES) {
    throw invalidArgument(
      `byte size overflow for input: ${tensorLabel('inputs', index, name)}.shape: [${shape.join(',')}] of ${datatype} causes total element count to exceed maximum size of ${MAX_TENSOR_BYTES} bytes`,
    );
  }

  let count = 0;
  let payload = 0;
  let pieces = 0;
  let start = 0;
  for (let r = 0; r < ranges.length; r += 2) {
    reader.open(ranges[r]!, ranges[r + 1]!, CONTENTS);
    while (reader.next()) {
      if (reader.field !== form.field) {
        skipOther(reader, index, tensor, form);
        continue;
      }
      reader.uncounted();
      pieces++;
      if (reader.wireType === DELIMITED) {
        reader.takeRange();
        const length = reader.stop - reader.start;
        payload += length;
        start = reader.start;
        count += datatype === 'BYTES' ? 1 : form.wireType === VARINT ? countVarints(reader) : countFixed(length, elementBytes, reader);
      } else if (reader.wireType === form.wireType) {
        reader.skip();
        count++;
      } else {
        throw reader.wrongWireType(form.wireType);
      }
    }
  }
  if (count !== expected) {
    throw invalidArgument(
      `unexpected number of elements in ${tensorLabel('inputs', index, name)}.contents.${CONTENTS.fields[form.field]}: expected ${expected} for the shape [${shape.join(',')}], got ${count}`,
    );
  }
  if (pieces === 1 && elementBytes > 0 && form.wireType !== VARINT && payload === count * elementBytes) {
    reader.start = start;
    reader.stop = start + payload;
    return reader.rangeView();
  }

  const data = Buffer.allocUnsafe(datatype === 'BYTES' ? count * LENGTH_PREFIX_BYTES + payload : count * elementBytes);
  let at = 0;
  for (let r = 0; r < ranges.length; r += 2) {
    reader.open(ranges[r]!, ranges[r + 1]!, CONTENTS);
    while (reader.next()) {
      if (reader.field !== form.field) {
        reader.skip();
        continue;
      }
      reader.uncounted();
      if (form.wireType === VARINT) at = putVarints(reader, form, index, tensor, elementBytes, data, at);
      else at = putBytes(reader, elementBytes, data, at);
    }
  }
  return data;
}

/** Bytes as they are: BYTES elements behind their length, or one or many of a fixed size. */
function putBytes(reader: ProtobufReader, elementBytes: number, data: Buffer, at: number): number {
  let start = reader.at;
  if (reader.wireType === DELIMITED) {
    reader.takeRange();
    start = reader.start;
    if (elementBytes === 0) at = data.writeUInt32LE(reader.stop - start, at);
  } else {
    reader.skip();
  }
  const { bytes, at: stop } = reader;
  if (stop - start <= 32) for (let i = start; i < stop; i++) data[at++] = bytes[i]!;
  else {
    data.set(bytes.subarray(start, stop), at);
    at += stop - start;
  }
  return at;
}

/** One element, or a packed list of them. */
function putVarints(
  reader: ProtobufReader,
  form: ContentsForm,
  index: number,
  tensor: Tensor,
  elementBytes: number,
  data: Buffer,
  to: number,
): number {
  const { bytes } = reader;
  const outerEnd = reader.end;
  let at = reader.at;
  let end = at + 1;
  if (reader.wireType === DELIMITED) {
    reader.takeRange();
    at = reader.start;
    end = reader.stop;
    reader.end = end;
  }
  const { datatype } = tensor;
  const isBool = datatype === 'BOOL';
  const { isSigned, min, max } = form;
  while (at < end) {
    let low = bytes[at]!;
    let high = 0;
    if (low < 0x80) {
      at++;
    } else if (at + 1 < end && bytes[at + 1]! < 0x80) {
      low = (low & 0x7f) | (bytes[at + 1]! << 7);
      at += 2;
    } else if (at + 2 < end && bytes[at + 2]! < 0x80) {
      low = (low & 0x7f) | ((bytes[at + 1]! & 0x7f) << 7) | (bytes[at + 2]! << 14);
      at += 3;
    } else {
      reader.at = at;
      reader.varint();
      at = reader.at;
      ({ low, high } = reader);
    }
    if (elementBytes === 8) {
      data[to] = low;
      data[to + 1] = low >>> 8;
      data[to + 2] = low >>> 16;
      data[to + 3] = low >>> 24;
      data[to + 4] = high;
      data[to + 5] = high >>> 8;
      data[to + 6] = high >>> 16;
      data[to + 7] = high >>> 24;
      to += 8;
      continue;
    }
    let value = isSigned ? low : low >>> 0;
    if (isBool) {
      // Any number but 0 is true in protobuf.
      value = low === 0 && high === 0 ? 0 : 1;
    } else if (high !== (isSigned ? low >> 31 : 0) || value < min || value > max) {
      throw outOfRange(reader, form, index, tensor, to / elementBytes, low, high);
    }
    data[to++] = value;
    if (elementBytes > 1) {
      data[to++] = value >>> 8;
      if (elementBytes > 2) {
        data[to++] = value >>> 16;
        data[to++] = value >>> 24;
      }
    }
  }
  reader.at = at;
  reader.end = outerEnd;
  return to;
}

function outOfRange(
  reader: ProtobufReader,
  form: ContentsForm,
  index: number,
  { name, datatype }: Tensor,
  element: number,
  low: number,
  high: number,
): InferenceError {
  const value = BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low >>> 0));
  return invalidArgument(
    `${tensorLabel('inputs', index, name)}.contents.${CONTENTS.fields[reader.field]}[${element}]: expected a number that ${datatype} holds, from ${form.min} to ${form.max}, got ${value}`,
  );
}

/** The varints of the range just taken. A last one that is cut is found when it is read. */
function countVarints({ bytes, start, stop }: ProtobufReader): number {
  let count = 0;
  for (let i = start; i < stop; i++) if (bytes[i]! < 0x80) count++;
  if (stop > start && bytes[stop - 1]! >= 0x80) count++;
  return count;
}

function countFixed(length: number, elementBytes: number, reader: ProtobufReader): number {
  if (length % elementBytes === 0) return length / elementBytes;
  throw invalidArgument(`${reader.where()}: a packed list of ${length} bytes, which elements of ${elementBytes} bytes do not make`);
}

function skipOther(reader: ProtobufReader, index: number, { name, datatype }: Tensor, form: ContentsForm): void {
  const { field } = reader;
  const isList = field < CONTENTS.fields.length;
  const from = reader.at;
  reader.skip();
  // An empty packed list says nothing.
  if (!isList || (reader.wireType === DELIMITED && field !== BYTES_FIELD && reader.at === from + 1)) return;
  throw invalidArgument(
    `unexpected explicit tensor data for input tensor ${tensorLabel('inputs', index, name)}: contents.${CONTENTS.fields[field]} has elements, but ${datatype} takes ${CONTENTS.fields[form.field]} alone`,
  );
}
