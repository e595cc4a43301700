/** One-line errors of starting to listen, for the command line. */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
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

/**
 * Reads the files as a handshake will. An engine does not say what is wrong with a file, or takes a key that is not the certificate's and then fails
 * every handshake.
 *
 * @throws Error with one line for a person.
 */
export function checkTlsFiles(tls: NonNullable<HttpTransportOptions['tls']>): void {
  let isPair: boolean;
  try {
    const cert = readFileSync(tls.certFile);
    const key = readFileSync(tls.keyFile);
    createSecureContext({ cert, ...(tls.caFile === null ? {} : { ca: readFileSync(tls.caFile) }) });
    isPair = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch (error) {
    throw tlsFailure(tls, error);
  }
  if (!isPair) throw tlsFailure(tls, 'the key is not the one that belongs to the certificate');
}
