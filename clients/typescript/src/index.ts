/** `@nereid/client` in Node. */

import type { InferenceClient } from './client.ts';
import { type ConnectOptions, connectWith, type TransportModules } from './connect.ts';

export * from './exports.ts';

const http = (): Promise<typeof import('./http/http-transport.ts')> => import('./http/http-transport.ts');
const grpc = (): Promise<typeof import('./grpc/grpc-transport.ts')> => import('./grpc/grpc-transport.ts');
const ws = (): Promise<typeof import('./websocket/websocket-transport.ts')> => import('./websocket/websocket-transport.ts');

const modules: TransportModules = { http, https: http, grpc, grpcs: grpc, ws, wss: ws };

/** See ConnectOptions. The server is first spoken to by the first call. */
export function connect(url: string | URL, options: ConnectOptions = {}): Promise<InferenceClient> {
  return connectWith(modules, url, options);
}
