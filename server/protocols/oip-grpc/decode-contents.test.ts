import fc from 'fast-check';
import protobuf from 'protobufjs/light.js';
import { describe, expect, it } from 'vitest';
import { encodeBytes } from '../../../proto/bytes.ts';
import type { Datatype } from '../../../proto/datatype.ts';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { InferTarget } from '../oip-json/decode-request.ts';
import { InferRequestMessage } from './decode-infer-request.ts';

const requestType = protobuf.Root.fromJSON(descriptor).resolveAll().lookupType('inference.ModelInferRequest');
const caller = { onResponse: () => undefined, onComplete: () => undefined, onError: () => undefined };
const target: InferTarget = {
  modelName: 'm',
  modelVersion: '3',
  maxBatchSize: 0,
  inputs: [
    { name: 'INPUT0', datatype: 'INT32', dims: [-1] },
    { name: 'INPUT1', datatype: 'FP32', dims: [-1] },
  ],
  outputs: [{ name: 'OUTPUT0' }],
};

/** The message as protobufjs makes it of plain objects (64-bit numbers as decimal text). */
function encode(request: object): Buffer {
  return Buffer.from(requestType.encode(requestType.fromObject(request)).finish());
}

function open(bytes: Uint8Array): InferRequestMessage {
  const message = new InferRequestMessage(bytes);
  message.open();
  return message;
}

function decode(request: object): InferenceRequest {
  return open(encode(request)).decode(target, caller);
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof InferenceError) return `${error.code}: ${error.message}`;
    throw error;
  }
  throw new Error('was not refused');
}

type Values = readonly (number | bigint | boolean | Uint8Array)[];

/** A datatype's values, the field that carries them, and their bytes in a tensor. */
interface Form {
  readonly field: string;
  readonly id: number;
  readonly value: fc.Arbitrary<number | bigint | boolean | Uint8Array>;
  bytes(values: Values): Uint8Array;
  write(writer: protobuf.Writer, value: unknown): protobuf.Writer;
}

const bytesOf = (array: { buffer: ArrayBufferLike }): Uint8Array => new Uint8Array(array.buffer as ArrayBuffer);
/** protobufjs takes 64-bit numbers as decimal text. */
const long = (value: unknown): string => String(BigInt.asIntN(64, value as bigint));
const FORMS: Partial<Record<Datatype, Form>> = {
  BOOL: {
    field: 'boolContents',
    id: 1,
    value: fc.boolean(),
    bytes: (values) => Uint8Array.from(values as number[], Number),
    write: (writer, value) => writer.bool(value as boolean),
  },
  ...Object.fromEntries(
    (
      [
        ['INT8', Int8Array, -128, 127],
        ['INT16', Int16Array, -32768, 32767],
        ['INT32', Int32Array, -2147483648, 2147483647],
        ['UINT8', Uint8Array, 0, 255],
        ['UINT16', Uint16Array, 0, 65535],
        ['UINT32', Uint32Array, 0, 4294967295],
      ] as const
    ).map(([datatype, array, min, max]): [string, Form] => [
      datatype,
      {
        field: min < 0 ? 'intContents' : 'uintContents',
        id: min < 0 ? 2 : 4,
        value: fc.oneof(
          fc.maxSafeNat().map((n) => min + (n % (max - min + 1))),
          fc.constantFrom(min, max, 0),
        ),
        bytes: (values) => bytesOf(array.from(values as number[])),
        write: (writer, value) => (min < 0 ? writer.int32(value as number) : writer.uint32(value as number)),
      },
    ]),
  ),
  INT64: {
    field: 'int64Contents',
    id: 3,
    value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    bytes: (values) => bytesOf(BigInt64Array.from(values as bigint[])),
    write: (writer, value) => writer.int64(long(value)),
  },
  UINT64: {
    field: 'uint64Contents',
    id: 5,
    value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    bytes: (values) => bytesOf(BigUint64Array.from(values as bigint[])),
    write: (writer, value) => writer.int64(long(value)),
  },
  FP32: {
    field: 'fp32Contents',
    id: 6,
    value: fc.float(),
    bytes: (values) => bytesOf(Float32Array.from(values as number[])),
    write: (writer, value) => writer.float(value as number),
  },
  FP64: {
    field: 'fp64Contents',
    id: 7,
    value: fc.double(),
    bytes: (values) => bytesOf(Float64Array.from(values as number[])),
    write: (writer, value) => writer.double(value as number),
  },
  BYTES: {
    field: 'bytesContents',
    id: 8,
    value: fc.uint8Array({ maxLength: 60 }),
    bytes: (values) => encodeBytes(values as Uint8Array[]),
    write: (writer, value) => writer.bytes(value as Uint8Array),
  },
};
const wireTypeOf = (datatype: string): number => (datatype === 'FP32' ? 5 : datatype === 'FP64' ? 1 : datatype === 'BYTES' ? 2 : 0);

