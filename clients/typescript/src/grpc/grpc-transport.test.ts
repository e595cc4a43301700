import { gunzipSync, gzipSync } from 'node:zlib';
import protobuf from 'protobufjs';
import { afterEach, describe, expect, test } from 'vitest';
import { descriptor } from '../../../../proto/gen/descriptor.ts';
import { InferenceError, type StatusCode } from '../../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../../proto/status-forms.ts';
import { CallError } from '../call-error.ts';
import { connectWith } from '../connect.ts';
import type { CallContext, InferRequest, Transport, TransportOptions } from '../transport.ts';
import { CANCEL, CERTIFICATE, FaultyServer, frame, KEY, REFUSED_STREAM, type ReceivedCall } from './faulty-server.case.ts';
import { createTransport } from './grpc-transport.ts';

const root = protobuf.Root.fromJSON(descriptor).resolveAll();
const requestType = root.lookupType('inference.ModelInferRequest');
const answer = root
  .lookupType('inference.ModelInferResponse')
  .encode({
    modelName: 'm',
    modelVersion: '1',
    outputs: [{ name: 'out', datatype: 'UINT8', shape: [2] }],
    rawOutputContents: [Buffer.from([7, 8])],
  })
  .finish();

const request: InferRequest = {
  modelName: 'm',
  modelVersion: '',
  id: 'mine',
  parameters: {},
  inputs: [{ name: 'in', datatype: 'UINT8', shape: [3], data: new Uint8Array([1, 2, 3]) }],
  outputs: [],
  json: false,
};
const anyCall: CallContext = { signal: null, deadlineMs: Number.POSITIVE_INFINITY, headers: {} };

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function serve(reply: (call: ReceivedCall) => void, options: Parameters<typeof FaultyServer.start>[1] = {}): Promise<FaultyServer> {
  const server = await FaultyServer.start(reply, options);
  ends.push(() => server.stop());
  return server;
}

function open(port: number, options: Partial<TransportOptions> = {}, scheme = 'grpc'): Transport {
  const transport = createTransport(new URL(`${scheme}://127.0.0.1:${port}`), { compression: 'none', tls: null, fetch: null, ...options });
  ends.push(() => transport.close());
  return transport;
}

async function failureOf(work: Promise<unknown>): Promise<CallError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InferenceError);
  return error as CallError;
}

/** The call after it has arrived. */
function arriving(): { readonly call: Promise<ReceivedCall>; readonly reply: (call: ReceivedCall) => void } {
  const { promise, resolve } = withResolvers<ReceivedCall>();
  return { call: promise, reply: resolve };
}

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => (resolve = settle));
  return { promise, resolve };
}

