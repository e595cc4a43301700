/** Against servers that do what Nereid never does: fragments, pings, late and foreign answers. */

import { createHash } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import { InferenceError } from '../../../proto/inference-error.ts';
import { until } from '../../../server/e2e/serve.ts';
import type { Lane } from '../../load/lane.ts';
import type { LoadPlan } from '../../load/load-plan.ts';
import { inferRequest, int32, makePlan, openLane, type RecordingSink } from './recorded-lane.case.ts';
import { createWebSocketLanes } from './websocket-lane.ts';

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Request {
  readonly id: string;
  readonly type?: string;
}

const SMALL = inferRequest('m', [int32('IN', [1], [7])]);
const final = (id: string, more: object = {}): string =>
  JSON.stringify({ id, parameters: { triton_final_response: true }, outputs: [{}], ...more });

async function serve(
  onRequest: (request: Request, socket: WebSocket) => void,
): Promise<{ port: number; peer: () => WebSocket; sockets: Set<WebSocket> }> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  await new Promise((resolve) => server.once('listening', resolve));
  cleanups.push(() => {
    for (const socket of server.clients) socket.terminate();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  });
  server.on('connection', (socket) => {
    socket.on('error', () => {});
    socket.on('message', (data: Buffer, isBinary) => {
      const start = isBinary ? 4 : 0;
      onRequest(JSON.parse(data.toString('utf8', start, isBinary ? 4 + data.readUInt32LE(0) : data.length)), socket);
    });
  });
  const { port } = server.address() as { port: number };
  return { port, peer: () => [...server.clients][0]!, sockets: server.clients };
}

async function laneTo(port: number, changes: Partial<LoadPlan> = {}, requests = [SMALL]): Promise<{ lane: Lane; sink: RecordingSink }> {
  const opened = await openLane(makePlan(port, requests, { validation: { every: 0, outputs: [], isDeterministic: false }, ...changes }));
  cleanups.push(() => opened.lane.close());
  return opened;
}

test('many at once, answered in another order and each followed by the next, as a closed loop does', async () => {
  let waiting: [Request, WebSocket][] = [];
  const seen = new Set<string>();
  const { port } = await serve((request, socket) => {
    expect(seen.has(request.id)).toBe(false);
    seen.add(request.id);
    waiting.push([request, socket]);
    if (waiting.length < 10) return;
    for (const [{ id }, peer] of waiting.reverse()) peer.send(final(id));
    waiting = [];
  });
  const { lane, sink } = await laneTo(port);
  let left = 490;
  sink.onEnded = ({ slot }) => {
    if (left-- > 0) lane.send(slot, 0, null, false, 0);
  };
  for (let slot = 100; slot < 110; slot++) lane.send(slot, 0, null, false, 0);
  await until(() => sink.ends.length === 500);
  expect(sink.ends.every(({ outcome, status, message }) => outcome === 'ok' && status === '' && message === '')).toBe(true);
  expect(new Set(sink.ends.map(({ slot }) => slot)).size).toBe(10);
  expect(seen.size).toBe(500);
  expect(sink.received).toBe(500 * (2 + final('00000000').length));
});

test('fragments, and pings between them, which are answered', async () => {
  const pongs: string[] = [];
  const { port } = await serve(({ id }, socket) => {
    socket.on('pong', (data: Buffer) => pongs.push(data.toString()));
    const answer = final(id, { text: 'x'.repeat(70_000) });
    for (let at = 0; at < answer.length; at += 30_000) {
      socket.send(answer.slice(at, at + 30_000), { fin: at + 30_000 >= answer.length });
      socket.ping(`after ${at}`);
    }
    socket.ping();
  });
  const { lane, sink } = await laneTo(port);
  lane.send(1, 0, null, false, 0);
  expect(await sink.endOf(1)).toMatchObject({ outcome: 'ok' });
  await until(() => pongs.length === 4);
  expect(pongs).toEqual(['after 0', 'after 30000', 'after 60000', '']);
});

