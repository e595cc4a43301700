import { expect, test } from 'vitest';
import { MetricsRegistry } from '../../metrics/metrics.ts';
import type { HttpBody, HttpExchange } from '../../transports/http-exchange.ts';
import { prometheusRoutes } from './endpoints.ts';

/** One exchange with the first route, its answer as a promise. */
function scrape(
  registry: MetricsRegistry,
  onError: (error: unknown) => void,
): Promise<{ status: number; headers: readonly string[]; body: HttpBody }> {
  return new Promise((resolve) => {
    const exchange: HttpExchange = {
      method: 'GET',
      path: '/metrics',
      query: '',
      params: [],
      body: new Uint8Array(),
      isAborted: false,
      abortListener: null,
      header: () => '',
      respond: (status, headers, body) => resolve({ status, headers, body }),
      startStream: () => expect.fail('the page is not streamed'),
    };
    prometheusRoutes(registry, onError)[0]!.handle(exchange);
  });
}

test('GET /metrics and /metrics/ answer the page with its type', async () => {
  const registry = new MetricsRegistry();
  expect(prometheusRoutes(registry, () => {}).map(({ method, pattern }) => `${method} ${pattern}`)).toEqual([
    'GET /metrics',
    'GET /metrics/',
  ]);
  const { status, headers, body } = await scrape(registry, () => {});
  expect([status, headers]).toEqual([200, ['content-type', 'text/plain; version=0.0.4; charset=utf-8']]);
  expect(body).toContain('# TYPE nv_inference_request_success counter');
  await registry.close();
});

test('a page that cannot be written is a 500 without detail, and the error is heard', async () => {
  class BrokenRegistry extends MetricsRegistry {
    override render(): Promise<string> {
      return Promise.reject(new Error('/secret/path'));
    }
  }
  const registry = new BrokenRegistry();
  const errors: unknown[] = [];
  const { status, body } = await scrape(registry, (error) => errors.push(error));
  expect(status).toBe(500);
  expect(body).not.toContain('secret');
  expect(errors).toEqual([new Error('/secret/path')]);
  await registry.close();
});
