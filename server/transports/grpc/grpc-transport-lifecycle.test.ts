import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { callRaw, callUnary, fixtureFile, frame, GrpcTransportFixture, openRaw, rawAnswer } from './grpc-transport-fixture.ts';
import { PING, RawHttp2Connection } from './raw-http2-connection.ts';

let fixture: GrpcTransportFixture;
beforeEach(() => {
  fixture = new GrpcTransportFixture();
});
afterEach(async () => {
  await fixture.stop();
  expect(fixture.errors).toEqual([]);
});

function failure(promise: Promise<unknown>): Promise<ServiceError> {
  return promise.then(
    () => Promise.reject(new Error('the call succeeded')),
    (error: ServiceError) => error,
  );
}

describe('draining and closing', () => {
  test('drain lets calls end, sends new ones elsewhere, then resolves', async () => {
    const transport = await fixture.serve();
    const client = fixture.client(transport, { 'grpc.enable_retries': 0 });
    const idle = fixture.connect(transport);
    await new Promise((resolve) => idle.once('remoteSettings', resolve));
    const goaway = new Promise((resolve) => idle.once('goaway', resolve));
    const held = callUnary(client, 'Hold', 'x');
    await fixture.until(() => fixture.held.length === 1);
    let isDrained = false;
    const drained = transport.drain().then(() => (isDrained = true));
    expect(await goaway).toBe(0);
    const error = await failure(callUnary(client, 'Echo', 'y'));
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(isDrained).toBe(false);
    fixture.held[0]!.respond(Buffer.from('answer'));
    expect((await held).toString()).toBe('answer');
    await drained;
    await expect(fixture.serve({ port: transport.port })).resolves.toBeDefined();
  });

  test('close cuts calls off, and their handlers hear', async () => {
    const transport = await fixture.serve();
    const held = failure(callUnary(fixture.client(transport), 'Hold', 'x'));
    await fixture.until(() => fixture.held.length === 1);
    await transport.close();
    expect(fixture.events).toEqual(['held', 'cancelled true']);
    expect([status.UNAVAILABLE, status.CANCELLED]).toContain((await held).code);
    await transport.close();
    await transport.drain();
  });

  test('a connection of the maximum age is retired, and cut off after its grace', async () => {
    const transport = await fixture.serve({ maxConnectionAgeMs: 50, maxConnectionAgeGraceMs: 50 });
    const session = fixture.connect(transport);
    const answer = callRaw(session, '/test.Test/Hold', frame('x'));
    expect(await new Promise((resolve) => session.once('goaway', resolve))).toBe(0);
    await answer;
    expect(fixture.events).toEqual(['held', 'cancelled true']);
  });
});

describe('keepalive', () => {
  test('a silent client that answers pings stays', async () => {
    const session = fixture.connect(await fixture.serve({ keepaliveTimeMs: 20, keepaliveTimeoutMs: 10_000 }));
    const answer = callRaw(session, '/test.Test/Hold', frame('x'));
    for (let pings = 0; pings < 3; pings++) await new Promise((resolve) => session.once('ping', resolve));
    expect(fixture.events).toEqual(['held']);
    fixture.held[0]!.respond(Buffer.from('y'));
    expect((await answer).body).toEqual(frame('y'));
  });

  test('one that does not answer is cut off', async () => {
    const transport = await fixture.serve({ keepaliveTimeMs: 20, keepaliveTimeoutMs: 20 });
    const connection = await RawHttp2Connection.open(transport.port);
    connection.start();
    await connection.closed;
    expect(connection.received(PING)).toBe(true);
  });

  test('one that never speaks HTTP/2 is cut off', async () => {
    const transport = await fixture.serve({}, { handshakeTimeoutMs: 30 });
    const connection = await RawHttp2Connection.open(transport.port);
    await connection.closed;
  });
});

describe('starting', () => {
  test('a taken port is a plain error', async () => {
    const { port } = await fixture.serve();
    await expect(fixture.serve({ port })).rejects.toThrow(`cannot listen on 127.0.0.1:${port}: the port is taken`);
    await expect(fixture.serve({ host: '192.0.2.1' })).rejects.toThrow("the address is not one of this machine's");
  });

  test('connections over the limit are turned away', async () => {
    const transport = await fixture.serve({ maxConnections: 1 });
    const first = fixture.client(transport);
    await callUnary(first, 'Echo', 'x');
    const error = await failure(callUnary(fixture.client(transport), 'Echo', 'x'));
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(await callUnary(first, 'Echo', 'x')).toHaveLength(1);
  });
});