test.each([
  [{ error: 'busy', code: 'UNAVAILABLE', status: 503 }, 'refused', 'WebSocket 503 UNAVAILABLE'],
  [{ error: 'late', code: 'DEADLINE_EXCEEDED', status: 504 }, 'expired', 'WebSocket 504 DEADLINE_EXCEEDED'],
  [{ error: 'not so', code: 'INVALID_ARGUMENT', status: 400 }, 'failed', 'WebSocket 400 INVALID_ARGUMENT'],
])('%j is %s', async (error, outcome, status) => {
  const { port } = await serve(({ id }, socket) => socket.send(JSON.stringify({ id, ...error })));
  const { lane, sink } = await laneTo(port);
  lane.send(4, 0, null, true, 0);
  expect(await sink.endOf(4)).toEqual({ slot: 4, outcome, status, message: error.error });
  expect(lane.isOpen).toBe(true);
});

test('a stream: its parts, and the end of it', async () => {
  const { port } = await serve(({ id }, socket) => {
    const part = { model_name: 'm', parameters: { triton_final_response: false } };
    for (let n = 0; n < 3; n++) socket.send(final(id, { ...part, outputs: [{ name: 'OUT', datatype: 'INT32', shape: [1], data: [n] }] }));
    socket.send(final(id, { outputs: [] }));
  });
  const { lane, sink } = await laneTo(port, {
    validation: { every: 1, outputs: [{ name: 'OUT', datatype: 'INT32' }], isDeterministic: true },
  });
  for (const slot of [1, 2]) {
    lane.send(slot, 0, null, true, 0);
    expect(await sink.endOf(slot)).toMatchObject({ outcome: 'ok' });
    expect(sink.parts.get(slot)).toBe(3);
  }
});

describe('validation', () => {
  const outputs = [{ name: 'OUT', datatype: 'INT32' }];
  const validation = { every: 1, outputs, isDeterministic: false };

  test.each([
    ['right', { outputs: [{ name: 'OUT', datatype: 'INT32', shape: [2], data: [1, 2] }] }, ''],
    ['without its output', { outputs: [] }, 'OUT'],
    ['of another type', { outputs: [{ name: 'OUT', datatype: 'FP32', shape: [1], data: [1] }] }, 'FP32'],
    ['of too few elements', { outputs: [{ name: 'OUT', datatype: 'INT32', shape: [3], data: [1] }] }, 'OUT'],
    ['without outputs at all', { outputs: 7 }, 'outputs'],
  ])('an answer %s', async (_, body, wrong) => {
    const { port } = await serve(({ id }, socket) => socket.send(final(id, { model_name: 'm', ...body })));
    const { lane, sink } = await laneTo(port, { validation });
    lane.send(1, 0, null, true, 0);
    const ended = await sink.endOf(1);
    expect(ended).toMatchObject(wrong === '' ? { outcome: 'ok', status: '' } : { outcome: 'wrong', status: 'wrong answer' });
    expect(ended.message).toContain(wrong);
    // Nobody looks.
    lane.send(2, 0, null, false, 0);
    expect(await sink.endOf(2)).toMatchObject({ outcome: 'ok' });
  });

  test('a long answer is looked at to its end', async () => {
    const data = Array.from({ length: 20_000 }, (_, i) => i);
    const { port } = await serve(({ id }, socket) =>
      socket.send(final(id, { model_name: 'm', outputs: [{ name: 'OUT', datatype: 'INT32', shape: [20_000], data }] })),
    );
    const expected = [{ name: 'OUT', data: new Uint8Array(Int32Array.from(data.with(19_999, 0)).buffer), tolerance: 0 }];
    const { lane, sink } = await laneTo(port, { validation, requests: [{ infer: SMALL, text: null, expected }] });
    lane.send(1, 0, null, true, 0);
    expect(await sink.endOf(1)).toMatchObject({ outcome: 'wrong', message: expect.stringContaining('19999') });
  });
});

