import { describe, expect, it } from 'vitest';
import { InferenceError, type InferenceErrorOptions, invalidArgument, type StatusCode } from '../../../proto/inference-error.ts';
import type { HttpExchange } from '../../transports/http-exchange.ts';
import { respondError, SAME_NAMES } from './status.ts';

interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly error: unknown;
}

function answerTo(error: InferenceError, names: ReadonlyMap<string, string> = SAME_NAMES): Answered {
  let answered: Answered | null = null;
  const respond = (status: number, headers: readonly string[], body: string): void => {
    const pairs = headers.flatMap((name, i) => (i % 2 === 0 ? [[name, headers[i + 1]!]] : []));
    answered = {
      status,
      headers: Object.fromEntries(pairs) as Record<string, string>,
      error: (JSON.parse(body) as { error: unknown }).error,
    };
  };
  respondError({ respond } as unknown as HttpExchange, error, names);
  return answered!;
}

describe("an error in OpenAI's form", () => {
  it.each<[StatusCode, InferenceErrorOptions, number, string, string | null, Record<string, string>]>([
    ['INVALID_ARGUMENT', {}, 400, 'invalid_request_error', null, {}],
    ['NOT_FOUND', {}, 404, 'invalid_request_error', 'model_not_found', {}],
    ['RESOURCE_EXHAUSTED', {}, 413, 'invalid_request_error', 'too_large', {}],
    [
      'UNAVAILABLE',
      { failureReason: 'REJECTED', retryAfterSeconds: 0.2 },
      429,
      'rate_limit_error',
      'rate_limit_exceeded',
      { 'retry-after': '1' },
    ],
    ['UNAVAILABLE', { retryAfterSeconds: 1 }, 503, 'server_error', 'unavailable', { 'retry-after': '1' }],
    ['DEADLINE_EXCEEDED', { failureReason: 'REJECTED' }, 504, 'server_error', 'deadline_exceeded', { 'x-should-retry': 'false' }],
    ['UNIMPLEMENTED', {}, 501, 'invalid_request_error', 'unsupported', { 'x-should-retry': 'false' }],
    ['INTERNAL', {}, 500, 'server_error', null, {}],
  ])('%s %o', (code, options, status, type, openAiCode, headers) => {
    expect(answerTo(new InferenceError(code, 'a text', options))).toEqual({
      status,
      headers: { 'content-type': 'application/json', ...headers },
      error: { message: 'a text', type, param: code === 'NOT_FOUND' ? 'model' : null, code: openAiCode },
    });
  });

  const names = new Map([
    ['json_schema', 'response_format'],
    ['prompt', 'messages'],
  ]);
  it.each([
    ['temperature: expected a number', 'temperature', 'temperature: expected a number'],
    ['json_schema: #/type: expected', 'response_format', 'response_format: #/type: expected'],
    ['tools[0].function.name: expected', 'tools[0].function.name', 'tools[0].function.name: expected'],
    ['messages[12].content: expected', 'messages[12].content', 'messages[12].content: expected'],
    ['Request for unknown: something', null, 'Request for unknown: something'],
    ["input 'x': expected", null, "input 'x': expected"],
  ])('names the parameter of: %s', (text, param, message) => {
    expect(answerTo(invalidArgument(text), names).error).toMatchObject({ param, message });
  });

  it('tells a prompt that is too long from other mistakes', () => {
    const error = invalidArgument('prompt: 9000 tokens and 16 to come do not fit the context of 4096');
    expect(answerTo(error, names).error).toMatchObject({ param: 'messages', code: 'context_length_exceeded' });
    expect(answerTo(invalidArgument('prompt: expected some text'), names).error).toMatchObject({ code: null });
  });
});
