import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Tensor } from '../../../proto/tensor.ts';
import { type InferenceCaller, InferenceRequest, type RequestedOutput, type RequestParameter } from '../../inference/inference-request.ts';
import { InferenceResponse } from '../../inference/inference-response.ts';
import { decodeInferRequest, type InferTarget } from './decode-request.ts';
import { type AnswerSource, encodeInference, releaseEncoder } from './encode-response.ts';

const caller: InferenceCaller = { onResponse: () => undefined, onComplete: () => undefined, onError: () => undefined };

/** A model version of its own: what is remembered is remembered for it. */
const newTarget = (): InferTarget => ({
  modelName: 'm',
  modelVersion: '1',
  maxBatchSize: 0,
  inputs: [
    { name: 'A', datatype: 'INT32', dims: [-1] },
    { name: 'B', datatype: 'BYTES', dims: [-1] },
  ],
  outputs: [{ name: 'Y' }, { name: 'Z' }],
});

const decode = (json: string, tail: Uint8Array, target: InferTarget): InferenceRequest =>
  decodeInferRequest(Buffer.concat([Buffer.from(json), tail]), String(Buffer.byteLength(json)), target, caller);

function headerOf(sizes: readonly number[], more: Record<string, unknown> = {}): string {
  const inputs = sizes.map((size, i) => ({ name: 'AB'[i], datatype: 'UINT8', shape: [size], parameters: { binary_data_size: size } }));
  return JSON.stringify({ ...more, inputs });
}

/** What the rest of the server sees of a request. */
const seen = ({ id, inputs, outputs, parameters, priority, timeoutUs, sequence, modelName, modelVersion }: InferenceRequest) => ({
  id,
  inputs: inputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, data: [...data] })),
  outputs,
  parameters: { ...parameters },
  priority,
  timeoutUs,
  sequence,
  modelName,
  modelVersion,
});

describe('headers of binary requests', () => {
  const bodies = fc.record({
    sizes: fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 2 }),
    more: fc.constantFrom(
      {},
      { id: 'a' },
      { id: 'another' },
      { id: 'é' },
      { id: '"quoted"' },
      { id: 'x'.repeat(70) },
      { parameters: { binary_data_output: true }, id: 'b' },
      { parameters: { binary_data_output: true }, id: '' },
      { parameters: { binary_data_output: true } },
      { parameters: { priority: 2, timeout: 9, colour: 'red' } },
      { parameters: { sequence_id: 7, sequence_start: true } },
      { outputs: [{ name: 'Z', parameters: { binary_data: true } }] },
      { outputs: [{ name: 'Y', parameters: { classification: 2 } }] },
    ),
    fill: fc.integer({ min: 0, max: 255 }),
  });

  test('whatever came before, a request is what it is for a version that nothing was asked of yet', () => {
    fc.assert(
      fc.property(fc.array(bodies, { minLength: 1, maxLength: 30 }), (requests) => {
        const target = newTarget();
        for (const { sizes, more, fill } of requests) {
          const tail = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0)).fill(fill);
          const json = headerOf(sizes, more);
          expect(seen(decode(json, tail, target))).toEqual(seen(decode(json, tail, newTarget())));
        }
      }),
      { numRuns: 500 },
    );
  });

  test('whatever byte stands in the id of a known header, it is read, or refused, as the first time', () => {
    const target = newTarget();
    const json = (id: string): Buffer => Buffer.from(headerOf([2], { id }), 'latin1');
    const at = json('aXb').indexOf('X');
    const outcome = (body: Buffer, of: InferTarget): unknown => {
      try {
        return seen(decodeInferRequest(body, String(body.length - 2), of, caller));
      } catch (error) {
        return String(error);
      }
    };
    for (let byte = 0; byte < 256; byte++) {
      const body = Buffer.concat([json('aXb'), Uint8Array.of(1, 2)]);
      decodeInferRequest(body, String(body.length - 2), target, caller);
      const changed = Buffer.from(body);
      changed[at] = byte;
      expect(outcome(changed, target)).toEqual(outcome(changed, newTarget()));
    }
  });

  test('a known header before too few or too many bytes is refused as the first time', () => {
    const target = newTarget();
    const json = headerOf([4, 4]);
    decode(json, new Uint8Array(8), target);
    decode(json, new Uint8Array(8), target);
    expect(() => decode(json, new Uint8Array(7), target)).toThrow(/unexpected size for input 'B'/);
    expect(() => decode(json, new Uint8Array(9), target)).toThrow(/unexpected additional input data/);
  });

  test('JSON tensors beside binary ones are not taken for bytes of the body', () => {
    const target = newTarget();
    const json = (value: number): string =>
      JSON.stringify({
        inputs: [
          { name: 'A', datatype: 'INT32', shape: [1], data: [value] },
          { name: 'B', datatype: 'UINT8', shape: [4], parameters: { binary_data_size: 4 } },
        ],
      });
    for (const value of [1, 1, 2, 1]) expect([...decode(json(value), new Uint8Array(4), target).inputs[0]!.data]).toEqual([value, 0, 0, 0]);
  });

  test('inputs of a known header are views of the body that came with it', () => {
    const target = newTarget();
    const first = decode(headerOf([2]), Uint8Array.of(1, 2), target);
    const second = decode(headerOf([2]), Uint8Array.of(3, 4), target);
    expect([...first.inputs[0]!.data]).toEqual([1, 2]);
    expect([...second.inputs[0]!.data]).toEqual([3, 4]);
    // The list of outputs is the header's own, by which answers are known again.
    expect(second.outputs).toBe(first.outputs);
  });
});

