import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeBytes } from '../../proto/bytes.ts';
import { DATATYPES, type Datatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { FRAME_HEADER_BYTES, FRAME_KIND, FrameError } from './messages.ts';
import { decodeSequence, decodeValues, encodeSequence, encodeValues, TensorFrameReader, tensorFrame, tensorRow } from './tensor-frame.ts';

/** As the other side's FrameReader hands it on: memory of its own. */
function payloadOf(frame: Buffer): Buffer {
  const payload = Buffer.allocUnsafeSlow(frame.length - FRAME_HEADER_BYTES);
  frame.copy(payload, 0, FRAME_HEADER_BYTES);
  return payload;
}

const tensors = fc.array(
  fc
    .record({
      name: fc.string(),
      datatype: fc.constantFrom(...(Object.keys(DATATYPES) as Datatype[])),
      shape: fc.array(fc.nat(4), { maxLength: 3 }),
      seed: fc.nat(255),
    })
    .map(({ name, datatype, shape, seed }): Tensor => {
      const count = shape.reduce((product, dim) => product * dim, 1);
      const { byteSize } = DATATYPES[datatype];
      const data =
        byteSize === 0
          ? encodeBytes(Array.from({ length: count }, (_, i) => 'é'.repeat((seed + i) % 5)))
          : new Uint8Array(count * byteSize).fill(seed);
      return { name, datatype, shape, data };
    }),
  { maxLength: 5 },
);

describe('a tensor frame', () => {
  it('brings back what was put in, each tensor on a boundary of eight', () => {
    fc.assert(
      fc.property(tensors, fc.string(), (given, text) => {
        const reader = new TensorFrameReader(payloadOf(tensorFrame(FRAME_KIND.call, { text, rows: given.map(tensorRow) }, given)));
        expect(reader.header['text']).toBe(text);
        const got = reader.tensors(reader.header['rows']);
        expect(got.map((one) => ({ ...one, data: Buffer.from(one.data) }))).toEqual(
          given.map((one) => ({ ...one, data: Buffer.from(one.data) })),
        );
        for (const { data } of got) expect(data.byteOffset % 8).toBe(0);
      }),
    );
  });

  it('that is anything else is a FrameError, and never another error', () => {
    const whole = payloadOf(
      tensorFrame(
        FRAME_KIND.call,
        {
          rows: [
            ['A', 'FP32', 8, 2],
            ['B', 'BYTES', 6, 1],
          ],
        },
        [
          { name: 'A', datatype: 'FP32', shape: [2], data: new Uint8Array(8) },
          { name: 'B', datatype: 'BYTES', shape: [1], data: encodeBytes(['xy']) },
        ],
      ),
    );
    const read = (payload: Buffer): unknown => {
      try {
        const reader = new TensorFrameReader(payload);
        return [reader.tensors(reader.header['rows']), decodeValues(reader.header['p']), decodeSequence(reader.header['s'])];
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        return null;
      }
    };
    expect(read(whole)).not.toBeNull();
    for (let end = 0; end < whole.length - 2; end++) expect(read(Buffer.from(whole.subarray(0, end)))).toBeNull();
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), (at, value) => {
        const spoilt = Buffer.from(whole);
        spoilt[at] = value;
        read(spoilt);
      }),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (rows, p, s) => {
        read(payloadOf(tensorFrame(FRAME_KIND.call, { rows, p, s }, [])));
      }),
    );
  });

  it('carries every parameter and correlation id', () => {
    const values = { a: Number.NaN, b: -Infinity, c: 1.5, d: 'NaN', e: true, __proto__x: 'y' };
    expect(decodeValues(JSON.parse(JSON.stringify(encodeValues(values))))).toEqual(values);
    expect(Object.keys(decodeValues(JSON.parse('{"__proto__":"own"}')))).toEqual(['__proto__']);
    expect(decodeValues(encodeValues({}))).toEqual({});
    for (const id of [2n ** 64n - 1n, 7n, '7', 'x']) {
      const sequence = { id, isStart: true, isEnd: false };
      expect(decodeSequence(JSON.parse(JSON.stringify(encodeSequence(sequence))))).toEqual(sequence);
    }
    expect(decodeSequence(encodeSequence(null))).toBeNull();
    for (const id of [String(2n ** 64n), '-1', '1e3']) expect(() => decodeSequence([1, id, 1, 0])).toThrow('whose id is no number');
    expect(() => decodeSequence([0, 'x'.repeat(129), 1, 0])).toThrow('whose id is too long');
  });
});
