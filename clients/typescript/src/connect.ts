import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import type { HeaderSource } from './call-scope.ts';
import { InferenceClient } from './client.ts';
import { DEFAULT_RETRY, type RetryOption, retryPolicy } from './retry.ts';
import type { CreateTransport, TlsOptions } from './transport.ts';

export interface ConnectOptions {
  /** HTTP headers, gRPC metadata of every call; or a function that gives them, called before every attempt: a token may be renewed there. */
  readonly headers?: HeaderSource;
  /** Of calls that say none themselves. Default: none. */
  readonly timeoutMs?: number;
  /** Default: two retries of what is safe to repeat; false: none. */
  readonly retry?: RetryOption;
  /** Of request bodies, and wanted of answers. Tensors of floating-point numbers hardly shrink. Default: none. */
  readonly compression?: 'none' | 'gzip';
  /** Certificates, for grpcs and wss in Node. */
  readonly tls?: TlsOptions;
  /** Used in place of the global fetch: a proxy, certificates, a test. */
  readonly fetch?: typeof globalThis.fetch;
}

export interface TransportModule {
  readonly createTransport: CreateTransport;
}

/** By URL scheme, without the colon. A module is loaded when it is first connected with. */
export type TransportModules = Readonly<Record<string, () => Promise<TransportModule>>>;

/**
 * A client for the server at `url`. Only the transport is loaded: the server is first spoken to by the first call. Throws INVALID_ARGUMENT for a URL that is
 * none, or has user and password in it (give them as headers).
 */
export async function connectWith(modules: TransportModules, url: string | URL, options: ConnectOptions): Promise<InferenceClient> {
  const parsed = parseUrl(url);
  const scheme = parsed.protocol.slice(0, -1);
  const load = Object.hasOwn(modules, scheme) ? modules[scheme] : undefined;
  if (load === undefined) {
    const schemes = Object.keys(modules);
    throw new InferenceError(
      'INVALID_ARGUMENT',
      `url: expected one of ${schemes.map((name) => `${name}://`).join(', ')} here, got ${scheme}://${didYouMean(scheme, schemes)}`,
    );
  }
  const timeoutMs = options.timeoutMs ?? Number.POSITIVE_INFINITY;
  if (!(timeoutMs > 0)) throw invalidArgument(`timeoutMs: expected milliseconds > 0, got ${timeoutMs}`);
  const { createTransport } = await loadTransport(load, scheme);
  const transport = createTransport(parsed, {
    compression: options.compression ?? 'none',
    tls: options.tls ?? null,
    fetch: options.fetch ?? null,
  });
  return new InferenceClient(transport, { headers: options.headers ?? {}, timeoutMs, retry: retryPolicy(options.retry, DEFAULT_RETRY) });
}

async function loadTransport(load: () => Promise<TransportModule>, scheme: string): Promise<TransportModule> {
  try {
    return await load();
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    const name = /'(@?[\w./-]+)'/.exec((error as Error).message)?.[1] ?? 'what it says';
    throw new InferenceError('UNIMPLEMENTED', `${scheme}:// needs the npm package ${name}, which is not installed: npm install ${name}`, {
      cause: error,
    });
  }
}

function parseUrl(url: string | URL): URL {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw invalidArgument(`url: expected a URL such as http://127.0.0.1:8000, got '${String(url)}'`);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw invalidArgument(
      'url: expected one without user and password, which end up in logs: give them as headers: { authorization: ... }',
    );
  }
  return parsed;
}