describe('a unary call', () => {
  test('sends the request and gives the answer', async () => {
    const server = await serve((call) => call.send(answer).end(0));
    const response = await open(server.port).infer(request, { ...anyCall, headers: { authorization: 'Bearer x', 'trace-bin': 'AAEC' } });
    expect(response).toEqual({
      modelName: 'm',
      modelVersion: '1',
      id: '',
      parameters: {},
      outputs: [{ name: 'out', datatype: 'UINT8', shape: [2], data: new Uint8Array([7, 8]) }],
    });
    const [call] = server.calls;
    expect(call!.headers).toMatchObject({
      ':path': '/inference.GRPCInferenceService/ModelInfer',
      authorization: 'Bearer x',
      'trace-bin': 'AAEC',
      te: 'trailers',
    });
    expect(call!.headers['grpc-timeout']).toBeUndefined();
    expect(requestType.toObject(requestType.decode(call!.message), { bytes: Array })).toMatchObject({
      modelName: 'm',
      id: 'mine',
      rawInputContents: [[1, 2, 3]],
    });
  });

  test('carries tensors of many MiB both ways', async () => {
    const large = new Uint8Array(24 * 1024 * 1024).map((_, i) => i % 251);
    const server = await serve((call) => {
      const { rawInputContents } = requestType.decode(call.message) as unknown as { rawInputContents: Buffer[] };
      const message = { outputs: [{ name: 'out', datatype: 'UINT8', shape: [large.length] }], rawOutputContents: rawInputContents };
      call.send(root.lookupType('inference.ModelInferResponse').encode(message).finish()).end(0);
    });
    const input = { name: 'in', datatype: 'UINT8', shape: [large.length], data: large } as const;
    const { outputs } = await open(server.port).infer({ ...request, inputs: [input] }, anyCall);
    expect(Buffer.compare(outputs[0]!.data!, large)).toBe(0);
  });

  test('compresses when asked, and takes compressed answers', async () => {
    const server = await serve((call) => {
      call.stream.respond({ 'content-type': 'application/grpc', 'grpc-encoding': 'gzip' }, { waitForTrailers: true });
      call.stream.write(frame(gzipSync(answer), true));
      call.end(0);
    });
    const response = await open(server.port, { compression: 'gzip' }).infer(request, anyCall);
    expect(response.modelName).toBe('m');
    const [call] = server.calls;
    expect(call!.headers['grpc-encoding']).toBe('gzip');
    expect(call!.isCompressed).toBe(true);
    expect(requestType.decode(gunzipSync(call!.message))).toMatchObject({ modelName: 'm' });
  });

  test.each([
    [{ te: 'x' }, /headers\.te: gRPC sets this one itself/],
    [{ 'grpc-timeout': '1S' }, /headers\.grpc-timeout/],
    [{ 'x y': '1' }, /headers\.x y: expected gRPC metadata/],
    [{ x: 'ü' }, /headers\.x: expected gRPC metadata/],
  ])('refuses headers that are no metadata: %j', async (headers, message) => {
    const server = await serve((call) => call.send(answer).end(0));
    const error = await failureOf(open(server.port).infer(request, { ...anyCall, headers: headers as Record<string, string> }));
    expect(error).not.toBeInstanceOf(CallError);
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toMatch(message);
    expect(server.calls).toHaveLength(0);
  });

  test.each([
    ['OK without a message', (call: ReceivedCall) => call.send().end(0), /status OK without a message/],
    ['two messages', (call: ReceivedCall) => call.send(answer, answer).end(0), /two messages/],
    ['a message that is none', (call: ReceivedCall) => call.send(Buffer.from('garbage')).end(0), /cannot be read: ModelInferResponse/],
  ])('with %s is INTERNAL', async (_case, reply, message) => {
    const server = await serve(reply);
    const error = await failureOf(open(server.port).infer(request, anyCall));
    expect(error).toMatchObject({ code: 'INTERNAL', phase: 'answered' });
    expect(error.message).toMatch(message);
  });
});

