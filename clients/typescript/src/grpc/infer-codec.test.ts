import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { encodeBytes } from '../../../../proto/bytes.ts';
import { byteSizeOf, DATATYPES, type Datatype } from '../../../../proto/datatype.ts';
import { descriptor } from '../../../../proto/gen/descriptor.ts';
import type { InferParameter, InferRequest, InputTensor, OutputTensor, RequestedOutput } from '../transport.ts';
import { decodeInferResponse, decodeStreamResponse } from './decode-infer-response.ts';
import { encodeInferRequest } from './encode-infer-request.ts';

const root = protobuf.Root.fromJSON(descriptor).resolveAll();
const requestType = root.lookupType('inference.ModelInferRequest');
const responseType = root.lookupType('inference.ModelInferResponse');
const streamType = root.lookupType('inference.ModelStreamInferResponse');
const datatypes = Object.keys(DATATYPES) as Datatype[];

const text = fc.string({ unit: 'grapheme', maxLength: 90 });
const anyParameter: fc.Arbitrary<InferParameter> = fc.oneof(
  text,
  fc.boolean(),
  fc.maxSafeInteger(),
  fc.double({ noDefaultInfinity: true, noNaN: true }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
);
const anyParameters = fc.dictionary(text, anyParameter, { maxKeys: 4 });
const anyRange = fc.record({ region: text, byteSize: fc.maxSafeNat(), offset: fc.maxSafeNat() });

const anyTensor: fc.Arbitrary<OutputTensor & { readonly data: Uint8Array }> = fc
  .tuple(text, fc.constantFrom(...datatypes), fc.array(fc.nat(4), { maxLength: 4 }))
  .chain(([name, datatype, shape]) => {
    const count = shape.reduce((product, dim) => product * dim, 1);
    const data =
      datatype === 'BYTES'
        ? fc.array(fc.uint8Array({ maxLength: 20 }), { minLength: count, maxLength: count }).map(encodeBytes)
        : fc.uint8Array({ minLength: count * byteSizeOf(datatype), maxLength: count * byteSizeOf(datatype) });
    return data.map((bytes) => ({ name, datatype, shape, data: new Uint8Array(bytes) }));
  });
const anyInput: fc.Arbitrary<InputTensor> = fc.oneof(
  anyTensor,
  fc.tuple(anyTensor, anyRange).map(([tensor, data]) => ({ ...tensor, data })),
);
const anyOutput: fc.Arbitrary<RequestedOutput> = fc.record({
  name: text,
  binaryData: fc.boolean(),
  classification: fc.nat(1000),
  sharedMemory: fc.option(anyRange),
});
const anyRequest: fc.Arbitrary<InferRequest> = fc.record({
  modelName: text,
  modelVersion: fc.constantFrom('', '1', '12'),
  id: text,
  parameters: anyParameters,
  inputs: fc.array(anyInput, { maxLength: 3 }),
  outputs: fc.array(anyOutput, { maxLength: 3 }),
  json: fc.boolean(),
});

const plainRequest: InferRequest = { modelName: 'm', modelVersion: '', id: '', parameters: {}, inputs: [], outputs: [], json: false };

/** An InferParameter as protobufjs gives it with `longs: String`. */
function wireParameter(value: InferParameter): object {
  switch (typeof value) {
    case 'string':
      return { stringParam: value };
    case 'boolean':
      return { boolParam: value };
    case 'bigint':
      return value < 2n ** 63n ? { int64Param: String(value) } : { uint64Param: String(value) };
    default:
      return Number.isSafeInteger(value) ? { int64Param: String(value) } : { doubleParam: value };
  }
}

const wireParameters = (parameters: Readonly<Record<string, InferParameter>>): object =>
  Object.fromEntries(Object.entries(parameters).map(([key, value]) => [key, wireParameter(value)]));

const wireRange = (range: { region: string; byteSize: number; offset: number }): object =>
  wireParameters({
    shared_memory_region: range.region,
    shared_memory_byte_size: range.byteSize,
    ...(range.offset > 0 ? { shared_memory_offset: range.offset } : {}),
  });

describe('a request', () => {
  test('is read by protobufjs as what it was', () => {
    fc.assert(
      fc.property(anyRequest, fc.boolean(), (request, wantsEmptyFinal) => {
        const bytes = encodeInferRequest(request, wantsEmptyFinal);
        const read = requestType.toObject(requestType.decode(bytes), { arrays: true, objects: true, defaults: true, longs: String });
        const final = wantsEmptyFinal ? { triton_enable_empty_final_response: true } : {};
        expect(read).toEqual({
          modelName: request.modelName,
          modelVersion: request.modelVersion,
          id: request.id,
          parameters: wireParameters({ ...final, ...request.parameters }),
          inputs: request.inputs.map(({ name, datatype, shape, data }) => ({
            name,
            datatype,
            shape: shape.map(String),
            parameters: data instanceof Uint8Array ? {} : wireRange(data),
            contents: null,
          })),
          outputs: request.outputs.map(({ name, classification, sharedMemory }) => ({
            name,
            parameters: {
              ...(sharedMemory === null ? {} : wireRange(sharedMemory)),
              ...(classification > 0 ? wireParameters({ classification }) : {}),
            },
          })),
          rawInputContents: request.inputs.flatMap(({ data }) => (data instanceof Uint8Array ? [Buffer.from(data)] : [])),
        });
      }),
    );
  });

  test('refuses parameters that have no form', () => {
    const refused = (value: unknown): string => {
      try {
        encodeInferRequest({ ...plainRequest, parameters: { p: value as string } }, false);
        return 'taken';
      } catch (error) {
        return `${(error as { code: string }).code}: ${(error as Error).message}`;
      }
    };
    expect(refused(2n ** 64n)).toBe('INVALID_ARGUMENT: parameters.p: expected a whole number of 64 bits, got 18446744073709551616');
    expect(refused(-(2n ** 63n) - 1n)).toContain('INVALID_ARGUMENT');
    expect(refused(null)).toContain('got null');
    expect(refused({})).toContain('got object');
  });
});

describe('a response', () => {
  const wireOutputs = (tensors: readonly OutputTensor[]): object[] =>
    tensors.map(({ name, datatype, shape }) => ({ name, datatype, shape }));

  test('of protobufjs is read as what it was', () => {
    fc.assert(
      fc.property(text, text, anyParameters, fc.array(anyTensor, { maxLength: 3 }), (modelName, id, parameters, tensors) => {
        delete parameters['triton_final_response'];
        const wire = { modelName, modelVersion: '3', id, parameters: wireParameters(parameters), outputs: wireOutputs(tensors) };
        const bytes = responseType
          .encode(responseType.fromObject({ ...wire, rawOutputContents: tensors.map(({ data }) => data) }))
          .finish();
        const read = decodeInferResponse(bytes, plainRequest);
        expect(read).toEqual({ modelName, modelVersion: '3', id, parameters: numbersWherePossible(parameters), outputs: tensors });
      }),
    );
  });

  function numbersWherePossible(parameters: Readonly<Record<string, InferParameter>>): Record<string, InferParameter> {
    const plain = ([key, value]: [string, InferParameter]): [string, InferParameter] => [
      key,
      typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : Object.is(value, -0) ? 0 : value,
    ];
    return Object.fromEntries(Object.entries(parameters).map(plain));
  }

  const CONTENTS: Readonly<Partial<Record<Datatype, string>>> = {
    BOOL: 'boolContents',
    INT8: 'intContents',
    INT16: 'intContents',
    INT32: 'intContents',
    INT64: 'int64Contents',
    UINT8: 'uintContents',
    UINT16: 'uintContents',
    UINT32: 'uintContents',
    UINT64: 'uint64Contents',
    FP32: 'fp32Contents',
    FP64: 'fp64Contents',
    BYTES: 'bytesContents',
  };
  const samples: Readonly<Partial<Record<Datatype, { values: readonly unknown[]; data: Uint8Array }>>> = {
    BOOL: { values: [true, false, true], data: new Uint8Array([1, 0, 1]) },
    INT8: { values: [-128, 127, -1], data: bytesOf(new Int8Array([-128, 127, -1])) },
    INT16: { values: [-32768, 32767, -1], data: bytesOf(new Int16Array([-32768, 32767, -1])) },
    INT32: { values: [-(2 ** 31), 2 ** 31 - 1, 0], data: bytesOf(new Int32Array([-(2 ** 31), 2 ** 31 - 1, 0])) },
    INT64: {
      values: [(-(2n ** 63n)).toString(), '9007199254740993', '-1'],
      data: bytesOf(new BigInt64Array([-(2n ** 63n), 9007199254740993n, -1n])),
    },
    UINT8: { values: [255, 0, 7], data: new Uint8Array([255, 0, 7]) },
    UINT16: { values: [65535, 0, 7], data: bytesOf(new Uint16Array([65535, 0, 7])) },
    UINT32: { values: [2 ** 32 - 1, 0, 7], data: bytesOf(new Uint32Array([2 ** 32 - 1, 0, 7])) },
    UINT64: { values: ['18446744073709551615', '0', '9'], data: bytesOf(new BigUint64Array([2n ** 64n - 1n, 0n, 9n])) },
    FP32: { values: [1.5, Number.NaN, -0], data: bytesOf(new Float32Array([1.5, Number.NaN, -0])) },
    FP64: { values: [0.1, Number.NEGATIVE_INFINITY, 5e-324], data: bytesOf(new Float64Array([0.1, Number.NEGATIVE_INFINITY, 5e-324])) },
    BYTES: { values: [Buffer.from('a'), Buffer.alloc(0), Buffer.from('ü'.repeat(100))], data: encodeBytes(['a', '', 'ü'.repeat(100)]) },
  };

  function bytesOf(array: ArrayBufferView): Uint8Array {
    return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  }

  const typed = (datatype: Datatype, shape: readonly number[], contents: object): Uint8Array =>
    responseType.encode(responseType.fromObject({ outputs: [{ name: 'out', datatype, shape, contents }] })).finish();

  test.each(Object.keys(samples) as Datatype[])('with typed contents of %s', (datatype) => {
    const { values, data } = samples[datatype]!;
    const list = CONTENTS[datatype]!;
    const packed = typed(datatype, [3], { [list]: values });
    expect(decodeInferResponse(packed, plainRequest).outputs).toEqual([{ name: 'out', datatype, shape: [3], data: new Uint8Array(data) }]);
    expect(() => decodeInferResponse(typed(datatype, [4], { [list]: values }), plainRequest)).toThrow(/expected|room/);
    expect(() => decodeInferResponse(typed(datatype, [2], { [list]: values }), plainRequest)).toThrow(/elements/);
    const other = datatype === 'BOOL' ? 'fp32Contents' : 'boolContents';
    expect(() => decodeInferResponse(typed(datatype, [1], { [other]: [1] }), plainRequest)).toThrow(/expected .* in .*_contents, got/);
  });

  test('with typed contents one by one', () => {
    // outputs { 1 "o", 2 "INT32", 3 { 2 }, 5 { 2: 7, 2: 8 } }, where the list is not packed.
    const output = Buffer.from(`0a016f1205494e543332180${2}2a0410071008`, 'hex');
    const bytes = Buffer.concat([Buffer.from([0x2a, output.length]), output]);
    expect(decodeInferResponse(bytes, plainRequest).outputs).toEqual([
      { name: 'o', datatype: 'INT32', shape: [2], data: new Uint8Array([7, 0, 0, 0, 8, 0, 0, 0]) },
    ]);
  });

  test('whose shape is past what its contents can hold allocates nothing', () => {
    expect(() => decodeInferResponse(typed('INT64', [2 ** 39], { int64Contents: [1] }), plainRequest)).toThrow(/no room/);
  });

  test('FP16 has no typed contents', () => {
    expect(() => decodeInferResponse(typed('FP16', [1], { fp32Contents: [1] }), plainRequest)).toThrow(/FP16 has no typed contents/);
  });

  const region = { region: 'r', byteSize: 4, offset: 0 };
  const shared: InferRequest = { ...plainRequest, outputs: [{ name: 'b', binaryData: true, classification: 0, sharedMemory: region }] };
  const two = [
    { name: 'a', datatype: 'UINT8', shape: [1] },
    { name: 'b', datatype: 'UINT8', shape: [4] },
  ];

  test.each([
    ['an empty entry for it', [Buffer.from([9]), Buffer.alloc(0)]],
    ['no entry for it', [Buffer.from([9])]],
  ])('an output in shared memory, with %s, has no data', (_case, rawOutputContents) => {
    const bytes = responseType.encode(responseType.fromObject({ outputs: two, rawOutputContents })).finish();
    expect(decodeInferResponse(bytes, shared).outputs).toEqual([
      { name: 'a', datatype: 'UINT8', shape: [1], data: new Uint8Array([9]) },
      { name: 'b', datatype: 'UINT8', shape: [4], data: null },
    ]);
  });

  test.each([
    ['fewer raw contents than outputs', { outputs: two, rawOutputContents: [Buffer.from([1])] }, /outputs\.b has no bytes/],
    [
      'more of them',
      { outputs: two, rawOutputContents: [Buffer.from([1]), Buffer.alloc(4), Buffer.alloc(1)] },
      /3 raw_output_contents for 2/,
    ],
    ['bytes that are not the shape’s', { outputs: [two[0]], rawOutputContents: [Buffer.alloc(2)] }, /expected 1 bytes .* got 2/],
    [
      'a datatype of a newer server',
      { outputs: [{ name: 'x', datatype: 'FP8', shape: [1] }], rawOutputContents: [Buffer.alloc(1)] },
      /"FP8"/,
    ],
    ['a negative shape', { outputs: [{ name: 'x', datatype: 'INT8', shape: [-1] }], rawOutputContents: [Buffer.alloc(1)] }, /shape/],
  ])('with %s is INTERNAL', (_case, value, message) => {
    const bytes = responseType.encode(responseType.fromObject(value)).finish();
    expect(() => decodeInferResponse(bytes, plainRequest)).toThrow(
      expect.objectContaining({ code: 'INTERNAL', message: expect.stringMatching(message) }),
    );
  });

  test('made of any bytes is a response or INTERNAL', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (bytes, isStream) => {
        try {
          if (isStream) decodeStreamResponse(bytes, plainRequest);
          else decodeInferResponse(bytes, plainRequest);
        } catch (error) {
          expect(['INTERNAL', 'UNKNOWN']).toContain((error as { code: string }).code);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('of a stream: what it says of its end, and errors', () => {
    const encode = (value: object): Uint8Array => streamType.encode(streamType.fromObject(value)).finish();
    const response = (flag: boolean | null): object => ({
      inferResponse: {
        id: 'x',
        parameters: flag === null ? { n: { int64Param: 1 } } : { n: { int64Param: 1 }, triton_final_response: { boolParam: flag } },
      },
    });
    for (const flag of [true, false, null]) {
      const read = decodeStreamResponse(encode(response(flag)), plainRequest);
      expect(read.isFinal).toBe(flag);
      expect(read.response).toEqual({ modelName: '', modelVersion: '', id: 'x', parameters: { n: 1 }, outputs: [] });
    }
    expect(() => decodeStreamResponse(encode({ errorMessage: 'no such model', inferResponse: { id: 'x' } }), plainRequest)).toThrow(
      expect.objectContaining({ code: 'UNKNOWN', message: 'no such model', phase: 'answered', status: 0 }),
    );
    for (const [stringParam, code, phase] of [
      ['NOT_FOUND', 'NOT_FOUND', 'answered'],
      ['UNAVAILABLE', 'UNAVAILABLE', 'refused'],
      ['toString', 'UNKNOWN', 'answered'],
    ]) {
      const failed = { errorMessage: 'no such model', inferResponse: { id: 'x', parameters: { error_code: { stringParam } } } };
      expect(() => decodeStreamResponse(encode(failed), plainRequest)).toThrow(expect.objectContaining({ code, phase }));
    }
  });
});
