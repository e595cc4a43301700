/** What each protocol does while a model is being loaded: real sockets for gRPC, the session alone for the WebSocket, one exchange for REST. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InferenceError } from '../../proto/inference-error.ts';
import { systemClock } from '../inference/clock.ts';
import type { ModelRepository } from '../repository/model-repository.ts';
import { LoadWaiters } from '../repository/on-demand/load-waiters.ts';
import { thenWaiting } from '../repository/waiting.ts';
import type { HttpBody, HttpExchange } from '../transports/http-exchange.ts';
import { answer, decodeAs, type InferAnswer, inferRequest, ServedModels } from './oip-grpc/served-models.case.ts';
import { oipRestRoutes } from './oip-rest/endpoints.ts';
import { echo, HeldSession } from './websocket/held-session.case.ts';

/** Models named `slow-<model>` are `<model>`, once the test has loaded them. */
class SlowModels {
  readonly waiters = new LoadWaiters(1_000, 30_000, systemClock);
  readonly loaded = new Set<string>();

  constructor(repository: ModelRepository) {
    const route = repository.route.bind(repository);
    repository.route = (name, version) => {
      if (!name.startsWith('slow-')) return route(name, version);
      const found = (): ReturnType<typeof route> => route(name.slice('slow-'.length), version);
      return this.loaded.has(name) ? found() : thenWaiting(this.waiters.add(name), () => found() as never);
    };
  }

  load(name: string, error: InferenceError | null = null): void {
    if (error === null) this.loaded.add(name);
    this.waiters.settle(name, error);
  }

  /** Resolves when so many wait. */
  async waiting(count: number): Promise<void> {
    while (this.waiters.count !== count) await turn();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const values = (message: InferAnswer): number => message.rawOutputContents[0]!.readInt32LE(0);

describe('gRPC', () => {
  let served: ServedModels;
  let slow: SlowModels;

  beforeEach(async () => {
    served = await ServedModels.start();
    slow = new SlowModels(served.context.repository);
  });

  afterEach(async () => {
    expect(served.faults).toEqual([]);
    await served.stop();
  });

  it('a unary call waits, and is answered', async () => {
    const call = served.call('ModelInfer', inferRequest('slow-plain', 'u'));
    await slow.waiting(1);
    expect(served.plain.taken).toBe(0);
    slow.load('slow-plain');
    await served.plain.took(1);
    served.plain.byId('u').respond(answer('plain', 7));
    expect(values(decodeAs<InferAnswer>('ModelInferResponse', await call.answer))).toBe(7);
  });

  it('a large message stays as it is while it waits', async () => {
    const count = 100_000;
    const data = Int32Array.from({ length: count }, (_, i) => i * 31);
    const inputs = [{ name: 'INPUT0', datatype: 'INT32', shape: [count, 1] }];
    const call = served.call('ModelInfer', inferRequest('slow-plain', 'u', { inputs, rawInputContents: [new Uint8Array(data.buffer)] }));
    await slow.waiting(1);
    // Memory of the same size comes and goes meanwhile.
    for (let n = 0; n < 3; n++) {
      const other = served.call('ModelInfer', inferRequest('none', 'o', { rawInputContents: [new Uint8Array(4 * count)] }));
      await expect(other.answer).rejects.toMatchObject({ code: 5 });
    }
    slow.load('slow-plain');
    // 100,000 rows are more than the model takes: that is said of the request as it was sent.
    await expect(call.answer).rejects.toMatchObject({ code: 3, details: expect.stringContaining(String(count)) });
  });

  it('a call that is cancelled, or whose deadline passes, waits no more', async () => {
    const cancelled = served.call('ModelInfer', inferRequest('slow-plain', 'c'));
    await slow.waiting(1);
    const late = served.call('ModelInfer', inferRequest('slow-plain', 'd'), 300);
    const metadata = served.call('ModelMetadata', Buffer.from([0x0a, 10, ...Buffer.from('slow-plain')]));
    await slow.waiting(3);
    cancelled.cancel();
    metadata.cancel();
    await expect(late.answer).rejects.toMatchObject({ code: 4 });
    await slow.waiting(0);
    slow.load('slow-plain');
    const next = served.call('ModelInfer', inferRequest('slow-plain', 'n'));
    await served.plain.took(1);
    expect(served.plain.held.map(({ id }) => id)).toEqual(['n']);
    served.plain.byId('n').respond(answer('plain', 1));
    await next.answer;
  });

  it('what a decoder finds wrong is said after the wait, and a decoupled model to a unary call', async () => {
    const wrong = served.call(
      'ModelInfer',
      inferRequest('slow-plain', 'w', { inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, 1] }] }),
    );
    const unary = served.call('ModelInfer', inferRequest('slow-many', 'm'));
    await slow.waiting(2);
    slow.load('slow-plain');
    slow.load('slow-many');
    await expect(wrong.answer).rejects.toMatchObject({ code: 3, details: expect.stringContaining('FP32') });
    await expect(unary.answer).rejects.toMatchObject({ code: 12 });
  });

