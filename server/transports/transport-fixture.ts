/** A transport under test with routes that show what reached them. */

import { fileURLToPath } from 'node:url';
import type { HttpExchange, HttpMethod, HttpRoute, HttpTransport, HttpTransportOptions, StartHttpTransport } from './http-exchange.ts';
import { RawHttpConnection } from './raw-http-connection.ts';

const certFile = fileURLToPath(new URL('./fixtures/localhost.cert.pem', import.meta.url));
const keyFile = fileURLToPath(new URL('./fixtures/localhost.key.pem', import.meta.url));
export const TEST_TLS: { readonly certFile: string; readonly keyFile: string; readonly caFile: null } = { certFile, keyFile, caFile: null };

export class TransportFixture {
  readonly handled: string[] = [];
  /** What `/hold` and `/hold/{n}` received and has not answered, in order. */
  readonly held: HttpExchange[] = [];
  readonly errors: unknown[] = [];
  readonly transports: HttpTransport[] = [];
  readonly connections: RawHttpConnection[] = [];
  readonly #start: StartHttpTransport;
  #onHeld: (() => void) | null = null;

  constructor(start: StartHttpTransport) {
    this.#start = start;
  }

  async serve(changes: Partial<HttpTransportOptions> = {}): Promise<HttpTransport> {
    const transport = await this.#start({
      host: '127.0.0.1',
      port: 0,
      routes: this.#routes(),
      webSockets: [],
      allowOrigins: [],
      errorBody: { contentType: 'application/json', encode: (status, message) => JSON.stringify({ status, error: message }) },
      maxBodyBytes: 1024 * 1024,
      maxBufferedBodyBytes: 4 * 1024 * 1024,
      maxHeaderBytes: 16 * 1024,
      maxConnections: 100,
      headersTimeoutMs: 30_000,
      requestTimeoutMs: 30_000,
      keepAliveTimeoutMs: 30_000,
      tls: null,
      onError: (error) => this.errors.push(error),
      ...changes,
    });
    this.transports.push(transport);
    return transport;
  }

  async connect(transport: HttpTransport, tls: Parameters<typeof RawHttpConnection.open>[1] = null): Promise<RawHttpConnection> {
    const connection = await RawHttpConnection.open(transport.port, tls);
    this.connections.push(connection);
    return connection;
  }

  /** Resolves when so many exchanges are held. */
  async heldCount(count: number): Promise<void> {
    while (this.held.length < count) await new Promise<void>((resolve) => (this.#onHeld = resolve));
  }

  async stop(): Promise<void> {
    for (const connection of this.connections) connection.destroy();
    for (const transport of this.transports) await transport.close();
  }

  #routes(): HttpRoute[] {
    const route = (
      method: HttpMethod,
      pattern: string,
      answer: (exchange: HttpExchange) => void,
      requestHeaders: string[] = [],
      allowContentCoding = false,
    ): HttpRoute => ({
      method,
      pattern,
      requestHeaders,
      allowContentCoding,
      handle: (exchange) => {
        this.handled.push(exchange.path);
        answer(exchange);
      },
    });
    const hold = (exchange: HttpExchange): void => {
      this.held.push(exchange);
      this.#onHeld?.();
    };
    return [
      route('POST', '/echo', (exchange) => exchange.respond(200, ['content-type', 'application/x-echo'], exchange.body)),
      route('POST', '/coded', (exchange) => exchange.respond(200, ['x-body', 'coded'], exchange.body), [], true),
      route('POST', '/coded-error', (exchange) => exchange.respond(400, [], 'e'.repeat(5000)), [], true),
      route('GET', '/hello', (exchange) => exchange.respond(200, ['content-type', 'text/plain'], 'hællo')),
      route('GET', '/empty', (exchange) => exchange.respond(200, [], '')),
      route('GET', '/headers', (exchange) => exchange.respond(200, [], JSON.stringify([exchange.header('x-test'), exchange.query])), [
        'x-test',
      ]),
      route('GET', '/models/{name}/versions/{version:digits}', (exchange) => exchange.respond(200, [], JSON.stringify(exchange.params))),
      route('GET', '/throws', () => {
        throw new Error('secret detail');
      }),
      route('GET', '/bad-header', (exchange) => exchange.respond(200, ['x-bad', 'a\r\nx-injected: b'], 'x')),
      route('GET', '/twice', (exchange) => {
        exchange.respond(200, [], 'first');
        exchange.respond(500, [], 'second');
      }),
      route('GET', '/pieces/{count:digits}', (exchange) => {
        const pieces = Array.from({ length: Number(exchange.params[0]) }, (_, index) => Buffer.from(`<${index}>`));
        exchange.respond(200, [], pieces);
        // Borrowed until respond returned, so this must not show.
        for (const piece of pieces) piece.fill(0);
      }),
      route('GET', '/big/{bytes:digits}', (exchange) =>
        exchange.respond(200, [], [Buffer.alloc(Number(exchange.params[0]), 'x'), Buffer.from('end')]),
      ),
      route('POST', '/hold', hold),
      route('GET', '/hold/{n}', hold),
    ];
  }
}
