/** The ws package alone against the WebSockets of the transport on node:http: `node dist/bench/micro/node-http-web-socket.bench.js` */

import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type WebSocket, WebSocketServer } from 'ws';
import { startNodeHttpTransport } from '../../server/transports/node-http/node-http-transport.ts';
import { compareWebSocketServers, WEB_SOCKET_ECHO_OPTIONS } from './web-socket-load.ts';

await compareWebSocketServers(fileURLToPath(import.meta.url), {
  ws: () =>
    new Promise((resolve) => {
      const server: WebSocketServer = new WebSocketServer(
        { port: 0, host: '127.0.0.1', perMessageDeflate: false, maxPayload: 64 * 1024 * 1024 },
        () => resolve((server.address() as AddressInfo).port),
      );
      let due: (readonly [WebSocket, Buffer])[] = [];
      const answer = (): void => {
        const messages = due;
        due = [];
        for (const [socket, message] of messages) socket.send(message);
      };
      server.on('connection', (socket) => {
        socket.on('message', (message) => {
          if (due.push([socket, message as Buffer]) === 1) setImmediate(answer);
        });
      });
    }),
  transport: async () => (await startNodeHttpTransport(WEB_SOCKET_ECHO_OPTIONS)).port,
});