  it('on a stream, later messages run while one waits, and answers keep the order of the requests', async () => {
    const stream = served.stream();
    stream.send(inferRequest('slow-plain', 'a'), inferRequest('plain', 'b'), inferRequest('slow-other', 'c'), inferRequest('many', 'd'));
    await served.plain.took(1);
    await served.many.took(1);
    served.plain.byId('b').respond(answer('plain', 2));
    served.many.byId('d').stream(answer('many', 4));
    // A decoupled model's responses wait for nobody.
    expect((await stream.heard(1))[0]!.inferResponse.id).toBe('d');
    slow.load('slow-other', new InferenceError('UNAVAILABLE', 'it does not load'));
    slow.load('slow-plain');
    await served.plain.took(2);
    served.plain.byId('a').respond(answer('plain', 1));
    const heard = await stream.heard(4);
    expect(heard.map(({ inferResponse, errorMessage }) => errorMessage || inferResponse.id)).toEqual(['d', 'a', 'b', 'it does not load']);
    served.many.byId('d').complete();
    stream.call.end();
    expect(await stream.ended).toMatchObject({ code: 0 });
  });

  it('on a stream, a model that turns out to be decoupled leaves the order, and takes nobody with it', async () => {
    const stream = served.stream();
    stream.send(inferRequest('plain', 'a'), inferRequest('slow-many', 'b'), inferRequest('plain', 'c'), inferRequest('slow-many', 'd'));
    await served.plain.took(2);
    served.plain.byId('c').respond(answer('plain', 3));
    slow.load('slow-many');
    await served.many.took(2);
    served.many.byId('b').stream(answer('many', 20));
    expect((await stream.heard(1))[0]!.inferResponse.id).toBe('b');
    served.plain.byId('a').respond(answer('plain', 1));
    expect((await stream.heard(3)).map(({ inferResponse }) => inferResponse.id)).toEqual(['b', 'a', 'c']);
    served.many.byId('b').complete();
    served.many.byId('d').stream(answer('many', 40));
    served.many.byId('d').complete();
    stream.call.end();
    expect(await stream.ended).toMatchObject({ code: 0 });
    expect(stream.messages.map(({ inferResponse }) => inferResponse.id)).toEqual(['b', 'a', 'c', 'd']);
  });

  it('a stream that ends takes its waits along; one that is closed by its client waits for them', async () => {
    const cancelled = served.stream();
    cancelled.send(inferRequest('slow-plain', 'a'), inferRequest('slow-many', 'b'));
    await slow.waiting(2);
    cancelled.call.cancel();
    await slow.waiting(0);
    const closed = served.stream();
    closed.send(inferRequest('slow-plain', 'c'));
    closed.call.end();
    await slow.waiting(1);
    slow.load('slow-plain');
    await served.plain.took(1);
    served.plain.byId('c').respond(answer('plain', 3));
    expect(await closed.ended).toMatchObject({ code: 0 });
    expect(closed.messages.map(({ inferResponse }) => inferResponse.id)).toEqual(['c']);
  });

