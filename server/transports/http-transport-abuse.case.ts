/**
 * What neither HTTP engine may let through: malformed requests, floods, slow clients. Where uWebSockets.js decides by itself (its own 400 without a body, its
 * own timeouts of 10 s, no answer at all before the close) the outcome asserted is the common one: refused, closed, no handler reached.
 */

import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StartHttpTransport } from './http-exchange.ts';
import { TransportFixture } from './transport-fixture.ts';

const HOST = 'Host: a\r\n';
const CHUNKED = `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`;
const SMUGGLED = `GET /hello HTTP/1.1\r\n${HOST}\r\n`;

/** name, request, whether both engines answer with a status before they close (uws leaves some unanswered until its timeout). */
const FRAMING: readonly (readonly [string, string])[] = [
  [
    'Content-Length before Transfer-Encoding',
    `POST /echo HTTP/1.1\r\n${HOST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  [
    'Transfer-Encoding before Content-Length',
    `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`,
  ],
  ['two lengths', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: 0\r\nContent-Length: 40\r\n\r\n`],
  ['a length repeated', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`],
  ['a list of lengths', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: 3, 3\r\n\r\nabc`],
  ['a signed length', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: +3\r\n\r\nabc`],
  ['a negative length', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: -3\r\n\r\nabc`],
  ['a hexadecimal length', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: 0x3\r\n\r\nabc`],
  ['an empty length', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: \r\n\r\n`],
  ['a length of 23 digits', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: 10000000000000000000000\r\n\r\nabc`],
  ['a length past 64 bits', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: 18446744073709551619\r\n\r\nabc`],
  ['another transfer coding', `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ['an unknown transfer coding', `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
  ['Transfer-Encoding twice', `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['two hosts', `GET /hello HTTP/1.1\r\n${HOST}Host: b\r\n\r\n`],
  ['a chunk size past 64 bits', `${CHUNKED}fffffffffffffffff3\r\nabc\r\n0\r\n\r\n`],
  ['a chunk size that is none', `${CHUNKED}xyz\r\nabc\r\n0\r\n\r\n`],
  ['a chunk extension of 32 KiB', `${CHUNKED}3;${'x'.repeat(32_768)}\r\nabc\r\n0\r\n\r\n`],
  ['HTTP/1.1 spoken by no one', `GET /hello HTTP/9.9\r\n${HOST}\r\n`],
  ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \r\n\r\n'],
  ['bare LF', `GET /hello HTTP/1.1\nHost: a\n\n`],
];

/** uws leaves these unanswered until its own timeout closes the connection, some builds answer 400. */
const HEADERS: readonly (readonly [string, string])[] = [
  ['a space before the colon', 'GET /hello HTTP/1.1\r\nHost : a\r\n\r\n'],
  ['a leading space', 'GET /hello HTTP/1.1\r\n Host: a\r\n\r\n'],
  ['a folded header', `GET /hello HTTP/1.1\r\n${HOST}X: a\r\n b\r\n\r\n`],
  ['a bare CR', `GET /hello HTTP/1.1\r\n${HOST}X: a\rb\r\n\r\n`],
  ['a bare LF between headers', 'GET /hello HTTP/1.1\r\nHost: a\nX: b\r\n\r\n'],
  ['a NUL', `GET /hello HTTP/1.1\r\n${HOST}X: a\0b\r\n\r\n`],
  ['no host', 'GET /hello HTTP/1.1\r\n\r\n'],
  ['3,000 headers', `GET /hello HTTP/1.1\r\n${HOST}${'A: b\r\n'.repeat(3000)}\r\n`],
];

export function httpTransportAbuseCase(engine: 'uws' | 'node', start: StartHttpTransport): void {
  describe(`${engine}: HTTP transport under abuse`, () => {
    let fixture: TransportFixture;
    beforeEach(() => {
      fixture = new TransportFixture(start);
    });
    afterEach(() => fixture.stop());

    it.each(FRAMING)('refuses %s and routes nothing behind it', async (name, request) => {
      const client = await fixture.connect(await fixture.serve());
      client.write(request + SMUGGLED);
      const response = await client.next();
      // Behind a smuggled request the uws engine closes without an answer rather than risk another one.
      if (response !== null) expect([400, 413, 501, 505]).toContain(response.status);
      if (response !== null && name.includes('transfer coding')) expect(response.status).toBe(501);
      if (engine === 'node') expect(response).not.toBeNull();
      expect(await client.next()).toBeNull();
      expect(fixture.handled).toEqual([]);
    });

    it.each(FRAMING)('answers %s, alone, before it closes', async (_, request) => {
      const client = await fixture.connect(await fixture.serve());
      client.write(request);
      expect([400, 413, 501, 505]).toContain((await client.next())?.status);
      await client.closed();
      expect(fixture.handled).toEqual([]);
    });

    it('does not route an absolute target', async () => {
      const client = await fixture.connect(await fixture.serve());
      client.write(`GET http://a/hello HTTP/1.1\r\n${HOST}\r\n`);
      expect([400, 505]).toContain((await client.next())?.status);
      expect(fixture.handled).toEqual([]);
    });

    it.each([
      ['in one segment', ['x'.repeat(20_000)]],
      ['in many', Array.from({ length: 64 }, () => 'x'.repeat(16_384))],
    ])('refuses a header of too many bytes, %s', async (_, pieces) => {
      const client = await fixture.connect(await fixture.serve());
      client.write(`GET /hello HTTP/1.1\r\n${HOST}X: `);
      for (const piece of pieces) client.write(piece);
      client.write(`\r\n\r\n${SMUGGLED}`);
      const response = await client.next();
      if (response !== null) expect(response.status).toBe(431);
      await client.closed();
      expect(fixture.handled).toEqual([]);
    });

    it('answers what came before a malformed request, in order, and nothing after it', async () => {
      const client = await fixture.connect(await fixture.serve());
      const good = Array.from({ length: 500 }, (_, n) => `GET /models/${n}/versions/1 HTTP/1.1\r\n${HOST}\r\n`).join('');
      client.write(`${good}POST /echo HTTP/1.1\r\n${HOST}Content-Length: x\r\n\r\n${good}`);
      for (let n = 0; n < 500; n += 1) expect((await client.next())?.body.toString()).toBe(`["${n}","1"]`);
      const refusal = await client.next();
      if (engine === 'node') expect(refusal?.status).toBe(400);
      expect(await client.next()).toBeNull();
      expect(fixture.handled).toHaveLength(500);
    });

    it.runIf(engine === 'node')('answers what is still open before it refuses a malformed successor', async () => {
      const client = await fixture.connect(await fixture.serve());
      client.write(`GET /hold/0 HTTP/1.1\r\n${HOST}\r\nGET /hold/1 HTTP/1.1\r\n${HOST}\r\nGET /bad HTTP/1.1\r\nX : y\r\n\r\n`);
      await fixture.heldCount(2);
      fixture.held[1]!.respond(200, [], 'one');
      fixture.held[0]!.respond(200, [], 'zero');
      expect((await client.next())?.body.toString()).toBe('zero');
      expect((await client.next())?.body.toString()).toBe('one');
      expect((await client.next())?.status).toBe(400);
      await client.closed();
    });

    it.runIf(engine === 'node')('serves a thousand pipelined requests that are answered later', async () => {
      const client = await fixture.connect(await fixture.serve());
      client.write(Array.from({ length: 1000 }, (_, n) => `GET /hold/${n} HTTP/1.1\r\n${HOST}\r\n`).join(''));
      for (let n = 0; n < 1000; n += 1) {
        await fixture.heldCount(n + 1);
        fixture.held[n]!.respond(200, [], String(n));
        expect((await client.next())?.body.toString()).toBe(String(n));
      }
    });

    it('refuses a body that is announced too large before it comes', async () => {
      const client = await fixture.connect(await fixture.serve({ maxBodyBytes: 1000 }));
      client.write(`POST /echo HTTP/1.1\r\n${HOST}Content-Length: 1001\r\n\r\n`);
      const response = await client.next();
      expect(response?.status).toBe(413);
      expect(JSON.parse(response!.body.toString()).error).toBe('the request body of 1001 bytes is over the limit of 1000 bytes');
      // The rest of the body is thrown away and the connection goes on.
      client.write(Buffer.alloc(1001));
      client.write(`POST /echo HTTP/1.1\r\n${HOST}Content-Length: 1000\r\n\r\n`);
      client.write(Buffer.alloc(1000));
      expect((await client.next())?.body.length).toBe(1000);
    });

    it('stops a chunked body when it grows too large', async () => {
      const client = await fixture.connect(await fixture.serve({ maxBodyBytes: 10_000 }));
      client.write(CHUNKED);
      for (let n = 0; n < 11; n += 1) client.write(`3e8\r\n${'x'.repeat(1000)}\r\n`);
      expect((await client.next())?.status).toBe(413);
      await client.closed();
      expect(fixture.handled).toEqual([]);
    });

    it('bounds the bytes of all bodies together, and gives them back', async () => {
      const transport = await fixture.serve({ maxBodyBytes: 1000, maxBufferedBodyBytes: 2500 });
      const clients = [];
      for (let n = 0; n < 2; n += 1) {
        const client = await fixture.connect(transport);
        client.write(`POST /hold HTTP/1.1\r\n${HOST}Content-Length: 1000\r\n\r\n${'x'.repeat(1000)}`);
        await fixture.heldCount(n + 1);
        clients.push(client);
      }
      const third = await fixture.connect(transport);
      third.write(`POST /echo HTTP/1.1\r\n${HOST}Content-Length: 501\r\n\r\n`);
      const refused = await third.next();
      expect([refused?.status, refused?.headers.get('retry-after')]).toEqual([503, '1']);
      fixture.held[0]!.respond(200, [], '');
      await clients[0]!.next();
      const gone = new Promise<void>((resolve) => {
        fixture.held[1]!.abortListener = { onExchangeAborted: resolve };
      });
      clients[1]!.destroy();
      await gone;
      const after = await fixture.connect(transport);
      for (const bytes of [1000, 1000, 1000]) {
        after.write(`POST /echo HTTP/1.1\r\n${HOST}Content-Length: ${bytes}\r\n\r\n${'x'.repeat(bytes)}`);
        expect((await after.next())?.body.length).toBe(bytes);
      }
    });

    it('counts inflated bytes into the bound and stops a bomb early', async () => {
      const transport = await fixture.serve({ maxBodyBytes: 100_000_000, maxBufferedBodyBytes: 1_000_000 });
      const client = await fixture.connect(transport);
      const bomb = gzipSync(Buffer.alloc(50_000_000));
      for (let n = 0; n < 3; n += 1) {
        client.write(`POST /coded HTTP/1.1\r\n${HOST}Content-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n\r\n`);
        client.write(bomb);
        expect((await client.next())?.status).toBe(503);
      }
    });

    it('stops a flood of one-byte chunks soon, whatever would still come', { timeout: 20_000 }, async () => {
      const client = await fixture.connect(await fixture.serve());
      client.write(CHUNKED);
      client.write('1\r\nx\r\n'.repeat(100_000));
      const response = await client.next();
      if (response !== null) expect(response.status).toBe(400);
      await client.closed();
      expect(fixture.handled).toEqual([]);
      expect(fixture.errors).toEqual([]);
    });

    it('cuts off a slow body with 408', async () => {
      const client = await fixture.connect(await fixture.serve({ headersTimeoutMs: 100, requestTimeoutMs: 200 }));
      client.write(`POST /echo HTTP/1.1\r\n${HOST}Content-Length: 1000\r\n\r\nx`);
      const drip = setInterval(() => client.write('x'), 20);
      const response = await client.next();
      clearInterval(drip);
      expect(response?.status).toBe(408);
      await client.closed();
      expect(fixture.handled).toEqual([]);
    });

    it('bounds connections, or the requests open at a time', async () => {
      const transport = await fixture.serve({ maxConnections: 2 });
      const clients = [];
      for (let n = 0; n < 2; n += 1) {
        const client = await fixture.connect(transport);
        client.write(`GET /hold/${n} HTTP/1.1\r\n${HOST}\r\n`);
        await fixture.heldCount(n + 1);
        clients.push(client);
      }
      const extra = await fixture.connect(transport);
      extra.write(`GET /hello HTTP/1.1\r\n${HOST}\r\n`);
      const response = await extra.next();
      if (response !== null) expect(response.status).toBe(503);
      expect(fixture.handled).toHaveLength(2);
    });
  });

  // These wait for real time limits, so they wait together.
  describe(`${engine}: HTTP transport and time`, () => {
    it.concurrent('refuses malformed headers', { timeout: 30_000 }, () =>
      withFixture(start, async (fixture) => {
        const transport = await fixture.serve();
        await Promise.all(
          HEADERS.map(async ([, request]) => {
            const client = await fixture.connect(transport);
            client.write(request);
            const response = await client.next();
            if (engine === 'node') expect([400, 431]).toContain(response?.status);
            await client.closed();
          }),
        );
        expect(fixture.handled).toEqual([]);
      }),
    );

    it.concurrent('cuts off slow headers and silent connections', { timeout: 30_000 }, () =>
      withFixture(start, async (fixture) => {
        // uws has a time of its own for these, about 10 s, whatever is asked for, and sends no answer.
        const transport = await fixture.serve({ headersTimeoutMs: 100, requestTimeoutMs: 200, keepAliveTimeoutMs: 100 });
        const slow = await fixture.connect(transport);
        slow.write('GET /hello HTTP/1.1\r\nHost');
        const idle = await fixture.connect(transport);
        idle.write(`GET /hello HTTP/1.1\r\n${HOST}\r\n`);
        expect((await idle.next())?.status).toBe(200);
        const response = await slow.next();
        if (engine === 'node') expect(response?.status).toBe(408);
        await Promise.all([slow.closed(), idle.closed()]);
      }),
    );

    it.concurrent('holds at most one answer for a client that does not read, and drops it after a while', { timeout: 40_000 }, () =>
      withFixture(start, async (fixture) => {
        const transport = await fixture.serve();
        const client = await fixture.connect(transport);
        client.socket.pause();
        // Far more than the sockets hold. Whatever is not read stops the next request from being served.
        client.write(`GET /big/3000000 HTTP/1.1\r\n${HOST}\r\n`.repeat(200));
        const single = await fixture.connect(transport);
        single.socket.pause();
        single.write(`GET /big/20000000 HTTP/1.1\r\n${HOST}\r\n`);
        const other = await fixture.connect(transport);
        other.write(`GET /hello HTTP/1.1\r\n${HOST}\r\n`);
        expect((await other.next())?.status).toBe(200);
        const heldBefore = process.memoryUsage().rss;
        // Resolves only when the clients that do not read have been cut off.
        await transport.drain();
        expect(fixture.handled.filter((path) => path === '/big/3000000').length).toBeLessThan(10);
        expect(fixture.handled).toContain('/big/20000000');
        expect(process.memoryUsage().rss - heldBefore).toBeLessThan(200_000_000);
      }),
    );
  });
}

async function withFixture(start: StartHttpTransport, run: (fixture: TransportFixture) => Promise<void>): Promise<void> {
  const fixture = new TransportFixture(start);
  try {
    await run(fixture);
  } finally {
    await fixture.stop();
  }
}
