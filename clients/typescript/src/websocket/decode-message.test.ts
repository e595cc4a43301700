import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeBinaryMessage, decodeTextMessage } from './decode-message.ts';
import { frame } from './fixtures/scripted-server.ts';

const response = {
  id: 'a',
  model_name: 'm',
  model_version: '2',
  parameters: { triton_final_response: false, more: 'x' },
  outputs: [{ name: 'error', datatype: 'BYTES', shape: [1], data: ['"error"'] }],
};

test('a response as text, whose words look like those of an error', () => {
  const message = decodeTextMessage(JSON.stringify(response));
  expect(message).toMatchObject({ id: 'a', error: null, isFinal: false, response: { modelName: 'm', modelVersion: '2', id: '' } });
  expect({ ...message.response!.parameters }).toEqual({ more: 'x' });
});

test('a response without the flag is the last one', () => {
  expect(decodeTextMessage(JSON.stringify({ ...response, parameters: undefined })).isFinal).toBe(true);
});

test('a binary response, at any offset of its memory', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }), fc.nat(7), (tensors, offset) => {
      const outputs = tensors.map((data, i) => ({
        name: `o${i}`,
        datatype: 'UINT8',
        shape: [data.length],
        parameters: { binary_data_size: data.length },
      }));
      const bytes = frame({ ...response, outputs }, Buffer.concat(tensors));
      const memory = new Uint8Array(offset + bytes.length);
      memory.set(bytes, offset);
      const message = decodeBinaryMessage(memory.subarray(offset));
      expect(message.response!.outputs.map(({ data }) => [...data!])).toEqual(tensors.map((data) => [...data]));
    }),
  );
});

test('no bytes make it throw anything but INTERNAL', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 64 }),
        fc.json().map((json) => new Uint8Array(frame(JSON.parse(json), new Uint8Array(0)))),
      ),
      (bytes) => {
        let code = '';
        try {
          code = decodeBinaryMessage(bytes).error?.code ?? '';
        } catch (error) {
          code = (error as { code: string }).code;
        }
        expect(['INTERNAL', 'UNKNOWN', '']).toContain(code);
      },
    ),
  );
});

test('a response that is wrong, with an id, is the error of its request; without one it is nobody’s', () => {
  const wrong = { ...response, outputs: [{ name: 'o', datatype: 'INT32', shape: [3], data: [1] }] };
  const message = decodeTextMessage(JSON.stringify(wrong));
  expect(message).toMatchObject({ id: 'a', response: null, isFinal: false, error: { code: 'INTERNAL', phase: 'answered' } });
  expect(() => decodeTextMessage(JSON.stringify({ ...response, id: undefined }))).toThrow('without an id');
  expect(() => decodeTextMessage('{"error":"what?","code":"INTERNAL"}')).toThrow('what?');
  expect(() => decodeTextMessage('[]')).toThrow('cannot be read');
  expect(() => decodeTextMessage('nonsense')).toThrow('not JSON');
  expect(() => decodeBinaryMessage(Buffer.from([9, 0, 0, 0, 1]))).toThrow('says 9 bytes of JSON, and 1 follow');
});

test.each([
  [{ code: 'INVALID_ARGUMENT', status: 400 }, 'INVALID_ARGUMENT', 'answered', 0],
  [{ code: 'UNAVAILABLE', status: 503, retry_after: 3 }, 'UNAVAILABLE', 'refused', 3],
  [{ code: 'CANCELLED', status: 499 }, 'CANCELLED', 'answered', 0],
  [{ code: 'NEWER_THAN_THIS', status: 404 }, 'NOT_FOUND', 'answered', 0],
  [{ code: 'toString', status: 418 }, 'INVALID_ARGUMENT', 'answered', 0],
  [{}, 'UNKNOWN', 'answered', 0],
])('an error %j', (members, code, phase, retryAfterSeconds) => {
  const { error, isFinal } = decodeTextMessage(JSON.stringify({ id: 'x', error: 'because', ...members }));
  expect(error).toMatchObject({ code, phase, retryAfterSeconds, message: 'because' });
  expect(isFinal).toBe(true);
});
