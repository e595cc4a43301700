/** Which HTTP engine serves, and the sentence about it for the log. */

import type { HttpTransportOptions, StartHttpTransport } from './http-exchange.ts';
import { startNodeHttpTransport } from './node-http/node-http-transport.ts';
import { loadUws, type UwsLoad } from './uws/uws-module.ts';
import { startUwsTransport } from './uws/uws-transport.ts';

export type HttpEngine = 'auto' | 'uws' | 'node';

export interface HttpEngineChoice {
  readonly engine: 'uws' | 'node';
  readonly start: StartHttpTransport;
  /** One sentence: which was taken and why. */
  readonly sentence: string;
}

/**
 * `auto` takes uws when it loads and can do what the options ask. `tls`: those of the transport to start.
 * @throws Error with one line when `uws` is asked for and cannot be had.
 */
export async function chooseHttpEngine(
  wanted: HttpEngine,
  tls: HttpTransportOptions['tls'],
  load: () => Promise<UwsLoad> = loadUws,
): Promise<HttpEngineChoice> {
  if (wanted === 'node') return { engine: 'node', start: startNodeHttpTransport, sentence: 'HTTP engine node:http, as asked for' };
  if (tls !== null && tls.caFile !== null) {
    const reason = 'uWebSockets.js does not insist on client certificates, which the CA file asks for';
    if (wanted === 'uws') throw new Error(`cannot use the HTTP engine uws: ${reason}; use node`);
    return { engine: 'node', start: startNodeHttpTransport, sentence: `HTTP engine node:http: ${reason}` };
  }
  const loaded = await load();
  if ('reason' in loaded) {
    if (wanted === 'uws') throw new Error(`cannot use the HTTP engine uws: ${loaded.reason}; install it from its GitHub tag, or use node`);
    return { engine: 'node', start: startNodeHttpTransport, sentence: `HTTP engine node:http: ${loaded.reason}` };
  }
  return {
    engine: 'uws',
    start: (options) => startUwsTransport(loaded.module, options),
    sentence: wanted === 'uws' ? 'HTTP engine uWebSockets.js, as asked for' : 'HTTP engine uWebSockets.js: it is installed and loads',
  };
}
