import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { LoadTarget, LoadTls, WireProtocol } from '../load/load-plan.ts';

interface Scheme {
  readonly defaultPort: number;
  readonly isSecure: boolean;
  /** Which protocols it may be given with. */
  readonly goesWith: 'any' | 'grpc' | 'websocket';
}

/** An https URL without a port means 443, as everywhere; gRPC has no port of its own, so Triton's. */
const SCHEMES: Readonly<Record<string, Scheme>> = {
  http: { defaultPort: 80, isSecure: false, goesWith: 'any' },
  https: { defaultPort: 443, isSecure: true, goesWith: 'any' },
  grpc: { defaultPort: 8001, isSecure: false, goesWith: 'grpc' },
  grpcs: { defaultPort: 8001, isSecure: true, goesWith: 'grpc' },
  ws: { defaultPort: 80, isSecure: false, goesWith: 'websocket' },
  wss: { defaultPort: 443, isSecure: true, goesWith: 'websocket' },
};
const HTTP_PORT = 8000;
const GRPC_PORT = 8001;
const SYSTEM_TLS: LoadTls = { ca: '', cert: '', key: '', verify: true };

export interface TargetAddress {
  readonly url: string;
  readonly protocol: WireProtocol;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: LoadTls | null;
}

export function isGrpc(protocol: WireProtocol): boolean {
  return protocol.startsWith('grpc');
}

/**
 * `host:port`, or a URL with http(s), grpc(s) or ws(s), and perhaps a path that all of the server's paths come behind; '': Triton's port of this machine. Throws INVALID_ARGUMENT.
 */
export function parseTargetUrl({ url, protocol, headers, tls }: TargetAddress): LoadTarget {
  const name = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1]?.toLowerCase() ?? null;
  const scheme = name === null ? null : schemeOf(name, protocol);
  const parsed = parse(url, name);
  const defaultPort = scheme?.defaultPort ?? (isGrpc(protocol) ? GRPC_PORT : HTTP_PORT);
  if (tls !== null && scheme !== null && !scheme.isSecure) {
    throw invalidArgument(`url: expected https, grpcs or wss with certificates, got ${name}://, which is not encrypted`);
  }
  return {
    host: parsed.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: parsed.port === '' ? defaultPort : Number(parsed.port),
    basePath: basePathOf(parsed.pathname, protocol),
    tls: scheme?.isSecure ? (tls ?? SYSTEM_TLS) : tls,
    headers,
  };
}

/** As a person would give it. */
export function targetUrl({ host, port, basePath, tls }: LoadTarget, protocol: WireProtocol): string {
  const scheme = isGrpc(protocol) ? 'grpc' : protocol.startsWith('websocket') ? 'ws' : 'http';
  return `${scheme}${tls === null ? '' : 's'}://${host.includes(':') ? `[${host}]` : host}:${port}${basePath}`;
}

function schemeOf(name: string, protocol: WireProtocol): Scheme {
  const scheme = Object.hasOwn(SCHEMES, name) ? SCHEMES[name] : undefined;
  if (scheme === undefined) {
    const names = Object.keys(SCHEMES);
    throw invalidArgument(`url: expected one of ${names.map((one) => `${one}://`).join(', ')}, got ${name}://${didYouMean(name, names)}`);
  }
  if (scheme.goesWith !== 'any' && !protocol.startsWith(scheme.goesWith)) {
    const fitting = scheme.goesWith === 'grpc' ? 'grpc or grpc-stream' : 'websocket-binary or websocket-json';
    throw invalidArgument(`url: ${name}:// goes with --protocol ${fitting}, got --protocol ${protocol}`);
  }
  return scheme;
}

/** `name`: its scheme; null: none. Parsed as another scheme, since the URL class drops default ports, and reads hosts of unknown schemes less strictly. */
function parse(url: string, name: string | null): URL {
  const rest = name === null ? url : url.slice(name.length + 3);
  let parsed: URL;
  try {
    // ftp's default port, which no server under test has.
    parsed = new URL(`ftp://${rest === '' && name === null ? '127.0.0.1' : rest}`);
  } catch {
    const hint = /^[0-9a-f]*:[0-9a-f:]*:/i.test(rest) ? ': an IPv6 address stands in brackets, [::1]:8000' : '';
    throw invalidArgument(`url: expected host:port or a URL such as http://127.0.0.1:8000, got '${url}'${hint}`);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw invalidArgument('url: expected one without user and password, which end up in reports: give them by --header authorization:...');
  }
  if (parsed.search !== '' || parsed.hash !== '') throw invalidArgument(`url: expected one without ? and #, got '${url}'`);
  return parsed;
}

/** Clients of OpenAI's API are given their base URL with its /v1. */
function basePathOf(pathname: string, protocol: WireProtocol): string {
  const path = pathname.replace(/\/+$/, '');
  return protocol === 'openai' ? path.replace(/\/v1$/, '') : path;
}
