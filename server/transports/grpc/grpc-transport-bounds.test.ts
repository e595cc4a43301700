import { type ClientHttp2Session, connect } from 'node:http2';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { RpcTransport, RpcTransportOptions } from '../rpc-call.ts';
import { callRaw, callUnary, frame, GrpcTransportFixture, openRaw } from './grpc-transport-fixture.ts';
import type { GrpcTransportLimits } from './grpc-transport-limits.ts';
import * as http2 from './raw-http2-connection.ts';

/** What all clients together can make the transport hold. */

const MIB = 1024 * 1024;
let fixture: GrpcTransportFixture;
let transport: RpcTransport;

async function serve(changes: Partial<RpcTransportOptions> = {}, limits: Partial<GrpcTransportLimits> = {}): Promise<void> {
  transport = await fixture.serve(changes, limits);
  await callUnary(fixture.client(transport), 'Echo', 'before');
}

beforeEach(() => {
  fixture = new GrpcTransportFixture();
});

afterEach(async () => {
  expect((await callUnary(fixture.client(transport), 'Echo', 'after')).toString()).toBe('after');
  await fixture.stop();
  expect(fixture.errors).toEqual([]);
});

test('requests over what may be held are turned away, and room comes back', async () => {
  await serve({}, { maxBufferedBytes: 3 * MIB });
  const session = fixture.connect(transport);
  const first = callRaw(session, '/test.Test/Hold', frame(Buffer.alloc(2 * MIB)));
  await fixture.until(() => fixture.held.length === 1);
  const refused = await callRaw(session, '/test.Test/Echo', frame(Buffer.alloc(2 * MIB)));
  expect(refused.trailers).toMatchObject({ 'grpc-status': '14', 'retry-after': '1' });
  fixture.held[0]!.respond(Buffer.from('x'));
  await first;
  for (let i = 0; i < 5; i++) {
    expect((await callRaw(session, '/test.Test/Echo', frame(Buffer.alloc(2 * MIB)))).trailers['grpc-status']).toBe('0');
  }
});

test('a client that takes nothing is left alone until answers are too many, and then ends alone', async () => {
  await serve({}, { maxAnswerBytes: 3 * MIB, answerStallMs: 50 });
  const unread = connect(`http://127.0.0.1:${transport.port}`, { settings: { initialWindowSize: 0 } }).on('error', () => {});
  const client = fixture.connect(transport);
  const closed = new Promise((resolve) => unread.on('close', resolve));
  for (const session of [unread, client]) {
    openRaw(session, '/test.Test/StreamHold').on('error', () => {});
    await fixture.until(() => fixture.streams.length === (session === unread ? 1 : 2));
  }
  const [stream] = fixture.streams;
  const isServed = async (): Promise<boolean> => (await callRaw(client, '/test.Test/Echo', frame('x'))).trailers['grpc-status'] === '0';
  expect(stream!.send(Buffer.alloc(2 * MIB))).toBe(false);
  const endMs = performance.now() + 150;
  while (performance.now() < endMs) expect(await isServed()).toBe(true);
  expect(stream!.isCancelled).toBe(false);
  // Two are in the transport, two more in the protocol.
  stream!.holdAnswer(2 * MIB);
  // Connections are looked at when more is sent, to whomever.
  while (!stream!.isCancelled) expect(await isServed()).toBe(true);
  await closed;
  stream!.holdAnswer(-2 * MIB);
  expect([await isServed(), fixture.streams[1]!.isCancelled]).toEqual([true, false]);
});

test('the more connections there are, the less each may send without being read', async () => {
  await serve({}, { maxBufferedBytes: 4 * MIB });
  const windows: number[] = [];
  for (let i = 0; i < 70; i++) {
    const session = fixture.connect(transport);
    await callRaw(session, '/test.Test/Echo', frame('x'));
    windows.push(session.state.remoteWindowSize! / MIB);
  }
  // The fixture's own connection is the first.
  for (const i of [0, 2, 30]) expect(windows[i]).toBeCloseTo(4 / (i + 2), 1);
  expect(windows[69]).toBeCloseTo(1 / 16, 2);
  // A message that is larger than the window goes through it.
  const last = fixture.connect(transport);
  expect((await callRaw(last, '/test.Test/Echo', frame(Buffer.alloc(2 * MIB)))).body.length).toBe(2 * MIB + 5);
});

test('when too many calls are open on all connections, the one that has the most of them ends', async () => {
  await serve({}, { maxCalls: 5 });
  const [large, small, other] = [0, 1, 2].map(() => fixture.connect(transport)) as [
    ClientHttp2Session,
    ClientHttp2Session,
    ClientHttp2Session,
  ];
  const closed = new Promise((resolve) => large.on('close', resolve));
  for (const session of [large, small, large, small, large]) openRaw(session, '/test.Test/StreamHold').on('error', () => {});
  await fixture.until(() => fixture.streams.length === 5);
  const burst = Array.from({ length: 3 }, () => callRaw(other, '/test.Test/Echo', frame('x')));
  expect((await Promise.all(burst)).map(({ trailers }) => trailers['grpc-status'])).toEqual(['0', '0', '0']);
  await closed;
  await fixture.until(() => fixture.events.filter((event) => event === 'cancelled true').length === 3);
  expect(fixture.streams.filter(({ isCancelled }) => !isCancelled)).toHaveLength(2);
  expect((await callRaw(small, '/test.Test/Echo', frame('x'))).trailers['grpc-status']).toBe('0');
});

test('a connection that does not read its answers and refusals is ended when they are too many', async () => {
  await serve({}, { maxCalls: 6 });
  const connection = await http2.RawHttp2Connection.open(transport.port);
  connection.start();
  await connection.until(http2.SETTINGS);
  // Windows that let all answers go, to a socket that takes none.
  connection.frame(http2.SETTINGS, 0, 0, Buffer.from([0, 4, 0x7f, 0xff, 0xff, 0xff]));
  connection.frame(http2.WINDOW_UPDATE, 0, 0, Buffer.from([0x3f, 0xff, 0xff, 0xff]));
  connection.pause();
  let isClosed = false;
  void connection.closed.then(() => (isClosed = true));
  for (let i = 0; !isClosed && i < 900; i++) {
    const isAnswered = i < 6;
    const path = isAnswered ? '/test.Test/Big' : '/test.Test/Hold';
    connection.frame(http2.HEADERS, http2.END_HEADERS, 2 * i + 1, http2.headerBlock({ ...http2.CALL_HEADERS, ':path': path }));
    if (isAnswered) connection.frame(http2.DATA, http2.END_STREAM, 2 * i + 1, frame(String(4 * MIB)));
    await new Promise((resolve) => setImmediate(resolve));
  }
  connection.resume();
  await connection.closed;
});

test('claims of large messages cost nothing', async () => {
  await serve({ maxReceiveBytes: 1024 * MIB, maxConcurrentCalls: 1000 });
  const session = fixture.connect(transport);
  const streams = Array.from({ length: 500 }, () => openRaw(session, '/test.Test/Echo').on('error', () => {}));
  for (const stream of streams) stream.write(frame('x', 0, 1024 * MIB));
  await callRaw(session, '/test.Test/Echo', frame('x'));
  expect(process.memoryUsage().arrayBuffers).toBeLessThan(100 * MIB);
});
