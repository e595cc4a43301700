/** The WebSockets of uWebSockets.js alone against those of the transport on it: `node dist/bench/micro/uws-web-socket.bench.js` */

import { fileURLToPath } from 'node:url';
import { loadUws, type UwsSocket } from '../../server/transports/uws/uws-module.ts';
import { startUwsTransport } from '../../server/transports/uws/uws-transport.ts';
import { compareWebSocketServers, WEB_SOCKET_ECHO_OPTIONS } from './web-socket-load.ts';

const loaded = await loadUws();
if ('reason' in loaded) throw new Error(`nothing to measure: ${loaded.reason}`);
const uws = loaded.module;

await compareWebSocketServers(fileURLToPath(import.meta.url), {
  'uWebSockets.js': () =>
    new Promise((resolve, reject) => {
      const app = uws.App();
      let due: (readonly [UwsSocket, Buffer])[] = [];
      const answer = (): void => {
        const messages = due;
        due = [];
        for (const [socket, message] of messages) socket.send(message, true, false);
      };
      app.ws('/*', {
        maxPayloadLength: 64 * 1024 * 1024,
        maxBackpressure: 0,
        idleTimeout: 60,
        sendPingsAutomatically: true,
        upgrade: (response, request, context) => {
          let key = '';
          request.forEachHeader((name, value) => {
            if (name === 'sec-websocket-key') key = value;
          });
          response.upgrade({} as never, key, '', '', context);
        },
        open: () => {},
        message: (socket, message) => {
          if (due.push([socket, Buffer.from(new Uint8Array(message))]) === 1) setImmediate(answer);
        },
        ping: () => {},
        drain: () => {},
        close: () => {},
      });
      app.listen('127.0.0.1', 0, 0, (socket) => (socket === false ? reject(new Error('cannot listen')) : resolve(uws.localPort(socket))));
    }),
  transport: async () => (await startUwsTransport(uws, WEB_SOCKET_ECHO_OPTIONS)).port,
});
