import type { ClientHttp2Stream } from 'node:http2';
import { type Client, compressionAlgorithms, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import { callRaw, callUnary, frame, GrpcTransportFixture, openRaw, rawAnswer } from './grpc-transport-fixture.ts';

let fixture: GrpcTransportFixture;
beforeEach(() => {
  fixture = new GrpcTransportFixture();
});
afterEach(async () => {
  await fixture.stop();
  expect(fixture.errors).toEqual([]);
});

const same = (bytes: Buffer): Buffer => bytes;

function failure(promise: Promise<unknown>): Promise<ServiceError> {
  return promise.then(
    () => Promise.reject(new Error('the call succeeded')),
    (error: ServiceError) => error,
  );
}

function bidi(client: Client, name: string) {
  return client.makeBidiStreamRequest(`/test.Test/${name}`, same, same);
}

describe('unary calls', () => {
  test('echo messages of all sizes', async () => {
    const client = fixture.client(await fixture.serve());
    for (const size of [0, 1, 5, 1000, 16_384, 16_385, 600_000, 4 * 1024 * 1024]) {
      const message = Buffer.alloc(size, size % 251);
      expect((await callUnary(client, 'Echo', message)).equals(message), `${size}`).toBe(true);
    }
  });

  test('take a request message of exactly the limit, and refuse one more byte with the limit named', async () => {
    const client = fixture.client(await fixture.serve({ maxReceiveBytes: 1000 }));
    expect(await callUnary(client, 'Echo', Buffer.alloc(1000))).toHaveLength(1000);
    const error = await failure(callUnary(client, 'Echo', Buffer.alloc(1001)));
    expect([error.code, error.details]).toEqual([
      status.RESOURCE_EXHAUSTED,
      'the request message is 1001 bytes long, more than the 1000 bytes that this server takes',
    ]);
  });

  test('refuse a response over the limit, with the limit named', async () => {
    const client = fixture.client(await fixture.serve({ maxSendBytes: 1000 }));
    expect(await callUnary(client, 'Big', '1000')).toHaveLength(1000);
    const error = await failure(callUnary(client, 'Big', '1001'));
    expect([error.code, error.details]).toEqual([
      status.RESOURCE_EXHAUSTED,
      'the response message is 1001 bytes long, more than the 1000 bytes that this server sends',
    ]);
  });

  test('see their metadata and deadline', async () => {
    const client = fixture.client(await fixture.serve());
    const metadata = new Metadata();
    metadata.add('x-test', 'one');
    metadata.add('x-test', 'two');
    expect(JSON.parse((await callUnary(client, 'Metadata', '', metadata)).toString())).toEqual(['one, two', '', null]);
    const answer = await callUnary(client, 'Metadata', '', metadata, { deadline: Date.now() + 50_000 });
    expect(JSON.parse(answer.toString())[2]).toBe(50);
  });

  test('are answered once', async () => {
    const client = fixture.client(await fixture.serve());
    expect((await callUnary(client, 'Twice', '')).toString()).toBe('first');
  });

  test('that throw are INTERNAL without detail, and a fault', async () => {
    const client = fixture.client(await fixture.serve());
    const error = await failure(callUnary(client, 'Throws', ''));
    expect([error.code, error.details]).toEqual([status.INTERNAL, 'internal error; the server log has the details']);
    expect(fixture.errors.splice(0)).toEqual([new Error('secret detail')]);
  });

  test('500 at once', async () => {
    const client = fixture.client(await fixture.serve());
    const answers = await Promise.all(Array.from({ length: 500 }, (_, i) => callUnary(client, 'Echo', `message ${i}`)));
    expect(answers.map(String)).toEqual(Array.from({ length: 500 }, (_, i) => `message ${i}`));
  });

  test('large ones, in memory that is used again, are never mixed up, whoever is cut short meanwhile', async () => {
    const transport = await fixture.serve();
    const clients = [fixture.client(transport), fixture.client(transport)];
    let answered = 0;
    const call = (round: number, index: number): Promise<void> =>
      new Promise((resolve, reject) => {
        const message = Buffer.alloc(70_000 + 9_000 * index, `${round}.${index} `);
        const made = clients[index % 2]!.makeUnaryRequest('/test.Test/CopyLater', same, same, message, (error, answer?: Buffer) => {
          if (error !== null) return resolve();
          answered++;
          return answer!.equals(message) ? resolve() : reject(new Error(`the answer to ${round}.${index} is another's`));
        });
        // One in three, at any point of its way.
        if (index % 3 === 0) setTimeout(() => made.cancel(), index % 7);
      });
    for (let round = 0; round < 8; round++) await Promise.all(Array.from({ length: 24 }, (_, index) => call(round, index)));
    expect(answered).toBeGreaterThanOrEqual(8 * 16);
  });

  test('over the limit of a connection wait for their turn', async () => {
    const transport = await fixture.serve({ maxConcurrentCalls: 2 });
    const client = fixture.client(transport);
    const answers = Array.from({ length: 3 }, () => callUnary(client, 'Hold', 'held'));
    await fixture.until(() => fixture.held.length === 2);
    expect(await callUnary(fixture.client(transport), 'Echo', 'other connection')).toHaveLength(16);
    expect(fixture.held).toHaveLength(2);
    fixture.held[0]!.respond(Buffer.from('x'));
    await fixture.until(() => fixture.held.length === 3);
    for (const call of fixture.held) call.respond(Buffer.from('x'));
    expect(await Promise.all(answers)).toHaveLength(3);
  });
});

describe('status', () => {
  test.each(Object.keys(STATUS_FORMS) as (keyof typeof STATUS_FORMS)[])('%s has its number', async (code) => {
    const client = fixture.client(await fixture.serve());
    const error = await failure(callUnary(client, 'Fail', JSON.stringify({ code, message: `it is ${code}` })));
    expect([error.code, error.details]).toEqual([STATUS_FORMS[code].grpc, `it is ${code}`]);
  });

  test.each(["input 'größe': 100 % \u{1f980}\n\u0000\t~", 'plain', ''])('message %j arrives as it is', async (message) => {
    const client = fixture.client(await fixture.serve());
    expect((await failure(callUnary(client, 'Fail', JSON.stringify({ code: 'NOT_FOUND', message })))).details).toBe(message);
  });

  test('a long message is cut between characters', async () => {
    const client = fixture.client(await fixture.serve());
    const { details } = await failure(callUnary(client, 'Fail', JSON.stringify({ code: 'NOT_FOUND', message: 'ä'.repeat(100_000) })));
    expect(details).toMatch(/^ä{600,700}\.\.\.$/);
  });

  test('retry-after comes in the trailing metadata', async () => {
    const client = fixture.client(await fixture.serve());
    const error = await failure(
      callUnary(client, 'Fail', JSON.stringify({ code: 'UNAVAILABLE', message: 'full', retryAfterSeconds: 1.2 })),
    );
    expect(error.metadata.get('retry-after')).toEqual(['2']);
    const other = await failure(callUnary(client, 'Fail', JSON.stringify({ code: 'UNAVAILABLE', message: 'full' })));
    expect(other.metadata.get('retry-after')).toEqual([]);
  });

  test('an unknown method is UNIMPLEMENTED and names the nearest', async () => {
    const client = fixture.client(await fixture.serve());
    const error = await failure(callUnary(client, 'Ecko', ''));
    expect([error.code, error.details]).toEqual([
      status.UNIMPLEMENTED,
      "this server has no method '/test.Test/Ecko'; did you mean '/test.Test/Echo'?",
    ]);
  });
});

describe('deadlines and cancelling', () => {
  test('a passed deadline is DEADLINE_EXCEEDED, and the handler hears of it', async () => {
    const transport = await fixture.serve();
    const session = fixture.connect(transport);
    const answer = await callRaw(session, '/test.Test/Hold', frame('x'), { 'grpc-timeout': '30m' });
    expect(answer.trailers).toMatchObject({ 'grpc-status': '4', 'grpc-message': "the call's deadline passed before its answer was ready" });
    expect(fixture.events).toEqual(['held', 'cancelled true']);
    fixture.held[0]!.respond(Buffer.from('late'));
    fixture.held[0]!.fail(new InferenceError('INTERNAL', 'late'));
    expect((await callRaw(session, '/test.Test/Echo', frame('y'))).body).toEqual(frame('y'));
  });

  test('a passed deadline ends a stream that has sent messages', async () => {
    const session = fixture.connect(await fixture.serve());
    const stream = openRaw(session, '/test.Test/StreamHold', { 'grpc-timeout': '200m' });
    const answer = rawAnswer(stream);
    stream.write(frame('a'));
    await fixture.until(() => fixture.events.includes('message a'));
    fixture.streams[0]!.send(Buffer.from('b'));
    expect(await answer).toMatchObject({ body: frame('b'), trailers: { 'grpc-status': '4' }, resetCode: 0 });
    expect(fixture.events).toEqual(['open', 'message a', 'cancelled true']);
  });

  test.each(['0n', '0H', '00000000S'])('a deadline of %s has passed before the handler runs', async (timeout) => {
    const answer = await callRaw(fixture.connect(await fixture.serve()), '/test.Test/Hold', frame('x'), { 'grpc-timeout': timeout });
    expect(answer.trailers['grpc-status']).toBe('4');
    expect(fixture.events).toEqual([]);
  });

  test('a deadline further off than a timer can hold is kept', async () => {
    const answer = await callRaw(fixture.connect(await fixture.serve()), '/test.Test/Metadata', frame(''), { 'grpc-timeout': '99999999H' });
    expect(JSON.parse(answer.body.subarray(5).toString())[2]).toBe(99_999_999 * 3600);
  });

  test('a cancelled call is heard of once', async () => {
    const client = fixture.client(await fixture.serve());
    const call = client.makeUnaryRequest('/test.Test/Hold', same, same, Buffer.from('x'), () => {});
    await fixture.until(() => fixture.events.length === 1);
    call.cancel();
    await fixture.until(() => fixture.events.length === 2);
    fixture.held[0]!.respond(Buffer.from('late'));
    expect(await callUnary(client, 'Echo', 'y')).toHaveLength(1);
    expect(fixture.events).toEqual(['held', 'cancelled true']);
  });

  test.each([
    ['a broken message', async (stream: ClientHttp2Stream) => void stream.write(Buffer.from([9])), '3'],
    ['an answer that is too large', async () => void fixture.streams[0]!.send(Buffer.alloc(5 * 1024 * 1024)), '8'],
    ['a handler that throws', async (stream: ClientHttp2Stream) => void stream.write(frame('throw')), '13'],
  ])('%s ends a stream, and whoever works for it hears', async (_what, end, status) => {
    const session = fixture.connect(await fixture.serve());
    const stream = openRaw(session, '/test.Test/StreamHold');
    const answer = rawAnswer(stream);
    stream.write(frame('a'));
    await fixture.until(() => fixture.events.includes('message a'));
    await end(stream);
    expect((await answer).trailers['grpc-status'] ?? (await answer).headers['grpc-status']).toBe(status);
    expect(fixture.events).toEqual(['open', 'message a', 'cancelled true']);
    fixture.errors.length = 0;
  });

  test('a lost connection cancels all its calls and no others', async () => {
    const transport = await fixture.serve();
    const session = fixture.connect(transport);
    const other = callUnary(fixture.client(transport), 'Hold', 'x');
    await fixture.until(() => fixture.held.length === 1);
    for (let i = 0; i < 3; i++)
      openRaw(session, '/test.Test/Hold')
        .on('error', () => {})
        .end(frame('x'));
    openRaw(session, '/test.Test/StreamHold').on('error', () => {});
    await fixture.until(() => fixture.held.length === 4 && fixture.streams.length === 1);
    session.destroy();
    await fixture.until(() => fixture.events.filter((event) => event === 'cancelled true').length === 4);
    fixture.held[0]!.respond(Buffer.from('kept'));
    expect((await other).toString()).toBe('kept');
  });
});

describe('streams', () => {
  test('echo 1000 messages in order, then end', async () => {
    const call = bidi(fixture.client(await fixture.serve()), 'StreamEcho');
    const received: string[] = [];
    call.on('data', (message: Buffer) => received.push(message.toString()));
    const ended = new Promise((resolve) => call.on('status', resolve));
    for (let i = 0; i < 1000; i++) call.write(Buffer.from(`m${i}`));
    call.end();
    expect(await ended).toMatchObject({ code: status.OK });
    expect(received).toEqual(Array.from({ length: 1000 }, (_, i) => `m${i}`));
  });

  test('echo large messages through flow control', async () => {
    const call = bidi(fixture.client(await fixture.serve()), 'StreamEcho');
    let bytes = 0;
    call.on('data', (message: Buffer) => (bytes += message.length));
    const ended = new Promise((resolve) => call.on('status', resolve));
    for (let i = 0; i < 20; i++) call.write(Buffer.alloc(600_000, i));
    call.end();
    expect(await ended).toMatchObject({ code: status.OK });
    expect(bytes).toBe(12_000_000);
  });

  test('a client that does not read holds the sender back, and onDrain sets it going', async () => {
    const session = fixture.connect(await fixture.serve());
    const stream = openRaw(session, '/test.Test/StreamHold');
    await fixture.until(() => fixture.streams.length === 1);
    const call = fixture.streams[0]!;
    let sent = 0;
    while (call.send(Buffer.alloc(10_000))) sent += 1;
    expect(sent).toBeGreaterThan(20);
    expect(sent).toBeLessThan(60);
    expect(fixture.events).toEqual(['open']);
    let bytes = 0;
    stream.on('data', (piece: Buffer) => (bytes += piece.length));
    await fixture.until(() => fixture.events.includes('drain'));
    call.end();
    await new Promise((resolve) => stream.on('end', resolve));
    expect(bytes).toBe((sent + 1) * 10_005);
  });

  test('a paused stream gets nothing until it is resumed, and then all of it', async () => {
    const session = fixture.connect(await fixture.serve());
    const stream = openRaw(session, '/test.Test/StreamHold');
    const answer = rawAnswer(stream);
    await fixture.until(() => fixture.streams.length === 1);
    const call = fixture.streams[0]!;
    call.pause();
    stream.write(Buffer.concat([frame('a'), frame('b')]));
    stream.end(frame('c'));
    // Another call on the connection goes all the way, so these bytes have come.
    await callRaw(session, '/test.Test/Echo', frame('x'));
    expect(fixture.events).toEqual(['open']);
    call.resume();
    await fixture.until(() => fixture.events.includes('half-close'));
    expect(fixture.events).toEqual(['open', 'message a', 'message b', 'message c', 'half-close']);
    call.end();
    expect((await answer).trailers['grpc-status']).toBe('0');
  });

  test('pause inside onMessage holds the rest of the same frame', async () => {
    const session = fixture.connect(await fixture.serve());
    const stream = openRaw(session, '/test.Test/StreamHold');
    await fixture.until(() => fixture.streams.length === 1);
    const call = fixture.streams[0]!;
    const seen: string[] = [];
    call.listener = {
      onMessage: (message) => {
        seen.push(Buffer.from(message).toString());
        call.pause();
        fixture.event('paused');
      },
      onHalfClose: () => fixture.event('half-close'),
      onDrain: () => {},
    };
    stream.end(Buffer.concat([frame('a'), frame('b'), frame('c')]));
    for (const expected of [['a'], ['a', 'b'], ['a', 'b', 'c']]) {
      await fixture.until(() => fixture.events.filter((event) => event === 'paused').length === expected.length);
      expect(seen).toEqual(expected);
      call.resume();
    }
    await fixture.until(() => fixture.events.includes('half-close'));
    call.end();
  });

  test.each([
    ['StreamThrows', ''],
    ['StreamHold', 'throw'],
  ])('%s that throws at %j is INTERNAL without detail, and a fault', async (name, message) => {
    const call = bidi(fixture.client(await fixture.serve()), name);
    call.on('error', () => {});
    call.on('data', () => {});
    const ended = new Promise((resolve) => call.on('status', resolve));
    call.write(Buffer.from(message));
    expect(await ended).toMatchObject({ code: status.INTERNAL, details: 'internal error; the server log has the details' });
    expect(fixture.errors.splice(0)).toEqual([new Error('secret detail')]);
  });

  test('end while the client still sends: what was sent arrives, then OK', async () => {
    const stream = openRaw(fixture.connect(await fixture.serve()), '/test.Test/StreamHold');
    const answer = rawAnswer(stream);
    await fixture.until(() => fixture.streams.length === 1);
    fixture.streams[0]!.send(Buffer.alloc(500_000, 'x'));
    fixture.streams[0]!.end();
    fixture.streams[0]!.end();
    expect(fixture.streams[0]!.send(Buffer.from('late'))).toBe(false);
    const { body, ...end } = await answer;
    expect(end).toMatchObject({ trailers: { 'grpc-status': '0' }, resetCode: 0 });
    expect(body.equals(frame(Buffer.alloc(500_000, 'x')))).toBe(true);
    expect(fixture.events).toEqual(['open']);
  });
});

describe('compression', () => {
  const text = 'compressible '.repeat(1000);

  test.each([
    ['gzip', compressionAlgorithms.gzip],
    ['deflate', compressionAlgorithms.deflate],
  ] as const)('%s of requests and responses', async (coding, algorithm) => {
    const transport = await fixture.serve({ compression: coding });
    const client = fixture.client(transport, { 'grpc.default_compression_algorithm': algorithm });
    expect((await callUnary(client, 'EchoCompressed', text)).toString()).toBe(text);

    const call = bidi(client, 'StreamEchoCompressed');
    const received: string[] = [];
    call.on('data', (message: Buffer) => received.push(message.toString()));
    const ended = new Promise((resolve) => call.on('status', resolve));
    for (let i = 0; i < 50; i++) call.write(Buffer.from(i % 2 === 0 ? text.repeat(5) : `m${i}`));
    call.end();
    expect(await ended).toMatchObject({ code: status.OK });
    expect(received).toEqual(Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? text.repeat(5) : `m${i}`)));
  });

  test('a response is compressed where server, method and client all do', async () => {
    const withGzip = fixture.connect(await fixture.serve({ compression: 'gzip' }));
    const without = fixture.connect(await fixture.serve());
    const accept = { 'grpc-accept-encoding': 'identity, gzip' };
    const compressed = await callRaw(withGzip, '/test.Test/EchoCompressed', frame(text), accept);
    expect(compressed.headers['grpc-encoding']).toBe('gzip');
    expect(compressed.body[0]).toBe(1);
    expect(compressed.body.length).toBeLessThan(1000);
    for (const [session, name, headers] of [
      [withGzip, 'Echo', accept],
      [withGzip, 'EchoCompressed', {}],
      [withGzip, 'EchoCompressed', { 'grpc-accept-encoding': 'deflate' }],
      [without, 'EchoCompressed', accept],
    ] as const) {
      const plain = await callRaw(session, `/test.Test/${name}`, frame(text), headers);
      expect(plain.headers['grpc-encoding']).toBeUndefined();
      expect(plain.body.equals(frame(text))).toBe(true);
    }
  });

  test('a plain message behind one being compressed stays behind it', async () => {
    const session = fixture.connect(await fixture.serve({ compression: 'gzip' }));
    const answer = rawAnswer(openRaw(session, '/test.Test/StreamHold', { 'grpc-accept-encoding': 'gzip' }));
    await fixture.until(() => fixture.streams.length === 1);
    const call = fixture.streams[0]!;
    call.send(Buffer.from(text), true);
    call.send(Buffer.from('plain'));
    call.end();
    const { body, trailers } = await answer;
    expect(body[0]).toBe(1);
    expect(body.subarray(-10)).toEqual(frame('plain'));
    expect(trailers['grpc-status']).toBe('0');
  });
});
