import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeBytes } from '../../../proto/bytes.ts';
import { byteSizeOf, DATATYPES, type Datatype } from '../../../proto/datatype.ts';
import { CallError } from './call-error.ts';
import { decodeV2Response } from './decode-v2-response.ts';
import { encodeV2Request } from './encode-v2-request.ts';
import { InferResult } from './infer-result.ts';
import { type ExactJson, parseExactJson } from './parse-exact-json.ts';
import type { InferRequest, InputTensor } from './transport.ts';

const datatypes = Object.keys(DATATYPES) as Datatype[];
const none = new Uint8Array(0);
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

const tensor: fc.Arbitrary<InputTensor & { data: Uint8Array }> = fc
  .record({ name: fc.string({ minLength: 1, maxLength: 8 }), datatype: fc.constantFrom(...datatypes), rows: fc.nat(4), columns: fc.nat(4) })
  .chain(({ name, datatype, rows, columns }) => {
    const count = rows * columns;
    const size = byteSizeOf(datatype);
    const data =
      datatype === 'BYTES'
        ? fc
            .array(fc.string({ unit: 'grapheme', maxLength: 6 }), { minLength: count, maxLength: count })
            .map((elements) => encodeBytes(elements))
        : fc
            .uint8Array({ minLength: count * size, maxLength: count * size })
            // BOOL is 0 or 1; and a NaN's payload is no value, so none of them here.
            .map((bytes) =>
              bytes.map((byte, i) => (datatype === 'BOOL' ? byte & 1 : isFloat(datatype) && i % size === size - 1 ? byte & 0x3f : byte)),
            );
    return data.map((bytes) => ({ name, datatype, shape: [rows, columns], data: bytes }));
  });

function isFloat(datatype: Datatype): boolean {
  return datatype.startsWith('FP') || datatype === 'BF16';
}

const request = (inputs: readonly InputTensor[], more: Partial<InferRequest> = {}): InferRequest => ({
  modelName: 'm',
  modelVersion: '',
  id: '',
  parameters: {},
  inputs,
  outputs: [],
  json: false,
  ...more,
});

