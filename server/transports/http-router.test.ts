import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HttpMethod, HttpRoute } from './http-exchange.ts';
import { HttpRouter } from './http-router.ts';

function route(method: HttpMethod, pattern: string): HttpRoute {
  return { method, pattern, requestHeaders: [], allowContentCoding: false, handle: () => {} };
}

const router = new HttpRouter([
  route('GET', '/v2'),
  route('GET', '/v2/models/{model}'),
  route('GET', '/v2/models/stats'),
  route('GET', '/v2/models/{model}/versions/{version:digits}'),
  route('POST', '/v2/models/{model}/infer'),
  route('GET', '/v2/models/{model}/infer'),
  route('POST', '/v2/models/{name}/versions/{version:digits}/infer'),
  route('GET', '/mixed/{n:digits}'),
  route('GET', '/mixed/{word}'),
]);

describe('HttpRouter', () => {
  it.each([
    ['/v2', '/v2', []],
    ['/v2/models/m', '/v2/models/{model}', ['m']],
    ['/v2/models/stats', '/v2/models/stats', []],
    ['/v2/models/stats/infer', '/v2/models/{model}/infer', ['stats']],
    ['/v2/models/m/versions/007', '/v2/models/{model}/versions/{version:digits}', ['m', '007']],
    ['/mixed/12', '/mixed/{n:digits}', ['12']],
    ['/mixed/12a', '/mixed/{word}', ['12a']],
    ['/v2/models/a%2Fb', '/v2/models/{model}', ['a/b']],
    ['/v2/models/%252e%252e', '/v2/models/{model}', ['%2e%2e']],
    ['/v2/models/%E2%82%AC+', '/v2/models/{model}', ['€+']],
    ['/v2/models/%00', '/v2/models/{model}', ['\0']],
    ['/v2/models/..', '/v2/models/{model}', ['..']],
  ])('%s is %s', (path, pattern, params) => {
    const match = router.match(path);
    expect(match.endpoint?.pattern).toBe(pattern);
    expect(match.params).toEqual(params);
  });

  it.each([
    ['/', 404],
    ['/v2/', 404],
    ['/v2/models', 404],
    ['/v2/models/', 404],
    ['/v2/models//infer', 404],
    ['/v2/models/m/versions/1a', 404],
    ['/v2/models/m/versions/', 404],
    ['/v2/models/m/versions/%31', 404],
    ['/%762', 404],
    ['/v2/models/m/infer/x', 404],
    ['/v2/models/__proto__/constructor', 404],
    ['/v2/models/%', 400],
    ['/v2/models/%4', 400],
    ['/v2/models/%c3%28', 400],
    ['/v2/models/%ed%a0%80', 400],
    ['/v2/models/é', 400],
    ['/v2/models/a b', 400],
    ['v2', 400],
    ['*', 400],
    [`/v2/models/${'m'.repeat(2048)}`, 414],
    [`/v2${'/'.repeat(2000)}`, 404],
  ])('%s is refused with %d', (path, refusal) => {
    expect(router.match(path)).toMatchObject({ refusal, endpoint: null });
    expect(router.match(path).refusal).toBe(refusal);
  });

  it('chooses by the path alone, then by the method', () => {
    const { endpoint } = router.match('/v2/models/m/infer');
    expect(endpoint?.allow).toBe('GET, HEAD, OPTIONS, POST');
    expect(endpoint?.route('POST')?.method).toBe('POST');
    expect(endpoint?.route('HEAD')?.method).toBe('GET');
    expect(endpoint?.route('DELETE')).toBeUndefined();
    expect(router.match('/v2/models/m/versions/1/infer').endpoint?.allow).toBe('OPTIONS, POST');
    expect(router.match('/v2/models/m/versions/1/infer').endpoint?.route('HEAD')).toBeUndefined();
  });

  it('refuses routes that clash and patterns that are none', () => {
    expect(() => new HttpRouter([route('GET', '/a/{x}'), route('GET', '/a/{y}')])).toThrow('two routes for GET /a/{y}');
    expect(() => new HttpRouter([route('GET', 'a')])).toThrow("must start with '/'");
    expect(() => new HttpRouter([route('GET', '/a/{x:hex}')])).toThrow('not a pattern segment');
    expect(() => new HttpRouter([route('GET', '/a/v{x}')])).toThrow('not a pattern segment');
  });

  it('keeps a bounded number of matches, and the busy ones among them', () => {
    const bounded = new HttpRouter([route('GET', '/{name}')]);
    const busy = bounded.match('/busy');
    for (let n = 0; n < 10_000; n += 1) {
      bounded.match(`/${n}`);
      expect(bounded.match('/busy')).toBe(busy);
    }
    expect(bounded.cachedPaths).toBeLessThanOrEqual(1024);
    bounded.match(`/${'x'.repeat(1000)}`);
    expect(bounded.match(`/${'x'.repeat(1000)}`)).not.toBe(bounded.match(`/${'x'.repeat(1000)}`));
  });

  it('gives every parameter back as it was before it was encoded', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 50, unit: 'grapheme' }), fc.nat(), (name, version) => {
        const match = router.match(`/v2/models/${encodeURIComponent(name)}/versions/${version}`);
        expect(match.params).toEqual([name, String(version)]);
      }),
    );
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 100 }), (path) => {
        expect([0, 400, 404, 414]).toContain(router.match(path).refusal);
        expect([0, 400, 404, 414]).toContain(router.match(`/v2/models/${path}`).refusal);
      }),
    );
  });
});
