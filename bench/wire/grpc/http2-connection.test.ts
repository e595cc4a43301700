import { afterEach, describe, expect, it } from 'vitest';
import { encodeInferRequest } from '../../../clients/typescript/src/grpc/encode-infer-request.ts';
import * as h2 from '../../../proto/http2-frames.ts';
import { until } from '../../../server/e2e/serve.ts';
import type { Lane } from '../../load/lane.ts';
import type { LoadPlan } from '../../load/load-plan.ts';
import { NodeLoop } from '../../load/node-loop.ts';
import { encodePlan } from './lane-plan.ts';
import { frameMessage } from './message-prefix.ts';
import { ANY_REQUEST, inferRequest, int32, OK, openLane, planOf, RecordingSink } from './recorded-lane.case.ts';
import { block, ScriptedServer, uint32 } from './scripted-server.case.ts';
import { UnaryLane } from './unary-lane.ts';

const ANSWER = Buffer.from('any bytes');
const ACKS = (frames: readonly { type: number; flags: number }[]): number =>
  frames.filter(({ type, flags }) => type === h2.SETTINGS && flags === h2.ACK).length;

describe('the HTTP/2 of a lane', () => {
  let server: ScriptedServer;
  let lane: Lane;
  let sink: RecordingSink;

  async function start(settings: readonly (readonly [number, number])[] = [], plan: Partial<LoadPlan> = {}): Promise<void> {
    server = await ScriptedServer.start(settings);
    ({ lane, sink } = await openLane(planOf(server.port, [ANY_REQUEST], plan)));
  }

  function send(slot: number): void {
    lane.send(slot, 0, null, false, 0);
  }

  afterEach(async () => {
    lane?.close();
    await server.stop();
  });

  it('begins with windows for large answers, without a dynamic table, and takes settings and pings', async () => {
    await start();
    const [settings] = await server.until(h2.SETTINGS);
    expect(settings!.payload.toString('hex')).toBe('000100000000' + '000200000000' + '000401000000');
    expect((await server.until(h2.WINDOW_UPDATE))[0]).toMatchObject({ streamId: 0, payload: uint32(64 * 1024 * 1024 - 65_535) });
    server.send(h2.PING, 0, 0, Buffer.from('12345678'));
    const [ping] = await server.until(h2.PING);
    expect(ping).toMatchObject({ flags: h2.ACK, payload: Buffer.from('12345678') });
    expect(ACKS(server.frames)).toBe(1);
    server.settings([[h2.SETTINGS_MAX_CONCURRENT_STREAMS, 7]]);
    await until(() => ACKS(server.frames) === 2);
    expect(lane.capacity).toBe(7);
    // A pong of no ping, and kinds of frames that are not known.
    server.send(h2.PING, h2.ACK, 0, Buffer.alloc(8));
    server.send(0x42, 0, 0, Buffer.alloc(3));
    send(1);
    await server.until(h2.DATA);
    server.answer(1, ANSWER);
    expect(await sink.endOf(1)).toEqual(OK);
    expect(sink.sent).toBeGreaterThan(100);
    expect(sink.received).toBeGreaterThan(50);
  });

  it('holds itself to the windows and the frame size of the server, of streams and of the connection', async () => {
    const data = Array.from({ length: 10_000 }, (_, i) => i);
    server = await ScriptedServer.start([[h2.SETTINGS_INITIAL_WINDOW_SIZE, 30_000]]);
    const request = inferRequest('any', [int32('IN', [data.length], data)]);
    ({ lane, sink } = await openLane(planOf(server.port, [request])));
    const expected = frameMessage(encodeInferRequest(request, false));
    const received = (streamId: number): Buffer =>
      Buffer.concat(server.frames.filter((frame) => frame.type === h2.DATA && frame.streamId === streamId).map(({ payload }) => payload));
    for (const slot of [1, 2, 3]) send(slot);
    // 65,535 bytes of the connection: two streams' windows, and what is left for the third.
    await until(() => received(5).length === 5_535);
    expect([received(1).length, received(3).length]).toEqual([30_000, 30_000]);
    server.send(h2.WINDOW_UPDATE, 0, 1, uint32(1_000_000));
    server.send(h2.WINDOW_UPDATE, 0, 0, uint32(20_000));
    await until(() => received(1).length === expected.length);
    server.settings([[h2.SETTINGS_INITIAL_WINDOW_SIZE, 50_000]]);
    server.send(h2.WINDOW_UPDATE, 0, 0, uint32(1_000_000));
    await until(() => received(5).length === expected.length && received(3).length === expected.length);
    for (const streamId of [1, 3, 5]) expect(received(streamId).equals(expected)).toBe(true);
    const frames = server.frames.filter(({ type }) => type === h2.DATA);
    expect(Math.max(...frames.map(({ payload }) => payload.length))).toBeLessThanOrEqual(16_384);
    expect(frames.filter(({ flags }) => flags === h2.END_STREAM)).toHaveLength(3);
  });

  it('gives windows back, of the connection and of a long answer', async () => {
    await start();
    send(1);
    await server.until(h2.DATA);
    server.send(h2.HEADERS, h2.END_HEADERS, 1, block({ ':status': '200' }));
    const size = 40 * 1024 * 1024;
    server.send(h2.DATA, 0, 1, Buffer.concat([Buffer.from([0]), uint32(size)]));
    for (let sent = 0; sent < size; sent += 16_384) server.send(h2.DATA, 0, 1, Buffer.alloc(16_384));
    const returned = (streamId: number): number =>
      server.frames
        .filter((frame) => frame.type === h2.WINDOW_UPDATE && frame.streamId === streamId)
        .reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0);
    await until(() => returned(1) >= 32 * 1024 * 1024);
    await until(() => returned(0) >= 64 * 1024 * 1024 - 65_535 + 32 * 1024 * 1024);
  });

  it('reads padding, priorities, interim answers and CONTINUATION', async () => {
    await start();
    send(1);
    await server.until(h2.DATA);
    server.send(h2.HEADERS, h2.END_HEADERS, 1, block({ ':status': '103' }));
    const headers = block({ ':status': '200', 'content-type': 'application/grpc' });
    const padded = Buffer.concat([Buffer.from([3]), uint32(0), Buffer.from([9]), headers.subarray(0, 10), Buffer.alloc(3)]);
    server.send(h2.HEADERS, h2.PADDED | h2.HAS_PRIORITY, 1, padded);
    server.send(h2.CONTINUATION, 0, 1, headers.subarray(10, 20));
    server.send(h2.CONTINUATION, h2.END_HEADERS, 1, headers.subarray(20));
    const message = frameMessage(ANSWER);
    server.send(h2.DATA, h2.PADDED, 1, Buffer.concat([Buffer.from([4]), message.subarray(0, 3), Buffer.alloc(4)]));
    server.send(h2.DATA, 0, 1, message.subarray(3));
    server.send(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, block({ 'grpc-status': '0' }));
    expect(await sink.endOf(1)).toEqual(OK);
  });

  it('teaches the server its headers once, and gives the table up when the server does', async () => {
    await start();
    for (const slot of [1, 2]) send(slot);
    const [first, second] = await server.until(h2.HEADERS, 2);
    expect(second!.payload.length).toBeLessThan(12);
    expect(first!.payload.length).toBeGreaterThan(100);
    server.settings([[h2.SETTINGS_HEADER_TABLE_SIZE, 100]]);
    await until(() => ACKS(server.frames) === 2);
    for (const slot of [3, 4]) send(slot);
    const [, , third, fourth] = await server.until(h2.HEADERS, 4);
    // A size update to 0 leads, once.
    expect(third!.payload[0]).toBe(0x20);
    expect(third!.payload.subarray(1).equals(fourth!.payload)).toBe(true);
  });

  it('ends all that is in flight when the connection is lost', async () => {
    await start();
    for (const slot of [1, 2]) send(slot);
    await server.until(h2.DATA, 2);
    server.hangUp();
    const lost = { outcome: 'failed', status: 'connection lost' };
    expect(await sink.endOf(1)).toMatchObject(lost);
    expect(await sink.endOf(2)).toMatchObject(lost);
    expect([lane.isOpen, sink.closedWith]).toEqual([false, expect.stringContaining('closed')]);
  });

  it.each<[string, number, number, number, Uint8Array]>([
    ['never opened', h2.DATA, 0, 9, ANSWER],
    ['never opened', h2.HEADERS, h2.END_HEADERS, 2, block({ ':status': '200' })],
    ['PUSH_PROMISE', h2.PUSH_PROMISE, h2.END_HEADERS, 1, uint32(2)],
    ['dynamic table', h2.HEADERS, h2.END_HEADERS, 1, Buffer.from([0xbe])],
    ['more padding', h2.DATA, h2.PADDED, 1, Buffer.from([9, 1])],
    ['CONTINUATION', h2.CONTINUATION, h2.END_HEADERS, 1, ANSWER],
    ['more than 2 GiB', h2.WINDOW_UPDATE, 0, 0, uint32(0x7fff_ffff)],
    ['more than 2 GiB', h2.WINDOW_UPDATE, 0, 1, uint32(0x7fff_ffff)],
    ['PING frame of 3 bytes', h2.PING, 0, 0, Buffer.alloc(3)],
    ['no multiple of 6', h2.SETTINGS, 0, 0, Buffer.alloc(7)],
  ])('ends with a server that breaks the rules: %s', async (reason, type, flags, streamId, payload) => {
    await start();
    send(1);
    await server.until(h2.DATA);
    server.send(type, flags, streamId, payload);
    expect(await sink.endOf(1)).toMatchObject({ outcome: 'failed', status: 'connection lost', message: expect.stringContaining(reason) });
    expect(sink.closedWith).toContain(reason);
  });

  it.each([
    [h2.REFUSED_STREAM, 'refused', 'gRPC 14 UNAVAILABLE'],
    [h2.CANCEL, 'failed', 'gRPC 1 CANCELLED'],
    [h2.ENHANCE_YOUR_CALM, 'refused', 'gRPC 8 RESOURCE_EXHAUSTED'],
    [2, 'failed', 'gRPC 13 INTERNAL'],
  ])('takes RST_STREAM %s as gRPC says', async (code, outcome, status) => {
    await start();
    send(1);
    await server.until(h2.DATA);
    server.send(h2.RST_STREAM, 0, 1, uint32(code));
    expect(await sink.endOf(1)).toMatchObject({ outcome, status });
    expect(lane.isOpen).toBe(true);
  });

  it('takes a stream that is cancelled after its deadline for one whose time ran out', async () => {
    await start([], { sendsDeadline: true, deadlineMs: 20 });
    lane.send(1, 0, null, false, 20);
    await server.until(h2.DATA);
    await new Promise((resolve) => setTimeout(resolve, 30));
    server.send(h2.RST_STREAM, 0, 1, uint32(h2.CANCEL));
    expect(await sink.endOf(1)).toMatchObject({ outcome: 'expired', status: 'gRPC 4 DEADLINE_EXCEEDED' });
  });

  it('finishes what a GOAWAY leaves, tells what it does not, and closes then', async () => {
    await start();
    for (const slot of [1, 2]) send(slot);
    await server.until(h2.DATA, 2);
    server.send(h2.GOAWAY, 0, 0, Buffer.concat([uint32(1, h2.ENHANCE_YOUR_CALM), Buffer.from('too_many_pings')]));
    expect(await sink.endOf(2)).toMatchObject({ outcome: 'refused', status: 'gRPC 14 UNAVAILABLE' });
    expect([lane.isOpen, sink.closedWith]).toEqual([false, null]);
    server.answer(1, ANSWER);
    expect(await sink.endOf(1)).toEqual(OK);
    expect(sink.closedWith).toBe('the server said good-bye: GOAWAY (ENHANCE_YOUR_CALM: too_many_pings)');
  });

  it('tells the server of what is abandoned, and passes over what comes of it', async () => {
    await start();
    for (const slot of [1, 2]) send(slot);
    await server.until(h2.DATA, 2);
    lane.abandon(1);
    expect((await server.until(h2.RST_STREAM))[0]).toMatchObject({ streamId: 1, payload: uint32(h2.CANCEL) });
    server.answer(1, ANSWER);
    server.answer(3, ANSWER);
    expect(await sink.endOf(2)).toEqual(OK);
    expect(sink.ends.has(1)).toBe(false);
  });

  it('closes when the numbers of streams are used up', async () => {
    server = await ScriptedServer.start();
    sink = new RecordingSink();
    const plan = planOf(server.port, [ANY_REQUEST]);
    const loop = new NodeLoop('h2');
    const last = new UnaryLane(encodePlan(plan), loop, sink, h2.MAX_STREAM_ID);
    lane = last;
    await last.open(loop, plan.target, 5_000);
    send(1);
    expect(lane.isOpen).toBe(false);
    await server.until(h2.DATA);
    server.answer(h2.MAX_STREAM_ID, ANSWER);
    expect(await sink.endOf(1)).toEqual(OK);
    expect(sink.closedWith).toContain('used up');
  });
});

