import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeBytes } from '../../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../../proto/datatype.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InputSpec, ModelSignature } from '../../inference/model-signature.ts';
import { decodeGenerateRequest } from './generate-request.ts';

const caller: InferenceCaller = { onResponse: () => {}, onComplete: () => {}, onError: () => {} };

function signatureOf(maxBatchSize: number, ...specs: readonly [string, Datatype, readonly number[]][]): ModelSignature {
  const inputs = specs.map(
    ([name, datatype, dims]): InputSpec => ({ name, datatype, byteSize: byteSizeOf(datatype), dims, optional: true, reshape: null }),
  );
  return {
    modelName: 'm',
    modelVersion: '1',
    maxBatchSize,
    inputs,
    outputs: [],
    inputIndex: new Map(inputs.map(({ name }, index) => [name, index])),
    outputIndex: new Map(),
    requiredInputs: 0,
  };
}

const decode = (body: unknown, signature: ModelSignature): InferenceRequest =>
  decodeGenerateRequest(typeof body === 'string' ? Buffer.from(body) : Buffer.from(JSON.stringify(body)), signature, caller);

test('any texts and numbers come through as they are, wherever they stand', () => {
  const signature = signatureOf(0, ['T', 'BYTES', [-1]], ['N', 'FP64', [-1, 2]], ['S', 'BYTES', [1]]);
  const pairs = fc.array(
    fc.tuple(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.double({ noNaN: true, noDefaultInfinity: true })),
  );
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'binary' })),
      pairs,
      fc.string({ unit: 'grapheme' }),
      fc.boolean(),
      fc.boolean(),
      (T, N, S, isNested, isInside) => {
        const values = { N: isNested ? N : N.flat(), S };
        const { inputs, parameters, id } = decode(
          isInside ? { id: 'i', T, parameters: { ...values, p: S } } : { id: 'i', p: S, T, ...values },
          signature,
        );
        expect(id).toBe('i');
        expect({ ...parameters }).toEqual({ p: S });
        const byName = new Map(inputs.map((tensor) => [tensor.name, tensor]));
        expect(byName.get('T')).toMatchObject({ datatype: 'BYTES', shape: [T.length] });
        expect(Buffer.from(byName.get('T')!.data).equals(Buffer.from(encodeBytes(T)))).toBe(true);
        expect(byName.get('S')!.shape).toEqual([1]);
        expect(Buffer.from(byName.get('S')!.data).equals(Buffer.from(encodeBytes([S])))).toBe(true);
        expect(byName.get('N')!.shape).toEqual([N.length, 2]);
        const { data } = byName.get('N')!;
        expect([...new Float64Array(data.buffer, data.byteOffset, data.length / 8)]).toEqual(
          N.flat().map((n) => (Object.is(n, -0) ? 0 : n)),
        );
      },
    ),
  );
});

test('shapes: from the right, what is fixed divides, the first open one takes the rest', () => {
  const shapeOf = (maxBatchSize: number, dims: readonly number[], count: number): readonly number[] =>
    decode({ A: Array.from({ length: count }, () => 0) }, signatureOf(maxBatchSize, ['A', 'INT8', dims])).inputs[0]!.shape;
  expect(shapeOf(8, [4], 12)).toEqual([3, 4]);
  expect(shapeOf(8, [-1], 12)).toEqual([1, 12]);
  expect(shapeOf(0, [-1, 3, -1, 2], 12)).toEqual([1, 3, 2, 2]);
  expect(shapeOf(0, [-1, 2], 0)).toEqual([0, 2]);
  expect(shapeOf(0, [2, 3], 6)).toEqual([2, 3]);
  expect(shapeOf(0, [], 1)).toEqual([]);
  for (const [dims, count] of [
    [[2, 3], 12],
    [[2], 0],
    [[-1, 5], 6],
    [[0], 1],
    [[-1, 0], 0],
    [[], 2],
  ] as const) {
    expect(() => shapeOf(0, dims, count)).toThrow(`can not convert input 'A': ${count} element`);
  }
});

test('a scalar is one element', () => {
  const signature = signatureOf(4, ['A', 'INT64', [1]], ['B', 'BOOL', [-1]]);
  const { inputs } = decode('{"A": -9223372036854775808 , "B":true}', signature);
  expect(inputs.map(({ shape }) => shape)).toEqual([
    [1, 1],
    [1, 1],
  ]);
  expect(Buffer.from(inputs[0]!.data).readBigInt64LE()).toBe(-(2n ** 63n));
});

test('keys of all kinds are only names', () => {
  const { parameters } = decode('{"__proto__":1,"constructor":"x","parameters":{"toString":true}}', signatureOf(0));
  expect(Object.entries(parameters)).toEqual([
    ['__proto__', 1],
    ['constructor', 'x'],
    ['toString', true],
  ]);
  const many = Object.fromEntries(Array.from({ length: 1025 }, (_, n) => [`k${n}`, n]));
  expect(() => decode(many, signatureOf(0))).toThrow('at most 1024 members');
  expect(() => decode({ ['k'.repeat(1025)]: 1 }, signatureOf(0))).toThrow('keys of at most 1024 bytes');
  expect(() => decode(`{"A":${'['.repeat(200)}${']'.repeat(200)}}`, signatureOf(0, ['A', 'INT8', [-1]]))).toThrow('nesting depth');
});

test('whatever comes, it is decoded or refused', () => {
  const signature = signatureOf(0, ['T', 'BYTES', [-1]], ['N', 'INT32', [-1]], ['B', 'BOOL', [1]]);
  const whole = JSON.stringify({ id: 'x', T: ['a\u00fc', 'b'], N: [1, -2], B: true, parameters: { p: 1.5, q: 'r' } });
  fc.assert(
    fc.property(fc.nat(whole.length), fc.nat(8), fc.uint8Array({ maxLength: 6 }), (at, removed, put) => {
      const bytes = Buffer.from(whole);
      const body = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + removed)]);
      try {
        decodeGenerateRequest(body, signature, caller);
      } catch (error) {
        expect(error).toBeInstanceOf(InferenceError);
        expect((error as InferenceError).code).toBe('INVALID_ARGUMENT');
      }
    }),
    { numRuns: 2000 },
  );
});
