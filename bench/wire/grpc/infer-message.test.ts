import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import type { InferRequest } from '../../../clients/typescript/src/transport.ts';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import { InferMessage } from './infer-message.ts';

const type = protobuf.Root.fromJSON(descriptor).lookupType('inference.ModelInferRequest');
const request: InferRequest = {
  modelName: 'model',
  modelVersion: '3',
  id: 'mine',
  parameters: { priority: 2, sequence_id: 7 },
  inputs: [{ name: 'IN', datatype: 'INT8', shape: [4], data: Uint8Array.of(1, 2, 3, 4) }],
  outputs: [],
  json: false,
};

interface Decoded {
  id: string;
  parameters: Record<string, Record<string, unknown>>;
  rawInputContents: Uint8Array[];
}

function decode(bytes: Buffer): Decoded {
  expect([bytes[0], bytes.readUInt32BE(1)]).toEqual([0, bytes.length - 5]);
  return type.toObject(type.decode(bytes.subarray(5)), { longs: Number }) as Decoded;
}

const NO_MARKS = { number: 0, sequenceId: 0, isSequenceStart: false, isSequenceEnd: false };

describe('a message', () => {
  it('goes as it was encoded where nothing differs', () => {
    const message = new InferMessage(request, { hasOwnId: false, hasSequence: false });
    const bytes = Buffer.alloc(message.length);
    message.copyTo(bytes, 0, 0, message.length, NO_MARKS);
    expect(decode(bytes)).toMatchObject({ id: 'mine', parameters: { priority: { int64Param: 2 }, sequence_id: { int64Param: 7 } } });
  });

  it('has its marks, wherever it is cut', () => {
    const message = new InferMessage(request, { hasOwnId: true, hasSequence: true });
    const sequenceIds = fc.oneof(fc.integer({ min: 1_000_000_000, max: 9_999_999_999 }), fc.nat(300));
    fc.assert(
      fc.property(
        fc.nat(9_999_999_999),
        sequenceIds,
        fc.boolean(),
        fc.boolean(),
        fc.nat(message.length),
        (number, sequenceId, isSequenceStart, isSequenceEnd, cut) => {
          const marks = { number, sequenceId, isSequenceStart, isSequenceEnd };
          const bytes = Buffer.alloc(message.length + 2, 0xee);
          message.copyTo(bytes, 1 + cut, cut, message.length, marks);
          message.copyTo(bytes, 1, 0, cut, marks);
          expect([bytes[0], bytes.at(-1)]).toEqual([0xee, 0xee]);
          const { id, parameters, rawInputContents } = decode(bytes.subarray(1, -1));
          expect(id).toBe(String(number).padStart(10, '0'));
          expect(parameters['sequence_id']).toEqual({ int64Param: sequenceId });
          expect(parameters['sequence_start']).toEqual({ boolParam: isSequenceStart });
          expect(parameters['sequence_end']).toEqual({ boolParam: isSequenceEnd });
          expect(parameters['priority']).toEqual({ int64Param: 2 });
          expect([...rawInputContents[0]!]).toEqual([1, 2, 3, 4]);
        },
      ),
      { numRuns: 300 },
    );
  });
});
