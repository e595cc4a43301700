import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { CallContext } from '../transport.ts';
import { answerText, endOf } from './fixtures/scripted-server.ts';
import { context, echo, endAll, failureOf, int32, request, start } from './fixtures/scripted-transport.ts';
import { SLOW_RESPONSES } from './websocket-connection.ts';

afterEach(endAll);

describe('with the package ws', () => {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
  beforeAll(() => {
    if (before !== undefined) delete (globalThis as { WebSocket?: unknown }).WebSocket;
  });
  afterAll(() => {
    if (before !== undefined) Object.defineProperty(globalThis, 'WebSocket', before);
  });

  test('a handshake that is refused says what the server said', async () => {
    const { server, transport } = await start(echo);
    server.handshake = { status: 401, body: '{"error":"a token is needed"}' };
    expect(await failureOf(transport.infer(request(), context))).toMatchObject({
      code: 'UNAUTHENTICATED',
      status: 401,
      message: 'a token is needed',
    });
    server.handshake = { status: 503, body: '', headers: { 'Retry-After': '4' } };
    expect(await failureOf(transport.infer(request(), context))).toMatchObject({
      code: 'UNAVAILABLE',
      phase: 'refused',
      retryAfterSeconds: 4,
    });
    server.handshake = { status: 101, body: '' };
    expect(int32(await transport.infer(request([2]), context))).toEqual([2]);
  });

  test('a slow reader alone on the connection stops the server, and nothing is lost', async () => {
    const count = 20_000;
    let sent = 0;
    const { server, transport } = await start((message, peer) => {
      if (message.json.type === 'cancel') return;
      const more = (): void => {
        // As a server does: no more while much waits to be sent.
        while (sent < count && peer.socket.bufferedAmount < 65_536)
          peer.send(answerText(message, [sent++, ...Array<number>(500).fill(7)], false));
        if (sent < count) setImmediate(more);
        else peer.send(endOf(message));
      };
      more();
    });
    const stream = transport.stream(request(), context);
    await stream.next();
    // Until the server is stuck: no progress over many turns of the loop that both share.
    for (let last = -1, turns = 0; turns < 300; turns++) {
      await new Promise(setImmediate);
      if (sent !== last) turns = 0;
      last = sent;
    }
    expect(sent).toBeGreaterThan(SLOW_RESPONSES);
    expect(sent).toBeLessThan(count);
    let next = 1;
    for await (const response of stream) expect(int32(response)[0]).toBe(next++);
    expect(next).toBe(count);
    expect(server.messages).toHaveLength(1);
  });

  test('while a stream waits for its slow reader, other calls go over another connection, and both are answered whole', async () => {
    const { server, transport } = await start((message, peer) => {
      if (message.json.id === 'slow') for (let i = 0; i < SLOW_RESPONSES + 5; i++) peer.send(answerText(message, [i], false));
      else echo(message, peer);
    });
    const stream = transport.stream(request([0], { id: 'slow' }), context);
    await stream.next();
    // The first one meets a stream of which nobody knows yet that it is slow.
    for (let i = 0; i < 3; i++) expect(int32(await transport.infer(request([i]), context))).toEqual([i]);
    for (let i = 1; i < SLOW_RESPONSES + 5; i++) expect(int32((await stream.next()).value!)).toEqual([i]);
    expect(server.peers).toHaveLength(2);
    const closed = new Promise((resolve) => server.peers[0]!.socket.once('close', resolve));
    server.peers[0]!.send(endOf(server.messages[0]!));
    expect((await stream.next()).done).toBe(true);
    expect(await closed).toBe(1000);
    expect(server.messages).toHaveLength(4);
  });

  test('connections that wait for answers under old headers are bounded', async () => {
    const { server, transport } = await start(() => {});
    const calls = Array.from({ length: 18 }, (_, i) =>
      failureOf(transport.infer(request(), { ...context, headers: { authorization: `${i}` } })),
    );
    expect(await calls[17]).toMatchObject({ code: 'RESOURCE_EXHAUSTED', phase: 'refused' });
    await server.until(() => server.messages.length === 17);
    await transport.close();
    for (const call of calls.slice(0, 17)) expect((await call).code).toBe('CANCELLED');
  });

  test('headers go with the handshake; other headers, another connection, and the old one ends with its last answer', async () => {
    const held: (() => void)[] = [];
    const { server, transport } = await start((message, peer) => {
      if (message.json.id === 'held') held.push(() => echo(message, peer));
      else echo(message, peer);
    });
    const as = (token: string): CallContext => ({ ...context, headers: { authorization: token } });
    const first = transport.infer(request([1], { id: 'held' }), as('one'));
    await transport.infer(request([2]), as('one'));
    await transport.infer(request([3]), as('two'));
    expect(server.peers.map(({ headers }) => headers['authorization'])).toEqual(['one', 'two']);
    const closed = new Promise((resolve) => server.peers[0]!.socket.once('close', resolve));
    held[0]!();
    expect(int32(await first)).toEqual([1]);
    expect(await closed).toBe(1000);
    await transport.infer(request([4]), as('two'));
    expect(server.peers).toHaveLength(2);
  });
});