/** A server that gives every input back, as it came. */
function echo(header: Uint8Array, tail: readonly Uint8Array[]): ReturnType<typeof decodeV2Response> {
  const body = parseExactJson(text(header)) as { inputs: ExactJson[] };
  const answer = text(header).replace('"inputs":', '"outputs":').replace(/^\{/, '{"model_name":"m","model_version":"1",');
  expect(body.inputs).toBeInstanceOf(Array);
  return decodeV2Response(answer, Buffer.concat(tail));
}

describe('requests and answers in the JSON form of the protocol', () => {
  it.each([false, true])('every tensor reads back exactly, json: %s', (json) => {
    fc.assert(
      fc.property(fc.array(tensor, { minLength: 1, maxLength: 4 }), (inputs) => {
        const { header, tail } = encodeV2Request(request(inputs, { json }));
        expect(json ? tail.length : 0).toBe(0);
        const response = echo(header, tail);
        expect(response.outputs.map(({ data, ...rest }) => ({ ...rest, data: [...data!] }))).toEqual(
          inputs.map(({ data, ...rest }) => ({ ...rest, data: [...data] })),
        );
      }),
      { numRuns: 300 },
    );
  });

  it('says what was asked, and nothing else', () => {
    const input: InputTensor = { name: 'a', datatype: 'INT8', shape: [2], data: Uint8Array.of(1, 255) };
    const bare = encodeV2Request(request([input]));
    expect(text(bare.header)).toBe(
      '{"parameters":{"binary_data_output":true},"inputs":[{"name":"a","datatype":"INT8","shape":[2],"parameters":{"binary_data_size":2}}]}',
    );
    const full = encodeV2Request(
      request([input, { name: 'b', datatype: 'FP32', shape: [1], data: { region: 'r', byteSize: 4, offset: 8 } }], {
        id: 'i',
        json: true,
        parameters: { sequence_id: 2n ** 64n - 1n, flag: true, share: 0.5, word: 'x"y' },
        outputs: [
          { name: 'o', binaryData: false, classification: 3, sharedMemory: null },
          { name: 'p', binaryData: true, classification: 0, sharedMemory: null },
          { name: 'q', binaryData: false, classification: 0, sharedMemory: { region: 's', byteSize: 9, offset: 0 } },
        ],
      }),
      { model_name: 'm' },
    );
    expect(text(full.header)).toBe(
      '{"model_name":"m","id":"i","parameters":{"sequence_id":18446744073709551615,"flag":true,"share":0.5,"word":"x\\"y"},"inputs":[{"name":"a","datatype":"INT8","shape":[2],"data":[1,-1]},{"name":"b","datatype":"FP32","shape":[1],"parameters":{"shared_memory_region":"r","shared_memory_byte_size":4,"shared_memory_offset":8}}],"outputs":[{"name":"o","parameters":{"classification":3}},{"name":"p","parameters":{"binary_data":true}},{"name":"q","parameters":{"shared_memory_region":"s","shared_memory_byte_size":9}}]}',
    );
  });

  it('refuses a parameter that JSON has no form for', () => {
    expect(() => encodeV2Request(request([], { parameters: { share: Number.NaN } }))).toThrow('parameters.share: expected a string');
  });

  it('reads special numbers as Triton and as Nereid write them, 64-bit integers in full, nested data, null in shared memory', () => {
    const { outputs, parameters, id } = decodeV2Response(
      '{"id":"7","model_name":"m","model_version":"3","parameters":{"big":9007199254740993},"outputs":[' +
        '{"name":"f","datatype":"FP32","shape":[2,3],"data":[[NaN,Infinity,-Infinity],["NaN","Infinity","-Infinity"]]},' +
        '{"name":"i","datatype":"INT64","shape":[2],"data":[9223372036854775807,-9223372036854775808]},' +
        '{"name":"s","datatype":"FP32","shape":[2]}]}',
      none,
    );
    const result = new InferResult({ modelName: 'm', modelVersion: '3', id, parameters, outputs });
    const n = Number.NaN;
    const y = Number.POSITIVE_INFINITY;
    expect(result.output('f').data).toEqual(Float32Array.of(n, y, -y, n, y, -y));
    expect(result.output('i').data).toEqual(BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n)));
    expect(result.parameters['big']).toBe(9007199254740993n);
    expect(() => result.output('s').data).toThrow('outputs.s was written to shared memory');
    expect(() => result.output('ff')).toThrow("no output 'ff' in the answer, which has f, i, s");
    const plain = decodeV2Response('{"outputs":[{"name":"i","datatype":"UINT64","shape":[1],"data":[18446744073709551615]}]}', none);
    expect(new InferResult(plain).output('i').data).toEqual(BigUint64Array.of(2n ** 64n - 1n));
  });

  it.each([
    ['no JSON', '{', none],
    ['a list', '[]', none],
    ['no outputs', '{}', none],
    ['an unknown datatype', '{"outputs":[{"name":"a","datatype":"FP8","shape":[1],"data":[1]}]}', none],
    ['a shape of words', '{"outputs":[{"name":"a","datatype":"FP32","shape":["1"],"data":[1]}]}', none],
    ['a negative dimension', '{"outputs":[{"name":"a","datatype":"FP32","shape":[-1],"data":[1]}]}', none],
    ['too little data', '{"outputs":[{"name":"a","datatype":"FP32","shape":[2],"data":[1]}]}', none],
    ['data past its range', '{"outputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[128]}]}', none],
    [
      'more bytes than came',
      '{"outputs":[{"name":"a","datatype":"INT8","shape":[2],"parameters":{"binary_data_size":2}}]}',
      Uint8Array.of(1),
    ],
    [
      'bytes left over',
      '{"outputs":[{"name":"a","datatype":"INT8","shape":[1],"parameters":{"binary_data_size":1}}]}',
      Uint8Array.of(1, 2),
    ],
    ['a size that is none', '{"outputs":[{"name":"a","datatype":"INT8","shape":[1],"parameters":{"binary_data_size":-1}}]}', none],
    [
      'a cut string',
      '{"outputs":[{"name":"a","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}',
      Uint8Array.of(2, 0, 0, 0, 65),
    ],
    [
      'too many strings',
      '{"outputs":[{"name":"a","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":8}}]}',
      new Uint8Array(8),
    ],
    ['depth without end', '['.repeat(100_000), none],
  ])('an answer with %s is INTERNAL', (_, json, tail) => {
    expect(() => decodeV2Response(json, tail)).toThrow(CallError);
    expect(() => decodeV2Response(json, tail)).toThrow(expect.objectContaining({ code: 'INTERNAL', phase: 'answered' }));
  });

  it('damaged answers are read or refused, never anything else', () => {
    const good =
      '{"model_name":"m","outputs":[{"name":"a","datatype":"INT64","shape":[1],"data":[9223372036854775807]},{"name":"b","datatype":"FP32","shape":[1],"data":[NaN]}]}';
    fc.assert(
      fc.property(fc.nat(good.length), fc.nat(8), fc.string({ maxLength: 4 }), (at, cut, put) => {
        try {
          decodeV2Response(good.slice(0, at) + put + good.slice(at + cut), none);
        } catch (error) {
          expect(error).toBeInstanceOf(CallError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('the exact parser reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.json(), (json) => {
        expect(JSON.stringify(parseExactJson(json), (_, value) => (typeof value === 'bigint' ? Number(value) : value))).toBe(
          JSON.stringify(JSON.parse(json)),
        );
      }),
    );
  });
});
