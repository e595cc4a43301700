import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeBytes } from '../../../proto/bytes.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import { identitySignature } from '../scheduling-fixtures.ts';
import { decodeValue, encodeValue } from './redis-value.ts';
import type { CachedResponse } from './response-store.ts';

const base = identitySignature(4, [[-1], [2, -1]]);
const signature: ModelSignature = {
  ...base,
  outputs: [base.outputs[0]!, { ...base.outputs[1]!, datatype: 'BYTES', byteSize: 0 }],
};

const responses: fc.Arbitrary<CachedResponse> = fc
  .record({
    rows: fc.integer({ min: 1, max: 4 }),
    columns: fc.integer({ min: 0, max: 5 }),
    text: fc.string(),
    which: fc.subarray([0, 1]),
    parameters: fc.option(fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.boolean(), fc.integer()))),
  })
  .map(({ rows, columns, text, which, parameters }) => {
    const all: Tensor[] = [
      { name: 'OUT0', datatype: 'INT32', shape: [rows, columns], data: new Uint8Array(4 * rows * columns).fill(text.length) },
      { name: 'OUT1', datatype: 'BYTES', shape: [rows, 2, columns], data: encodeBytes(new Array(rows * 2 * columns).fill(text)) },
    ];
    return { outputs: which.map((i) => all[i]!), parameters };
  });

describe('values of the Redis cache', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(responses, (response) => {
        const found = decodeValue(encodeValue(response, 1 << 20)!, signature)!;
        expect(found.parameters).toEqual(response.parameters);
        expect(found.outputs.map((one) => ({ ...one, data: [...one.data] }))).toEqual(
          response.outputs.map((one) => ({ ...one, data: [...one.data] })),
        );
      }),
    );
  });

  it('are refused, and never throw, when they are anything else', () => {
    const change = fc.record({ at: fc.nat(400), byte: fc.nat(255) });
    fc.assert(
      fc.property(responses, fc.array(change, { minLength: 1, maxLength: 3 }), fc.nat(500), (response, changes, length) => {
        const value = encodeValue(response, 1 << 20)!;
        for (const { at, byte } of changes) if (at < value.length) value[at] = byte;
        for (const bytes of [value, value.subarray(0, Math.min(length, value.length)), Buffer.concat([value, Buffer.alloc(3)])]) {
          const found = decodeValue(bytes, signature);
          for (const output of found?.outputs ?? []) {
            const spec = signature.outputs[signature.outputIndex.get(output.name)!]!;
            const count = output.shape.reduce((product, dim) => product * dim, 1);
            if (spec.byteSize > 0) expect(output.data.length).toBe(count * spec.byteSize);
            expect(output.shape.length).toBe(spec.dims.length + 1);
          }
        }
        // Cut, it is never whole.
        if (length < value.length) expect(decodeValue(value.subarray(0, length), signature)).toBeNull();
      }),
    );
    for (const text of ['', 'NRC1', 'NRC2\0\0\0\0{}', 'NRC1\x02\0\0\0[]', 'NRC1\x02\0\0\0{}', `NRC1\xff\xff\xff\xff{}`]) {
      expect(decodeValue(Buffer.from(text, 'latin1'), signature)).toBeNull();
    }
  });

  it('of another shape, another type, or outputs named twice are no response of the model', () => {
    const one: Tensor = { name: 'OUT0', datatype: 'INT32', shape: [1, 1], data: new Uint8Array(4) };
    const decoded = (...outputs: Tensor[]): unknown => decodeValue(encodeValue({ outputs, parameters: null }, 1 << 20)!, signature);
    expect(decoded(one)).not.toBeNull();
    expect(decoded(one, one)).toBeNull();
    expect(decoded({ ...one, name: 'OUT9' })).toBeNull();
    expect(decoded({ ...one, shape: [1] })).toBeNull();
    expect(decoded({ ...one, shape: [1, 2] })).toBeNull();
    expect(decoded({ ...one, shape: [2 ** 40, 2 ** 40], data: new Uint8Array(0) })).toBeNull();
    expect(decoded({ name: 'OUT1', datatype: 'BYTES', shape: [1, 3, 1], data: encodeBytes(['a', 'b', 'c']) })).toBeNull();
    expect(encodeValue({ outputs: [one], parameters: null }, 10)).toBeNull();
  });
});
