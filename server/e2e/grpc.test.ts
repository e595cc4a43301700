import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { gunzipSync } from 'node:zlib';
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
  type StatusObject,
} from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { afterEach, describe, expect, it } from 'vitest';
import { descriptor } from '../../proto/gen/descriptor.ts';
import { callRaw, fixtureFile, frame } from '../transports/grpc/grpc-transport-fixture.ts';
import { exampleRepository, ServerProcess, until } from './serve.ts';

const types = protobuf.Root.fromJSON(descriptor);
const requestType = types.lookupType('inference.ModelInferRequest');
const responseType = types.lookupType('inference.ModelInferResponse');
const streamResponseType = types.lookupType('inference.ModelStreamInferResponse');
const path = '/inference.GRPCInferenceService/';
const same = (bytes: Buffer): Buffer => bytes;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(...args: string[]): Promise<ServerProcess> {
  const server = await ServerProcess.start([`--model-repository=${exampleRepository}`, ...args]);
  cleanups.push(() => server.kill());
  return server;
}

function connect(server: ServerProcess, channel: ChannelCredentials = credentials.createInsecure()): Client {
  const client = new Client(`localhost:${new URL(server.grpc).port}`, channel, { 'grpc.use_local_subchannel_pool': 1 });
  cleanups.push(() => client.close());
  return client;
}

function request(
  model: string,
  tensors: Readonly<Record<string, readonly [datatype: string, values: readonly number[]]>>,
  batch = false,
): Buffer {
  const inputs = Object.entries(tensors).map(([name, [datatype, values]]) => ({
    name,
    datatype,
    shape: batch ? [1, values.length] : [values.length],
  }));
  const rawInputContents = Object.values(tensors).map(([, values]) => Buffer.from(Int32Array.from(values).buffer));
  return Buffer.from(requestType.encode({ modelName: model, inputs, rawInputContents }).finish());
}

const sixteen = Array.from({ length: 16 }, (_, i) => i);
const simple = request('simple', { INPUT0: ['INT32', sixteen], INPUT1: ['INT32', sixteen] }, true);
const repeat = (values: readonly number[], delayMs: number): Buffer =>
  request('repeat_int32', { IN: ['INT32', values], DELAY: ['UINT32', values.map(() => delayMs)], WAIT: ['UINT32', [0]] });

/** OUTPUT0's first numbers, or the error. */
function infer(client: Client, message: Buffer = simple, metadata = new Metadata()): Promise<number[] | ServiceError> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(`${path}ModelInfer`, same, same, message, metadata, (error: ServiceError | null, bytes?: Buffer) => {
      if (error !== null) return resolve(error);
      const [raw] = (responseType.decode(bytes!) as unknown as { rawOutputContents: Buffer[] }).rawOutputContents;
      return resolve([0, 1, 2].map((i) => raw!.readInt32LE(4 * i)));
    });
  });
}

interface StreamAnswer {
  errorMessage: string;
  inferResponse: { parameters: Readonly<Record<string, { stringParam: string }>> };
}

class Stream {
  readonly call: ClientDuplexStream<Buffer, Buffer>;
  readonly answers: StreamAnswer[] = [];
  readonly ended: Promise<StatusObject>;

  constructor(client: Client) {
    this.call = client.makeBidiStreamRequest(`${path}ModelStreamInfer`, same, same);
    this.call.on('error', () => {});
    this.call.on('data', (bytes: Buffer) => this.answers.push(streamResponseType.decode(bytes) as unknown as StreamAnswer));
    this.ended = new Promise((resolve) => this.call.on('status', resolve));
  }
}

const sum = [0, 2, 4];

describe('TLS', () => {
  const file = fixtureFile;
  const [cert, key] = ['localhost.cert.pem', 'localhost.key.pem'].map(file) as [string, string];
  const authority = readFileSync(cert);
  const shown = (name: string): ChannelCredentials =>
    credentials.createSsl(authority, readFileSync(file(`${name}.key.pem`)), readFileSync(file(`${name}.cert.pem`)));

  it("by Triton's flags", async () => {
    const server = await start('--grpc-use-ssl=true', `--grpc-server-cert=${cert}`, `--grpc-server-key=${key}`);
    expect(server.grpc).toMatch(/^grpcs:/);
    expect(await infer(connect(server, credentials.createSsl(authority)))).toEqual(sum);
    expect(await infer(connect(server))).toMatchObject({ code: 14 });
    expect(await infer(connect(server, credentials.createSsl()))).toMatchObject({ code: 14 });
    expect(await infer(connect(server, credentials.createSsl(authority)))).toEqual(sum);
  });

  it('asks clients for a certificate that its authority signed', async () => {
    const files = [`--grpc-server-cert=${cert}`, `--grpc-server-key=${key}`, `--grpc-root-cert=${file('client-authority.cert.pem')}`];
    const server = await start('--grpc-use-ssl-mutual=true', ...files);
    expect(await infer(connect(server, shown('client')))).toEqual(sum);
    expect(await infer(connect(server, shown('stranger')))).toMatchObject({ code: 14 });
    expect(await infer(connect(server, credentials.createSsl(authority)))).toMatchObject({ code: 14 });
  });
});

