/** What both HTTP engines must do, and `http-transport-abuse.case.ts` what they must not let through. Run by the test file of each engine. */

import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StartHttpTransport } from './http-exchange.ts';
import { TEST_TLS, TransportFixture } from './transport-fixture.ts';

const HOST = 'Host: a\r\n';

export function httpTransportCase(engine: 'uws' | 'node', start: StartHttpTransport): void {
  describe(`${engine}: HTTP transport`, () => {
    let fixture: TransportFixture;
    beforeEach(() => {
      fixture = new TransportFixture(start);
    });
    afterEach(() => fixture.stop());

    it('listens on a free port and says which', async () => {
      const transport = await fixture.serve();
      expect(transport.engine).toBe(engine);
      expect(transport.port).toBeGreaterThan(0);
    });

    it('rejects with one line when the port is taken', async () => {
      const { port } = await fixture.serve();
      await expect(fixture.serve({ port })).rejects.toThrow(
        new RegExp(`^cannot listen on 127\\.0\\.0\\.1:${port}: the port is taken[^\\n]*$`),
      );
    });

    it('serves several requests on one connection', async () => {
      const client = await fixture.connect(await fixture.serve());
      for (const text of ['one', 'two', '']) {
        client.write(`POST /echo HTTP/1.1\r\n${HOST}Content-Length: ${text.length}\r\n\r\n${text}`);
        const response = await client.next();
        expect(response?.status).toBe(200);
        expect(response?.headers.get('content-type')).toBe('application/x-echo');
        expect(response?.body.toString()).toBe(text);
      }
      client.write(`GET /empty HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
      expect((await client.next())?.body.length).toBe(0);
      await client.closed();
    });

    it('answers pipelined requests in order', async () => {
      const client = await fixture.connect(await fixture.serve());
      client.write(Array.from({ length: 200 }, (_, n) => `GET /models/${n}/versions/1 HTTP/1.1\r\n${HOST}\r\n`).join(''));
      for (let n = 0; n < 200; n += 1) expect((await client.next())?.body.toString()).toBe(`["${n}","1"]`);
    });

    it('never mixes up pipelined requests that are answered later', async () => {
      const client = await fixture.connect(await fixture.serve());
      client.write(`GET /hold/0 HTTP/1.1\r\n${HOST}\r\nGET /hold/1 HTTP/1.1\r\n${HOST}\r\nGET /hold/2 HTTP/1.1\r\n${HOST}\r\n`);
      if (engine === 'uws') {
        // uWebSockets.js closes a connection that pipelines behind an unanswered request, so no answer can be out of order.
        await client.closed();
        for (const exchange of fixture.held) exchange.respond(200, [], 'late');
        expect(client.receivedBytes).toBe(0);
        expect(fixture.held).toHaveLength(1);
        return;
      }
      await fixture.heldCount(3);
      for (const exchange of fixture.held.toReversed()) exchange.respond(200, [], exchange.path);
      for (let n = 0; n < 3; n += 1) expect((await client.next())?.body.toString()).toBe(`/hold/${n}`);
    });

    it('takes bodies in any number of pieces, chunked or not', async () => {
      const client = await fixture.connect(await fixture.serve());
      const body = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index & 255));
      client.write(`POST /echo HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n`);
      for (let at = 0; at < body.length; at += 33_333) client.write(body.subarray(at, at + 33_333));
      expect((await client.next())?.body.equals(body)).toBe(true);
      client.write(`POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`);
      for (let at = 0; at < body.length; at += 30_000) {
        const piece = body.subarray(at, at + 30_000);
        client.write(Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')]));
      }
      client.write('0\r\n\r\n');
      expect((await client.next())?.body.equals(body)).toBe(true);
      client.write(`POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`);
      expect((await client.next())?.body.length).toBe(0);
    });

    it('keeps a body as it was while later ones arrive', async () => {
      const transport = await fixture.serve();
      for (const text of ['first body', 'other body']) {
        const client = await fixture.connect(transport);
        client.write(`POST /hold HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\n${text}`);
        await fixture.heldCount(text === 'first body' ? 1 : 2);
      }
      expect(fixture.held.map((exchange) => Buffer.from(exchange.body).toString())).toEqual(['first body', 'other body']);
    });

    it('asks for the body of Expect: 100-continue and refuses other expectations', async () => {
      const client = await fixture.connect(await fixture.serve());
      client.write(`POST /echo HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n`);
      expect((await client.next())?.status).toBe(100);
      client.write('abc');
      expect((await client.next())?.body.toString()).toBe('abc');
      client.write(`GET /hello HTTP/1.1\r\n${HOST}Expect: miracles\r\n\r\n`);
      const refused = await client.next();
      expect(refused?.status).toBe(417);
      expect(refused?.body.toString()).toContain('miracles');
    });

    it('routes: parameters decoded once, 404, 405 with Allow, HEAD, OPTIONS', async () => {
      const client = await fixture.connect(await fixture.serve());
      const ask = async (line: string) => {
        client.write(`${line} HTTP/1.1\r\n${HOST}\r\n`);
        return (await client.next(line.startsWith('HEAD')))!;
      };
      expect(JSON.parse((await ask('GET /models/a%2Fb%2541/versions/12?x=%41')).body.toString())).toEqual(['a/b%41', '12']);
      const nearest = {
        '/nothing': '',
        '/models/a/version/7': '; did you mean /models/a/versions/7?',
        '/hello/': '; did you mean /hello?',
      };
      for (const [path, hint] of Object.entries(nearest)) {
        const response = await ask(`GET ${path}`);
        expect(response.status).toBe(404);
        expect(response.headers.get('content-type')).toBe('application/json');
        expect(JSON.parse(response.body.toString())).toEqual({ status: 404, error: `nothing is served at ${path}${hint}` });
      }
      for (const path of ['/models/a/versions/x', '/models//versions/1']) expect((await ask(`GET ${path}`)).status).toBe(404);
      for (const path of ['/models/%/versions/1', '/models/%zz/versions/1', '/models/%ff/versions/1'])
        expect((await ask(`GET ${path}`)).status).toBe(400);
      expect((await ask(`GET /${'x'.repeat(3000)}`)).status).toBe(414);
      const wrongMethod = await ask('DELETE /hello');
      expect(wrongMethod.status).toBe(405);
      expect(wrongMethod.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
      expect(JSON.parse(wrongMethod.body.toString()).status).toBe(405);
      const head = await ask('HEAD /hello');
      expect([head.status, head.headers.get('content-length'), head.body.length]).toEqual([200, '6', 0]);
      const options = await ask('OPTIONS /echo');
      expect([options.status, options.headers.get('allow')]).toEqual([204, 'OPTIONS, POST']);
      expect((await ask('OPTIONS /nothing')).status).toBe(404);
      expect((await ask('GET /hello')).body.toString()).toBe('hællo');
    });

    it('says nothing of other origins unless some are allowed', async () => {
      const client = await fixture.connect(await fixture.serve());
      for (const line of ['GET /hello', 'OPTIONS /echo', 'GET /nothing']) {
        client.write(`${line} HTTP/1.1\r\n${HOST}Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n\r\n`);
        const { headers } = (await client.next())!;
        expect([...headers.keys()].filter((name) => name.startsWith('access-control') || name === 'vary')).toEqual([]);
      }
    });

    it('lets pages of the allowed origins read answers and refusals', async () => {
      const client = await fixture.connect(await fixture.serve({ allowOrigins: ['https://app.example', 'http://localhost:5173'] }));
      const ask = async (line: string, origin: string, rest = '\r\n') => {
        client.write(`${line} HTTP/1.1\r\n${HOST}Origin: ${origin}\r\n${rest}`);
        return (await client.next())!;
      };
      for (const [line, status, rest] of [
        ['GET /hello', 200, '\r\n'],
        ['POST /coded', 200, `Accept-Encoding: gzip\r\nContent-Length: 5000\r\n\r\n${'x'.repeat(5000)}`],
        ['GET /nothing', 404, '\r\n'],
        ['DELETE /hello', 405, '\r\n'],
        ['GET /throws', 500, '\r\n'],
      ] as const) {
        const response = await ask(line, 'http://localhost:5173', rest);
        expect(response.status).toBe(status);
        expect(response.headers.get('access-control-allow-origin')).toBe('http://localhost:5173');
        expect(response.headers.get('access-control-expose-headers')).toBe('inference-header-content-length, retry-after');
        expect(response.headers.get('vary')).toBe('origin');
        expect(response.headers.has('access-control-allow-credentials')).toBe(false);
      }
      for (const origin of [
        'https://app.example.evil.example',
        'http://app.example',
        'null',
        '*',
        'https://app.example, https://b.example',
      ]) {
        expect((await ask('GET /hello', origin)).headers.has('access-control-allow-origin')).toBe(false);
      }
    });

    it('answers preflights with the methods and headers of the path', async () => {
      const client = await fixture.connect(await fixture.serve({ allowOrigins: ['https://app.example'] }));
      const preflight = async (path: string, origin: string) => {
        client.write(`OPTIONS ${path} HTTP/1.1\r\n${HOST}Origin: ${origin}\r\nAccess-Control-Request-Method: POST\r\n\r\n`);
        return (await client.next())!;
      };
      const { status, headers } = await preflight('/headers', 'https://app.example');
      expect(status).toBe(204);
      expect(headers.get('access-control-allow-origin')).toBe('https://app.example');
      expect(headers.get('access-control-allow-methods')).toBe('GET, HEAD, OPTIONS');
      expect(headers.get('access-control-allow-headers')).toBe('content-type, x-test');
      expect(headers.get('access-control-max-age')).toBe('600');
      expect((await preflight('/coded', 'https://app.example')).headers.get('access-control-allow-headers')).toBe(
        'content-encoding, content-type',
      );
      const other = await preflight('/headers', 'https://other.example');
      expect([other.status, other.headers.get('allow')]).toEqual([204, 'GET, HEAD, OPTIONS']);
      expect([...other.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
    });

    it("allows every origin with '*'", async () => {
      const client = await fixture.connect(await fixture.serve({ allowOrigins: ['*'] }));
      client.write(`GET /hello HTTP/1.1\r\n${HOST}Origin: null\r\n\r\n`);
      const { headers } = (await client.next())!;
      expect([headers.get('access-control-allow-origin'), headers.get('vary')]).toEqual(['*', undefined]);
      client.write(`GET /hello HTTP/1.1\r\n${HOST}\r\n`);
      expect((await client.next())?.headers.has('access-control-allow-origin')).toBe(false);
    });

    it('hands over the named headers, repeated ones joined, and the query', async () => {
      const client = await fixture.connect(await fixture.serve());
      client.write(`GET /headers?a=%20b&c HTTP/1.1\r\n${HOST}X-Test: one\r\nx-test: two\r\nX-Other: three\r\n\r\n`);
      expect(JSON.parse((await client.next())!.body.toString())).toEqual(['one, two', 'a=%20b&c']);
      client.write(`GET /headers HTTP/1.1\r\n${HOST}\r\n`);
      expect(JSON.parse((await client.next())!.body.toString())).toEqual(['', '']);
    });

    it('joins answers of many pieces, which are borrowed only until respond returns', async () => {
      const client = await fixture.connect(await fixture.serve());
      for (const count of [0, 1, 2, 1000]) {
        client.write(`GET /pieces/${count} HTTP/1.1\r\n${HOST}\r\n`);
        expect((await client.next())?.body.toString()).toBe(Array.from({ length: count }, (_, index) => `<${index}>`).join(''));
      }
      for (const bytes of [70_000, 1_000_000, 6_000_000]) {
        client.write(`GET /big/${bytes} HTTP/1.1\r\n${HOST}\r\n`);
        const body = (await client.next())!.body;
        expect([body.length, body.toString('latin1', bytes)]).toEqual([bytes + 3, 'end']);
      }
    });

    it('answers once, hides what a handler threw, refuses headers that would split the answer', async () => {
      const client = await fixture.connect(await fixture.serve());
      const ask = async (path: string) => {
        client.write(`GET ${path} HTTP/1.1\r\n${HOST}\r\n`);
        return (await client.next())!;
      };
      expect((await ask('/twice')).body.toString()).toBe('first');
      const thrown = await ask('/throws');
      expect(thrown.status).toBe(500);
      expect(thrown.body.toString()).not.toContain('secret');
      expect(String(fixture.errors[0])).toContain('secret detail');
      const split = await ask('/bad-header');
      expect([split.status, split.headers.get('x-injected')]).toEqual([500, undefined]);
      expect(String(fixture.errors[1])).toContain('x-bad');
      expect((await ask('/hello')).status).toBe(200);
    });

    it('tells a handler once that the client went away', async () => {
      const client = await fixture.connect(await fixture.serve());
      client.write(`POST /hold HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nhi`);
      await fixture.heldCount(1);
      const exchange = fixture.held[0]!;
      let notices = 0;
      const heard = new Promise<void>((resolve) => {
        exchange.abortListener = {
          onExchangeAborted: () => {
            notices += 1;
            resolve();
          },
        };
      });
      expect(exchange.isAborted).toBe(false);
      client.destroy();
      await heard;
      expect(exchange.isAborted).toBe(true);
      exchange.respond(200, [], 'too late');
      await fixture.stop();
      expect([notices, Buffer.from(exchange.body).toString(), fixture.errors]).toEqual([1, 'hi', []]);
    });

    it('undoes content codings of requests and uses them for answers', async () => {
      const client = await fixture.connect(await fixture.serve());
      const plain = Buffer.alloc(20_000, 'abc');
      for (const [coding, encode, decode] of [
        ['gzip', gzipSync, gunzipSync],
        ['deflate', deflateSync, inflateSync],
      ] as const) {
        const body = encode(plain);
        client.write(
          `POST /coded HTTP/1.1\r\n${HOST}Content-Encoding: ${coding}\r\nAccept-Encoding: identity;q=0.5, ${coding}\r\nContent-Length: ${body.length}\r\n\r\n`,
        );
        client.write(body);
        const response = (await client.next())!;
        expect([response.status, response.headers.get('content-encoding'), response.headers.get('x-body')]).toEqual([200, coding, 'coded']);
        expect(decode(response.body).equals(plain)).toBe(true);
      }
      client.write(`POST /coded HTTP/1.1\r\n${HOST}Accept-Encoding: gzip\r\nContent-Length: 5\r\n\r\nsmall`);
      expect((await client.next())?.body.toString()).toBe('small');
      client.write(`POST /coded-error HTTP/1.1\r\n${HOST}Accept-Encoding: gzip\r\nContent-Length: 0\r\n\r\n`);
      expect((await client.next())?.headers.has('content-encoding')).toBe(false);
    });

    it('refuses content codings that are unknown, corrupt, empty, too large or not allowed', async () => {
      const client = await fixture.connect(await fixture.serve({ maxBodyBytes: 10_000 }));
      const ask = async (path: string, coding: string, body: Buffer) => {
        client.write(`POST ${path} HTTP/1.1\r\n${HOST}Content-Encoding: ${coding}\r\nContent-Length: ${body.length}\r\n\r\n`);
        client.write(body);
        return (await client.next())!;
      };
      const unknown = await ask('/coded', 'br', Buffer.from('x'));
      expect([unknown.status, unknown.headers.get('accept-encoding')]).toEqual([415, 'gzip, deflate']);
      const bytes = gzipSync('abc');
      expect((await ask('/coded', 'gzip', bytes.subarray(0, -4))).status).toBe(400);
      expect((await ask('/coded', 'gzip', Buffer.from('not gzip'))).status).toBe(400);
      expect((await ask('/coded', 'deflate', Buffer.alloc(0))).status).toBe(400);
      expect((await ask('/coded', 'gzip', gzipSync(Buffer.alloc(10_001)))).status).toBe(413);
      expect((await ask('/coded', 'gzip', gzipSync(Buffer.alloc(10_000)))).status).toBe(200);
      expect((await ask('/echo', 'gzip', bytes)).status).toBe(415);
      expect((await ask('/echo', 'identity', Buffer.from('x'))).status).toBe(200);
    });

    it('speaks TLS', async () => {
      const transport = await fixture.serve({ tls: TEST_TLS });
      const client = await fixture.connect(transport, { ca: readFileSync(TEST_TLS.certFile) });
      client.write(`POST /echo HTTP/1.1\r\n${HOST}Content-Length: 4\r\n\r\nsafe`);
      expect((await client.next())?.body.toString()).toBe('safe');
      client.write(`GET /big/3000000 HTTP/1.1\r\n${HOST}\r\n`);
      expect((await client.next())?.body.length).toBe(3_000_003);
    });

    it('rejects with one line when a certificate cannot be used', async () => {
      const tls = { ...TEST_TLS, keyFile: '/nowhere/key.pem' };
      await expect(fixture.serve({ tls })).rejects.toThrow(/^cannot use the TLS certificate and key [^\n]*\/nowhere\/key\.pem[^\n]*$/);
      await expect(fixture.serve({ tls: { ...TEST_TLS, certFile: TEST_TLS.keyFile } })).rejects.toThrow(
        /^cannot use the TLS certificate[^\n]*$/,
      );
      const folder = mkdtempSync(join(tmpdir(), 'nereid-tls-'));
      try {
        const keyFile = join(folder, 'other.key.pem');
        const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
        writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }));
        await expect(fixture.serve({ tls: { ...TEST_TLS, keyFile } })).rejects.toThrow(
          /the key is not the one that belongs to the certificate$/,
        );
      } finally {
        rmSync(folder, { recursive: true });
      }
    });

    it('drains: finishes what is open, closes the idle, takes nothing new', async () => {
      const transport = await fixture.serve();
      const idle = await fixture.connect(transport);
      idle.write(`GET /hello HTTP/1.1\r\n${HOST}\r\n`);
      await idle.next();
      const busy = await fixture.connect(transport);
      busy.write(`POST /hold HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nhi`);
      await fixture.heldCount(1);
      let isDrained = false;
      const drained = transport.drain().then(() => {
        isDrained = true;
      });
      await expect(fixture.connect(transport)).rejects.toThrow(/ECONNREFUSED/);
      expect(isDrained).toBe(false);
      fixture.held[0]!.respond(200, [], 'last');
      const last = await busy.next();
      expect([last?.body.toString(), last?.headers.get('connection')?.toLowerCase()]).toEqual(['last', 'close']);
      await drained;
      await busy.closed();
      await idle.closed();
    });

    it('drains: an answer that is on its way to a slow client arrives whole', async () => {
      const transport = await fixture.serve();
      const client = await fixture.connect(transport);
      client.socket.pause();
      client.write(`GET /big/20000000 HTTP/1.1\r\n${HOST}\r\n`);
      // Answered when another request has been: one loop serves both.
      while (fixture.handled.length === 0) {
        const other = await fixture.connect(transport);
        other.write(`GET /nothing HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
        await other.closed();
      }
      const drained = transport.drain();
      client.socket.resume();
      expect((await client.next())?.body.length).toBe(20_000_003);
      await drained;
      await client.closed();
    });

    it('drains although a TLS handshake has stalled', async () => {
      const transport = await fixture.serve({ tls: TEST_TLS });
      const stalled = await fixture.connect(transport);
      stalled.write('\x16\x03\x01');
      const other = await fixture.connect(transport, { ca: readFileSync(TEST_TLS.certFile) });
      other.write(`GET /hello HTTP/1.1\r\n${HOST}\r\n`);
      expect((await other.next())?.status).toBe(200);
      await transport.drain();
      await Promise.all([stalled.closed(), other.closed()]);
    });

    it('closes at once, whatever is open', async () => {
      const transport = await fixture.serve();
      const client = await fixture.connect(transport);
      client.write(`POST /hold HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nhi`);
      await fixture.heldCount(1);
      await transport.close();
      await client.closed();
      expect(fixture.held[0]!.isAborted).toBe(true);
      fixture.held[0]!.respond(200, [], 'too late');
    });

    it('answers fetch', async () => {
      const { port } = await fixture.serve();
      const response = await fetch(`http://127.0.0.1:${port}/echo`, { method: 'POST', body: 'from fetch' });
      expect(await response.text()).toBe('from fetch');
    });
  });
}
