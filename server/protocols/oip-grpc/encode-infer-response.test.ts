import fc from 'fast-check';
import protobuf from 'protobufjs/light.js';
import { describe, expect, it } from 'vitest';
import { decodeBytes } from '../../../proto/bytes.ts';
import { byteSizeOf, DATATYPES, type Datatype } from '../../../proto/datatype.ts';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { InferenceRequest, type RequestedOutput, type RequestParameter } from '../../inference/inference-request.ts';
import { InferenceResponse } from '../../inference/inference-response.ts';
import {
  encodeEmptyFinalResponse,
  encodeInferResponse,
  encodeStreamFailure,
  encodeStreamRefusal,
  type ResponseForm,
} from './encode-infer-response.ts';

const root = protobuf.Root.fromJSON(descriptor).resolveAll();
const responseType = root.lookupType('inference.ModelInferResponse');
const streamType = root.lookupType('inference.ModelStreamInferResponse');
const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
const source = { maxBatchSize: 4, outputs: [{ name: 'Y', labels: ['cat', 'dog'] }] };

function request(id: string, outputs: readonly RequestedOutput[] = []): InferenceRequest {
  const caller = { onResponse: () => undefined, onComplete: () => undefined, onError: () => undefined };
  return new InferenceRequest({
    modelName: 'm',
    modelVersion: '',
    id,
    inputs: [],
    outputs,
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller,
  });
}

function response(outputs: readonly Tensor[], parameters: Readonly<Record<string, RequestParameter>> | null = null): InferenceResponse {
  return new InferenceResponse('modèle', '3', outputs, parameters, timing);
}

interface DecodedResponse {
  modelName: string;
  modelVersion: string;
  id: string;
  parameters: Record<string, object>;
  outputs: { name: string; datatype: string; shape: number[]; parameters: object; contents: object | null }[];
  rawOutputContents: Uint8Array[];
}

const options = { defaults: true, arrays: true, objects: true, longs: Number, enums: String } as const;
/** As protobufjs reads it; `verify` is the length: nothing may be left over. */
function decode(message: Uint8Array): DecodedResponse {
  return responseType.toObject(responseType.decode(message), options) as DecodedResponse;
}

function decodeStream(message: Uint8Array): { errorMessage: string; inferResponse: DecodedResponse } {
  return streamType.toObject(streamType.decode(message), options) as { errorMessage: string; inferResponse: DecodedResponse };
}

const parameter = fc.oneof(
  fc.boolean(),
  fc.string({ unit: 'grapheme' }),
  fc.maxSafeInteger(),
  fc.double({ noNaN: true }).filter((value) => !Number.isInteger(value) || Object.is(value, -0)),
);
const tensor = fc
  .record({
    name: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 80 }),
    datatype: fc.constantFrom(...(Object.keys(DATATYPES) as Datatype[])),
    shape: fc.array(fc.nat(5), { maxLength: 4 }),
    fill: fc.nat(255),
  })
  .map(({ name, datatype, shape, fill }): Tensor => {
    const count = shape.reduce((product, dim) => product * dim, 1);
    return { name, datatype, shape, data: new Uint8Array(count * Math.max(1, byteSizeOf(datatype))).fill(fill) };
  });