describe('options', () => {
  it('bound messages and metadata, both ways', async () => {
    const server = await start('--grpc-max-receive-bytes=2048', '--grpc-max-send-bytes=1024', '--grpc-max-metadata-bytes=1024');
    const client = connect(server);
    expect(await infer(client)).toEqual(sum);
    const long = request('simple', { INPUT0: ['INT32', Array(600).fill(1)] }, true);
    expect(await infer(client, long)).toMatchObject({ code: 8, details: expect.stringContaining('2048') });
    // Eight rows of each output are 1,024 bytes and more.
    const rows = { shape: [8, 16], datatype: 'INT32' };
    const raw = Buffer.alloc(512);
    const wide = requestType.encode({
      modelName: 'simple',
      inputs: [0, 1].map((i) => ({ ...rows, name: `INPUT${i}` })),
      rawInputContents: [raw, raw],
    });
    expect(await infer(client, Buffer.from(wide.finish()))).toMatchObject({ code: 8, details: expect.stringContaining('1024') });
    const metadata = new Metadata();
    metadata.set('x-long', 'x'.repeat(1024));
    expect(await infer(client, simple, metadata)).toMatchObject({ code: 8, details: expect.stringContaining('metadata') });
    expect(await infer(client)).toEqual(sum);
  });

  it('bound the calls of a connection, and its age', async () => {
    const server = await start('--grpc-max-concurrent-calls=2', '--grpc-max-connection-age=300', '--grpc-max-connection-age-grace=200');
    const client = connect(server);
    const streams = [new Stream(client), new Stream(client)];
    for (const { call } of streams) call.write(repeat([1, 2], 60_000));
    // A third waits in the client until the connection is too old, and goes over the next one.
    const startMs = performance.now();
    expect(await infer(client)).toEqual(sum);
    expect(performance.now() - startMs).toBeGreaterThan(150);
    for (const { ended } of streams) expect((await ended).code).not.toBe(0);
  });

  it('compress answers for those who take it', async () => {
    const server = await start('--grpc-infer-response-compression-level=high');
    const session = http2.connect(server.grpc.replace('grpc', 'http'));
    cleanups.push(() => session.destroy());
    for (const accepted of ['gzip', 'deflate']) {
      const { headers: answered, body } = await callRaw(session, `${path}ModelInfer`, frame(simple), { 'grpc-accept-encoding': accepted });
      expect([answered['grpc-encoding'], body[0]]).toEqual(accepted === 'gzip' ? ['gzip', 1] : [undefined, 0]);
      if (accepted === 'gzip') expect(gunzipSync(body.subarray(5)).includes('OUTPUT1')).toBe(true);
    }
    expect(await infer(connect(server))).toEqual(sum);
  });
});

describe('decoupled models', () => {
  it('end each request once when their host is killed, and go on in a new one', async () => {
    const server = await start();
    const client = connect(server);
    const streams = Array.from({ length: 20 }, () => new Stream(client));
    for (const { call } of streams) call.write(repeat([1, 2, 3], 20_000));
    for (const { call } of streams) call.write(repeat([7], 0));
    await until(() => streams.every(({ answers }) => answers.length === 1));
    for (const host of server.hosts()) process.kill(host, 'SIGKILL');
    await until(() => streams.every(({ answers }) => answers.length === 2));
    for (const { answers } of streams) {
      expect(answers[1]!.errorMessage).toContain('SIGKILL');
      expect(answers[1]!.inferResponse.parameters).toMatchObject({ error_code: { stringParam: 'UNAVAILABLE' } });
    }
    await until(async () => {
      const again = new Stream(client);
      again.call.write(repeat([1, 2], 0));
      again.call.end();
      expect((await again.ended).code).toBe(0);
      return again.answers.length === 2;
    });
    // The streams themselves live on.
    for (const { call } of streams) call.write(repeat([7], 0));
    await until(() => streams.every(({ answers }) => answers.length === 3 && answers[2]!.errorMessage === ''));
  });

  it.each(['process', 'inline'])('finish after SIGTERM, %s', async (kind) => {
    const server = await start(`--execution-host=${kind}`);
    const stream = new Stream(connect(server));
    stream.call.write(repeat(sixteen, 30));
    await until(() => stream.answers.length > 0);
    const exit = await server.stop();
    expect([exit.code, stream.answers.length, (await stream.ended).code]).toEqual([0, 16, 14]);
  });

  it.each(['process', 'inline'])('are cut off with a status when they take longer than the server waits, %s', async (kind) => {
    const server = await start(`--execution-host=${kind}`, '--exit-timeout-secs=1');
    const stream = new Stream(connect(server));
    stream.call.write(repeat([1, 2], 20_000));
    stream.call.write(repeat([7], 0));
    await until(() => stream.answers.length === 1);
    const exit = await server.stop();
    expect([exit.code, (await stream.ended).code]).toEqual([1, 14]);
  });
});