describe('TLS', () => {
  const certFile = fixtureFile('localhost.cert.pem');
  const keyFile = fixtureFile('localhost.key.pem');
  const authority = readFileSync(certFile);
  const pem = (name: string): Buffer => readFileSync(fixtureFile(name));

  test('serves, and not in plain text', async () => {
    const transport = await fixture.serve({ tls: { certFile, keyFile, caFile: null, requireClientCertificate: false } });
    expect((await callUnary(fixture.client(transport, {}, credentials.createSsl(authority)), 'Echo', 'secret')).toString()).toBe('secret');
    expect((await failure(callUnary(fixture.client(transport), 'Echo', 'x'))).code).toBe(status.UNAVAILABLE);
  });

  test('serves large messages', async () => {
    const transport = await fixture.serve({ tls: { certFile, keyFile, caFile: null, requireClientCertificate: false } });
    const client = fixture.client(transport, {}, credentials.createSsl(authority));
    const message = Buffer.alloc(3 * 1024 * 1024, 'secret ');
    const answers = await Promise.all(Array.from({ length: 4 }, () => callUnary(client, 'Echo', message)));
    expect(answers.every((answer) => answer.equals(message))).toBe(true);
  });

  test('mutual: takes a certificate that the authority signed, and no other', async () => {
    const transport = await fixture.serve({
      tls: { certFile, keyFile, caFile: fixtureFile('client-authority.cert.pem'), requireClientCertificate: true },
    });
    const known = credentials.createSsl(authority, pem('client.key.pem'), pem('client.cert.pem'));
    const stranger = credentials.createSsl(authority, pem('stranger.key.pem'), pem('stranger.cert.pem'));
    const anonymous = credentials.createSsl(authority);
    expect(await callUnary(fixture.client(transport, {}, known), 'Echo', 'x')).toHaveLength(1);
    for (const channel of [stranger, anonymous]) {
      expect((await failure(callUnary(fixture.client(transport, {}, channel), 'Echo', 'x'))).code).toBe(status.UNAVAILABLE);
    }
    expect(await callUnary(fixture.client(transport, {}, known), 'Echo', 'x')).toHaveLength(1);
  });

  test('bad files are plain errors', async () => {
    const tls = { certFile, keyFile, caFile: null, requireClientCertificate: false };
    await expect(fixture.serve({ tls: { ...tls, certFile: 'none.pem' } })).rejects.toThrow(
      'cannot use the TLS certificate and key (none.pem',
    );
    await expect(fixture.serve({ tls: { ...tls, keyFile: fixtureFile('client.key.pem') } })).rejects.toThrow('the key is not the one');
    await expect(fixture.serve({ tls: { ...tls, requireClientCertificate: true } })).rejects.toThrow('authorities');
  });

  test('drain does not wait for a handshake that does not go on', async () => {
    const transport = await fixture.serve({ tls: { certFile, keyFile, caFile: null, requireClientCertificate: false } });
    const { connect } = await import('node:net');
    const socket = connect(transport.port, '127.0.0.1');
    const closed = new Promise((resolve) => socket.on('error', () => {}).on('close', resolve));
    await new Promise((resolve) => socket.on('connect', resolve));
    await callUnary(fixture.client(transport, {}, credentials.createSsl(authority)), 'Echo', 'x');
    await transport.drain();
    await closed;
  });
});

test('close ends calls that are open with a status', async () => {
  const transport = await fixture.serve();
  const session = fixture.connect(transport);
  const started = openRaw(session, '/test.Test/StreamHold');
  const answers = [
    rawAnswer(started),
    rawAnswer(openRaw(session, '/test.Test/StreamHold')),
    callRaw(session, '/test.Test/Hold', frame('x')),
  ];
  await fixture.until(() => fixture.streams.length === 2 && fixture.held.length === 1);
  fixture.streams[0]!.send(Buffer.from('first'));
  await new Promise((resolve) => started.once('data', resolve));
  await transport.close();
  const ended = await Promise.all(answers);
  expect(ended.map(({ trailers }) => trailers['grpc-status'])).toEqual(['14', '14', '14']);
  expect(fixture.events.filter((event) => event === 'cancelled true')).toHaveLength(3);
});

test('the port that a closed transport had is free', async () => {
  const transport = await fixture.serve();
  await callUnary(fixture.client(transport), 'Echo', 'x');
  await transport.close();
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.on('error', reject).listen(transport.port, '127.0.0.1', resolve));
  await new Promise((resolve) => server.close(resolve));
});
