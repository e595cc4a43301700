import { expect, it } from 'vitest';
import type { HttpMethod } from './http-exchange.ts';
import { HttpEndpoint } from './http-router.ts';
import { nearestPath } from './nearest-path.ts';

function endpoint(pattern: string, method: HttpMethod): HttpEndpoint {
  const made = new HttpEndpoint(pattern);
  made.add({ method, pattern, requestHeaders: [], allowContentCoding: false, handle: () => {} });
  return made;
}

const endpoints = [
  endpoint('/rr', 'POST'),
  endpoint('/v1/models', 'GET'),
  endpoint('/v1/chat/completions', 'POST'),
  endpoint('/v2', 'GET'),
  endpoint('/v2/models/{model}/versions/{version:digits}/infer', 'POST'),
];

it.each([
  ['/', '/v2'],
  ['/v1/models/', '/v1/models'],
  ['/chat/completions', '/v1/chat/completions'],
  ['/v1/chat/completion', '/v1/chat/completions'],
  ['/v2/models/a/version/3/infer', '/v2/models/a/versions/3/infer'],
  ['/something/else', undefined],
  [`/v1/${'a'.repeat(100)}`, undefined],
])('%s: %s', (path, expected) => {
  expect(nearestPath(path, endpoints)).toBe(expected);
});
