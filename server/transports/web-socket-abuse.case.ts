/**
 * What WebSockets must not let through on either engine: violations of RFC 6455, floods, slow peers. uWebSockets.js cuts a violator off without a close frame
 * where ws sends one with the code; the outcome asserted for it is the common one: cut off, nothing delivered, others served.
 */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StartHttpTransport } from './http-exchange.ts';
import { frame, RawWebSocket } from './raw-web-socket.ts';
import { TransportFixture } from './transport-fixture.ts';
import type { WebSocketRoute } from './web-socket.ts';
import { WebSocketRouteProbe } from './web-socket-fixture.ts';

const LIMIT = 64 * 1024;
const MAX_LENGTH = 2n ** 63n - 1n;

/** name, what is sent, the close code. */
const VIOLATIONS: readonly (readonly [string, readonly Buffer[], number])[] = [
  ['RSV1 without an extension', [frame(0xc1, 'a')], 1002],
  ['RSV2', [frame(0xa1, 'a')], 1002],
  ['RSV3', [frame(0x92, 'a')], 1002],
  ['a reserved opcode', [frame(0x83, 'a')], 1002],
  ['a reserved control opcode', [frame(0x8b)], 1002],
  ['a fragmented ping', [frame(0x09, 'a')], 1002],
  ['a ping of 126 bytes', [frame(0x89, Buffer.alloc(126))], 1002],
  ['a close frame of 126 bytes', [frame(0x88, Buffer.alloc(126))], 1002],
  ['a continuation of nothing', [frame(0x80, 'a')], 1002],
  ['text in the middle of a text', [frame(0x01, 'a'), frame(0x81, 'b')], 1002],
  ['text that is not UTF-8', [frame(0x81, Buffer.of(0xff))], 1007],
  ['text that is cut in a character', [frame(0x81, Buffer.of(0xe2, 0x82))], 1007],
  ['a surrogate in text', [frame(0x81, Buffer.of(0xed, 0xa0, 0x80))], 1007],
  ['fragments that are no UTF-8 together', [frame(0x01, 'a'), frame(0x80, Buffer.of(0xc0, 0xaf))], 1007],
  ['a message of one byte too many', [frame(0x82, Buffer.alloc(LIMIT + 1))], 1009],
  ['fragments of one byte too many', [frame(0x02, Buffer.alloc(LIMIT)), frame(0x80, 'a')], 1009],
  ['a message of twice as many and more', [frame(0x82, Buffer.alloc(2 * LIMIT + 1))], 1009],
  ['a frame that claims 4 GiB', [frame(0x82, 'a', { claims: 2n ** 32n })], 1009],
  ['a frame that claims 2^63 - 1 bytes', [frame(0x82, 'a', { claims: MAX_LENGTH })], 1009],
  ['a length of 2^64 - 1 bytes', [frame(0x82, 'a', { claims: 2n ** 64n - 1n })], 1009],
];