  it('readiness does not wait', async () => {
    served.context.repository.requireReady = () => {};
    expect(await served.ask('ModelReady', { name: 'slow-plain' })).toEqual({ ready: true });
    expect(slow.waiters.count).toBe(0);
  });
});

describe('WebSocket', () => {
  async function open(...args: Parameters<typeof HeldSession.open>): Promise<{ held: HeldSession; slow: SlowModels }> {
    const held = await HeldSession.open(...args);
    return { held, slow: new SlowModels(held.repository) };
  }

  const slowEcho = (id: string, model = 'slow-echo'): object => echo(id, { model_name: model });

  it('other messages are answered while one waits, which is answered in its turn', async () => {
    const { held, slow } = await open();
    held.text(slowEcho('a'));
    held.text(echo('b'));
    held.answer('b');
    expect(held.messages.map(({ json }) => json.id)).toEqual(['b']);
    // Its id is taken, and it counts among those in flight.
    held.text(slowEcho('a'));
    expect(held.last.json).toMatchObject({ id: 'a', code: 'ALREADY_EXISTS' });
    expect(held.admission.requestsInFlight).toBe(1);
    slow.load('slow-echo');
    await turn();
    expect(held.held.map(({ id }) => id)).toEqual(['a']);
    held.answer('a');
    expect(held.last.json).toMatchObject({ id: 'a', model_name: 'echo' });
    expect(held.admission.requestsInFlight).toBe(0);
  });

  it('a cancel and a client that leaves end the wait; a load that fails is an answer', async () => {
    const { held, slow } = await open();
    for (const id of ['a', 'b', 'c']) held.text(slowEcho(id, `slow-${id === 'b' ? 'text' : 'echo'}`));
    held.text({ type: 'cancel', id: 'a' });
    expect([held.last.json, slow.waiters.count]).toEqual([expect.objectContaining({ id: 'a', code: 'CANCELLED' }), 2]);
    slow.load('slow-text', new InferenceError('INTERNAL', 'of the server'));
    await turn();
    expect([held.last.json, held.messages.length]).toEqual([expect.objectContaining({ id: 'b', code: 'INTERNAL' }), 2]);
    held.session.onClose();
    await turn();
    expect([slow.waiters.count, held.admission.requestsInFlight, held.messages.length]).toEqual([0, 0, 2]);
  });

  it('those that wait count against the bounds of the connection and of the server', async () => {
    const { held, slow } = await open({ maxInflightRequests: 3 });
    for (const id of ['a', 'b', 'c', 'd']) held.text(slowEcho(id));
    expect([held.connection.isPaused, slow.waiters.count]).toEqual([true, 3]);
    slow.load('slow-echo');
    await turn();
    held.answer('a');
    await turn();
    expect(held.held.map(({ id }) => id)).toEqual(['b', 'c', 'd']);
    expect(held.connection.isPaused).toBe(true);
  });

  it('a deadline ends the wait, and goes on behind it', async () => {
    const { held, slow } = await open();
    held.text({ ...slowEcho('a'), timeout_ms: 1 });
    held.text({ ...slowEcho('b'), timeout_ms: 60_000 });
    expect(held.context.door.deadlines.size).toBe(2);
    await slow.waiting(1);
    await turn();
    expect(held.last.json).toEqual({
      id: 'a',
      error: 'Request timeout expired before the model was loaded',
      code: 'DEADLINE_EXCEEDED',
      status: 504,
    });
    slow.load('slow-echo');
    await turn();
    expect(held.held.map(({ id }) => id)).toEqual(['b']);
    expect(held.context.door.deadlines.size).toBe(1);
    held.takeHeld('b').expire();
    expect(held.last.json).toMatchObject({ id: 'b', code: 'DEADLINE_EXCEEDED' });
    expect([held.context.door.deadlines.size, held.admission.requestsInFlight]).toEqual([0, 0]);
  });

  it('a model that turns out to be decoupled streams', async () => {
    const { held, slow } = await open({ maxInflightRequests: 1 });
    held.text({ model_name: 'slow-stream', id: 's', inputs: [{ name: 'IN', datatype: 'INT32', shape: [1], data: [7] }] });
    expect(held.connection.isPaused).toBe(true);
    slow.load('slow-stream');
    await turn();
    await turn();
    // Reading on is the only way to hear of a cancel.
    expect([held.held.length, held.connection.isPaused]).toEqual([1, false]);
    held.text({ type: 'cancel', id: 's' });
    expect(held.last.json).toMatchObject({ id: 's', code: 'CANCELLED' });
  });
});