describe('a server’s status', () => {
  test.each(Object.entries(STATUS_FORMS).filter(([code]) => code !== 'UNAVAILABLE'))('%s comes back as it went', async (code, form) => {
    const server = await serve((call) => call.end(form.grpc, `it said 100 % "ü" ${code}`));
    const error = await failureOf(open(server.port).infer(request, anyCall));
    expect(error).toMatchObject({ code, status: form.grpc, phase: 'answered', message: `it said 100 % "ü" ${code}` });
  });

  test.each([
    [9, 'INVALID_ARGUMENT'],
    [10, 'UNAVAILABLE'],
    [11, 'INVALID_ARGUMENT'],
    [15, 'INTERNAL'],
    [77, 'UNKNOWN'],
  ] as const)('%d, which is no code of ours, is %s', async (status, code: StatusCode) => {
    const server = await serve((call) => call.end(status));
    const error = await failureOf(open(server.port).infer(request, anyCall));
    expect(error).toMatchObject({ code, status, phase: 'answered' });
    expect(error.message).toContain(`gRPC status ${status}`);
  });

  test('UNAVAILABLE is a refusal, with the seconds of retry-after', async () => {
    const server = await serve((call) => call.end(14, 'queue full', { 'retry-after': '3' }));
    const error = await failureOf(open(server.port).infer(request, anyCall));
    expect(error).toMatchObject({ code: 'UNAVAILABLE', status: 14, phase: 'refused', retryAfterSeconds: 3, message: 'queue full' });
  });

  test('RESOURCE_EXHAUSTED with retry-after is a refusal too', async () => {
    const server = await serve((call) => call.end(8, 'too many', { 'retry-after': '1' }));
    expect(await failureOf(open(server.port).infer(request, anyCall))).toMatchObject({ phase: 'refused', retryAfterSeconds: 1 });
  });

  test('UNAVAILABLE behind a message is an answer', async () => {
    const server = await serve((call) => call.send(answer).end(14, 'gone'));
    expect(await failureOf(open(server.port).infer(request, anyCall))).toMatchObject({ code: 'UNAVAILABLE', phase: 'answered' });
  });

  test('a proxy’s 503 is UNAVAILABLE', async () => {
    const server = await serve((call) => call.stream.respond({ ':status': 503, 'content-type': 'text/html' }, { endStream: true }));
    expect(await failureOf(open(server.port).infer(request, anyCall))).toMatchObject({ code: 'UNAVAILABLE', phase: 'refused' });
  });

  test('UNAVAILABLE and then OK: the client’s retry finds it', async () => {
    const server = await serve((call) => (server.calls.length === 1 ? call.end(14, 'loading') : call.send(answer).end(0)));
    const modules = { grpc: () => import('./grpc-transport.ts') };
    const client = await connectWith(modules, `grpc://127.0.0.1:${server.port}`, {});
    ends.push(() => client.close());
    const result = await client.infer({ model: 'm', inputs: [{ name: 'in', data: new Uint8Array(3) }] });
    expect(result.output('out').data).toEqual(new Uint8Array([7, 8]));
    expect(server.calls).toHaveLength(2);
  });
});

