/** `@nereid/client` in a browser: nothing of Node is reached from here. */

import type { InferenceClient } from './client.ts';
import { type ConnectOptions, connectWith, type TransportModule, type TransportModules } from './connect.ts';

export * from './exports.ts';

const http = (): Promise<typeof import('./http/http-transport.ts')> => import('./http/http-transport.ts');
const ws = async (): Promise<TransportModule> => {
  const { createBrowserTransport } = await import('./websocket/websocket-transport.ts');
  return { createTransport: createBrowserTransport };
};

const modules: TransportModules = { http, https: http, ws, wss: ws };

/** See ConnectOptions. The server is first spoken to by the first call. */
export function connect(url: string | URL, options: ConnectOptions = {}): Promise<InferenceClient> {
  return connectWith(modules, url, options);
}
