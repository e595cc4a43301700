/** What WebSockets must do on both HTTP engines; `web-socket-handshake.case.ts` has how they begin, `web-socket-abuse.case.ts` what they must not let through. */

import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import type { HttpTransport, StartHttpTransport } from './http-exchange.ts';
import { frame, RawWebSocket } from './raw-web-socket.ts';
import { TEST_TLS, TransportFixture } from './transport-fixture.ts';
import type { WebSocketConnection } from './web-socket.ts';
import { WebSocketRouteProbe } from './web-socket-fixture.ts';

const TEXT = 0x81;
const BINARY = 0x82;

/** Collects what a client of the ws package hears. */
class Client {
  readonly ws: WebSocket;
  readonly messages: (string | Buffer)[] = [];
  readonly closed: Promise<readonly [number, string]>;
  readonly #opened: Promise<void>;
  #wake: (() => void) | null = null;

  constructor(url: string, options: ConstructorParameters<typeof WebSocket>[2] = {}) {
    this.ws = new WebSocket(url, options);
    this.#opened = new Promise((resolve, reject) => {
      this.ws.once('open', () => resolve());
      this.ws.once('error', reject);
    });
    this.closed = new Promise((resolve) => this.ws.once('close', (code, reason) => resolve([code, reason.toString()])));
    this.ws.on('error', () => {});
    this.ws.on('message', (data: Buffer, isBinary) => {
      this.messages.push(isBinary ? data : data.toString());
      this.#wake?.();
    });
  }

  static async open(transport: HttpTransport, options: ConstructorParameters<typeof WebSocket>[2] = {}, scheme = 'ws'): Promise<Client> {
    const client = new Client(`${scheme}://localhost:${transport.port}/ws`, { family: 4, ...options });
    await client.#opened;
    return client;
  }

  async until(count: number): Promise<void> {
    while (this.messages.length < count) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

export function webSocketCase(engine: 'uws' | 'node', start: StartHttpTransport): void {
  describe(`${engine}: WebSocket`, () => {
    let fixture: TransportFixture;
    const clients: Client[] = [];
    const serve = (route: WebSocketRouteProbe) => fixture.serve({ webSockets: [route] });
    const open = async (...args: Parameters<typeof Client.open>): Promise<Client> => {
      const client = await Client.open(...args);
      clients.push(client);
      return client;
    };
    beforeEach(() => {
      fixture = new TransportFixture(start);
    });
    afterEach(async () => {
      for (const client of clients.splice(0)) client.ws.terminate();
      await fixture.stop();
    });

    it('carries messages of every length form both ways, as text and as bytes', async () => {
      const client = await open(await serve(new WebSocketRouteProbe()));
      const sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_003, 2 * 1024 * 1024];
      for (const size of sizes) {
        client.ws.send(Buffer.alloc(size, 'é'));
        client.ws.send('x'.repeat(size));
      }
      await client.until(2 * sizes.length);
      for (const [index, size] of sizes.entries()) {
        expect((client.messages[2 * index] as Buffer).equals(Buffer.alloc(size, 'é'))).toBe(true);
        expect(client.messages[2 * index + 1]).toBe('x'.repeat(size));
      }
    });

    it('puts fragments together, with control frames between them', async () => {
      const route = new WebSocketRouteProbe();
      const client = await RawWebSocket.open((await serve(route)).port, '/ws');
      const euro = Buffer.from('€');
      client.write(frame(0x01, Buffer.concat([Buffer.from('a'), euro.subarray(0, 1)])), frame(0x00, euro.subarray(1)), frame(0x89, 'p'));
      client.write(frame(0x00), frame(0x80, 'b'));
      expect(await client.next()).toEqual({ first: 0x8a, payload: Buffer.from('p') });
      expect(await client.next()).toEqual({ first: TEXT, payload: Buffer.from('a€b') });
      const bytes = Buffer.from(Array.from({ length: 1000 }, (_, index) => index & 255));
      // One byte at a time, across every boundary that a frame has.
      for (const byte of frame(BINARY, bytes)) client.write(Buffer.of(byte));
      expect(await client.next()).toEqual({ first: BINARY, payload: bytes });
      client.socket.destroy();
    });

    it('hands over messages that stay as they are', async () => {
      const route = new WebSocketRouteProbe();
      const client = await open(await serve(route));
      for (let n = 0; n < 200; n += 1) client.ws.send(Buffer.alloc(1 + n * 37, n));
      await client.until(200);
      for (const [n, message] of route.probes[0]!.messages.entries()) expect(Buffer.alloc(1 + n * 37, n).equals(message)).toBe(true);
    });

    it('sends pieces as one message, borrowed only until the call returns', async () => {
      const route = new WebSocketRouteProbe({}, (connection) => ({
        onText: () => {
          for (const count of [0, 1, 2, 300]) {
            const pieces = Array.from({ length: count }, (_, index) => Buffer.from(`<${index}>`));
            connection.sendBinary(pieces);
            for (const piece of pieces) piece.fill(0);
          }
          const bytes = Buffer.from('as bytes');
          connection.sendText(bytes);
          bytes.fill(0);
          connection.sendText('as text: hællo €');
        },
      }));
      const client = await open(await serve(route));
      client.ws.send('go');
      await client.until(6);
      const pieces = (count: number) => Array.from({ length: count }, (_, index) => `<${index}>`).join('');
      expect(client.messages.map(String)).toEqual([pieces(0), pieces(1), pieces(2), pieces(300), 'as bytes', 'as text: hællo €']);
    });

    it('keeps the order of many messages of all sizes, from one turn of the loop and from several', async () => {
      const route = new WebSocketRouteProbe({ maxUnsentBytes: 64 * 1024 * 1024 });
      const client = await open(await serve(route));
      const { connection } = route.probes[0]!;
      const sizes = [10, 20_000, 5, 70_000, 1, 100, 1_000_000, 3, 16_384, 16_385];
      const send = (n: number) => {
        const message = Buffer.alloc(4 + sizes[n % sizes.length]!);
        message.writeUInt32LE(n);
        connection.sendBinary(message);
        message.fill(0xff);
      };
      for (let n = 0; n < 300; n += 1) {
        send(n);
        if (n % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      await client.until(300);
      expect(client.messages.map((message) => (message as Buffer).readUInt32LE())).toEqual(Array.from({ length: 300 }, (_, n) => n));
    });

    it('closes with the code and reason of the protocol', async () => {
      const route = new WebSocketRouteProbe({}, (connection) => ({
        onText: () => {
          connection.sendText('last words');
          connection.close(4400, '€'.repeat(60));
          expect(connection.isClosed).toBe(true);
          connection.sendText('too late');
          connection.sendBinary(Buffer.from('too late'));
          connection.close(1000, 'again');
          connection.pause();
          connection.resume();
        },
      }));
      const client = await open(await serve(route));
      client.ws.send('go');
      client.ws.send('not heard');
      expect(await client.closed).toEqual([4400, '€'.repeat(41)]);
      expect(client.messages).toEqual(['last words']);
      expect(await route.probes[0]!.closed()).toBe(4400);
      expect(route.probes[0]!.messages).toHaveLength(1);
    });

    it('tells the protocol once that and why the peer closed', async () => {
      const route = new WebSocketRouteProbe();
      const transport = await serve(route);
      for (const code of [1000, 4123]) {
        const client = await open(transport);
        client.ws.close(code, 'bye');
        expect(await client.closed).toEqual([code, 'bye']);
      }
      (await open(transport)).ws.close();
      (await open(transport)).ws.terminate();
      const codes = [];
      for (const probe of route.probes) codes.push(await probe.closed());
      expect(codes).toEqual([1000, 4123, 1005, 1006]);
      await transport.close();
      expect(route.probes.map(({ closes }) => closes)).toEqual([1, 1, 1, 1]);
    });

    it('never calls onClose from within a call of the protocol', async () => {
      const closesWithin: number[] = [];
      const route = new WebSocketRouteProbe({ maxUnsentBytes: 1000 }, (connection) => ({
        onText: (message) => {
          if (message.byteLength === 1) connection.close(1000, '');
          else for (let n = 0; n < 10_000 && !connection.isClosed; n += 1) connection.sendBinary(Buffer.alloc(100_000));
          closesWithin.push(route.probes.at(-1)!.closes);
        },
      }));
      const transport = await serve(route);
      for (const text of ['1', 'many']) {
        const client = await open(transport);
        if (text === 'many') client.ws.pause();
        client.ws.send(text);
        await route.probes.at(-1)!.closed();
      }
      expect(closesWithin).toEqual([0, 0]);
      expect(route.probes.map(({ closeCode }) => closeCode)).toEqual([1000, 1013]);
    });

    it('closes with 1011 when the protocol throws, and logs it', async () => {
      const route = new WebSocketRouteProbe({}, () => ({
        onBinary: () => {
          throw new Error('secret detail');
        },
      }));
      const client = await open(await serve(route));
      client.ws.send(Buffer.from('x'));
      expect(await client.closed).toEqual([1011, 'internal error']);
      expect(fixture.errors.map(String)).toEqual(['Error: secret detail']);
      expect(await route.probes[0]!.closed()).toBe(1011);
      const throwing = new WebSocketRouteProbe({}, () => {
        throw new Error('at the door');
      });
      const other = await open(await serve(throwing));
      expect((await other.closed)[0]).toBe(1011);
      expect(String(fixture.errors[1])).toContain('at the door');
    });

    it('says how much waits for a slow peer, and when it has gone', async () => {
      const route = new WebSocketRouteProbe({ maxUnsentBytes: 64 * 1024 * 1024 });
      const client = await open(await serve(route));
      const probe = route.probes[0]!;
      client.ws.pause();
      let sent = 0;
      while (probe.connection.unsentBytes < 8 * 1024 * 1024) {
        probe.connection.sendBinary(Buffer.alloc(256 * 1024, sent));
        sent += 1;
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(probe.drains).toBe(0);
      client.ws.resume();
      await probe.until(() => probe.drains > 0);
      expect(probe.connection.unsentBytes).toBeLessThanOrEqual(4.5 * 1024 * 1024);
      await client.until(sent);
      if (probe.connection.unsentBytes > 0) await probe.until(() => probe.connection.unsentBytes === 0);
    });

    it('sends a message of any size when nothing waits', async () => {
      const route = new WebSocketRouteProbe({ maxUnsentBytes: 1000 });
      const client = await open(await serve(route));
      route.probes[0]!.connection.sendBinary(Buffer.alloc(20_000_000, 1));
      await client.until(1);
      expect(client.messages[0]).toHaveLength(20_000_000);
    });

    it.runIf(engine === 'node')('stops reading while paused', async () => {
      const route = new WebSocketRouteProbe();
      const client = await open(await serve(route));
      const probe = route.probes[0]!;
      probe.connection.pause();
      const message = Buffer.alloc(100_000);
      let isStuck = false;
      for (let n = 0; n < 200 && !isStuck; n += 1) {
        client.ws.send(message);
        await new Promise((resolve) => setImmediate(resolve));
        isStuck = client.ws.bufferedAmount > 4 * message.length;
      }
      expect(isStuck).toBe(true);
      expect(probe.messages).toHaveLength(0);
      probe.connection.resume();
      await probe.until(() => probe.messages.length > 40);
      // Paused as it is, it closes properly.
      probe.connection.pause();
      probe.connection.close(1000, 'done');
      expect((await client.closed)[0]).toBe(1000);
    });

    it('counts WebSockets among the connections, and forgets the closed ones', async () => {
      const route = new WebSocketRouteProbe();
      const transport = await fixture.serve({ webSockets: [route], maxConnections: 3 });
      for (let round = 0; round < 4; round += 1) {
        const opened = [];
        for (let n = 0; n < 3; n += 1) opened.push(await open(transport));
        const extra = await fixture.connect(transport);
        extra.write('GET /hello HTTP/1.1\r\nHost: a\r\n\r\n');
        const response = await extra.next();
        if (response !== null) expect(response.status).toBe(503);
        extra.destroy();
        for (const client of opened) {
          if (round % 2 === 0) client.ws.close(1000);
          else client.ws.terminate();
          await client.closed;
        }
        for (const probe of route.probes) await probe.closed();
      }
      expect(route.probes).toHaveLength(12);
      expect(fixture.handled).toEqual([]);
    });

    it('drains: asks the protocol, takes nothing new, resolves when the last connection is closed', async () => {
      const asked: WebSocketConnection[] = [];
      const polite = new WebSocketRouteProbe({}, (connection) => ({ onDrainRequested: () => asked.push(connection) }));
      const transport = await serve(polite);
      const clients = [await open(transport), await open(transport)];
      let isDrained = false;
      const drained = transport.drain().then(() => {
        isDrained = true;
      });
      expect(asked).toHaveLength(2);
      await expect(open(transport)).rejects.toThrow(/ECONNREFUSED/);
      // What is in flight is still answered.
      clients[0]!.ws.send('in flight');
      await clients[0]!.until(1);
      asked[0]!.sendText('last');
      asked[0]!.close(1001, 'shutting down');
      expect(await clients[0]!.closed).toEqual([1001, 'shutting down']);
      expect(clients[0]!.messages).toEqual(['in flight', 'last']);
      expect(isDrained).toBe(false);
      asked[1]!.sendBinary(Buffer.alloc(3_000_000));
      asked[1]!.close(1001, '');
      expect((await clients[1]!.closed)[0]).toBe(1001);
      expect(clients[1]!.messages[0]).toHaveLength(3_000_000);
      await drained;
      expect(polite.probes.map(({ closeCode }) => closeCode)).toEqual([1001, 1001]);
    });

    it('drains: closes the connections of a protocol that does not listen for it', async () => {
      const transport = await serve(new WebSocketRouteProbe());
      const client = await open(transport);
      const drained = transport.drain();
      expect((await client.closed)[0]).toBe(1001);
      await drained;
    });

    it('closes at once, whatever is open', async () => {
      const route = new WebSocketRouteProbe({}, () => ({ onDrainRequested: () => {} }));
      const transport = await serve(route);
      const client = await open(transport);
      void transport.drain();
      await transport.close();
      expect((await client.closed)[0]).toBe(1006);
      expect(await route.probes[0]!.closed()).toBe(1006);
      route.probes[0]!.connection.sendText('too late');
      expect(route.probes[0]!.connection.unsentBytes).toBe(0);
    });

    it('speaks TLS', async () => {
      const route = new WebSocketRouteProbe();
      const transport = await fixture.serve({ webSockets: [route], tls: TEST_TLS });
      const client = await open(transport, { ca: readFileSync(TEST_TLS.certFile) }, 'wss');
      for (const size of [3, 300_000]) client.ws.send(Buffer.alloc(size, 7));
      await client.until(2);
      expect(client.messages.map(({ length }) => length)).toEqual([3, 300_000]);
      const drained = transport.drain();
      expect((await client.closed)[0]).toBe(1001);
      await drained;
    });
  });
}