const typedTensor = fc.constantFrom(...(Object.keys(FORMS) as Datatype[])).chain((datatype) => {
  const form = FORMS[datatype]!;
  return fc.array(form.value, { maxLength: 20 }).map((values) => ({ datatype, form, values: values as Values }));
});

/** `contents` with its list packed, one by one, or as some of both in two messages. */
function writeContents(form: Form, datatype: string, values: Values, style: 'packed' | 'unpacked' | 'mixed'): Uint8Array[] {
  const packed = (some: Values): Uint8Array => {
    if (datatype === 'BYTES') return unpacked(some);
    const writer = protobuf.Writer.create().uint32((form.id << 3) | 2);
    writer.fork();
    for (const value of some) form.write(writer, value);
    return writer.ldelim().finish();
  };
  const unpacked = (some: Values): Uint8Array => {
    const writer = protobuf.Writer.create();
    for (const value of some) form.write(writer.uint32((form.id << 3) | wireTypeOf(datatype)), value);
    return writer.finish();
  };
  if (style === 'packed') return [packed(values)];
  if (style === 'unpacked') return [unpacked(values)];
  const half = values.length >> 1;
  return [packed(values.slice(0, half)), Buffer.concat([unpacked(values.slice(half)), unknownField])];
}
const unknownField = Buffer.from([0xfa, 0x01, 3, 1, 2, 3]);

function writeInput(name: string, datatype: string, shape: readonly number[], contents: readonly Uint8Array[]): Uint8Array {
  const writer = protobuf.Writer.create();
  for (const one of contents) writer.uint32((5 << 3) | 2).bytes(one);
  writer.uint32((1 << 3) | 2).string(name);
  writer.uint32((2 << 3) | 2).string(datatype);
  for (const dim of shape) writer.uint32(3 << 3).int64(dim);
  return writer.finish();
}

