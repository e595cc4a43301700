import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import { ProtocolFault } from './protocol-fault.ts';
import { FOREIGN_ID, NO_ID, StreamAnswer } from './stream-answer.ts';

const type = protobuf.Root.fromJSON(descriptor).lookupType('inference.ModelStreamInferResponse');

function scan(message: object, upTo = Number.POSITIVE_INFINITY): StreamAnswer {
  const bytes = Buffer.from(type.encode(type.fromObject(message)).finish());
  const answer = new StreamAnswer();
  answer.read(Buffer.concat([Buffer.from('ab'), bytes, Buffer.from('yz')]), 2, 2 + Math.min(bytes.length, upTo));
  return answer;
}

const outputs = {
  outputs: [{ name: 'OUT', datatype: 'INT32', shape: [1, 4] }],
  rawOutputContents: [Buffer.alloc(300, 1)],
};

describe('an answer on the stream', () => {
  it('says whose it is and whether it is the last', () => {
    const answer = scan({ inferResponse: { modelName: 'm', modelVersion: '1', id: '0123456789', ...outputs } });
    expect(answer).toMatchObject({ number: 123456789, isFinal: null, hasOutputs: true, hasError: false });
    for (const isFinal of [true, false]) {
      const parameters = {
        other: { stringParam: 'triton_final_response' },
        triton_final_response: { boolParam: isFinal },
        more: { int64Param: 1 },
      };
      expect(scan({ inferResponse: { id: '0000000007', parameters } })).toMatchObject({ number: 7, isFinal, hasOutputs: false });
    }
  });

  it('tells ids of others, and none', () => {
    expect(scan({ inferResponse: { id: 'somebody', ...outputs } }).number).toBe(FOREIGN_ID);
    expect(scan({ inferResponse: { id: '01234x6789' } }).number).toBe(FOREIGN_ID);
    expect(scan({ inferResponse: outputs }).number).toBe(NO_ID);
    expect(scan({}).number).toBe(NO_ID);
  });

  it('has an error with its code', () => {
    const inferResponse = { id: '0000000003', parameters: { error_code: { stringParam: 'NOT_FOUND' } } };
    expect(scan({ errorMessage: 'no símple', inferResponse })).toMatchObject({
      hasError: true,
      errorMessage: 'no símple',
      errorCode: 'NOT_FOUND',
      number: 3,
    });
    expect(scan({ errorMessage: 'no', inferResponse: { id: '0000000003' } })).toMatchObject({ hasError: true, errorCode: '', number: 3 });
    expect(scan({ errorMessage: 'no' })).toMatchObject({ hasError: true, number: NO_ID });
    expect(scan({ errorMessage: '', inferResponse: { id: '0000000003' } })).toMatchObject({ hasError: false, number: 3 });
  });

  it('needs the beginning alone', () => {
    const inferResponse = { id: '0000000042', parameters: { triton_final_response: { boolParam: true } }, ...outputs };
    expect(scan({ inferResponse }, 120)).toMatchObject({ number: 42, isFinal: true, hasOutputs: true });
  });

  it('is read within its bounds, whatever it holds', () => {
    const answer = new StreamAnswer();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
        try {
          answer.read(Buffer.from(noise), 0, noise.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolFault);
        }
      }),
      { numRuns: 500 },
    );
  });
});
