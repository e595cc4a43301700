import { expect, test } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import { inferRequest, int32 } from './recorded-lane.case.ts';
import { RequestMessage } from './request-message.ts';

const simple = inferRequest('si"mple', [int32('IN', [1, 2], [1, 2])], { parameters: { priority: 1 }, id: 'dropped' });
const sequence = { minLength: 1, maxLength: 3, firstId: 1_000_000_000 };

/** What goes over the wire: one frame, masked with nothing. */
function sent(
  message: RequestMessage,
  id: number,
  stamp: Parameters<RequestMessage['put']>[3] = null,
  deadlineMs = 0,
): { opcode: number; json: Record<string, unknown>; tail: Buffer } {
  const into = Buffer.alloc(7 + message.head.length, 0xee);
  message.put(into, 7, id, stamp, deadlineMs);
  const frame = Buffer.concat([into.subarray(7), message.rest]);
  const short = frame[1]! & 0x7f;
  expect(frame[0]! & 0x80).toBe(0x80);
  expect(frame[1]! & 0x80).toBe(0x80);
  const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0;
  const length = lengthBytes === 8 ? Number(frame.readBigUInt64BE(2)) : lengthBytes === 2 ? frame.readUInt16BE(2) : short;
  expect(frame.readUInt32BE(2 + lengthBytes)).toBe(0);
  const payload = frame.subarray(6 + lengthBytes);
  expect(payload.length).toBe(length);
  const opcode = frame[0]! & 15;
  const jsonBytes = opcode === 2 ? payload.readUInt32LE(0) : payload.length;
  const start = opcode === 2 ? 4 : 0;
  return { opcode, json: JSON.parse(payload.toString('utf8', start, start + jsonBytes)), tail: payload.subarray(start + jsonBytes) };
}

test('JSON and binary forms, each time with an id of its own', () => {
  const json = new RequestMessage(simple, true, null, false);
  expect(sent(json, 0xabc)).toEqual({
    opcode: 1,
    json: {
      id: '00000abc',
      model_name: 'si"mple',
      parameters: { priority: 1 },
      inputs: [{ name: 'IN', datatype: 'INT32', shape: [1, 2], data: [1, 2] }],
    },
    tail: Buffer.alloc(0),
  });
  expect(sent(json, 2 ** 32 - 1).json['id']).toBe('ffffffff');
  const binary = sent(new RequestMessage({ ...simple, modelVersion: '3' }, false, null, false), 1);
  expect(binary.opcode).toBe(2);
  expect(binary.json).toMatchObject({ id: '00000001', model_version: '3', parameters: { priority: 1, binary_data_output: true } });
  expect(binary.tail).toEqual(Buffer.from(Int32Array.of(1, 2).buffer));
});

test.each([1, 200, 5000, 50_000])('%i elements: long tensors are not copied, and the frame is whole', (count) => {
  const values = Array.from({ length: count }, (_, i) => i);
  for (const isJson of [true, false]) {
    const message = new RequestMessage(inferRequest('m', [int32('IN', [count], values)]), isJson, sequence, false);
    expect(message.head.length).toBeLessThan(17_000);
    const { json, tail } = sent(message, 5, { id: 1_000_000_007, isStart: true, isEnd: false });
    expect(json['id']).toBe('00000005');
    expect(json['parameters']).toMatchObject({ sequence_id: 1_000_000_007, sequence_start: true, sequence_end: false });
    const inputs = json['inputs'] as { data?: number[] }[];
    expect(isJson ? inputs[0]!.data : [...new Int32Array(Uint8Array.from(tail).buffer)]).toEqual(values);
  }
});

test('sequences are written in place, parameters of the request stay', () => {
  const message = new RequestMessage(simple, true, sequence, false);
  const parametersOf = (id: number, isStart: boolean, isEnd: boolean): unknown =>
    sent(message, 1, { id, isStart, isEnd }).json['parameters'];
  expect(parametersOf(9_999_999_999, false, true)).toEqual({
    priority: 1,
    sequence_id: 9_999_999_999,
    sequence_start: false,
    sequence_end: true,
  });
  expect(parametersOf(1_000_000_000, true, true)).toEqual({
    priority: 1,
    sequence_id: 1_000_000_000,
    sequence_start: true,
    sequence_end: true,
  });
});

test('asked-for outputs take the form of the protocol', () => {
  const outputs = [{ name: 'OUT', binaryData: false, classification: 0, sharedMemory: null }];
  expect(sent(new RequestMessage({ ...simple, outputs }, false, null, false), 1).json['outputs']).toEqual([
    { name: 'OUT', parameters: { binary_data: true } },
  ]);
  expect(sent(new RequestMessage({ ...simple, outputs }, true, null, false), 1).json['outputs']).toEqual([{ name: 'OUT' }]);
});

test('correlation IDs of another width are refused', () => {
  expect(() => new RequestMessage(simple, true, { ...sequence, firstId: 7 }, false)).toThrow(InferenceError);
  expect(() => new RequestMessage(simple, true, { ...sequence, firstId: 7 }, false)).toThrow(/10 digits, got 7/);
});

test('the time that is left, in place', () => {
  const message = new RequestMessage(inferRequest('m', []), true, null, true);
  for (const ms of [20, 0.001, 19.25, 0.5, 999.9994, 1, 10, 86_400_000]) {
    expect(sent(message, 1, null, ms).json['timeout_ms']).toBe(Math.round(ms * 1000) / 1000);
  }
  expect(sent(message, 1, null, 1e-9).json['timeout_ms']).toBe(0.001);
  // No end to it, and more than a server takes.
  for (const ms of [0, 1e12]) expect(sent(message, 1, null, ms).json['timeout_ms']).toBe(7 * 86_400_000);
  expect(sent(new RequestMessage(simple, true, null, false), 1, null, 20).json).not.toHaveProperty('timeout_ms');
});
