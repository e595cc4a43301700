import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { httpBodyMemoryCase } from '../http-body-memory.case.ts';
import { httpStreamCase } from '../http-stream.case.ts';
import { httpTransportCase } from '../http-transport.case.ts';
import { httpTransportAbuseCase } from '../http-transport-abuse.case.ts';
import { TEST_TLS, TransportFixture } from '../transport-fixture.ts';
import { webSocketCase } from '../web-socket.case.ts';
import { webSocketAbuseCase } from '../web-socket-abuse.case.ts';
import { webSocketHandshakeCase } from '../web-socket-handshake.case.ts';
import { startNodeHttpTransport } from './node-http-transport.ts';

httpTransportCase('node', startNodeHttpTransport);
httpStreamCase('node', startNodeHttpTransport);
httpBodyMemoryCase('node', startNodeHttpTransport);
httpTransportAbuseCase('node', startNodeHttpTransport);
webSocketHandshakeCase('node', startNodeHttpTransport);
webSocketCase('node', startNodeHttpTransport);
webSocketAbuseCase('node', startNodeHttpTransport);

describe('node: client certificates', () => {
  it('serves only clients that show one of the CA', async () => {
    const fixture = new TransportFixture(startNodeHttpTransport);
    const transport = await fixture.serve({ tls: { ...TEST_TLS, caFile: TEST_TLS.certFile } });
    const ca = readFileSync(TEST_TLS.certFile);
    const known = await fixture.connect(transport, { ca, cert: ca, key: readFileSync(TEST_TLS.keyFile) });
    known.write('GET /hello HTTP/1.1\r\nHost: a\r\n\r\n');
    expect((await known.next())?.status).toBe(200);
    const unknown = await fixture.connect(transport, { ca });
    unknown.write('GET /hello HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await unknown.next()).toBeNull();
    expect(fixture.handled).toEqual(['/hello']);
    await fixture.stop();
  });
});