export function webSocketAbuseCase(engine: 'uws' | 'node', start: StartHttpTransport): void {
  describe(`${engine}: WebSocket under abuse`, () => {
    let fixture: TransportFixture;
    beforeEach(() => {
      fixture = new TransportFixture(start);
    });
    afterEach(() => fixture.stop());

    const unmasked = ['an unmasked frame', [frame(0x81, 'a', { isMasked: false })], 1002] as const;
    // uws does not look at the mask bit, and takes the bytes for a masked frame.
    it.each(engine === 'node' ? [...VIOLATIONS, unmasked] : VIOLATIONS)('closes for %s', async (name, frames, code) => {
      const route = new WebSocketRouteProbe({ maxMessageBytes: LIMIT });
      const { port } = await fixture.serve({ webSockets: [route] });
      const other = await RawWebSocket.open(port, '/ws');
      const client = await RawWebSocket.open(port, '/ws');
      client.write(...frames, frame(0x81, 'smuggled'));
      const closeCode = await client.closeCode();
      if (engine === 'node') expect(closeCode).toBe(code);
      else expect([null, code]).toContain(closeCode);
      // A violator that does not close its side is cut off.
      client.socket.end();
      await client.closed();
      const heard = await route.probes[1]!.closed();
      if (engine === 'node' || code === 1009 || code === 1007) expect(heard).toBe(code);
      expect(route.probes[1]!.messages.map((message) => Buffer.from(message).toString())).toEqual([]);
      await expectServed(fixture, other, name);
    });

    it('takes a message of exactly the limit, whole and in fragments', async () => {
      const route = new WebSocketRouteProbe({ maxMessageBytes: LIMIT });
      const client = await RawWebSocket.open((await fixture.serve({ webSockets: [route] })).port, '/ws');
      client.write(frame(0x82, Buffer.alloc(LIMIT)), frame(0x02, Buffer.alloc(LIMIT - 1)), frame(0x80, 'a'));
      expect((await client.next())?.payload.length).toBe(LIMIT);
      expect((await client.next())?.payload.length).toBe(LIMIT);
      client.socket.destroy();
    });

    it('takes a message of 70,000 fragments', async () => {
      const route = new WebSocketRouteProbe({ maxMessageBytes: 4 * LIMIT });
      const client = await RawWebSocket.open((await fixture.serve({ webSockets: [route] })).port, '/ws');
      client.write(frame(0x02), Buffer.concat(Array.from({ length: 70_000 }, () => frame(0x00, 'ab'))), frame(0x80));
      expect((await client.next())?.payload.length).toBe(140_000);
      client.socket.destroy();
    });

    it('takes 10,000 empty fragments for a message, and holds nothing for a million of them', async () => {
      const route = new WebSocketRouteProbe({ maxMessageBytes: LIMIT });
      const { port } = await fixture.serve({ webSockets: [route] });
      const other = await RawWebSocket.open(port, '/ws');
      const client = await RawWebSocket.open(port, '/ws');
      const empty = Buffer.concat(Array.from({ length: 10_000 }, () => frame(0x00)));
      client.write(frame(0x01, 'a'), empty, frame(0x80, 'b'));
      expect((await client.next())?.payload.toString()).toBe('ab');
      const heldBefore = process.memoryUsage().rss;
      client.write(frame(0x01, 'a'));
      for (let n = 0; n < 100; n += 1) client.write(empty);
      client.write(frame(0x80, 'b'), frame(0x88));
      // ws counts them and gives up: 1008.
      const code = await client.closeCode();
      if (engine === 'node') expect(code).toBe(1008);
      expect(process.memoryUsage().rss - heldBefore).toBeLessThan(100_000_000);
      await expectServed(fixture, other, 'empty fragments');
      client.socket.destroy();
    });

    it('survives a flood of pings, whether the answers are read or not', async () => {
      const route = new WebSocketRouteProbe({ maxUnsentBytes: 100_000 });
      const { port } = await fixture.serve({ webSockets: [route] });
      const other = await RawWebSocket.open(port, '/ws');
      const pings = Buffer.concat(Array.from({ length: 1000 }, () => frame(0x89, Buffer.alloc(125))));
      for (const isReading of [true, false]) {
        const client = await RawWebSocket.open(port, '/ws');
        if (!isReading) client.socket.pause();
        const probe = route.probes.at(-1)!;
        const heldBefore = process.memoryUsage().rss;
        let isWritten = true;
        // Far more than sockets hold, until the server cuts it off or does not read on.
        for (let n = 0; n < 200 && probe.closeCode === null && isWritten; n += 1) {
          client.write(pings);
          isWritten = await flushed(client);
        }
        expect(process.memoryUsage().rss - heldBefore).toBeLessThan(150_000_000);
        client.socket.destroy();
        await probe.closed();
      }
      await expectServed(fixture, other, 'pings');
    });

    it('keeps a peer that pings while it does not read, and answers its last ping', async () => {
      const route = new WebSocketRouteProbe({ maxUnsentBytes: 64 * 1024 * 1024 });
      const { port } = await fixture.serve({ webSockets: [route] });
      const client = await RawWebSocket.open(port, '/ws');
      const probe = route.probes[0]!;
      client.socket.pause();
      probe.connection.sendBinary(Buffer.alloc(32 * 1024 * 1024));
      for (let n = 1; n <= 200; n += 1) client.write(frame(0x89, `${n}`));
      client.write(frame(0x81, 'behind the pings'));
      await probe.until(() => probe.messages.length > 0 || probe.closeCode !== null);
      client.socket.resume();
      expect((await client.next())?.payload.length).toBe(32 * 1024 * 1024);
      const answers: string[] = [];
      while (!answers.includes('200') || !answers.includes('behind the pings')) {
        const answer = await client.next();
        if (answer === null) break;
        answers.push(answer.payload.toString());
      }
      expect(answers).toEqual(expect.arrayContaining(['1', '200', 'behind the pings']));
      expect(probe.closeCode).toBeNull();
      client.socket.destroy();
    });

    it('cuts off a peer that never reads, with no more held for it than may wait', async () => {
      const maxUnsentBytes = 8 * 1024 * 1024;
      const route = new WebSocketRouteProbe({ maxUnsentBytes });
      const { port } = await fixture.serve({ webSockets: [route] });
      const other = await RawWebSocket.open(port, '/ws');
      const client = await RawWebSocket.open(port, '/ws');
      client.socket.pause();
      const { connection } = route.probes[1]!;
      const answer = Buffer.alloc(64 * 1024);
      let most = 0;
      for (let n = 0; n < 10_000 && !connection.isClosed; n += 1) {
        connection.sendBinary(answer);
        most = Math.max(most, connection.unsentBytes);
        if (n % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      expect(connection.isClosed).toBe(true);
      expect(await route.probes[1]!.closed()).toBe(1013);
      // What has been sent but not yet discarded is counted by uws, up to a 32nd part.
      expect(most).toBeLessThanOrEqual(maxUnsentBytes * 1.05);
      expect(most).toBeGreaterThan(maxUnsentBytes / 2);
      expect(connection.unsentBytes).toBe(0);
      await expectServed(fixture, other, 'a slow reader');
      client.socket.resume();
      await client.closed();
    });

    it('survives random bytes', async () => {
      const route = new WebSocketRouteProbe({ maxMessageBytes: LIMIT });
      const { port } = await fixture.serve({ webSockets: [route] });
      const other = await RawWebSocket.open(port, '/ws');
      // A generator of its own, so that a failure comes again.
      let state = 12345;
      for (let round = 0; round < 200; round += 1) {
        const client = await RawWebSocket.open(port, '/ws');
        const bytes = Buffer.alloc(200);
        for (let index = 0; index < bytes.length; index += 1) {
          state = (Math.imul(state, 1103515245) + 12345) >>> 0;
          bytes[index] = state >>> 16;
        }
        client.write(bytes);
        client.socket.end();
        await client.closed();
      }
      for (const probe of route.probes.slice(1)) await probe.closed();
      await expectServed(fixture, other, 'random bytes');
    });
  });

  // These wait for real time limits, so they wait together.
  describe(`${engine}: WebSocket and time`, () => {
    // The shortest that uws knows is 8 s.
    const idleTimeoutMs = engine === 'uws' ? 8000 : 1500;
    const withServer = async (
      limits: Partial<WebSocketRoute>,
      run: (port: number, route: WebSocketRouteProbe, fixture: TransportFixture) => Promise<void>,
    ): Promise<void> => {
      const fixture = new TransportFixture(start);
      const route = new WebSocketRouteProbe(limits);
      try {
        await run((await fixture.serve({ webSockets: [route] })).port, route, fixture);
        expect(fixture.errors).toEqual([]);
      } finally {
        await fixture.stop();
      }
    };

    it.concurrent('keeps an idle peer that answers pings, and cuts off one that is dead', { timeout: 60_000 }, () =>
      withServer({ idleTimeoutMs }, async (port, route) => {
        const living = await RawWebSocket.open(port, '/ws');
        const dead = await RawWebSocket.open(port, '/ws');
        const deaf = await RawWebSocket.open(port, '/ws');
        deaf.socket.pause();
        const [livingProbe, deadProbe, deafProbe] = route.probes;
        let pings = 0;
        const answering = (async () => {
          for (;;) {
            const ping = await living.next();
            // Whether it was closed is asked below.
            if (ping?.first !== 0x89) return;
            pings += 1;
            living.write(frame(0x8a, ping.payload));
          }
        })();
        expect(await deadProbe!.closed()).toBe(1001);
        expect(await deafProbe!.closed()).toBe(1001);
        await dead.closed();
        expect(pings).toBeGreaterThan(0);
        expect(livingProbe!.closeCode).toBeNull();
        living.socket.destroy();
        deaf.socket.destroy();
        await answering;
      }),
    );

    it.concurrent('cuts off a frame that never ends', { timeout: 60_000 }, () =>
      withServer({ idleTimeoutMs }, async (port, route) => {
        const client = await RawWebSocket.open(port, '/ws');
        client.write(frame(0x82, 'begin', { claims: 60_000n }));
        expect(await route.probes[0]!.closed()).toBe(1001);
        await client.closed();
        expect(route.probes[0]!.messages).toEqual([]);
      }),
    );

    it.concurrent('cuts off a peer that takes nothing of what waits for it', { timeout: 60_000 }, () =>
      withServer({ idleTimeoutMs, maxUnsentBytes: 64 * 1024 * 1024 }, async (port, route) => {
        const client = await RawWebSocket.open(port, '/ws');
        client.socket.pause();
        const probe = route.probes[0]!;
        probe.connection.sendBinary(Buffer.alloc(32 * 1024 * 1024));
        probe.connection.pause();
        expect(probe.connection.unsentBytes).toBeGreaterThan(0);
        expect(await probe.closed()).toBe(1001);
        client.socket.destroy();
      }),
    );

    it.concurrent('keeps a peer that reads slowly but reads', { timeout: 60_000 }, () =>
      withServer({ idleTimeoutMs, maxUnsentBytes: 64 * 1024 * 1024 }, async (port, route) => {
        const client = await RawWebSocket.open(port, '/ws');
        const probe = route.probes[0]!;
        let allowedBytes = 0;
        client.socket.on('data', () => {
          if (client.receivedBytes >= allowedBytes) client.socket.pause();
        });
        for (let n = 0; n < 48; n += 1) probe.connection.sendBinary(Buffer.alloc(1024 * 1024));
        // It reads for twice the time that silence is allowed, and never sends a thing.
        const until = performance.now() + 2 * idleTimeoutMs;
        while (performance.now() < until) {
          allowedBytes = client.receivedBytes + 256 * 1024;
          client.socket.resume();
          await new Promise((resolve) => setTimeout(resolve, idleTimeoutMs / 20));
        }
        expect(probe.connection.unsentBytes).toBeGreaterThan(0);
        expect(probe.closeCode).toBeNull();
        client.socket.destroy();
      }),
    );

    it.concurrent('cuts off a peer that does not answer a close frame', { timeout: 60_000 }, () =>
      withServer({ idleTimeoutMs: 8000 }, async (port, route) => {
        const client = await RawWebSocket.open(port, '/ws');
        // A half-open connection: it takes the end of the other side and goes on.
        client.socket.allowHalfOpen = true;
        route.probes[0]!.connection.close(1000, 'done');
        expect(await client.closeCode()).toBe(1000);
        const chatter = setInterval(() => client.write(frame(0x81, 'not done')), 100);
        await client.closed();
        clearInterval(chatter);
        expect(await route.probes[0]!.closed()).toBe(1000);
        expect(route.probes[0]!.messages).toEqual([]);
      }),
    );

    it.concurrent('cuts off a peer that does not take what waits before a close frame', { timeout: 60_000 }, () =>
      withServer({ maxUnsentBytes: 64 * 1024 * 1024 }, async (port, route) => {
        const client = await RawWebSocket.open(port, '/ws');
        client.socket.pause();
        const probe = route.probes[0]!;
        probe.connection.sendBinary(Buffer.alloc(32 * 1024 * 1024));
        probe.connection.close(1001, 'done');
        expect(await probe.closed()).toBe(1001);
        client.socket.destroy();
      }),
    );
  });
}

/** The other connection and HTTP are served as before, and nothing was a fault of ours. */
async function expectServed(fixture: TransportFixture, other: RawWebSocket, word: string): Promise<void> {
  other.write(frame(0x81, word));
  expect((await other.next())?.payload.toString()).toBe(word);
  other.socket.destroy();
  const http = await fixture.connect(fixture.transports[0]!);
  http.write('GET /hello HTTP/1.1\r\nHost: a\r\n\r\n');
  expect((await http.next())?.status).toBe(200);
  expect(fixture.errors).toEqual([]);
}

/** Whether the kernel takes what was written within a while. */
async function flushed({ socket }: RawWebSocket): Promise<boolean> {
  for (let turn = 0; turn < 200; turn += 1) {
    if (socket.writableLength === 0 || socket.destroyed) return true;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return false;
}
