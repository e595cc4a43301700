import type { MetricsRegistry } from '../../metrics/metrics.ts';
import type { HttpExchange, HttpRoute } from '../../transports/http-exchange.ts';

/**
 * The metrics page in Prometheus' text format 0.0.4, for a listener of its own. `onError` hears of a page that could not be written; the scraper gets a
 * 500, which Prometheus records as a failed scrape.
 */
export function prometheusRoutes(registry: MetricsRegistry, onError: (error: unknown) => void): HttpRoute[] {
  const handle = (exchange: HttpExchange): void => {
    registry.render().then(
      (page) => exchange.respond(200, ['content-type', registry.contentType], page),
      (error: unknown) => {
        onError(error);
        exchange.respond(
          500,
          ['content-type', 'text/plain; charset=utf-8'],
          'the metrics could not be collected; the server log has the details\n',
        );
      },
    );
  };
  return ['/metrics', '/metrics/'].map((pattern) => ({ method: 'GET', pattern, requestHeaders: [], allowContentCoding: true, handle }));
}
