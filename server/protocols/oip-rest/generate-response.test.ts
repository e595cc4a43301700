import { describe, expect, it } from 'vitest';
import { encodeBytes } from '../../../proto/bytes.ts';
import type { Datatype } from '../../../proto/datatype.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { RequestParameter } from '../../inference/inference-request.ts';
import { cachedTiming, InferenceResponse } from '../../inference/inference-response.ts';
import type { ModelSignature, OutputSpec } from '../../inference/model-signature.ts';
import { GenerateEncoder, releaseGenerateEncoder } from './generate-response.ts';

function signatureOf(modelName: string, ...names: string[]): ModelSignature {
  const outputs = names.map((name): OutputSpec => ({ name, datatype: 'BYTES', byteSize: 0, dims: [1], reshape: null, labels: null }));
  return {
    modelName,
    modelVersion: '3',
    maxBatchSize: 0,
    inputs: [],
    outputs,
    inputIndex: new Map(),
    outputIndex: new Map(names.map((name, index) => [name, index])),
    requiredInputs: 0,
  };
}

const text = (name: string, ...values: string[]): Tensor => ({
  name,
  datatype: 'BYTES',
  shape: [values.length],
  data: encodeBytes(values),
});
const tensor = (name: string, datatype: Datatype, shape: number[], data: Uint8Array): Tensor => ({ name, datatype, shape, data });

function respond(outputs: readonly Tensor[], parameters: Record<string, RequestParameter> | null = null): InferenceResponse {
  return new InferenceResponse('m', '3', outputs, parameters, cachedTiming);
}

describe('GenerateEncoder', () => {
  const encoder = new GenerateEncoder(signatureOf('m', 'text_output', 'finish_reason', 'logprobs'), 'r"1');
  const json = (response: InferenceResponse, of = encoder): string => Buffer.from(of.json(response)).toString();

  it('sorts the keys and leaves out what the response does not have', () => {
    expect(json(respond([text('text_output', 'a'), text('finish_reason', 'stop')]))).toBe(
      '{"finish_reason":"stop","id":"r\\"1","model_name":"m","model_version":"3","text_output":"a"}',
    );
    expect(json(respond([text('text_output', 'a')]))).toBe('{"id":"r\\"1","model_name":"m","model_version":"3","text_output":"a"}');
    expect(json(respond([]))).toBe('{"id":"r\\"1","model_name":"m","model_version":"3"}');
  });

  it('writes one element as a scalar and any other number of them as an array', () => {
    expect(JSON.parse(json(respond([text('text_output', 'a', 'b'), text('logprobs')])))).toMatchObject({
      text_output: ['a', 'b'],
      logprobs: [],
    });
    const numbers = new GenerateEncoder(signatureOf('m', 'A', 'B', 'C'), '');
    const response = respond([
      tensor('A', 'FP32', [1, 1], new Uint8Array(Float32Array.of(0.1).buffer)),
      tensor('B', 'BOOL', [], Uint8Array.of(1)),
      tensor('C', 'FP32', [2, 1], new Uint8Array(Float32Array.of(Number.NaN, -1).buffer)),
    ]);
    expect(json(response, numbers)).toBe('{"A":0.1,"B":true,"C":["NaN",-1],"model_name":"m","model_version":"3"}');
  });

  it('puts response parameters among the keys; an output or a fixed key of that name stands', () => {
    const response = respond([text('text_output', 'é')], {
      zeta: 1.5,
      finish_reason: true,
      id: 'other',
      'a\u00e9': 'b\u{1d11e}',
      text_output: 'x',
    });
    expect(json(response)).toBe(
      '{"a\\u00e9":"b\\ud834\\udd1e","id":"r\\"1","model_name":"m","model_version":"3","text_output":"é","zeta":1.5}',
    );
  });

  it('takes names that are no ASCII, and outputs named as the fixed keys', () => {
    const odd = new GenerateEncoder(signatureOf('modèle', 'öut', 'id', 'model_name'), 'i');
    expect(json(respond([text('öut', '"'), text('id', 'mine'), text('model_name', 'too')]), odd)).toBe(
      '{"id":"mine","model_name":"too","model_version":"3","\\u00f6ut":"\\""}',
    );
    const lone = new GenerateEncoder(signatureOf('m', 'model_name', 'model_version'), '');
    expect(json(respond([]), lone)).toBe('{}');
  });

  it('frames events, and writes the next one whatever became of the one before', () => {
    expect(() => encoder.event(respond([tensor('text_output', 'BYTES', [1], Uint8Array.of(1, 0, 0, 0, 0xff))]))).toThrow(
      "output 'text_output': element 0 is not valid UTF-8, so JSON cannot carry it: use infer with binary data, or gRPC",
    );
    expect(Buffer.from(encoder.event(respond([text('text_output', 'a\n\nb')]))).toString()).toBe(
      'data: {"id":"r\\"1","model_name":"m","model_version":"3","text_output":"a\\n\\nb"}\n\n',
    );
    releaseGenerateEncoder();
    expect(Buffer.from(encoder.event(respond([text('text_output', 'x'.repeat(3_000_000))]))).length).toBeGreaterThan(3_000_000);
    releaseGenerateEncoder();
  });
});
