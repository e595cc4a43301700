import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { RpcCancelListener, StreamCall, StreamListener } from '../../transports/rpc-call.ts';
import { answer, inferRequest, large, ServedModels, type StreamAnswer } from './served-models.case.ts';
import { MAX_IN_FLIGHT, streamInferMethod } from './stream-infer.ts';

const OK = 0;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const MEBI = 1024 * 1024;
const final = { triton_final_response: { boolParam: true } };
const notFinal = { triton_final_response: { boolParam: false } };

let served: ServedModels;

beforeEach(async () => {
  served = await ServedModels.start();
});

afterEach(async () => {
  await served.stop();
  expect(served.faults).toEqual([]);
});

const ids = (messages: readonly StreamAnswer[]): string[] => messages.map(({ inferResponse }) => inferResponse.id);
const value = ({ inferResponse }: StreamAnswer): number => inferResponse.rawOutputContents[0]!.readInt32LE();

/** A stream whose other end does what the test says, to the message. */
class RecordedCall implements StreamCall {
  readonly deadlineMs = Number.POSITIVE_INFINITY;
  readonly isCancelled = false;
  readonly sent: Uint8Array[] = [];
  cancelListener: RpcCancelListener | null = null;
  listener: StreamListener | null = null;
  takesMore = true;
  heldBytes = 0;
  isPaused = false;
  isEnded = false;

  metadata(): string {
    return '';
  }

  send(message: Uint8Array): boolean {
    this.sent.push(message);
    return this.takesMore;
  }