test('what is given up is cancelled, and its late answer is nobody else’s', async () => {
  const requests: Request[] = [];
  const { port } = await serve((request, socket) => {
    if (requests.push(request) < 3) return;
    const [first, cancel, second] = requests.splice(0) as [Request, Request, Request];
    expect(cancel).toEqual({ type: 'cancel', id: first.id });
    expect(second.id).not.toBe(first.id);
    socket.send(final(first.id));
    socket.send(JSON.stringify({ id: second.id, error: 'no', code: 'INTERNAL', status: 500 }));
  });
  const { lane, sink } = await laneTo(port);
  const round = (): void => {
    lane.send(5, 0, null, false, 0);
    lane.abandon(5);
    lane.send(5, 0, null, false, 0);
  };
  // More often than requests may be given up without an end.
  const rounds = 3 * lane.capacity;
  sink.onEnded = () => {
    if (sink.ends.length < rounds) round();
  };
  round();
  await until(() => sink.ends.length === rounds);
  expect(new Set(sink.ends.map(({ slot, outcome }) => `${slot} ${outcome}`))).toEqual(new Set(['5 failed']));
  expect(sink.closedWith).toBeNull();
});

test('a server that ends nothing is left after a while', async () => {
  const { port } = await serve(() => {});
  const { lane, sink } = await laneTo(port);
  lane.send(9, 0, null, false, 0);
  let rounds = 0;
  while (lane.isOpen && rounds < 1000) {
    lane.send(1, 0, null, false, 0);
    lane.abandon(1);
    rounds++;
  }
  expect(rounds).toBe(lane.capacity + 1);
  expect(sink.ends).toEqual([{ slot: 9, outcome: 'failed', status: 'connection stalled', message: expect.stringContaining('given up') }]);
  expect(sink.closedWith).toContain('given up');
});

