/** When the memory of a large body may serve another request, for both HTTP engines. Run by the test file of each. */

import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { HttpExchange, HttpTransport, StartHttpTransport } from './http-exchange.ts';
import type { RawHttpConnection } from './raw-http-connection.ts';
import { TransportFixture } from './transport-fixture.ts';

const BYTES = 200_000;

export function httpBodyMemoryCase(engine: 'uws' | 'node', start: StartHttpTransport): void {
  describe(`${engine}: memory of large bodies`, () => {
    let fixture: TransportFixture;
    let transport: HttpTransport;
    beforeEach(async () => {
      fixture = new TransportFixture(start);
      transport = await fixture.serve();
    });
    afterEach(() => fixture.stop());

    /** A request whose body is all `letter`, held by the handler. */
    async function hold(letter: string, client?: RawHttpConnection, head = ''): Promise<HttpExchange> {
      const connection = client ?? (await fixture.connect(transport));
      const count = fixture.held.length + 1;
      const body = Buffer.alloc(BYTES, letter);
      connection.write(`POST /hold HTTP/1.1\r\nHost: a\r\n${head}Content-Length: ${body.length}\r\n\r\n`);
      connection.write(body);
      await fixture.heldCount(count);
      return fixture.held[count - 1]!;
    }
    const isAll = (body: Uint8Array, letter: string): boolean => Buffer.from(body).equals(Buffer.alloc(BYTES, letter));

    it('serves the next request once its own is answered', async () => {
      const client = await fixture.connect(transport);
      const first = await hold('a', client);
      const memory = first.body.buffer;
      expect(isAll(first.body, 'a')).toBe(true);
      first.respond(200, [], 'done');
      expect((await client.next())?.body.toString()).toBe('done');
      expect(first.body.length).toBe(0);
      const second = await hold('b', client);
      expect(second.body.buffer).toBe(memory);
      expect(isAll(second.body, 'b')).toBe(true);
    });

    it('is not shared by requests that are open at one time', async () => {
      const open = [await hold('a'), await hold('b'), await hold('c')];
      expect(new Set(open.map((exchange) => exchange.body.buffer)).size).toBe(3);
      expect(open.map((exchange, i) => isAll(exchange.body, 'abc'[i]!))).toEqual([true, true, true]);
    });

    it('is left alone behind a refusal: what was refused may still be read', async () => {
      const client = await fixture.connect(transport);
      const refused = await hold('a', client);
      const { body } = refused;
      refused.respond(503, [], 'busy');
      expect((await client.next())?.status).toBe(503);
      const next = await hold('b', client);
      expect(next.body.buffer).not.toBe(body.buffer);
      expect(isAll(body, 'a')).toBe(true);
    });

    it('is left alone when the client goes away', async () => {
      const client = await fixture.connect(transport);
      const abandoned = await hold('a', client);
      const { body } = abandoned;
      const isGone = new Promise<void>((resolve) => {
        abandoned.abortListener = { onExchangeAborted: resolve };
      });
      client.destroy();
      await isGone;
      abandoned.respond(200, [], 'late');
      const next = await hold('b');
      expect(next.body.buffer).not.toBe(body.buffer);
      expect(isAll(body, 'a')).toBe(true);
    });

    it('is not mixed up with an answer that the client takes its time over', async () => {
      const client = await fixture.connect(transport);
      const slow = await hold('a', client);
      // The answer is the body itself, many times: more than the socket takes at once.
      slow.respond(200, [], new Array<Uint8Array>(40).fill(slow.body));
      const other = await hold('b');
      expect(isAll(other.body, 'b')).toBe(true);
      const answer = await client.next();
      expect(answer?.body.equals(Buffer.alloc(40 * BYTES, 'a'))).toBe(true);
    });

    it('holds what came compressed until it is inflated', async () => {
      // Noise, so that it stays large.
      const noise = Buffer.from(Array.from({ length: BYTES }, (_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 24));
      const coded = gzipSync(noise);
      for (let round = 0; round < 3; round++) {
        const client = await fixture.connect(transport);
        client.write(`POST /coded HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: ${coded.length}\r\n\r\n`);
        client.write(coded);
        expect((await client.next())?.body.equals(noise)).toBe(true);
      }
    });
  });
}