  fail(error: InferenceError): void {
    throw error;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  holdAnswer(bytes: number): void {
    this.heldBytes += bytes;
  }

  end(): void {
    this.isEnded = true;
  }
}

function openRecorded(): { call: RecordedCall; listener: StreamListener } {
  const call = new RecordedCall();
  streamInferMethod('/s/m', served.context).open(call);
  return { call, listener: call.listener! };
}

describe('models with one response a request', () => {
  it('are answered in the order of the requests, whoever is ready first', async () => {
    const stream = served.stream();
    stream.send(inferRequest('plain', 'a'), inferRequest('plain', 'b'), inferRequest('plain', 'c'));
    await served.plain.took(3);
    served.plain.byId('c').respond(answer('plain', 3));
    served.plain.byId('b').respond(answer('plain', 2));
    served.plain.byId('a').respond(answer('plain', 1));
    const messages = await stream.heard(3);
    expect(ids(messages)).toEqual(['a', 'b', 'c']);
    expect(messages.map(value)).toEqual([1, 2, 3]);
    expect(messages[0]).toMatchObject({ errorMessage: '', inferResponse: { modelName: 'plain', modelVersion: '1', parameters: final } });
    stream.call.end();
    expect(await stream.ended).toMatchObject({ code: OK });
  });

  it('end the stream after the last one, when the client has half-closed', async () => {
    const stream = served.stream();
    stream.send(inferRequest('plain', 'a'), inferRequest('plain', 'b'));
    stream.call.end();
    await served.plain.took(2);
    served.plain.byId('b').respond(answer('plain', 2));
    served.plain.byId('a').respond(answer('plain', 1));
    expect(await stream.ended).toMatchObject({ code: OK });
    expect(ids(stream.messages)).toEqual(['a', 'b']);
  });

  it('an empty stream ends well', async () => {
    const stream = served.stream();
    stream.call.end();
    expect(await stream.ended).toMatchObject({ code: OK });
  });
});

describe('errors', () => {
  it('of what never ran are messages with the id, in their place, and the stream goes on', async () => {
    const stream = served.stream({ triton_grpc_error: 'true' });
    stream.send(
      inferRequest('plain', 'a'),
      inferRequest('plaim', 'b'),
      Buffer.from([0x0a, 0x05]),
      inferRequest('plain', 'd', { inputs: [], rawInputContents: [] }),
      inferRequest('plain', 'e'),
    );
    await served.plain.took(2);
    served.plain.byId('e').respond(answer('plain', 5));
    served.plain.byId('a').respond(answer('plain', 1));
    const messages = await stream.heard(5);
    expect(ids(messages)).toEqual(['a', 'b', '', 'd', 'e']);
    expect(messages[1]).toEqual({
      errorMessage: "Request for unknown model: 'plaim' is not found; did you mean 'plain'?",
      inferResponse: {
        modelName: '',
        modelVersion: '',
        id: 'b',
        parameters: { error_code: { stringParam: 'NOT_FOUND' } },
        outputs: [],
        rawOutputContents: [],
      },
    });
    expect(messages[2]!.errorMessage).toMatch(/^ModelInferRequest.model_name: a length of 5 bytes/);
    expect(messages[3]!.errorMessage).toMatch(/^expected 1 inputs but got 0 inputs/);
    stream.call.end();
    expect(await stream.ended).toMatchObject({ code: OK });
  });

  it('of the model name the model too, and are final', async () => {
    const stream = served.stream();
    stream.send(inferRequest('plain', 'a'), inferRequest('plain', 'b'));
    await served.plain.took(2);
    served.plain.byId('a').fail(new InferenceError('INTERNAL', 'it broke'));
    served.plain.byId('b').respond(answer('plain', 2));
    const messages = await stream.heard(2);
    expect(messages[0]).toMatchObject({
      errorMessage: 'it broke',
      inferResponse: { modelName: 'plain', modelVersion: '1', id: 'a', parameters: final, outputs: [] },
    });
    expect(ids(messages)).toEqual(['a', 'b']);
    stream.call.end();
    expect(await stream.ended).toMatchObject({ code: OK });
  });

  it('of the model end the stream where the client asked for that, and cancel the rest', async () => {
    const stream = served.stream({ triton_grpc_error: 'true' });
    stream.send(inferRequest('plain', 'a'), inferRequest('plain', 'b'), inferRequest('many', 'c'));
    await served.plain.took(2);
    await served.many.took(1);
    served.plain.byId('b').fail(new InferenceError('INTERNAL', 'it broke'));
    expect(await stream.ended).toMatchObject({ code: INTERNAL, details: 'it broke' });
    expect(stream.messages).toEqual([]);
    expect([served.plain.cancelled, served.many.cancelled]).toEqual([['a'], ['c']]);
  });

  it("of the answer's encoding are the request's own", async () => {
    const stream = served.stream();
    const outputs = [{ name: 'OUTPUT0', parameters: { classification: { int64Param: 1 } } }];
    stream.send(inferRequest('plain', 'a', { outputs }), inferRequest('many', 'b', { outputs }), inferRequest('plain', 'c'));
    await served.plain.took(2);
    await served.many.took(1);
    const bytes = { ...answer('many', 1).outputs[0]!, datatype: 'BOOL' as const };
    const wrong = { ...answer('plain', 1), outputs: [bytes] };
    served.plain.byId('a').respond(wrong);
    served.many.byId('b').stream(wrong);
    served.many.byId('b').fail(new InferenceError('CANCELLED', 'nobody hears this'));
    served.plain.byId('c').respond(answer('plain', 3));
    const messages = await stream.heard(3);
    expect(ids(messages).sort()).toEqual(['a', 'b', 'c']);
    expect(messages.map(({ errorMessage }) => errorMessage.slice(0, 26)).sort()).toEqual([
      '',
      'class result not available',
      'class result not available',
    ]);
    expect(served.many.cancelled).toEqual(['b']);
    stream.call.end();
    expect(await stream.ended).toMatchObject({ code: OK });
  });
});

describe('decoupled models', () => {
  it('are answered as their responses come, past those that are answered in order', async () => {
    const stream = served.stream();
    stream.send(inferRequest('plain', 'a'), inferRequest('many', 'b'), inferRequest('many', 'c'));
    await served.plain.took(1);
    await served.many.took(2);
    const [b, c] = [served.many.byId('b'), served.many.byId('c')];
    c.stream(answer('many', 1));
    b.stream(answer('many', 2));
    c.stream(answer('many', 3));
    c.complete();
    b.complete();
    const messages = await stream.heard(3);
    expect(ids(messages)).toEqual(['c', 'b', 'c']);
    expect(messages.map(value)).toEqual([1, 2, 3]);
    expect(messages.map(({ inferResponse }) => inferResponse.parameters)).toEqual([notFinal, notFinal, notFinal]);
    stream.call.end();
    served.plain.byId('a').respond(answer('plain', 4));
    expect(await stream.ended).toMatchObject({ code: OK });
    expect(ids(stream.messages)).toEqual(['c', 'b', 'c', 'a']);
  });

  it('say that they are through to who asked for it, with the names of the request', async () => {
    const stream = served.stream();
    const asking = { parameters: { triton_enable_empty_final_response: { boolParam: true } } };
    stream.send(
      inferRequest('many', 'a', asking),
      inferRequest('many', 'b', { ...asking, modelVersion: '1' }),
      inferRequest('many', 'c'),
      inferRequest('many', 'd', asking),
    );
    stream.call.end();
    await served.many.took(4);
    served.many.byId('a').complete();
    served.many.byId('b').stream(answer('many', 1));
    served.many.byId('b').complete();
    served.many.byId('c').complete();
    served.many.byId('d').fail(new InferenceError('INTERNAL', 'it broke'));
    expect(await stream.ended).toMatchObject({ code: OK });
    expect(
      stream.messages.map(({ errorMessage, inferResponse: { id, modelVersion, parameters, outputs } }) => [
        id,
        modelVersion,
        parameters,
        outputs.length,
        errorMessage,
      ]),
    ).toEqual([
      ['a', '', final, 0, ''],
      ['b', '1', notFinal, 1, ''],
      ['b', '1', final, 0, ''],
      ['d', '1', { error_code: { stringParam: 'INTERNAL' }, ...final }, 0, 'it broke'],
    ]);
  });

  it('hold back while the client does not read, and go on when it does', async () => {
    const stream = served.stream();
    stream.send(inferRequest('many', 'a'));
    await served.many.took(1);
    stream.call.pause();
    const request = served.many.byId('a');
    let sent = 0;
    while (!request.isPaused) {
      if (++sent > 10_000) throw new Error('never paused');
      request.stream(large('many', 64 * 1024));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(served.many.resumed).toEqual([]);
    stream.call.resume();
    await expect.poll(() => served.many.resumed).toEqual(['a']);
    expect(request.isPaused).toBe(false);
    request.stream(answer('many', 7));
    request.complete();
    stream.call.end();
    expect(await stream.ended).toMatchObject({ code: OK });
    expect(stream.messages).toHaveLength(sent + 1);
  });
});

describe('an end that the transport decides', () => {
  it('of a message that is none cancels what is in flight', async () => {
    const { call, listener } = openRecorded();
    listener.onMessage(inferRequest('plain', 'a'));
    listener.onMessage(inferRequest('many', 'b'));
    call.cancelListener!.onRpcCancelled();
    expect([served.plain.cancelled, served.many.cancelled]).toEqual([['a'], ['b']]);
  });

  it('while draining comes when the last answer is out', async () => {
    const idle = served.stream();
    const busy = served.stream();
    const closed = served.stream();
    for (const stream of [idle, busy, closed]) stream.send(inferRequest('plain', 'first'));
    await served.plain.took(3);
    for (const request of served.plain.held.splice(0)) request.respond(answer('plain', 1));
    for (const stream of [idle, busy, closed]) await stream.heard(1);
    busy.send(inferRequest('plain', 'a'));
    closed.send(inferRequest('plain', 'b'));
    closed.call.end();
    await served.plain.took(5);
    const drained = served.drain();
    expect(await idle.ended).toMatchObject({ code: UNAVAILABLE, details: expect.stringContaining('shutting down') });
    served.plain.byId('b').respond(answer('plain', 2));
    served.plain.byId('a').respond(answer('plain', 3));
    expect(await busy.ended).toMatchObject({ code: UNAVAILABLE });
    expect(await closed.ended).toMatchObject({ code: OK });
    expect([ids(idle.messages), ids(busy.messages), ids(closed.messages)]).toEqual([['first'], ['first', 'a'], ['first', 'b']]);
    await drained;
  });
});

describe('bounds', () => {
  it('stops reading at as many requests as it may have in flight, and reads on when half of them are answered', () => {
    const { call, listener } = openRecorded();
    for (let i = 0; i < MAX_IN_FLIGHT - 1; i++) listener.onMessage(inferRequest('plain', String(i)));
    expect(call.isPaused).toBe(false);
    listener.onMessage(inferRequest('plain', 'last'));
    expect(call.isPaused).toBe(true);
    const half = MAX_IN_FLIGHT / 2;
    // Answers that wait for their turn count as well.
    for (let i = MAX_IN_FLIGHT - 1; i >= half; i--) served.plain.held[i]!.respond(answer('plain', i));
    expect([call.isPaused, call.sent.length]).toEqual([true, 0]);
    for (let i = 0; i < half - 1; i++) served.plain.held[i]!.respond(answer('plain', i));
    expect([call.isPaused, call.sent.length]).toEqual([true, half - 1]);
    served.plain.held[half - 1]!.respond(answer('plain', 0));
    expect([call.isPaused, call.sent.length]).toEqual([false, MAX_IN_FLIGHT]);
  });

  it('stops reading at as many bytes as it may hold: of requests, of answers that wait, and of those to be expected', () => {
    const { call, listener } = openRecorded();
    const padding = { parameters: { padding: { stringParam: 'x'.repeat(4 * MEBI) } } };
    for (let i = 0; i < 15; i++) listener.onMessage(inferRequest('plain', String(i), padding));
    expect(call.isPaused).toBe(false);
    listener.onMessage(inferRequest('plain', '15', padding));
    expect(call.isPaused).toBe(true);
    for (const request of served.plain.held.splice(0)) request.respond(answer('plain', 1));
    expect(call.isPaused).toBe(false);

    for (let i = 0; i < 10; i++) listener.onMessage(inferRequest('plain', `w${i}`));
    for (let i = 9; i > 0; i--) {
      expect(call.isPaused).toBe(i < 2);
      served.plain.held[i]!.respond(large('plain', 8 * MEBI));
    }
    expect(call.isPaused).toBe(true);
    served.plain.held.splice(0)[0]!.respond(answer('plain', 1));
    expect(call.isPaused).toBe(false);

    for (let i = 0; i < 7; i++) listener.onMessage(inferRequest('plain', `e${i}`));
    expect(call.isPaused).toBe(false);
    listener.onMessage(inferRequest('plain', 'e7'));
    expect(call.isPaused).toBe(true);
  });

  it('keeps answers, and reads nothing, while the connection takes nothing', () => {
    const { call, listener } = openRecorded();
    for (const id of ['a', 'b', 'c']) listener.onMessage(inferRequest('plain', id));
    listener.onMessage(inferRequest('many', 'd'));
    listener.onHalfClose();
    call.takesMore = false;
    served.plain.byId('a').respond(answer('plain', 1));
    served.plain.byId('b').respond(answer('plain', 2));
    const many = served.many.byId('d');
    expect([call.sent.length, call.isPaused, many.isPaused]).toEqual([1, true, true]);
    listener.onMessage(inferRequest('many', 'e'));
    expect(served.many.byId('e').isPaused).toBe(true);
    listener.onDrain();
    expect([call.sent.length, call.isPaused, many.isPaused]).toEqual([2, true, true]);
    call.takesMore = true;
    served.plain.byId('c').respond(answer('plain', 3));
    expect(call.sent).toHaveLength(2);
    listener.onDrain();
    expect([call.sent.length, call.isPaused, many.isPaused]).toEqual([3, false, false]);
    expect(served.many.resumed).toEqual(['d', 'e']);
    many.complete();
    expect(call.isEnded).toBe(false);
    served.many.byId('e').complete();
    expect(call.isEnded).toBe(true);
  });

  it('says how many bytes of answers it keeps', () => {
    const { call, listener } = openRecorded();
    for (const id of ['a', 'b', 'c', 'd']) listener.onMessage(inferRequest('plain', id));
    served.plain.byId('b').respond(large('plain', MEBI));
    expect(call.heldBytes).toBeGreaterThan(MEBI);
    call.takesMore = false;
    served.plain.byId('a').respond(answer('plain', 1));
    served.plain.byId('c').respond(large('plain', MEBI));
    expect(call.heldBytes).toBeGreaterThan(2 * MEBI);
    listener.onDrain();
    call.takesMore = true;
    listener.onDrain();
    served.plain.byId('d').respond(answer('plain', 1));
    expect([call.sent.length, call.heldBytes]).toEqual([4, 0]);
  });

  it('answers many times as many requests as it may have in flight, over a socket', async () => {
    const count = 8 * MAX_IN_FLIGHT;
    const stream = served.stream();
    for (let i = 0; i < count; i++) stream.send(inferRequest('plain', String(i)));
    stream.call.end();
    await served.plain.took(MAX_IN_FLIGHT);
    for (let answered = 0; answered < count; answered++) {
      await served.plain.took(answered + 1);
      served.plain.held[answered]!.respond(answer('plain', answered));
    }
    expect(await stream.ended).toMatchObject({ code: OK });
    expect(stream.messages.map(value)).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  it('answers many times as many bytes as it may hold, over a socket', async () => {
    const bytes = 4 * 1024 * 1024;
    const stream = served.stream();
    const request = (id: string): Buffer =>
      inferRequest('plain', id, {
        inputs: [{ name: 'INPUT0', datatype: 'INT32', shape: [1, 1] }],
        rawInputContents: [new Uint8Array(4)],
        parameters: { padding: { stringParam: 'x'.repeat(bytes) } },
      });
    for (let i = 0; i < 40; i++) stream.send(request(String(i)));
    stream.call.end();
    await served.plain.took(16);
    for (let answered = 0; answered < 40; answered++) {
      await served.plain.took(answered + 1);
      served.plain.held[answered]!.respond(answer('plain', answered));
    }
    expect(await stream.ended).toMatchObject({ code: OK });
  });

  it('cancels what is in flight when the client goes away', async () => {
    const stream = served.stream();
    stream.send(inferRequest('plain', 'a'), inferRequest('plain', 'b'), inferRequest('many', 'c'));
    await served.plain.took(2);
    await served.many.took(1);
    served.plain.byId('b').respond(answer('plain', 1));
    stream.call.cancel();
    await expect.poll(() => [served.plain.cancelled, served.many.cancelled]).toEqual([['a'], ['c']]);
    served.plain.byId('a').fail(new InferenceError('CANCELLED', 'gone'));
    served.many.byId('c').fail(new InferenceError('CANCELLED', 'gone'));
  });
});
