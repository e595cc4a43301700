/** node:http alone against the transport on it: `node dist/bench/micro/node-http-transport.bench.js` */

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { startNodeHttpTransport } from '../../server/transports/node-http/node-http-transport.ts';
import { compareServers, ECHO_OPTIONS } from './http-engine-load.ts';

await compareServers(fileURLToPath(import.meta.url), {
  'node:http': () =>
    new Promise((resolve) => {
      const server = createServer((request, response) => {
        const pieces: Buffer[] = [];
        request.on('data', (piece: Buffer) => pieces.push(piece));
        request.on('end', () => {
          const body = Buffer.concat(pieces);
          response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
          response.end(body);
        });
      });
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
    }),
  transport: async () => (await startNodeHttpTransport(ECHO_OPTIONS)).port,
});