describe('typed contents', () => {
  it('are the tensor, however the list is laid out', () => {
    fc.assert(
      fc.property(
        typedTensor,
        fc.constantFrom('packed' as const, 'unpacked' as const, 'mixed' as const),
        ({ datatype, form, values }, style) => {
          const contents = writeContents(form, datatype, values, style);
          const input = writeInput('X', datatype, [values.length], contents);
          const request = open(
            protobuf.Writer.create()
              .uint32((5 << 3) | 2)
              .bytes(input)
              .finish(),
          ).decode(target, caller);
          const tensor = request.inputs[0]!;
          expect({ ...tensor, data: [...tensor.data] }).toEqual({
            name: 'X',
            datatype,
            shape: [values.length],
            data: [...form.bytes(values)],
          });
        },
      ),
      { numRuns: 500 },
    );
  });

  it('of FP32 and FP64, packed, are views of the message', () => {
    const message = encode({ inputs: [{ name: 'A', datatype: 'FP32', shape: [2], contents: { fp32Contents: [1, 2] } }] });
    const { data } = open(message).decode(target, caller).inputs[0]!;
    expect([...new Float32Array(data.slice().buffer)]).toEqual([1, 2]);
    message.fill(0, message.length - 8);
    expect([...data]).toEqual(new Array(8).fill(0));
  });

  const input = (datatype: string, shape: readonly number[], contents: object): object => ({
    inputs: [{ name: 'X', datatype, shape, contents }],
  });
  it.each<[string, object, RegExp]>([
    [
      'INT8',
      input('INT8', [2], { intContents: [1, 128] }),
      /int_contents\[1\]: expected a number that INT8 holds, from -128 to 127, got 128/,
    ],
    ['INT16', input('INT16', [1], { intContents: [-32769] }), /got -32769/],
    ['UINT8', input('UINT8', [1], { uintContents: [256] }), /from 0 to 255, got 256/],
    ['UINT16', input('UINT16', [1], { uintContents: [65536] }), /got 65536/],
    ['FP16', input('FP16', [1], { fp32Contents: [1] }), /FP16 has no list there: send the tensor's bytes in raw_input_contents/],
    ['BF16', input('BF16', [0], {}), /BF16 has no list/],
    ['the list of another datatype', input('INT32', [1], { fp32Contents: [1] }), /unexpected explicit tensor data .* int_contents alone/],
    [
      'two lists',
      input('INT32', [1], { intContents: [1], int64Contents: [1] }),
      /unexpected explicit tensor data .*contents\.int64_contents has elements/,
    ],
    ['too few elements', input('FP32', [2, 2], { fp32Contents: [1, 2, 3] }), /expected 4 for the shape \[2,2\], got 3/],
    ['too many elements', input('BYTES', [1], { bytesContents: [[1], [2]] }), /bytes_contents: expected 1 .* got 2/],
    ['no elements', input('INT64', [1], {}), /int64_contents: expected 1 .* got 0/],
    ['a shape of all the memory there is', input('UINT8', [1_000_000, 1_000_000, 2], { uintContents: [1] }), /byte size overflow/],
    ['a shape that only elements would prove', input('UINT8', [1_000_000_000], { uintContents: [1] }), /expected 1000000000 .* got 1/],
  ])('refuses %s', (_what, request, text) => {
    const message = refusal(() => decode(request));
    expect(message).toMatch(/^INVALID_ARGUMENT: /);
    expect(message).toMatch(text);
  });

  it('refuses an int_contents element that is no 32-bit number, and a packed list that its elements do not fill', () => {
    const withContents = (bytes: number[], datatype: string): (() => unknown) => {
      const inputMessage = writeInput('X', datatype, [1], [Uint8Array.from(bytes)]);
      return () => open(protobuf.Writer.create().uint32(42).bytes(inputMessage).finish()).decode(target, caller);
    };
    expect(refusal(withContents([0x10, 0xff, 0xff, 0xff, 0xff, 0x0f], 'INT32'))).toMatch(/INT32 holds, .* got 4294967295/);
    expect(refusal(withContents([0x32, 3, 1, 2, 3], 'FP32'))).toMatch(/fp32_contents: a packed list of 3 bytes/);
    expect(refusal(withContents([0x12, 2, 0x80, 0x80], 'INT32'))).toMatch(/a varint that the end/);
    expect(refusal(withContents([0x11, 1, 2, 3, 4, 5, 6, 7, 8], 'INT32'))).toMatch(/expected wire type varint, got 64-bit/);
  });

  it('takes any BOOL but 0 for true, as protobuf does', () => {
    const inputMessage = writeInput('X', 'BOOL', [4], [Uint8Array.from([0x0a, 5, 0, 2, 0x80, 1, 1])]);
    const { data } = open(protobuf.Writer.create().uint32(42).bytes(inputMessage).finish()).decode(target, caller).inputs[0]!;
    expect([...data]).toEqual([0, 1, 1, 1]);
  });
});