describe('a connection', () => {
  test('that nobody takes is a refusal, until somebody does', async () => {
    const first = await FaultyServer.start(() => {});
    await first.stop();
    const transport = open(first.port);
    expect(await failureOf(transport.infer(request, anyCall))).toMatchObject({ code: 'UNAVAILABLE', phase: 'refused', status: 0 });
    await serve((call) => call.send(answer).end(0), { port: first.port });
    const endMs = performance.now() + 10_000;
    for (;;) {
      const outcome = await transport.infer(request, anyCall).catch((error: CallError) => error);
      if (!(outcome instanceof CallError)) break;
      expect(outcome).toMatchObject({ phase: 'refused', status: 0 });
      expect(performance.now()).toBeLessThan(endMs);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  test('to a host that has no address is a refusal', async () => {
    const transport = createTransport(new URL('grpc://no-such-host.invalid:8001'), { compression: 'none', tls: null, fetch: null });
    ends.push(() => transport.close());
    expect(await failureOf(transport.infer(request, anyCall))).toMatchObject({ code: 'UNAVAILABLE', phase: 'refused', status: 0 });
  });

  test.each([
    ['before an answer', 'sent', (call: ReceivedCall) => call.cut()],
    ['behind the headers', 'answered', (call: ReceivedCall) => call.send() && setImmediate(() => call.cut())],
  ])('that is cut %s', async (_case, phase, reply) => {
    const server = await serve(reply);
    expect(await failureOf(open(server.port).infer(request, anyCall))).toMatchObject({ code: 'UNAVAILABLE', phase, status: 0 });
  });

  test('a stream that the HTTP/2 layer sends back unseen is a refusal', async () => {
    const server = await serve((call) => call.reset(REFUSED_STREAM));
    expect(await failureOf(open(server.port).infer(request, anyCall))).toMatchObject({ code: 'UNAVAILABLE', phase: 'refused', status: 0 });
  });

  test('ends with close, and the calls on it', async () => {
    const { call, reply } = arriving();
    const server = await serve(reply);
    const transport = open(server.port);
    const unary = failureOf(transport.infer(request, anyCall));
    const received = await call;
    const never = failureOf(transport.stream(request, anyCall).next());
    await transport.close();
    await transport.close();
    expect(await unary).toMatchObject({ code: 'CANCELLED' });
    expect(await never).toMatchObject({ code: 'CANCELLED' });
    expect(await failureOf(transport.isServerLive(anyCall))).toMatchObject({ code: 'CANCELLED', message: 'the client was closed' });
    expect(await failureOf(transport.stream(request, anyCall).next())).toMatchObject({ code: 'CANCELLED' });
    expect(await received.closed).toBe(CANCEL);
    await server.idle();
  });

  test('with TLS, by an authority that is given', async () => {
    const server = await serve((call) => call.send(answer).end(0), { tls: 'server' });
    const response = await open(server.port, { tls: { ca: CERTIFICATE.toString() } }, 'grpcs').infer(request, anyCall);
    expect(response.modelName).toBe('m');
    const untrusting = open(server.port, {}, 'grpcs');
    expect(await failureOf(untrusting.infer(request, anyCall))).toMatchObject({ code: 'UNAVAILABLE', phase: 'refused' });
  });

  test('with TLS that wants to know the client', async () => {
    const server = await serve((call) => call.send(answer).end(0), { tls: 'mutual' });
    const known = open(server.port, { tls: { ca: CERTIFICATE, cert: CERTIFICATE, key: KEY } }, 'grpcs');
    expect((await known.infer(request, anyCall)).modelName).toBe('m');
    const unknown = open(server.port, { tls: { ca: CERTIFICATE } }, 'grpcs');
    expect(await failureOf(unknown.infer(request, anyCall))).toMatchObject({ code: 'UNAVAILABLE' });
    expect(server.calls).toHaveLength(1);
  });

  test.each([
    ['grpc://h:1/path', null, /no paths/],
    ['grpc:///', null, /expected a host/],
    ['grpc://h', { ca: CERTIFICATE }, /expected a grpcs:\/\/ URL/],
    ['grpcs://h', { cert: CERTIFICATE }, /cert and key together, got cert alone/],
    ['grpcs://h', { cert: 'no PEM', key: KEY }, /expected PEM/],
  ])('%s with tls %j is refused', (url, tls, message) => {
    expect(() => createTransport(new URL(url), { compression: 'none', tls, fetch: null })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    );
  });
});

describe('the end of patience', () => {
  test('a signal rejects with its reason and cancels on the server', async () => {
    const { call, reply } = arriving();
    const server = await serve(reply);
    const controller = new AbortController();
    const failed = failureOf(open(server.port).infer(request, { ...anyCall, signal: controller.signal }));
    const received = await call;
    const reason = new InferenceError('CANCELLED', 'enough');
    controller.abort(reason);
    expect(await failed).toBe(reason);
    expect(await received.closed).toBe(CANCEL);
  });

  test('a signal that has aborted sends nothing', async () => {
    const server = await serve((call) => call.send(answer).end(0));
    const signal = AbortSignal.abort(new InferenceError('CANCELLED', 'before'));
    expect(await failureOf(open(server.port).infer(request, { ...anyCall, signal }))).toMatchObject({ message: 'before' });
    expect(server.calls).toHaveLength(0);
  });

  test('a deadline is told to the server, and ends the call', async () => {
    const { call, reply } = arriving();
    const server = await serve(reply);
    const transport = open(server.port);
    const failed = failureOf(transport.infer(request, { ...anyCall, deadlineMs: Date.now() + 400 }));
    const received = await call;
    const [, digits, unit] = /^(\d+)(m|u|n)$/.exec(String(received.headers['grpc-timeout']))!;
    const timeoutMs = Number(digits) / { m: 1, u: 1e3, n: 1e6 }[unit as 'm']!;
    expect(timeoutMs).toBeGreaterThan(0);
    expect(timeoutMs).toBeLessThanOrEqual(400);
    expect(await failed).toMatchObject({ code: 'DEADLINE_EXCEEDED', phase: 'sent', status: 0 });
    expect(await received.closed).toBe(CANCEL);
  });
});