describe('the connection ends', () => {
  test.each([
    ['closed with a code', (socket: WebSocket) => socket.close(1012, 'restarting'), 'WebSocket close 1012', 'restarting'],
    ['closed without one', (socket: WebSocket) => socket.close(), 'WebSocket close', 'the server closed'],
    ['cut', (socket: WebSocket) => socket.terminate(), 'connection lost', 'closed'],
    ['an answer to nothing', (socket: WebSocket) => socket.send('{"outputs":[]}'), 'WebSocket protocol', 'no answer to any request'],
    ['no JSON', (socket: WebSocket) => socket.send('hello'), 'WebSocket protocol', 'hello'],
    ['a binary message of nothing', (socket: WebSocket) => socket.send(Buffer.alloc(2)), 'WebSocket protocol', 'no answer'],
  ])('%s', async (_, end, status, reason) => {
    const { port, sockets } = await serve((_request, socket) => {
      if (++count === 2) end(socket);
    });
    let count = 0;
    const { lane, sink } = await laneTo(port);
    lane.send(1, 0, null, false, 0);
    lane.send(2, 0, null, true, 0);
    await until(() => sink.closedWith !== null);
    expect(sink.closedWith).toContain(reason);
    expect(sink.ends.map(({ slot, outcome, status: text }) => `${slot} ${outcome} ${text}`).sort()).toEqual([
      `1 failed ${status}`,
      `2 failed ${status}`,
    ]);
    expect(lane.isOpen).toBe(false);
    await until(() => sockets.size === 0);
  });

  test('by our own close: told to nobody', async () => {
    const { port, peer } = await serve(() => {});
    const { lane, sink } = await laneTo(port);
    const closed = new Promise<number>((resolve) => peer().once('close', resolve));
    lane.send(1, 0, null, false, 0);
    lane.close();
    lane.close();
    expect(await closed).toBe(1000);
    expect([lane.isOpen, sink.ends, sink.closedWith]).toEqual([false, [], null]);
  });

  test('from within an answer: what was read with it is told to nobody', async () => {
    const { port } = await serve(({ id }, socket) => {
      if (waiting.push(id) < 3) return;
      // One write: the lane reads all three at once.
      const raw = (socket as unknown as { _socket: Socket })._socket;
      raw.cork();
      for (const one of waiting) socket.send(final(one));
      raw.uncork();
    });
    const waiting: string[] = [];
    const { lane, sink } = await laneTo(port);
    sink.onEnded = () => lane.close();
    for (const slot of [1, 2, 3]) lane.send(slot, 0, null, false, 0);
    await sink.endOf(1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(sink.ends).toHaveLength(1);
  });
});

test('large messages while the server reads slowly: none is written over before it is out', async () => {
  const count = 100_000;
  const values = Array.from({ length: count }, (_, i) => i);
  const ids: string[] = [];
  const { port, peer } = await serve(({ id, ...rest }, socket) => {
    const input = (rest as { inputs: { data?: number[]; parameters?: { binary_data_size: number } }[] }).inputs[0]!;
    if (input.data !== undefined) expect(input.data).toEqual(values);
    else expect(input.parameters!.binary_data_size).toBe(4 * count);
    ids.push(id);
    socket.send(final(id));
  });
  for (const protocol of ['websocket-json', 'websocket-binary'] as const) {
    const { lane, sink } = await laneTo(port, { protocol }, [inferRequest('m', [int32('IN', [count], values)])]);
    ids.length = 0;
    peer().pause();
    for (let slot = 0; slot < 20; slot++) lane.send(slot, 0, null, false, 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    peer().resume();
    await until(() => sink.ends.length === 20);
    expect(sink.ends.every(({ outcome }) => outcome === 'ok')).toBe(true);
    expect(new Set(ids).size).toBe(20);
    lane.close();
    await until(() => peer() === undefined);
  }
});

describe('opening', () => {
  async function listen(onSocket: (socket: Socket) => void): Promise<number> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      onSocket(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    });
    return (server.address() as { port: number }).port;
  }

  const failureOf = async (port: number, timeoutMs = 5000): Promise<InferenceError> => {
    const failure: unknown = await openLane(makePlan(port, [SMALL], { timeoutMs })).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(InferenceError);
    return failure as InferenceError;
  };

  test('frames that come with the handshake are read', async () => {
    const port = await listen((socket) =>
      socket.once('data', (data: Buffer) => {
        const key = /Sec-WebSocket-Key: (.+)\r\n/.exec(data.toString())![1]!;
        const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
        const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
        socket.write(Buffer.concat([Buffer.from(head), Buffer.of(0x88, 2, 0x03, 0xe9)]));
      }),
    );
    const { sink } = await openLane(makePlan(port, [SMALL]));
    await until(() => sink.closedWith !== null);
    expect(sink.closedWith).toContain('1001');
  });

  test('a server that is silent, hangs up, or speaks something else', async () => {
    expect((await failureOf(await listen(() => {}), 50)).code).toBe('DEADLINE_EXCEEDED');
    const hungUp = await failureOf(await listen((socket) => socket.once('data', () => socket.destroy())));
    expect([hungUp.code, hungUp.message]).toEqual(['UNAVAILABLE', expect.stringContaining('during the handshake')]);
    const foreign = await failureOf(await listen((socket) => socket.write('SSH-2.0-x\r\n')));
    expect([foreign.code, foreign.message]).toEqual(['INTERNAL', expect.stringContaining('HTTP port')]);
  });

  test('a plan of text, or of another protocol', () => {
    const text = { infer: null, text: { path: '/', body: {}, stream: false }, expected: null };
    expect(() => createWebSocketLanes(makePlan(1, [], { requests: [text] }))).toThrow(/requests\[0\]: expected tensors/);
    expect(() => createWebSocketLanes(makePlan(1, [SMALL], { protocol: 'grpc' }))).toThrow(
      /expected websocket-json or websocket-binary, got 'grpc'/,
    );
  });
});
