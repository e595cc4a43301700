import { expect, test } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { HttpExchange } from '../../transports/http-exchange.ts';
import { httpErrorBody, respondError } from './status.ts';

function answer(error: InferenceError): [number, string[], string] {
  let answered: [number, string[], string] | undefined;
  const respond: HttpExchange['respond'] = (status, headers, body) => {
    answered = [status, [...headers], body as string];
  };
  respondError({ respond } as HttpExchange, error);
  return answered!;
}

test('an error is its status, and its message as JSON', () => {
  expect(answer(new InferenceError('INVALID_ARGUMENT', 'a "b"\n'))).toEqual([
    400,
    ['content-type', 'application/json'],
    '{"error":"a \\"b\\"\\n"}',
  ]);
  expect(answer(new InferenceError('ALREADY_EXISTS', 'x'))[0]).toBe(400);
  expect(answer(new InferenceError('CANCELLED', 'x'))[0]).toBe(499);
});

test('when a retry may help, the answer says when', () => {
  const error = new InferenceError('UNAVAILABLE', 'full', { retryAfterSeconds: 0.2 });
  expect(answer(error)).toEqual([503, ['content-type', 'application/json', 'retry-after', '1'], '{"error":"full"}']);
});

test('the transport words its own refusals alike', () => {
  expect(httpErrorBody.encode(404, 'Not Found', '/v2/x')).toBe('{"error":"Not Found"}');
});
