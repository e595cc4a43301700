import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeBytes } from '../../../proto/bytes.ts';
import { byteSizeOf, DATATYPES, type Datatype } from '../../../proto/datatype.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { decodeInferRequest, type InferTarget } from './decode-request.ts';
import { encodeRequest, type WrittenRequest } from './encode-request.ts';

const target: InferTarget = { modelName: 'm', modelVersion: '1', maxBatchSize: 0, inputs: [], outputs: [] };
const caller = { onResponse: (): void => {}, onComplete: (): void => {}, onError: (): void => {} };

/** The line, or null when there is none. */
function lineOf(request: WrittenRequest): Uint8Array | null {
  const pieces: Uint8Array[] = [];
  const encoding = encodeRequest(request);
  for (let step = encoding.next(); ; step = encoding.next()) {
    if (step.done) return step.value ? Buffer.concat(pieces) : null;
    pieces.push(step.value);
  }
}

const tensor = (name: string, datatype: Datatype, count: number, data: Uint8Array): Tensor => ({ name, datatype, shape: [count], data });

/** No NaN: there are many, and JSON has one. */
function numbers(datatype: Exclude<Datatype, 'BYTES'>, count: number, bytes: Uint8Array): Uint8Array {
  const data = Uint8Array.from({ length: count * byteSizeOf(datatype) }, (_, i) => bytes[i % bytes.length]!);
  if (datatype === 'BOOL') return data.map((byte) => byte & 1);
  const size = byteSizeOf(datatype);
  // The bit below the exponent's highest, away: no exponent is all ones.
  if (/FP|BF/.test(datatype)) for (let i = size - 1; i < data.length; i += size) data[i]! &= 0xbf;
  return data;
}

describe('encodeRequest', () => {
  it('is read back to the same request, for every datatype, over several pieces too', () => {
    const plain = Object.keys(DATATYPES).filter((datatype) => datatype !== 'BYTES') as Exclude<Datatype, 'BYTES'>[];
    fc.assert(
      fc.property(
        fc.constantFrom(...plain),
        fc.oneof(fc.nat(9), fc.integer({ min: 65_000, max: 66_000 })),
        fc.uint8Array({ minLength: 9, maxLength: 97 }),
        fc.array(fc.string({ unit: 'grapheme' })),
        fc.string({ minLength: 1, unit: 'grapheme' }),
        (datatype, count, bytes, strings, name) => {
          const inputs = [
            tensor(name, datatype, count, numbers(datatype, count, bytes)),
            tensor('TEXT', 'BYTES', strings.length, encodeBytes(strings)),
          ];
          const outputs = [{ name: `${name}!`, classification: 0, binaryData: true }];
          const parameters = { [`p${name}`]: name, flag: true, number: 1.5 };
          const line = lineOf({ inputs, outputs, parameters })!;
          expect(line.indexOf(0x0a)).toBe(line.length - 1);
          const request = decodeInferRequest(line, '', target, caller);
          expect(request.inputs.map(({ data, ...rest }) => ({ ...rest, data: Buffer.from(data).toString('hex') }))).toEqual(
            inputs.map(({ data, ...rest }) => ({ ...rest, data: Buffer.from(data).toString('hex') })),
          );
          expect(request.outputs).toEqual([{ name: `${name}!`, classification: 0, binaryData: false }]);
          expect({ ...request.parameters }).toEqual(parameters);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('writes many strings, NaN and the infinities', () => {
    const words = Array.from({ length: 30_000 }, (_, i) => `word "${i}"\n`);
    const floats = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY);
    const inputs = [tensor('T', 'BYTES', words.length, encodeBytes(words)), tensor('F', 'FP32', 3, new Uint8Array(floats.buffer))];
    const request = decodeInferRequest(lineOf({ inputs, outputs: [], parameters: {} })!, '', target, caller);
    expect(Buffer.compare(request.inputs[0]!.data, inputs[0]!.data)).toBe(0);
    expect([...new Float32Array(Uint8Array.from(request.inputs[1]!.data).buffer)]).toEqual([...floats]);
  });

  it('has no line for what JSON cannot carry', () => {
    const bytes = tensor('T', 'BYTES', 1, encodeBytes([Uint8Array.of(0xff)]));
    expect(lineOf({ inputs: [bytes], outputs: [], parameters: {} })).toBeNull();
    expect(lineOf({ inputs: [], outputs: [], parameters: { p: Number.NaN } })).toBeNull();
  });
});
