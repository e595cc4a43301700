import { afterEach, beforeEach, expect, test } from 'vitest';
import type { RpcTransport } from '../rpc-call.ts';
import { callRaw, callUnary, frame, GrpcTransportFixture, openRaw, rawAnswer } from './grpc-transport-fixture.ts';
import * as http2 from './raw-http2-connection.ts';

/** Frames that cost a client little, by the thousand. */

let fixture: GrpcTransportFixture;
let transport: RpcTransport;

beforeEach(async () => {
  fixture = new GrpcTransportFixture();
  transport = await fixture.serve();
});

afterEach(async () => {
  expect((await callUnary(fixture.client(transport), 'Echo', 'after')).toString()).toBe('after');
  await fixture.stop();
  expect(fixture.errors).toEqual([]);
});

const HOLD = http2.headerBlock({ ...http2.CALL_HEADERS, ':path': '/test.Test/Hold' });

/** How often it could be done before the connection ended. */
async function flood(most: number, send: (connection: http2.RawHttp2Connection, i: number) => void): Promise<number> {
  const connection = await http2.RawHttp2Connection.open(transport.port);
  connection.start();
  await connection.until(http2.SETTINGS);
  let isClosed = false;
  void connection.closed.then(() => (isClosed = true));
  let i = 0;
  for (; !isClosed && i < most; i++) {
    send(connection, i);
    if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  if (isClosed) expect(connection.received(http2.GOAWAY)).toBe(true);
  connection.destroy();
  await connection.closed;
  return isClosed ? i : most;
}

test.each<[string, (connection: http2.RawHttp2Connection, i: number) => void]>([
  [
    'streams that the server is made to reset',
    (connection, i) => {
      connection.frame(http2.HEADERS, http2.END_HEADERS, 2 * i + 1, HOLD);
      connection.frame(http2.WINDOW_UPDATE, 0, 2 * i + 1, Buffer.alloc(4));
    },
  ],
  ['changes of SETTINGS', (connection) => connection.frame(http2.SETTINGS, 0, 0, Buffer.from([0, 4, 0, 0, 0, 1]))],
  [
    'requests that are none',
    (connection, i) =>
      connection.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 2 * i + 1, http2.headerBlock({ ':path': '/' })),
  ],
  ['calls over the limit', (connection, i) => connection.frame(http2.HEADERS, http2.END_HEADERS, 2 * i + 1, HOLD)],
])('%s end the connection', async (_what, send) => {
  expect(await flood(20_000, send)).toBeLessThan(20_000);
  // Nothing of it is left.
  await fixture.until(() => fixture.held.every(({ isCancelled }) => isCancelled));
});

test('a client that cancels half of its calls goes on for as long as it likes', async () => {
  const block = http2.headerBlock(http2.CALL_HEADERS);
  const done = await flood(3000, (connection, i) => {
    connection.frame(http2.HEADERS, http2.END_HEADERS, 4 * i + 1, HOLD);
    connection.frame(http2.RST_STREAM, 0, 4 * i + 1, Buffer.from([0, 0, 0, 8]));
    connection.frame(http2.HEADERS, http2.END_HEADERS, 4 * i + 3, block);
    connection.frame(http2.DATA, http2.END_STREAM, 4 * i + 3, frame('x'));
  });
  expect(done).toBe(3000);
});

test('pings whose answers nobody reads end the connection, and leave nothing behind', async () => {
  const connection = await http2.RawHttp2Connection.open(transport.port);
  connection.start();
  await connection.until(http2.SETTINGS);
  connection.pause();
  let isClosed = false;
  void connection.closed.then(() => (isClosed = true));
  const before = process.memoryUsage().arrayBuffers;
  const ping = Buffer.concat(Array.from({ length: 2000 }, () => Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])));
  // Loopback sockets take some megabytes before they push back.
  for (let i = 0; !isClosed && i < 2000; i++) {
    connection.write(ping);
    await new Promise((resolve) => setImmediate(resolve));
    if (i === 1000) connection.resume();
  }
  expect(isClosed).toBe(true);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
});

test('a paused call keeps no more than its window, in tiny frames too', async () => {
  const session = fixture.connect(transport);
  const stream = openRaw(session, '/test.Test/StreamHold');
  const answer = rawAnswer(stream);
  await fixture.until(() => fixture.streams.length === 1);
  const call = fixture.streams[0]!;
  call.pause();
  const before = process.memoryUsage.rss();
  const messages = 40_000;
  for (let i = 0; i < messages; i++) stream.write(frame('ab'));
  stream.end();
  // Another call on the connection goes all the way, so these bytes have come.
  await callRaw(session, '/test.Test/Echo', frame('x'));
  expect(process.memoryUsage.rss() - before).toBeLessThan(100 * 1024 * 1024);
  let received = 0;
  call.listener = { onMessage: () => (received += 1), onHalfClose: () => call.end(), onDrain: () => {} };
  call.resume();
  expect((await answer).trailers['grpc-status']).toBe('0');
  expect(received).toBe(messages);
});