describe('the JSON of binary answers', () => {
  const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
  const newSource = (): AnswerSource => ({ maxBatchSize: 0, outputs: ['Y', 'Z'].map((name) => ({ name, labels: null })) });
  const lists: readonly (readonly RequestedOutput[])[] = [
    [],
    ['Y', 'Z'].map((name) => ({ name, classification: 0, binaryData: true })),
    [{ name: 'Y', classification: 0, binaryData: true }],
    [
      { name: 'Y', classification: 0, binaryData: true },
      { name: 'Z', classification: 0, binaryData: false },
    ],
    [{ name: 'Y', classification: 1, binaryData: true }],
  ];

  const protocolParameters: readonly (Readonly<Record<string, RequestParameter>> | null)[] = [null, { last: true }, { last: false }];

  function encode(
    source: AnswerSource,
    id: string,
    asked: readonly RequestedOutput[],
    outputs: readonly Tensor[],
    version: string,
    parameters: Readonly<Record<string, RequestParameter>> | null,
  ): Buffer {
    const request = new InferenceRequest({
      modelName: 'm',
      modelVersion: '',
      id,
      inputs: [],
      outputs: asked,
      parameters: {},
      priority: 0,
      timeoutUs: 0,
      caller,
    });
    try {
      return Buffer.concat(encodeInference(request, new InferenceResponse('m', version, outputs, null, timing), source, parameters));
    } finally {
      releaseEncoder();
    }
  }

  test('whatever was answered before, an answer is what it is for a version that answered nothing yet', () => {
    const answers = fc.record({
      asked: fc.constantFrom(...lists),
      id: fc.constantFrom('', 'a', 'another', 'é"'),
      parameters: fc.constantFrom(...protocolParameters),
      version: fc.constantFrom('1', '2'),
      rows: fc.integer({ min: 1, max: 3 }),
      datatype: fc.constantFrom('UINT8' as const, 'INT8' as const),
      fill: fc.integer({ min: 0, max: 100 }),
    });
    fc.assert(
      fc.property(fc.array(answers, { minLength: 1, maxLength: 40 }), (all) => {
        const source = newSource();
        for (const { asked, id, parameters, version, rows, datatype, fill } of all) {
          const names = asked.length === 0 ? ['Y', 'Z'] : asked.map(({ name }) => name);
          const outputs = names.map((name): Tensor => ({ name, datatype, shape: [rows], data: new Uint8Array(rows).fill(fill) }));
          const got = encode(source, id, asked, outputs, version, parameters);
          expect(got).toEqual(encode(newSource(), id, asked, outputs, version, parameters));
        }
      }),
      { numRuns: 500 },
    );
  });
});
