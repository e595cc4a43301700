/** What both HTTP engines must do with answers that come in parts. Run by the test file of each engine. */

import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { HttpExchange, HttpStream, HttpTransport, HttpTransportOptions, StartHttpTransport } from './http-exchange.ts';
import type { RawHttpConnection } from './raw-http-connection.ts';
import { ReceivedStream } from './received-stream.ts';
import { TEST_TLS, TransportFixture } from './transport-fixture.ts';

const HOST = 'Host: a\r\n';

const nextTick = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

export function httpStreamCase(engine: 'uws' | 'node', start: StartHttpTransport): void {
  describe(`${engine}: streamed answers`, () => {
    let fixture: TransportFixture;
    beforeEach(() => {
      fixture = new TransportFixture(start);
    });
    afterEach(() => fixture.stop());

    /** A held exchange of a new connection. */
    async function hold(
      changes: Partial<HttpTransportOptions> = {},
    ): Promise<{ transport: HttpTransport; client: RawHttpConnection; received: ReceivedStream; exchange: HttpExchange }> {
      const transport = await fixture.serve(changes);
      const client = await fixture.connect(transport);
      const received = new ReceivedStream(client);
      client.write(`POST /hold HTTP/1.1\r\n${HOST}Accept-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi`);
      await fixture.heldCount(fixture.held.length + 1);
      return { transport, client, received, exchange: fixture.held.at(-1)! };
    }

    it('sends the parts as they come, and the connection serves on', async () => {
      const { client, received, exchange } = await hold();
      const stream = exchange.startStream(200, ['content-type', 'text/event-stream']);
      expect(stream.write('one')).toBe(true);
      await received.until((text) => text.includes('one'));
      expect(received.head).toMatch(/^http\/1\.1 200 ok\r\n/);
      expect(received.head).toContain('content-type: text/event-stream');
      expect(received.head).toContain('transfer-encoding: chunked');
      expect(received.head).not.toContain('content-length');
      stream.write(Buffer.from('two'));
      await received.until((text) => text.includes('two'));
      stream.write('');
      stream.write('hællo €');
      stream.end();
      stream.write('too late');
      stream.end();
      await received.until((text) => text.endsWith('0\r\n\r\n'));
      expect(Buffer.from(received.body, 'latin1').toString()).toBe('onetwohællo €');
      expect(received.chunks).toHaveLength(4);
      client.write(`GET /hello HTTP/1.1\r\n${HOST}\r\n`);
      await received.until((text) => /content-type: text\/plain/i.test(text));
    });

    it('writes the parts of one tick together, and borrows them no longer than write', async () => {
      const { received, exchange } = await hold();
      const stream = exchange.startStream(201, []);
      const part = Buffer.alloc(3);
      let expected = '';
      for (let n = 0; n < 1000; n += 1) {
        part.fill(65 + (n % 26));
        expected += part.toString();
        expect(stream.write(part)).toBe(true);
      }
      part.fill(0);
      stream.end();
      expect(await received.whole()).toBe(expected);
      expect(received.head).toMatch(/^http\/1\.1 201 /);
      const later = await hold();
      const chunked = later.exchange.startStream(200, []);
      chunked.write('a');
      await later.received.until((text) => text.includes('a'));
      for (let n = 0; n < 100; n += 1) chunked.write('b');
      chunked.end();
      await later.received.until((text) => text.endsWith('0\r\n\r\n'));
      expect(later.received.chunks).toEqual(['a', 'b'.repeat(100), '']);
    });

    it('is whole without a part, with no body for HEAD, and never compressed', async () => {
      const { received, exchange } = await hold();
      exchange.startStream(200, []).end();
      expect(await received.whole()).toBe('');
      const transport = await fixture.serve({
        routes: [
          {
            method: 'GET',
            pattern: '/stream',
            requestHeaders: [],
            allowContentCoding: true,
            handle: (exchange) => {
              const stream = exchange.startStream(200, ['x-kind', 'streamed']);
              stream.write('x'.repeat(5000));
              stream.end();
            },
          },
        ],
      });
      const client = await fixture.connect(transport);
      const head = new ReceivedStream(client);
      client.write(`HEAD /stream HTTP/1.1\r\n${HOST}\r\n`);
      await head.until((text) => text.endsWith('\r\n\r\n'));
      expect(head.head).toContain('x-kind: streamed');
      const plain = new ReceivedStream(client);
      client.write(`GET /stream HTTP/1.1\r\n${HOST}Accept-Encoding: gzip\r\n\r\n`);
      expect(await plain.whole()).toBe('x'.repeat(5000));
      expect(plain.head).not.toContain('content-encoding');
    });

    it('is one answer: what comes before or after it is dropped', async () => {
      const { received, exchange } = await hold();
      const stream = exchange.startStream(200, []);
      exchange.respond(500, [], 'no');
      const second = exchange.startStream(500, []);
      expect(second.write('no')).toBe(true);
      second.end();
      second.abort();
      stream.write('yes');
      stream.end();
      expect(await received.whole()).toBe('yes');
      const answered = await hold();
      answered.exchange.respond(200, [], 'whole');
      answered.exchange.startStream(200, []).write('no');
      await answered.received.until((text) => text.endsWith('whole'));
      const refused = await hold();
      refused.exchange.startStream(200, ['x-bad', 'a\r\nb']).write('no');
      await refused.received.until((text) => text.includes('\r\n\r\n'));
      expect(refused.received.head).toMatch(/^http\/1\.1 500 /);
      expect(fixture.errors.map(String)).toEqual([expect.stringContaining('x-bad')]);
    });

    it('tells of a client that reads nothing, goes on when it reads, and loses no byte', async () => {
      const { client, received, exchange } = await hold();
      client.socket.pause();
      const stream = exchange.startStream(200, []);
      let drained = 0;
      let wake: () => void = () => {};
      stream.drainListener = {
        onStreamDrained: () => {
          drained += 1;
          wake();
        },
      };
      let written = 0;
      const part = (): string => `<${written}>`.padEnd(2000, '.');
      let expected = '';
      const fill = async (): Promise<void> => {
        for (;;) {
          const next = part();
          expected += next;
          written += 1;
          if (!stream.write(next)) return;
          if (written % 20 === 0) await nextTick();
        }
      };
      await fill();
      // Loopback sockets hold some MB.
      expect(written * 2000).toBeLessThan(32 * 1024 * 1024);
      expect(stream.write('')).toBe(true);
      expect(stream.write('-')).toBe(false);
      expected += '-';
      expect(drained).toBe(0);
      for (let round = 1; round <= 3; round += 1) {
        const waiting = new Promise<void>((resolve) => (wake = resolve));
        client.socket.resume();
        await waiting;
        client.socket.pause();
        await fill();
      }
      client.socket.resume();
      stream.end();
      await received.until((text) => text.endsWith('0\r\n\r\n'));
      expect(received.body === expected).toBe(true);
    });

    it('ends in order while the client still reads', async () => {
      const { client, received, exchange } = await hold();
      client.socket.pause();
      const stream = exchange.startStream(200, []);
      const big = 'y'.repeat(9 * 1024 * 1024);
      expect(stream.write(big)).toBe(false);
      stream.write('the end');
      stream.end();
      client.socket.resume();
      await received.until((text) => text.endsWith('0\r\n\r\n'));
      expect(received.body === `${big}the end`).toBe(true);
    });

    it('streams over TLS, and says whose pages may read it', async () => {
      const transport = await fixture.serve({ tls: TEST_TLS, allowOrigins: ['https://page.example'] });
      const client = await fixture.connect(transport, { ca: readFileSync(TEST_TLS.certFile) });
      const received = new ReceivedStream(client);
      client.write(`POST /hold HTTP/1.1\r\n${HOST}Origin: https://page.example\r\nContent-Length: 2\r\n\r\nhi`);
      await fixture.heldCount(1);
      const stream = fixture.held[0]!.startStream(200, []);
      stream.write('first');
      await received.until((text) => text.includes('first'));
      expect(received.head).toContain('access-control-allow-origin: https://page.example');
      client.socket.pause();
      const big = 'y'.repeat(9 * 1024 * 1024);
      expect(stream.write(big)).toBe(false);
      stream.end();
      client.socket.resume();
      await received.until((text) => text.endsWith('0\r\n\r\n'));
      expect(received.body === `first${big}`).toBe(true);
    });

    it.runIf(engine === 'node')('keeps the order of pipelined requests', async () => {
      const { client, received, exchange } = await hold();
      client.write(`GET /hold/2 HTTP/1.1\r\n${HOST}\r\nGET /hello HTTP/1.1\r\n${HOST}\r\n`);
      await fixture.heldCount(2);
      const second = fixture.held[1]!.startStream(200, []);
      while (second.write('second'.repeat(1000))) await nextTick();
      let hasDrained = false;
      second.drainListener = {
        onStreamDrained: () => {
          hasDrained = true;
          second.end();
        },
      };
      const first = exchange.startStream(200, []);
      first.write('first');
      await received.until((text) => text.includes('first'));
      await nextTick();
      expect([received.text.includes('second'), hasDrained]).toEqual([false, false]);
      first.end();
      await received.until((text) => text.endsWith('llo'));
      expect([received.body, hasDrained]).toEqual(['first', true]);
    });

    it('tells once that the client has gone, and not after the end', async () => {
      const { client, received, exchange } = await hold();
      const stream = exchange.startStream(200, []);
      const heard = new Promise<number>((resolve) => {
        let times = 0;
        exchange.abortListener = {
          onExchangeAborted: () => {
            times += 1;
            setImmediate(() => resolve(times));
          },
        };
      });
      stream.write('a');
      await received.until((text) => text.includes('a\r\n') || text.endsWith('a'));
      client.destroy();
      expect(await heard).toBe(1);
      expect(exchange.isAborted).toBe(true);
      expect(stream.write('b')).toBe(true);
      stream.end();
      stream.abort();
      const ended = await hold();
      ended.exchange.abortListener = { onExchangeAborted: () => fixture.errors.push('heard of the end') };
      const over = ended.exchange.startStream(200, []);
      over.write('x');
      over.end();
      ended.client.destroy();
      await ended.client.closed();
      await ended.transport.drain();
      expect(fixture.errors).toEqual([]);
    });

    it('cuts the connection off when the protocol gives up', async () => {
      const { transport, client, received, exchange } = await hold();
      exchange.abortListener = { onExchangeAborted: () => fixture.errors.push('heard of its own abort') };
      const stream = exchange.startStream(200, []);
      stream.write('half');
      await received.until((text) => text.includes('half'));
      stream.write('never');
      stream.abort();
      await client.closed();
      expect(received.chunks).toEqual(['half']);
      await transport.drain();
      expect(fixture.errors).toEqual([]);
    });

    it('cuts off what a handler threw in the middle of, and tells', async () => {
      let told = 0;
      const transport = await fixture.serve({
        routes: [
          {
            method: 'GET',
            pattern: '/throws',
            requestHeaders: [],
            allowContentCoding: false,
            handle: (exchange) => {
              exchange.abortListener = {
                onExchangeAborted: () => {
                  told += 1;
                },
              };
              exchange.startStream(200, []).write('half');
              throw new Error('in the middle');
            },
          },
        ],
      });
      const client = await fixture.connect(transport);
      client.write(`GET /throws HTTP/1.1\r\n${HOST}\r\n`);
      await client.closed();
      expect(fixture.errors.map(String)).toEqual(['Error: in the middle']);
      await transport.drain();
      expect(told).toBe(1);
    });

    it('lets open streams finish when it drains, then closes their connections', async () => {
      const { transport, client, received, exchange } = await hold();
      const stream: HttpStream = exchange.startStream(200, []);
      stream.write('before');
      await received.until((text) => text.includes('before'));
      let isDrained = false;
      const drained = transport.drain().then(() => {
        isDrained = true;
      });
      await nextTick();
      expect(isDrained).toBe(false);
      stream.write('after');
      await received.until((text) => text.includes('after'));
      expect(isDrained).toBe(false);
      stream.end();
      await drained;
      await client.closed();
      expect(received.chunks.at(-1)).toBe('');
      expect(received.body).toBe('beforeafter');
    });

    it('leaves a stream alone that is silent for longer than any of the timeouts for requests', async () => {
      const { client, received, exchange } = await hold({ headersTimeoutMs: 50, requestTimeoutMs: 50, keepAliveTimeoutMs: 50 });
      const stream = exchange.startStream(200, []);
      stream.write('first');
      await received.until((text) => text.includes('first'));
      // node:http's own bound is a second more than that for headers.
      await new Promise((resolve) => setTimeout(resolve, 1300));
      expect(client.isClosed).toBe(false);
      stream.write('last');
      stream.end();
      await received.until((text) => text.endsWith('0\r\n\r\n'));
      expect(received.body).toBe('firstlast');
    });

    // uWebSockets.js gives a client 10 s after a write that the socket did not take, and must not once it has taken it.
    it.runIf(engine === 'uws')('leaves a stream alone that is silent after its client was slow', { timeout: 30_000 }, async () => {
      const { client, received, exchange } = await hold();
      client.socket.pause();
      const stream = exchange.startStream(200, []);
      let expected = 0;
      // In small parts, so that the engine holds the last of them and nothing is left here.
      do {
        expected += 3000;
        await nextTick();
      } while (stream.write('s'.repeat(3000)));
      client.socket.resume();
      while (received.body.length < expected) await nextTick();
      await new Promise((resolve) => setTimeout(resolve, 12_000));
      expect(client.isClosed).toBe(false);
      stream.write('last');
      stream.end();
      await received.until((text) => text.endsWith('0\r\n\r\n'));
    });

    it('cuts off a client that takes nothing for some seconds', { timeout: 30_000 }, async () => {
      const { client, exchange } = await hold();
      client.socket.pause();
      const heard = new Promise<void>((resolve) => {
        exchange.abortListener = { onExchangeAborted: resolve };
      });
      const stream = exchange.startStream(200, []);
      for (let n = 0; n < 16; n += 1) stream.write('z'.repeat(1024 * 1024));
      await heard;
      expect(exchange.isAborted).toBe(true);
    });
  });
}