describe('what a lane is not opened on', () => {
  it.each([
    ['HTTP/1.1', 'HTTP/1.1 400 Bad Request\r\n\r\n', 'HTTP/1.1: is this its gRPC port?'],
    ['something else', '220 mail.example.com ESMTP ready\r\n', 'is this a gRPC port?'],
    ['good-bye', Buffer.concat([Buffer.from('000008070000000000', 'hex'), uint32(0, 0)]), 'GOAWAY'],
  ])('%s', async (_, bytes, message) => {
    const server = await ScriptedServer.start(null);
    const opening = openLane(planOf(server.port, [ANY_REQUEST]));
    opening.catch(() => {});
    await server.until(h2.SETTINGS);
    server.raw(Buffer.from(bytes));
    await expect(opening).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining(message) });
    await server.stop();
  });

  it('a server that says nothing, hangs up, or is not there', async () => {
    const server = await ScriptedServer.start(null);
    await expect(openLane(planOf(server.port, [ANY_REQUEST], { timeoutMs: 50 }))).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    const opening = openLane(planOf(server.port, [ANY_REQUEST]));
    opening.catch(() => {});
    await server.until(h2.SETTINGS, 2);
    server.hangUp();
    await expect(opening).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await server.stop();
    await expect(openLane(planOf(server.port, [ANY_REQUEST]))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});
