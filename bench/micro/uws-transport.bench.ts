/** uWebSockets.js alone against the transport on it: `node dist/bench/micro/uws-transport.bench.js` */

import { fileURLToPath } from 'node:url';
import { loadUws } from '../../server/transports/uws/uws-module.ts';
import { startUwsTransport } from '../../server/transports/uws/uws-transport.ts';
import { compareServers, ECHO_OPTIONS } from './http-engine-load.ts';

const loaded = await loadUws();
if ('reason' in loaded) throw new Error(`nothing to measure: ${loaded.reason}`);
const uws = loaded.module;

await compareServers(fileURLToPath(import.meta.url), {
  'uWebSockets.js': () =>
    new Promise((resolve, reject) => {
      const app = uws.App();
      app.any('/*', (response) => {
        let isGone = false;
        response.onAborted(() => {
          isGone = true;
        });
        // The body of this load always comes in one piece.
        response.onData((chunk, isLast) => {
          if (!isLast || isGone) return;
          response.cork(() => {
            response.writeHeader('content-type', 'application/json');
            response.end(new Uint8Array(chunk));
          });
        });
      });
      app.listen('127.0.0.1', 0, 0, (socket) => (socket === false ? reject(new Error('cannot listen')) : resolve(uws.localPort(socket))));
    }),
  transport: async () => (await startUwsTransport(uws, ECHO_OPTIONS)).port,
});
