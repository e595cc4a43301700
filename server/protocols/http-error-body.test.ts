import { expect, it } from 'vitest';
import { httpErrorBody } from './http-error-body.ts';

it.each(['/v1/responses', '/v1', '/v1/chat/completion', '/rerank', '/v2/rerank'])('words refusals at %s as OpenAI does', (path) => {
  expect(JSON.parse(httpErrorBody.encode(404, 'no such path', path))).toEqual({
    error: { message: 'no such path', type: 'invalid_request_error', param: null, code: null },
  });
  expect(JSON.parse(httpErrorBody.encode(503, 'busy', path)).error.type).toBe('server_error');
});

it.each(['/v2/models/x/infer', '/v10/x', '/v2/reranks', ''])("words refusals at '%s' as the Open Inference Protocol does", (path) => {
  expect(JSON.parse(httpErrorBody.encode(404, 'no such path', path))).toEqual({ error: 'no such path' });
});
