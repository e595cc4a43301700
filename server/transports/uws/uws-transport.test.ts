import { describe, it } from 'vitest';
import { httpBodyMemoryCase } from '../http-body-memory.case.ts';
import { httpStreamCase } from '../http-stream.case.ts';
import { httpTransportCase } from '../http-transport.case.ts';
import { httpTransportAbuseCase } from '../http-transport-abuse.case.ts';
import { webSocketCase } from '../web-socket.case.ts';
import { webSocketAbuseCase } from '../web-socket-abuse.case.ts';
import { webSocketHandshakeCase } from '../web-socket-handshake.case.ts';
import { loadUws } from './uws-module.ts';
import { startUwsTransport } from './uws-transport.ts';

const loaded = await loadUws();

if ('module' in loaded) {
  httpTransportCase('uws', (options) => startUwsTransport(loaded.module, options));
  httpStreamCase('uws', (options) => startUwsTransport(loaded.module, options));
  httpBodyMemoryCase('uws', (options) => startUwsTransport(loaded.module, options));
  httpTransportAbuseCase('uws', (options) => startUwsTransport(loaded.module, options));
  webSocketHandshakeCase('uws', (options) => startUwsTransport(loaded.module, options));
  webSocketCase('uws', (options) => startUwsTransport(loaded.module, options));
  webSocketAbuseCase('uws', (options) => startUwsTransport(loaded.module, options));
} else {
  describe.skip(`uws: HTTP transport (skipped: ${loaded.reason})`, () => {
    it('needs a build of uWebSockets.js that loads', () => {});
  });
}
