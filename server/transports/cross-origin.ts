/** Which sites' pages may call from a browser: CORS for the routes (the Fetch standard), and the Origin of WebSocket handshakes (RFC 6455, 10.2). */

/** What a page may read of an answer besides the headers that every page may read. */
const EXPOSED_HEADERS = 'inference-header-content-length, retry-after';
/** How long a browser may keep the answer to a preflight, s. */
const PREFLIGHT_MAX_AGE = '600';

export class CrossOrigin {
  readonly #isAny: boolean;
  readonly #origins: ReadonlySet<string>;

  /** Origins (scheme://host[:port]) or '*'; none: no page of another site may call. */
  constructor(allowOrigins: readonly string[]) {
    this.#isAny = allowOrigins.includes('*');
    this.#origins = new Set(allowOrigins.map((origin) => origin.toLowerCase()));
  }

  get isOff(): boolean {
    return this.#origins.size === 0;
  }

  /** The value of Access-Control-Allow-Origin for a request's Origin; '' when its page may not read the answer. */
  allow(origin: string): string {
    if (this.#isAny) return '*';
    return this.#origins.has(origin.toLowerCase()) ? origin : '';
  }

  /** A client that is no browser sends no Origin; a browser always does. `host` is the Host header. */
  mayOpenWebSocket(origin: string, host: string): boolean {
    return origin === '' || this.allow(origin) !== '' || isSameHost(origin, host);
  }
}

/** The headers of an answer that the page of `allowOrigin`, not '', may read. */
export function withCrossOrigin(headers: readonly string[], allowOrigin: string): string[] {
  const all = [...headers, 'access-control-allow-origin', allowOrigin, 'access-control-expose-headers', EXPOSED_HEADERS];
  if (allowOrigin !== '*') all.push('vary', 'origin');
  return all;
}

/** What a preflight is told besides: the methods and request headers of the path. */
export function preflightHeaders(methods: string, requestHeaders: string): string[] {
  return [
    ...['allow', methods, 'access-control-allow-methods', methods],
    ...['access-control-allow-headers', requestHeaders, 'access-control-max-age', PREFLIGHT_MAX_AGE],
  ];
}

/** Host and port alone: behind a proxy that ends TLS the scheme differs. */
function isSameHost(origin: string, host: string): boolean {
  const match = /^(https?):\/\/([^/?#]+)$/.exec(origin.toLowerCase());
  if (match === null) return false;
  const defaultPort = match[1] === 'https' ? /:443$/ : /:80$/;
  return match[2]!.replace(defaultPort, '') === host.trim().toLowerCase().replace(defaultPort, '');
}