describe('REST', () => {
  it('an exchange waits and is answered; one that is aborted waits no more', async () => {
    const held = await HeldSession.open();
    const slow = new SlowModels(held.repository);
    const routes = oipRestRoutes(held.context);
    const start = (method: string, pattern: string, body: object = {}, timeout = ''): HttpExchange & { answers: [number, unknown][] } => {
      const exchange = {
        method,
        path: '',
        query: '',
        params: ['slow-echo', '1'],
        header: (name: string) => (name === 'inference-timeout-ms' ? timeout : ''),
        body: Buffer.from(JSON.stringify(body)),
        isAborted: false,
        abortListener: null,
        answers: [] as [number, unknown][],
        respond: (status: number, _headers: readonly string[], sent: HttpBody) => {
          const text = typeof sent === 'string' ? sent : Buffer.concat(sent instanceof Uint8Array ? [sent] : sent).toString();
          exchange.answers.push([status, JSON.parse(text)]);
        },
      } as unknown as HttpExchange & { answers: [number, unknown][]; isAborted: boolean };
      routes.find((route) => route.method === method && route.pattern === pattern)!.handle(exchange);
      return exchange;
    };
    const abort = (exchange: HttpExchange): void => {
      Object.assign(exchange, { isAborted: true });
      exchange.abortListener!.onExchangeAborted();
    };
    const { inputs } = echo('x') as { inputs: unknown };
    const [kept, gone] = [1, 2].map((n) => start('POST', '/v2/models/{model}/infer', { id: `r${n}`, inputs }));
    const metadata = start('GET', '/v2/models/{model}/versions/{version}');
    const dropped = start('GET', '/v2/models/{model}/config');
    expect([slow.waiters.count, held.admission.requestsInFlight]).toEqual([4, 2]);
    abort(gone!);
    abort(dropped);
    expect(slow.waiters.count).toBe(2);
    const late = start('POST', '/v2/models/{model}/infer', { id: 'r3', inputs }, '1.5');
    await slow.waiting(2);
    await turn();
    expect(late.answers).toEqual([[504, { error: 'Request timeout expired before the model was loaded' }]]);
    expect(held.context.door.deadlines.size).toBe(0);
    expect(held.admission.requestsInFlight).toBe(1);
    slow.load('slow-echo');
    await turn();
    expect(metadata.answers).toEqual([[200, expect.objectContaining({ name: 'echo' })]]);
    expect(held.held.map(({ id }) => id)).toEqual(['r1']);
    held.answer('r1');
    expect(kept!.answers).toEqual([[200, expect.objectContaining({ id: 'r1' })]]);
    expect([
      held.faults.filter((error) => !['CANCELLED', 'DEADLINE_EXCEEDED'].includes((error as InferenceError).code)),
      held.admission.requestsInFlight,
    ]).toEqual([[], 0]);
  });
});
