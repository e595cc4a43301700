import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CallError, type ConnectOptions, connect, type InferCall, type InferenceClient, type InferenceError } from '../index.ts';
import { MAX_POSTS_UNDER_WAY } from './http-session.ts';

const answer = '{"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"INT8","shape":[1],"data":[7]}]}';
const call: InferCall = { model: 'm', inputs: [{ name: 'x', data: Int8Array.of(1) }] };

type Behaviour = (request: IncomingMessage, response: ServerResponse, attempt: number) => void;

describe('the client, when the server or the way to it fails', () => {
  let server: Server;
  let url: string;
  let behaviour: Behaviour;
  let attempts: number;
  const clients: InferenceClient[] = [];

  beforeEach(async () => {
    attempts = 0;
    server = createServer((request, response) => {
      request.resume().on('end', () => behaviour(request, response, ++attempts));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.close()));
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  const client = async (options: ConnectOptions = {}): Promise<InferenceClient> => {
    const made = await connect(url, { retry: { minDelayMs: 1, maxDelayMs: 4 }, ...options });
    clients.push(made);
    return made;
  };
  const refuse = (response: ServerResponse, status: number, body = '{"error":"not now"}', headers = {}): void => {
    response.writeHead(status, headers).end(body);
  };
  const failure = (promise: Promise<unknown>): Promise<CallError> =>
    promise.then(
      () => {
        throw new Error('the call succeeded');
      },
      (error: CallError) => error,
    );

  it('a 503 is tried again, then answered', async () => {
    behaviour = (_, response, attempt) => (attempt < 3 ? refuse(response, 503) : response.end(answer));
    expect((await (await client()).infer(call)).output('y').data).toEqual(Int8Array.of(7));
    expect(attempts).toBe(3);
  });

  it('retries end, and the last error is the caller’s', async () => {
    behaviour = (_, response) => refuse(response, 503);
    expect(await failure((await client()).infer(call))).toMatchObject({ code: 'UNAVAILABLE', status: 503, message: 'not now' });
    expect(attempts).toBe(3);
    expect(await failure((await client({ retry: false })).infer(call))).toMatchObject({ code: 'UNAVAILABLE' });
    expect(attempts).toBe(4);
    await failure((await client({ retry: false })).infer({ ...call, retry: { retries: 1, minDelayMs: 1 } }));
    expect(attempts).toBe(6);
  });

  it('a sequence, and what changes the server, is never tried again', async () => {
    behaviour = (_, response) => refuse(response, 503);
    const own = await client();
    await failure(own.infer({ ...call, sequence: { id: 'a', start: true } }));
    await failure(own.infer({ ...call, parameters: { sequence_id: 4 } }));
    await failure(own.unloadModel('m'));
    expect(attempts).toBe(3);
  });

  it('Retry-After is kept to, and given up on where it is too long', async () => {
    const started = performance.now();
    behaviour = (_, response, attempt) => (attempt === 1 ? refuse(response, 503, '{}', { 'retry-after': '1' }) : response.end(answer));
    await (await client()).infer(call);
    expect(performance.now() - started).toBeGreaterThan(950);
    behaviour = (_, response) => refuse(response, 503, '{}', { 'retry-after': '60' });
    expect(await failure((await client()).infer(call))).toMatchObject({ retryAfterSeconds: 60 });
    expect(await failure((await client()).infer({ ...call, timeoutMs: 500 }))).toMatchObject({ code: 'UNAVAILABLE' });
    expect(attempts).toBe(4);
  });

  it('a connection cut before the answer: a GET is tried again, an inference is not', async () => {
    behaviour = (request, response, attempt) => {
      if (attempt === 1 || request.method === 'POST') request.socket.destroy();
      else response.end('{"name":"s","version":"1","extensions":[]}');
    };
    expect((await (await client()).serverMetadata()).name).toBe('s');
    expect(attempts).toBe(2);
    expect(await failure((await client()).infer(call))).toMatchObject({ code: 'UNAVAILABLE', phase: 'sent', status: 0 });
    expect(attempts).toBe(3);
  });

  it('an answer that breaks off is not asked for again', async () => {
    behaviour = (request, response) => {
      response.writeHead(200, { 'content-length': '1000' }).write('{"name"', () => request.socket.destroy());
    };
    expect(await failure((await client()).serverMetadata())).toMatchObject({ code: 'UNAVAILABLE', phase: 'answered' });
    expect(attempts).toBe(1);
  });

  it('nobody listening is UNAVAILABLE, and tried again', async () => {
    const own = await client();
    await new Promise((resolve) => server.close(resolve));
    const error = await failure(own.infer(call));
    expect(error).toMatchObject({ code: 'UNAVAILABLE', phase: 'refused' });
    expect(error.message).toContain('ECONNREFUSED');
    expect(error).toBeInstanceOf(CallError);
  });

  it('a time limit and a signal end a call that waits, and its connection', async () => {
    const closed: Promise<void>[] = [];
    let onArrival = (): void => {};
    behaviour = (request) => {
      closed.push(new Promise((resolve) => request.socket.once('close', () => resolve())));
      onArrival();
    };
    const own = await client();
    expect(await failure(own.infer({ ...call, timeoutMs: 100 }))).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(await failure(own.infer({ ...call, deadline: new Date(Date.now() + 100) }))).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    const controller = new AbortController();
    onArrival = () => controller.abort(new Error('enough'));
    const error: InferenceError = await failure(own.infer({ ...call, signal: controller.signal }));
    expect([error.code, (error.cause as Error).message]).toEqual(['CANCELLED', 'enough']);
    await Promise.all(closed);
    const before = attempts;
    expect(before).toBeGreaterThan(0);
    expect(await failure(own.infer({ ...call, signal: controller.signal }))).toMatchObject({ code: 'CANCELLED' });
    expect(await failure(own.infer({ ...call, deadline: 1 }))).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(attempts).toBe(before);
    onArrival = () => void own.close();
    expect(await failure(own.infer(call))).toMatchObject({ code: 'CANCELLED', message: 'the client is closed' });
  });

  it('tells the server how long it waits, where that has an end that servers take', async () => {
    const told: unknown[] = [];
    behaviour = (request, response) => {
      told.push(request.headers['inference-timeout-ms']);
      response.end(answer);
    };
    const own = await client();
    await own.infer({ ...call, timeoutMs: 60_000 });
    await own.infer({ ...call, deadline: Date.now() + 5_000, timeoutMs: 60_000.5 });
    await own.infer({ ...call, timeoutMs: Number.POSITIVE_INFINITY });
    await own.infer({ ...call, timeoutMs: 700_000_000 });
    expect(told.map((ms) => (ms === undefined ? '-' : String(Math.ceil(Number(ms) / 5_000))))).toEqual(['12', '1', '-', '-']);
    for (const ms of told.slice(0, 2)) expect(ms).toMatch(/^\d+$/);
  });

  it('thousands of calls at once take turns on few connections; reads pass, and one that is cancelled leaves the line', async () => {
    const held: ServerResponse[] = [];
    let onHeld = (): void => {};
    behaviour = (request, response) => {
      if (request.method === 'GET') response.end();
      else {
        held.push(response);
        onHeld();
      }
    };
    const own = await client();
    const line = Array.from({ length: 1_000 }, () => own.infer(call));
    const aborting = new AbortController();
    const last = failure(own.infer({ ...call, signal: aborting.signal }));
    while (held.length < MAX_POSTS_UNDER_WAY) await new Promise<void>((resolve) => (onHeld = resolve));
    expect(await own.isServerLive()).toBe(true);
    aborting.abort();
    expect((await last).code).toBe('CANCELLED');
    let most = 0;
    onHeld = () => {
      most = Math.max(most, held.length);
      setImmediate(() => held.shift()?.end(answer));
    };
    for (const response of held.splice(0)) response.end(answer);
    expect((await Promise.all(line)).length).toBe(1_000);
    expect(most).toBeLessThanOrEqual(MAX_POSTS_UNDER_WAY);
    expect(attempts).toBe(1_001);
  });

  it('many calls share one signal, and it ends them all', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): number => warnings.push(warning);
    process.on('warning', onWarning);
    const controller = new AbortController();
    const all = 40;
    const arrived = new Promise<void>((resolve) => {
      behaviour = (_request, response, attempt) => {
        if (attempt <= all) response.end(answer);
        else if (attempt === 2 * all) resolve();
      };
    });
    const own = await client();
    const calls = (): Promise<unknown>[] => Array.from({ length: all }, () => own.infer({ ...call, signal: controller.signal }));
    await Promise.all(calls());
    const waiting = calls().map(failure);
    await arrived;
    controller.abort();
    for (const error of await Promise.all(waiting)) expect(error.code).toBe('CANCELLED');
    await new Promise(setImmediate);
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });

  it('a signal ends the wait between two attempts', async () => {
    const controller = new AbortController();
    behaviour = (_, response) => {
      response.once('close', () => setTimeout(() => controller.abort(), 50));
      refuse(response, 503);
    };
    const own = await client({ retry: { minDelayMs: 60_000, maxDelayMs: 60_000 } });
    expect(await failure(own.infer({ ...call, signal: controller.signal }))).toMatchObject({ code: 'CANCELLED' });
    expect(attempts).toBe(1);
  });

  it.each([
    [400, '{"error":"bad"}', 'INVALID_ARGUMENT', 'bad'],
    [401, '', 'UNAUTHENTICATED', 'infer: the server answered 401 without saying why'],
    [403, '{"error":7}', 'PERMISSION_DENIED', '{"error":7}'],
    [413, '<html>too large</html>', 'RESOURCE_EXHAUSTED', '<html>too large</html>'],
    [418, 'null', 'INVALID_ARGUMENT', 'null'],
    [499, '{"error":"gone"}', 'CANCELLED', 'gone'],
    [500, 'x'.repeat(5_000), 'INTERNAL', `${'x'.repeat(500)}...`],
    [501, '{"error":"no"}', 'UNIMPLEMENTED', 'no'],
    [504, '', 'DEADLINE_EXCEEDED', 'infer: the server answered 504 without saying why'],
    [599, '', 'UNKNOWN', 'infer: the server answered 599 without saying why'],
  ])('status %i is an error of its code', async (status, body, code, message) => {
    behaviour = (_, response) => refuse(response, status, body);
    expect(await failure((await client()).infer(call))).toMatchObject({ code, message, status });
    expect(attempts).toBe(1);
  });

  it.each([
    ['no JSON', 'oops', {}],
    ['a header length past its body', answer, { 'inference-header-content-length': '9999' }],
    ['a header length that is none', answer, { 'inference-header-content-length': 'x' }],
    ['text that is not UTF-8', Buffer.from([0x7b, 0xff]), {}],
  ])('a 200 with %s is INTERNAL', async (_, body, headers) => {
    behaviour = (_request, response) => void response.writeHead(200, headers).end(body);
    expect(await failure((await client()).infer(call))).toMatchObject({ code: 'INTERNAL', phase: 'answered' });
    expect(attempts).toBe(1);
  });

  it('is not sent elsewhere', async () => {
    behaviour = (_, response) => refuse(response, 307, '', { location: 'http://elsewhere.invalid/' });
    expect((await failure((await client()).infer(call))).message).toContain('sends its callers on to http://elsewhere.invalid/');
  });

  it('headers come from a function, anew for each attempt; a call’s own win', async () => {
    const seen: (string | undefined)[] = [];
    behaviour = (request, response, attempt) => {
      seen.push(`${request.headers.authorization} ${String(request.headers['x-team'])} ${request.headers['accept-encoding']}`);
      if (attempt === 1) refuse(response, 503);
      else response.end(answer);
    };
    let token = 0;
    const own = await client({ headers: () => Promise.resolve({ Authorization: `Bearer ${++token}`, 'X-Team': 'a' }) });
    await own.infer({ ...call, headers: { 'x-team': 'b' } });
    expect(seen).toEqual(['Bearer 1 b identity', 'Bearer 2 b identity']);
    const failing = await client({ headers: () => Promise.reject(new Error('no token')) });
    expect(await failure(failing.infer(call))).toMatchObject({ message: 'no token' });
  });

  it('an answer in chunks, compressed, is read', async () => {
    const { gzipSync } = await import('node:zlib');
    behaviour = (request, response) => {
      expect(request.headers['content-encoding']).toBe('gzip');
      const zipped = gzipSync(answer);
      response.writeHead(200, { 'content-encoding': 'gzip', 'inference-header-content-length': String(answer.length) });
      response.write(zipped.subarray(0, 5));
      setImmediate(() => response.end(zipped.subarray(5)));
    };
    expect((await (await client({ compression: 'gzip' })).infer(call)).output('y').data).toEqual(Int8Array.of(7));
  });
});
