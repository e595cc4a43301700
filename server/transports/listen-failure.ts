/** One-line errors of starting to listen, for the command line. */

import type { HttpTransportOptions } from './http-exchange.ts';

/** `error` is null where the engine does not say why. */
export function listenFailure(host: string, port: number, error: NodeJS.ErrnoException | null): Error {
  const where = `cannot listen on ${host.includes(':') ? `[${host}]` : host}:${port}`;
  switch (error?.code) {
    case 'EADDRINUSE':
      return new Error(`${where}: the port is taken`);
    case 'EACCES':
      return new Error(`${where}: this user may not open that port`);
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new Error(`${where}: the address is not one of this machine's`);
    case undefined:
      return new Error(`${where}: the port is taken, or the address is not one of this machine's`);
    default:
      return new Error(`${where}: ${error?.code}`);
  }
}

/** A certificate or key that cannot be read, or is none. */
export function tlsFailure(tls: NonNullable<HttpTransportOptions['tls']>, error: unknown): Error {
  const files = [tls.certFile, tls.keyFile, ...(tls.caFile === null ? [] : [tls.caFile])].join(', ');
  const reason = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
  return new Error(`cannot use the TLS certificate and key (${files}): ${reason}`, { cause: error });
}
