/** How WebSockets begin on both HTTP engines, and which do not (RFC 6455, 4). Run by the test file of each engine. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StartHttpTransport } from './http-exchange.ts';
import { frame, handshake, RawWebSocket, SAMPLE_KEY } from './raw-web-socket.ts';
import { TransportFixture } from './transport-fixture.ts';
import { WebSocketRouteProbe } from './web-socket-fixture.ts';

const TEXT = 0x81;

export function webSocketHandshakeCase(engine: 'uws' | 'node', start: StartHttpTransport): void {
  describe(`${engine}: WebSocket handshake`, () => {
    let fixture: TransportFixture;
    const serve = (route: WebSocketRouteProbe) => fixture.serve({ webSockets: [route] });
    beforeEach(() => {
      fixture = new TransportFixture(start);
    });
    afterEach(() => fixture.stop());

    it('answers the handshake of RFC 6455, and neither subprotocols nor extensions', async () => {
      const { port } = await serve(new WebSocketRouteProbe());
      const client = await RawWebSocket.open(port, '/ws?a=b', {
        'Sec-WebSocket-Protocol': 'chat, superchat',
        'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits',
      });
      const head = client.head.toLowerCase();
      expect(head).toContain('\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=');
      expect(head).toContain('\r\nupgrade: websocket');
      expect(head).toContain('\r\nconnection: upgrade');
      expect(head).not.toContain('sec-websocket-protocol');
      expect(head).not.toContain('sec-websocket-extensions');
      client.socket.destroy();
    });

    it.each([
      [
        'a plain GET',
        { Upgrade: null, Connection: null, 'Sec-WebSocket-Key': null, 'Sec-WebSocket-Version': null },
        426,
        'speaks WebSocket',
      ],
      ['another protocol', { Upgrade: 'h2c' }, 426, 'speaks WebSocket'],
      ['Upgrade that Connection does not list', { Connection: 'keep-alive' }, 426, 'speaks WebSocket'],
      ['an old version', { 'Sec-WebSocket-Version': '8' }, 426, "must be 13, got '8'"],
      ['no version', { 'Sec-WebSocket-Version': null }, 426, 'Sec-WebSocket-Version is missing'],
      ['no key', { 'Sec-WebSocket-Key': null }, 400, 'Sec-WebSocket-Key'],
      ['a key of 15 bytes', { 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAA' }, 400, 'Sec-WebSocket-Key'],
      ['a key that is no base64', { 'Sec-WebSocket-Key': '%GhlIHNhbXBsZSBub25jZQ==' }, 400, 'Sec-WebSocket-Key'],
      ['another origin', { Origin: 'https://elsewhere.example' }, 403, 'https://elsewhere.example'],
      ['a sandboxed page', { Origin: 'null' }, 403, "'null'"],
      ['an origin that only begins like the own', { Origin: 'http://a.example' }, 403, 'http://a.example'],
    ])('refuses %s and serves on', async (_, changes, status, words) => {
      const route = new WebSocketRouteProbe();
      const client = await fixture.connect(await serve(route));
      client.write(handshake('/ws', changes));
      const response = (await client.next())!;
      expect(response.status).toBe(status);
      expect(JSON.parse(response.body.toString())).toEqual({ status, error: expect.stringContaining(words) });
      if (status === 426) {
        expect([response.headers.get('upgrade'), response.headers.get('connection')]).toEqual(['websocket', 'Upgrade']);
        expect(response.headers.get('sec-websocket-version')).toBe('13');
      }
      client.write('GET /hello HTTP/1.1\r\nHost: a\r\n\r\n');
      expect((await client.next())?.status).toBe(200);
      expect(route.probes).toEqual([]);
    });

    it.each([
      ['another method', handshake('/ws', {}, 'PUT /ws HTTP/1.1'), 405],
      ['HTTP/1.0', handshake('/ws', {}, 'GET /ws HTTP/1.0'), 400],
      ['two hosts', handshake('/ws').replace('\r\n\r\n', '\r\nHost: b\r\n\r\n'), 400],
      ['two keys', handshake('/ws').replace('\r\n\r\n', `\r\nSec-WebSocket-Key: ${SAMPLE_KEY}\r\n\r\n`), 400],
      ['a body', `${handshake('/ws', { 'Content-Length': '3' })}abc`, 400],
      ['a chunked body', `${handshake('/ws', { 'Transfer-Encoding': 'chunked' })}0\r\n\r\n`, 400],
      ['both kinds of body', `${handshake('/ws', { 'Content-Length': '3', 'Transfer-Encoding': 'chunked' })}0\r\n\r\n`, 400],
      ['a path that goes on', handshake('/ws/'), 404],
    ])('refuses a handshake with %s', async (_, request, status) => {
      const route = new WebSocketRouteProbe();
      const client = await fixture.connect(await serve(route));
      client.write(request);
      const response = await client.next();
      // uws refuses some by itself: with a status of its own, or by closing.
      if (engine === 'node' || response !== null) expect([status, 505]).toContain(response?.status);
      expect(route.probes).toEqual([]);
    });

    it('takes the own origin, listed ones and clients without one', async () => {
      const route = new WebSocketRouteProbe();
      const { port } = await fixture.serve({ webSockets: [route], allowOrigins: ['https://app.example'] });
      for (const changes of [
        {},
        { Origin: 'https://app.example' },
        { Origin: 'HTTPS://APP.example' },
        { Origin: 'http://a' },
        { Origin: 'http://localhost:8000', Host: 'LOCALHOST:8000' },
        { Origin: 'https://a.example', Host: 'a.example:443' },
      ] as Record<string, string>[]) {
        (await RawWebSocket.open(port, '/ws', changes)).socket.destroy();
      }
      for (const changes of [
        { Origin: 'http://localhost:8001', Host: 'localhost:8000' },
        { Origin: 'https://app.example.evil.example' },
      ] as Record<string, string>[]) {
        await expect(RawWebSocket.open(port, '/ws', changes)).rejects.toThrow(/^HTTP\/1.1 403 /);
      }
      const any = await fixture.serve({ webSockets: [new WebSocketRouteProbe()], allowOrigins: ['*'] });
      (await RawWebSocket.open(any.port, '/ws', { Origin: 'https://elsewhere.example' })).socket.destroy();
    });

    it('serves requests that offer an upgrade it does not know, as if they had not', async () => {
      const client = await fixture.connect(await serve(new WebSocketRouteProbe()));
      for (const upgrade of ['h2c', 'websocket']) {
        client.write(handshake('/hello', { Upgrade: upgrade }));
        expect((await client.next())?.body.toString()).toBe('hællo');
        client.write(`${handshake('/echo', { Upgrade: upgrade, 'Content-Length': '4' }, 'POST /echo HTTP/1.1')}abcd`);
        expect((await client.next())?.body.toString()).toBe('abcd');
      }
    });

    it('opens no WebSocket behind a request that is not answered', async () => {
      const route = new WebSocketRouteProbe();
      const client = await fixture.connect(await serve(route));
      client.write(`GET /hold/1 HTTP/1.1\r\nHost: a\r\n\r\n${handshake('/ws')}`);
      await fixture.heldCount(1);
      if (engine === 'node') {
        fixture.held[0]!.respond(200, [], 'first');
        expect((await client.next())?.body.toString()).toBe('first');
        expect((await client.next())?.status).toBe(400);
      } else await client.closed();
      expect(route.probes).toEqual([]);
    });

    // uws drops what a client sends before it has the answer, which no client may.
    it.runIf(engine === 'node')('opens one on a connection that has served requests, with frames right behind the handshake', async () => {
      const route = new WebSocketRouteProbe();
      const transport = await serve(route);
      const client = await fixture.connect(transport);
      client.write('GET /hello HTTP/1.1\r\nHost: a\r\n\r\n');
      expect((await client.next())?.status).toBe(200);
      client.write(Buffer.concat([Buffer.from(handshake('/ws')), frame(TEXT, 'early')]));
      expect((await client.next())?.status).toBe(101);
      while (route.probes[0]?.messages.length !== 1) await new Promise((resolve) => setImmediate(resolve));
      expect(Buffer.from(route.probes[0]!.messages[0]!).toString()).toBe('early');
    });

    it('serves nothing where no route is', async () => {
      const { port } = await fixture.serve();
      await expect(RawWebSocket.open(port, '/ws')).rejects.toThrow(/^HTTP\/1.1 404 /);
    });
  });
}
