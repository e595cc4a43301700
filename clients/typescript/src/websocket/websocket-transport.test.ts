import { createServer } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket as WsWebSocket } from 'ws';
import { InferenceError } from '../../../../proto/inference-error.ts';
import { answerText, endOf } from './fixtures/scripted-server.ts';
import { connect, context, echo, endAll, failureOf, int32, request, start, withSignal } from './fixtures/scripted-transport.ts';
import { MAX_BUFFERED_RESPONSES, MAX_UNANSWERED_REQUESTS, MAX_UNSENT_BYTES } from './websocket-connection.ts';

afterEach(endAll);

// The class of ws has the interface of the standard, so what browsers and newer Nodes bring runs here too, whatever this Node has.
const own = (globalThis as { WebSocket?: unknown }).WebSocket;
const sockets: readonly (readonly [string, unknown])[] = [
  ['the package ws', undefined],
  ['a WebSocket of the runtime', own ?? WsWebSocket],
];

describe.each(sockets)('over %s', (_name, WebSocketClass) => {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
  const swap = async (body: () => Promise<void>): Promise<void> => {
    Object.defineProperty(globalThis, 'WebSocket', { value: WebSocketClass, configurable: true, writable: true });
    try {
      await body();
      await endAll();
    } finally {
      if (before === undefined) delete (globalThis as { WebSocket?: unknown }).WebSocket;
      else Object.defineProperty(globalThis, 'WebSocket', before);
    }
  };
  const check = (name: string, body: () => Promise<void>): void => test(name, () => swap(body));

  check('a request and its answer, binary and text; the id is given back as it was', async () => {
    const { server, transport } = await start((message, peer) => {
      if (message.isBinary) echo(message, peer);
      else peer.send(answerText(message, message.json.inputs[0].data));
    });
    const binary = await transport.infer(request([1, -2]), context);
    expect(int32(binary)).toEqual([1, -2]);
    expect(binary).toMatchObject({ id: '', modelName: 'm', modelVersion: '1' });
    expect({ ...binary.parameters }).toEqual({});
    const text = await transport.infer(request([3], { json: true, id: 'mine', modelVersion: '7', parameters: { priority: 2 } }), context);
    expect(int32(text)).toEqual([3]);
    expect(text.id).toBe('mine');
    expect(server.messages.map(({ isBinary }) => isBinary)).toEqual([true, false]);
    expect(server.messages[0]!.json).toMatchObject({ model_name: 'm', parameters: { binary_data_output: true } });
    expect(server.messages[1]!.json).toMatchObject({ id: 'mine', model_name: 'm', model_version: '7', parameters: { priority: 2 } });
    expect(server.peers).toHaveLength(1);
    expect(server.messages.map(({ json }) => json.timeout_ms)).toEqual([undefined, undefined]);
    await transport.infer(request([1]), { ...context, deadlineMs: Date.now() + 60_000 });
    expect(server.messages[2]!.json.timeout_ms).toBeGreaterThan(50_000);
    expect(server.messages[2]!.json.timeout_ms).toBeLessThanOrEqual(60_000);
  });

  check('hundreds at once, answered backwards, never more on the wire than the server takes', async () => {
    const held: (() => void)[] = [];
    let mostHeld = 0;
    const { server, transport } = await start((message, peer) => {
      held.push(() => echo(message, peer));
      mostHeld = Math.max(mostHeld, held.length);
      if (held.length < MAX_UNANSWERED_REQUESTS && server.messages.length < 700) return;
      for (const answer of held.splice(0).reverse()) answer();
    });
    const values = Array.from({ length: 700 }, (_, i) => i);
    const answers = await Promise.all(
      values.map((value) => transport.infer(request([value], { id: value % 3 === 0 ? 'same' : '' }), context)),
    );
    expect(answers.map((answer) => int32(answer)[0])).toEqual(values);
    expect(answers.map(({ id }) => id)).toEqual(values.map((value) => (value % 3 === 0 ? 'same' : '')));
    expect(mostHeld).toBe(MAX_UNANSWERED_REQUESTS);
    expect(server.peers).toHaveLength(1);
  });

  check('more bytes than the socket takes at once', async () => {
    const { transport } = await start(echo);
    const values = Array.from({ length: (MAX_UNSENT_BYTES / 4) * 0.75 }, (_, i) => i);
    const answers = await Promise.all([1, 2, 3, 4].map((first) => transport.infer(request([first, ...values]), context)));
    expect(answers.map((answer) => int32(answer)[0])).toEqual([1, 2, 3, 4]);
    expect(answers.every(({ outputs }) => outputs[0]!.data!.length === 4 * (values.length + 1))).toBe(true);
  });

  check('a stream, its end without outputs, and an error behind its responses', async () => {
    const { transport } = await start((message, peer) => {
      const [count, fails] = message.json.inputs[0].data;
      for (let i = 0; i < count; i++) peer.send(answerText(message, [i], false));
      peer.send(fails ? { id: message.json.id, error: 'host died', code: 'UNAVAILABLE', status: 503 } : endOf(message));
    });
    const seen: number[] = [];
    for await (const response of transport.stream(request([3, 0], { json: true }), context)) seen.push(...int32(response));
    expect(seen).toEqual([0, 1, 2]);
    expect(await transport.stream(request([0, 0], { json: true }), context).next()).toEqual({ done: true, value: undefined });
    const failing = transport.stream(request([2, 1], { json: true }), context);
    expect(int32((await failing.next()).value!)).toEqual([0]);
    expect(int32((await failing.next()).value!)).toEqual([1]);
    expect(await failureOf(failing.next())).toMatchObject({ code: 'UNAVAILABLE', phase: 'answered', status: 503 });
    expect(await failing.next()).toEqual({ done: true, value: undefined });
  });

  check('infer of a decoupled model: one response will do, others are an error that says what to use', async () => {
    const { server, transport } = await start((message, peer) => {
      if (message.json.type === 'cancel') return;
      for (let i = 0; i < message.json.inputs[0].data[0]; i++) peer.send(answerText(message, [i], false));
      if (message.json.inputs[0].data[0] < 2) peer.send(endOf(message));
    });
    expect(int32(await transport.infer(request([1], { json: true }), context))).toEqual([0]);
    expect((await failureOf(transport.infer(request([0], { json: true }), context))).message).toMatch(/no response.*stream\(\)/);
    expect(await failureOf(transport.infer(request([2], { json: true }), context))).toMatchObject({ code: 'UNIMPLEMENTED' });
    await server.until(() => server.messages.at(-1)!.json.type === 'cancel');
  });

  check('cancel: by signal, by leaving the loop, while waiting; a crossing answer goes to nobody', async () => {
    const { server, transport } = await start((message, peer) => {
      if (message.json.type === 'cancel') return;
      if (message.json.inputs !== undefined && message.json.id !== 'silent') peer.send(answerText(message, [1], false));
    });
    const reason = new InferenceError('DEADLINE_EXCEEDED', 'too late');
    const controller = new AbortController();
    const silent = transport.infer(request([1], { id: 'silent' }), withSignal(controller.signal));
    await server.until(() => server.messages.length === 1);
    controller.abort(reason);
    expect(await failureOf(silent)).toBe(reason);
    expect(await failureOf(transport.infer(request(), withSignal(controller.signal)))).toBe(reason);
    await server.until(() => server.messages.length === 2);
    expect(server.messages[1]!.json).toEqual({ type: 'cancel', id: 'silent' });

    // The server has not ended `silent`: the next one with this id goes by another, and is not ended in its place.
    server.script = echo;
    const next = transport.infer(request([5], { id: 'silent' }), context);
    await server.until(() => server.messages.length === 3);
    expect(server.messages[2]!.json.id).not.toBe('silent');
    server.peers[0]!.send({ id: 'silent', error: 'cancelled by the client', code: 'CANCELLED', status: 499 });
    expect(await next).toMatchObject({ id: 'silent' });
    await transport.infer(request([6], { id: 'silent' }), context);
    expect(server.messages[3]!.json.id).toBe('silent');

    server.script = (message, peer) => {
      if (message.json.type !== 'cancel') for (let i = 0; i < 5; i++) peer.send(answerText(message, [i], false));
    };
    for await (const response of transport.stream(request(), context)) {
      expect(int32(response)).toEqual([0]);
      break;
    }
    await server.until(() => server.messages.at(-1)!.json.type === 'cancel');
    const waiting = transport.stream(request(), context);
    for (let i = 0; i < 5; i++) await waiting.next();
    const sixth = waiting.next();
    await waiting.return!();
    expect(await sixth).toEqual({ done: true, value: undefined });
  });

  check('a connection that breaks: what was sent may have run, the next call opens another', async () => {
    const { server, transport } = await start((message, peer) => {
      if (message.json.inputs[0].data?.[0] === 7) peer.send(answerText(message, [7], false));
      if (server.messages.length === 2) peer.socket.terminate();
    });
    const stream = transport.stream(request([7], { json: true }), context);
    expect(int32((await stream.next()).value!)).toEqual([7]);
    const sent = failureOf(transport.infer(request(), context));
    expect(await sent).toMatchObject({ code: 'UNAVAILABLE', phase: 'sent', message: expect.stringContaining('lost') as string });
    expect(await failureOf(stream.next())).toMatchObject({ code: 'UNAVAILABLE', phase: 'answered' });
    server.script = echo;
    expect(int32(await transport.infer(request([8]), context))).toEqual([8]);
    expect(server.peers).toHaveLength(2);
  });

  check('close codes; requests that were not sent had no part in it', async () => {
    let close = 1001;
    const { server, transport } = await start((_message, peer) => {
      if (server.messages.length % MAX_UNANSWERED_REQUESTS === 0) peer.socket.close(close, 'why not');
    });
    for (const [code, expected] of [
      [1001, 'UNAVAILABLE'],
      [1009, 'RESOURCE_EXHAUSTED'],
      [1011, 'INTERNAL'],
      [1013, 'UNAVAILABLE'],
      [4400, 'INVALID_ARGUMENT'],
      [4501, 'UNIMPLEMENTED'],
      [4999, 'UNKNOWN'],
    ] as const) {
      close = code;
      const all = Array.from({ length: MAX_UNANSWERED_REQUESTS + 1 }, () => failureOf(transport.infer(request(), context)));
      expect(await all[0]).toMatchObject({
        code: expected,
        phase: 'sent',
        message: expect.stringContaining(`(${code}): why not`) as string,
      });
      expect(await all.at(-1)).toMatchObject({ code: 'UNAVAILABLE', phase: 'refused' });
    }
  });

  check('garbage ends the connection and all on it; a wrong answer with an id ends its request alone', async () => {
    const { server, transport } = await start(() => {});
    const first = failureOf(transport.infer(request([1], { id: 'a' }), context));
    const second = transport.infer(request([2], { id: 'b' }), context);
    await server.until(() => server.messages.length === 2);
    server.peers[0]!.send({ id: 'a', model_name: 'm', outputs: 'none' });
    expect(await first).toMatchObject({ code: 'INTERNAL', phase: 'answered' });
    server.peers[0]!.send({ id: 'unknown', error: 'for nobody', code: 'INTERNAL', status: 500 });
    echo(server.messages[1]!, server.peers[0]!);
    expect(int32(await second)).toEqual([2]);
    const third = failureOf(transport.infer(request(), context));
    await server.until(() => server.messages.length === 3);
    server.peers[0]!.socket.send(Buffer.from([200, 0, 0, 0, 123]));
    expect(await third).toMatchObject({ code: 'INTERNAL', message: expect.stringContaining('200 bytes of JSON') as string });
    const closed = await new Promise((resolve) => server.peers[0]!.socket.once('close', resolve));
    expect(closed).toBe(4400);
  });

  check('a slow reader among others is bounded: its stream alone ends, behind what came', async () => {
    const { server, transport } = await start((message, peer) => {
      if (message.json.type === 'cancel' || message.json.id === 'other') return;
      for (let i = 0; i < MAX_BUFFERED_RESPONSES + 10; i++) peer.send(answerText(message, [i], false));
    });
    const other = transport.infer(request([9], { id: 'other' }), context);
    const stream = transport.stream(request([1], { id: 'slow' }), context);
    expect(int32((await stream.next()).value!)).toEqual([0]);
    await server.until(() => server.messages.length === 3);
    expect(server.messages[2]!.json).toEqual({ type: 'cancel', id: 'slow' });
    for (let i = 1; i <= MAX_BUFFERED_RESPONSES; i++) expect(int32((await stream.next()).value!)).toEqual([i]);
    expect(await failureOf(stream.next())).toMatchObject({ code: 'RESOURCE_EXHAUSTED', phase: 'answered' });
    echo(server.messages[0]!, server.peers[0]!);
    expect(int32(await other)).toEqual([9]);
  });

  check('close: calls in flight and later ones reject with CANCELLED, and the server sees 1000', async () => {
    const { server, transport } = await start(() => {});
    const inFlight = failureOf(transport.infer(request(), context));
    const stream = transport.stream(request(), context);
    const streaming = failureOf(stream.next());
    await server.until(() => server.messages.length === 2);
    const seen = new Promise((resolve) => server.peers[0]!.socket.once('close', resolve));
    await transport.close();
    for (const failure of [await inFlight, await streaming, await failureOf(transport.infer(request(), context))]) {
      expect(failure).toMatchObject({ code: 'CANCELLED', message: 'the client is closed' });
    }
    expect(await seen).toBe(1000);
    await transport.close();
    const opening = connect(server.url);
    const early = failureOf(opening.infer(request(), context));
    await opening.close();
    expect((await early).code).toBe('CANCELLED');
  });

  check('nobody listens: refused, and the caller’s signal ends the wait for a server that does not answer the handshake', async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    const controller = new AbortController();
    const waiting = failureOf(connect(new URL(`ws://127.0.0.1:${port}`)).infer(request(), withSignal(controller.signal)));
    const reason = new InferenceError('CANCELLED', 'enough');
    controller.abort(reason);
    expect(await waiting).toBe(reason);
    await endAll();
    await new Promise((resolve) => silent.close(resolve));
    const failure = await failureOf(connect(new URL(`ws://127.0.0.1:${port}`)).infer(request(), context));
    expect(failure).toMatchObject({ code: 'UNAVAILABLE', phase: 'refused', status: 0 });
  });
});

test('calls that are not inference go over HTTP, below the same path', async () => {
  const { server } = await start(echo);
  const paths: string[] = [];
  server.onHttp = ({ url }, response) => {
    paths.push(url!);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"name":"x","version":"1","extensions":[]}');
  };
  expect(await connect(server.url).isServerLive(context)).toBe(true);
  const below = connect(new URL('/gateway/v2/ws?tenant=a', server.url));
  expect(await below.serverMetadata(context)).toEqual({ name: 'x', version: '1', extensions: [] });
  expect(paths).toEqual(['/v2/health/live', '/gateway/v2']);
  expect(int32(await below.infer(request([4]), context))).toEqual([4]);
});

test('what cannot be encoded is the caller’s mistake, and sends nothing', async () => {
  const { server, transport } = await start(echo);
  const bad = request([1], { json: true, inputs: [{ name: 'IN', datatype: 'BYTES', shape: [1], data: Uint8Array.of(1, 0, 0, 0, 255) }] });
  expect(await failureOf(transport.infer(bad, context))).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('IN') as string,
  });
  expect(server.messages).toHaveLength(0);
});