describe('an infer response', () => {
  it('is read by protobufjs as it was meant, in every form', () => {
    const model = fc.record({
      id: fc.string({ unit: 'grapheme' }),
      outputs: fc.array(tensor, { maxLength: 5 }),
      parameters: fc.option(
        fc.dictionary(
          fc.string().filter((key) => key !== '__proto__'),
          parameter,
          { maxKeys: 4, noNullPrototype: true },
        ),
      ),
      form: fc.constantFrom<ResponseForm>('unary', 'streamed', 'streamed-final'),
    });
    fc.assert(
      fc.property(model, ({ id, outputs, parameters, form }) => {
        const message = encodeInferResponse(request(id), response(outputs, parameters), source, form);
        const decoded = form === 'unary' ? decode(message) : decodeStream(message).inferResponse;
        const expected: Record<string, object> = {};
        for (const [key, value] of Object.entries(parameters ?? {})) {
          if (typeof value === 'boolean') expected[key] = { boolParam: value };
          else if (typeof value === 'string') expected[key] = { stringParam: value };
          else expected[key] = Number.isInteger(value) && !Object.is(value, -0) ? { int64Param: value } : { doubleParam: value };
        }
        if (form !== 'unary') expected['triton_final_response'] = { boolParam: form === 'streamed-final' };
        expect({ ...decoded, rawOutputContents: decoded.rawOutputContents.map((raw) => [...raw]) }).toEqual({
          modelName: 'modèle',
          modelVersion: '3',
          id,
          parameters: expected,
          outputs: outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape, parameters: {}, contents: null })),
          rawOutputContents: outputs.map(({ data }) => [...data]),
        });
      }),
      { numRuns: 500 },
    );
  });

  it('holds copies: the model takes its memory back', () => {
    const data = Uint8Array.of(1, 2, 3, 4);
    const message = encodeInferResponse(request(''), response([{ name: 'Y', datatype: 'INT32', shape: [1], data }]), source, 'unary');
    data.fill(9);
    expect([...decode(message).rawOutputContents[0]!]).toEqual([1, 2, 3, 4]);
  });

  it('of large dimensions and a large tensor', () => {
    const data = new Uint8Array(600_000).map((_, i) => i);
    const message = encodeInferResponse(
      request(''),
      response([{ name: 'Y', datatype: 'UINT8', shape: [1, 600_000], data }]),
      source,
      'unary',
    );
    const { outputs, rawOutputContents } = decode(message);
    expect(outputs[0]!.shape).toEqual([1, 600_000]);
    expect(Buffer.compare(rawOutputContents[0]!, data)).toBe(0);
  });

  it('has classes where they are asked for', () => {
    const data = new Uint8Array(Float32Array.of(0.5, 2, 7, -1).buffer);
    const outputs: Tensor[] = [
      { name: 'X', datatype: 'UINT8', shape: [2], data: Uint8Array.of(1, 2) },
      { name: 'Y', datatype: 'FP32', shape: [2, 2], data },
    ];
    const asked = [
      { name: 'X', classification: 0, binaryData: true },
      { name: 'Y', classification: 1, binaryData: true },
    ];
    const decoded = decode(encodeInferResponse(request('', asked), response(outputs), source, 'unary'));
    expect(decoded.outputs.map(({ datatype, shape }) => [datatype, shape])).toEqual([
      ['UINT8', [2]],
      ['BYTES', [2, 1]],
    ]);
    expect(decodeBytes(decoded.rawOutputContents[1]!, 'Y').map((text) => Buffer.from(text).toString())).toEqual([
      '2.000000:1:dog',
      '7.000000:0:cat',
    ]);
    const impossible = [{ name: 'Y', classification: 1, binaryData: true }];
    expect(() =>
      encodeInferResponse(request('', impossible), response([{ name: 'Y', datatype: 'BOOL', shape: [1, 1], data }]), source, 'unary'),
    ).toThrow(/class result not available/);
  });
});

describe('what else a stream says', () => {
  const nothing = { parameters: {}, outputs: [], rawOutputContents: [] };

  it('a refusal has the id and the code', () => {
    expect(decodeStream(encodeStreamRefusal(new InferenceError('UNAVAILABLE', 'naïve'), 'r1'))).toEqual({
      errorMessage: 'naïve',
      inferResponse: { ...nothing, modelName: '', modelVersion: '', id: 'r1', parameters: { error_code: { stringParam: 'UNAVAILABLE' } } },
    });
  });

  it('a failure names the model too, and is final', () => {
    expect(decodeStream(encodeStreamFailure(new InferenceError('INTERNAL', 'x'.repeat(300)), 'm', '3', ''))).toEqual({
      errorMessage: 'x'.repeat(300),
      inferResponse: {
        ...nothing,
        modelName: 'm',
        modelVersion: '3',
        id: '',
        parameters: { error_code: { stringParam: 'INTERNAL' }, triton_final_response: { boolParam: true } },
      },
    });
  });

  it("an empty final response has the request's own names", () => {
    expect(decodeStream(encodeEmptyFinalResponse('m', '', 'r2'))).toEqual({
      errorMessage: '',
      inferResponse: { ...nothing, modelName: 'm', modelVersion: '', id: 'r2', parameters: { triton_final_response: { boolParam: true } } },
    });
  });
});
