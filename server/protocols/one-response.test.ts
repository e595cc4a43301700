import { expect, test } from 'vitest';
import { InferenceError } from '../../proto/inference-error.ts';
import { type InferenceCaller, InferenceRequest } from '../inference/inference-request.ts';
import { cachedTiming, InferenceResponse } from '../inference/inference-response.ts';
import { OneResponse, UNARY_REFUSAL } from './one-response.ts';

/** A request whose caller notes what it hears. */
function start(): { request: InferenceRequest; heard: string[]; held: { cancelled: number } } {
  const heard: string[] = [];
  const held = { cancelled: 0 };
  const caller: InferenceCaller = {
    onResponse: (_request, { outputs }, isFinal) => heard.push(`response ${outputs[0]!.data.join()} ${isFinal}`),
    onComplete: () => heard.push('complete'),
    onError: (_request, { code, message }) => heard.push(`${code} ${message}`),
  };
  const request = new InferenceRequest({
    modelName: 'm',
    modelVersion: '',
    id: '',
    inputs: [],
    outputs: [],
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller: new OneResponse(caller, UNARY_REFUSAL),
  });
  request.holder = {
    onRequestCancelled: () => {
      held.cancelled++;
    },
    onRequestResumed: () => {},
  };
  return { request, heard, held };
}

const bytes = Uint8Array.of(1, 2);
const response = new InferenceResponse('m', '1', [{ name: 'OUT', datatype: 'UINT8', shape: [2], data: bytes }], null, cachedTiming);

test('passes the one response on when the request is complete, as it was', () => {
  const { request, heard } = start();
  bytes.set([1, 2]);
  request.stream(response);
  expect(heard).toEqual([]);
  // Its bytes were borrowed.
  bytes.fill(0);
  request.complete();
  expect(heard).toEqual(['response 1,2 true']);
});

test('refuses a second response, and cancels', () => {
  const { request, heard, held } = start();
  request.stream(response);
  request.stream(response);
  expect(heard).toEqual([expect.stringMatching(/^UNIMPLEMENTED model 'm': .*exactly one response, got a second one: use generate_stream/)]);
  expect(held.cancelled).toBe(1);
  request.stream(response);
  request.complete();
  expect(heard).toHaveLength(1);
});

test('refuses none at all', () => {
  const { request, heard, held } = start();
  request.complete();
  expect(heard).toEqual([expect.stringMatching(/^UNIMPLEMENTED .*got none/)]);
  expect(held.cancelled).toBe(0);
});

test('passes on an error, also one after the response', () => {
  const { request, heard } = start();
  request.stream(response);
  request.fail(new InferenceError('UNAVAILABLE', 'the host ended'));
  expect(heard).toEqual(['UNAVAILABLE the host ended']);
});
