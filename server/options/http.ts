import type { OptionTable } from './option-declaration.ts';
import { bytesKind, choiceKind, expected, integerKind, listKind, optionalTextKind, switchKind, textKind } from './option-kind.ts';
import { KIB, MIB, milliseconds, port } from './option-units.ts';

export interface HttpOptions {
  readonly allowHttp: boolean;
  readonly httpAddress: string;
  readonly httpPort: number;
  readonly httpEngine: 'auto' | 'uws' | 'node';
  readonly httpMaxInputSize: number;
  readonly httpMaxBufferedBytes: number;
  readonly httpMaxHeaderBytes: number;
  readonly httpMaxConnections: number;
  readonly httpHeaderTimeoutMs: number;
  readonly httpRequestTimeoutMs: number;
  readonly httpKeepaliveTimeoutMs: number;
  readonly httpTlsCert: string | null;
  readonly httpTlsKey: string | null;
  readonly httpTlsCa: string | null;
  readonly httpAllowOrigin: readonly string[];
  readonly allowWebsocket: boolean;
  readonly websocketMaxInflightRequests: number;
  readonly websocketMaxUnsentBytes: number;
  readonly websocketIdleTimeoutMs: number;
}

export const httpOptions: OptionTable<HttpOptions> = {
  allowHttp: {
    flag: 'allow-http',
    group: 'HTTP',
    kind: switchKind,
    default: true,
    doc: 'Serve the inference protocol over HTTP.',
  },
  httpAddress: {
    flag: 'http-address',
    group: 'HTTP',
    kind: textKind('ADDRESS'),
    default: '127.0.0.1',
    doc: 'Address to listen on. 0.0.0.0 or :: is every address of the machine: anyone who reaches it can call the models.',
  },
  httpPort: { flag: 'http-port', group: 'HTTP', kind: port, default: 8000, doc: 'Port to listen on; 0: any free one.' },
  httpEngine: {
    flag: 'http-engine',
    group: 'HTTP',
    kind: choiceKind('auto', 'uws', 'node'),
    default: 'auto',
    doc: 'uws needs the optional package uWebSockets.js; auto takes it where it loads, and node elsewhere.',
  },
  httpMaxInputSize: {
    flag: 'http-max-input-size',
    group: 'HTTP',
    kind: bytesKind(1),
    default: 64 * MIB,
    doc: 'Largest request body, before and after decompression.',
  },
  httpMaxBufferedBytes: {
    flag: 'http-max-buffered-bytes',
    group: 'HTTP',
    kind: bytesKind(1),
    default: { text: '512MiB, or --http-max-input-size if that is more', from: (options) => Math.max(512 * MIB, options.httpMaxInputSize) },
    doc: 'All request bodies held at one time. Requests beyond it are answered 503.',
  },
  httpMaxHeaderBytes: {
    flag: 'http-max-header-bytes',
    group: 'HTTP',
    kind: bytesKind(KIB),
    default: 16 * KIB,
    doc: 'Largest block of request headers.',
  },
  httpMaxConnections: {
    flag: 'http-max-connections',
    group: 'HTTP',
    kind: integerKind('COUNT', 1),
    default: 10_000,
    doc: 'Connections open at one time.',
  },
  httpHeaderTimeoutMs: {
    flag: 'http-header-timeout-ms',
    group: 'HTTP',
    kind: milliseconds,
    default: 10_000,
    doc: "Time for a request's headers to arrive.",
  },
  httpRequestTimeoutMs: {
    flag: 'http-request-timeout-ms',
    group: 'HTTP',
    kind: milliseconds,
    default: 120_000,
    doc: 'Time for a whole request to arrive.',
  },
  httpKeepaliveTimeoutMs: {
    flag: 'http-keepalive-timeout-ms',
    group: 'HTTP',
    kind: milliseconds,
    default: 75_000,
    doc: 'Time that a connection may stay without a request.',
  },
  httpTlsCert: {
    flag: 'http-tls-cert',
    group: 'HTTP',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: 'Certificate (PEM): HTTPS instead of HTTP. Needs --http-tls-key.',
  },
  httpTlsKey: {
    flag: 'http-tls-key',
    group: 'HTTP',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: 'Private key of the certificate (PEM).',
  },
  httpTlsCa: {
    flag: 'http-tls-ca',
    group: 'HTTP',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: 'Authorities (PEM) one of which must have signed the certificate that a client then has to show.',
  },
  httpAllowOrigin: {
    flag: 'http-allow-origin',
    group: 'HTTP',
    kind: listKind<readonly string[]>('ORIGIN', (texts) => texts.map(parseOrigin)),
    default: [],
    doc: 'Origin whose pages may call from a browser, over HTTP (CORS) and WebSocket, as in https://app.example.com; * for any. May be given several times.',
  },
  allowWebsocket: {
    flag: 'allow-websocket',
    group: 'HTTP',
    kind: switchKind,
    default: true,
    doc: 'Serve inference over WebSocket at /v2/ws of the HTTP port.',
  },
  websocketMaxInflightRequests: {
    flag: 'websocket-max-inflight-requests',
    group: 'HTTP',
    kind: integerKind('COUNT', 1, 65_536),
    default: 256,
    doc: 'Requests that one WebSocket connection may have unanswered at one time.',
  },
  websocketMaxUnsentBytes: {
    flag: 'websocket-max-unsent-bytes',
    group: 'HTTP',
    kind: bytesKind(64 * KIB),
    default: 64 * MIB,
    doc: 'Answers that may wait for a WebSocket client that does not read; past it the connection is closed.',
  },
  websocketIdleTimeoutMs: {
    flag: 'websocket-idle-timeout-ms',
    group: 'HTTP',
    kind: integerKind('MS', 8_000, 960_000),
    default: 120_000,
    doc: 'A WebSocket client from which nothing came for this long, answers to pings included, is taken to be gone.',
  },
};

/** As browsers send it: scheme, host and port, nothing behind. */
function parseOrigin(text: string): string {
  if (text === '*') return text;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.origin === 'null' || url.origin !== text.replace(/\/$/, '').toLowerCase()) {
    throw expected('an origin such as https://app.example.com or http://localhost:5173 (no path), or *', text);
  }
  return url.origin;
}
