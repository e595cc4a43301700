import { createServer as createHttp2Server, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { createServer, type Server as NetServer } from 'node:net';
import protobuf from 'protobufjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import { exampleRepository, ServerProcess } from '../../../server/e2e/serve.ts';
import type { LoadTarget } from '../../load/load-plan.ts';
import { callUnary } from './grpc-call.ts';

const SERVICE = '/inference.GRPCInferenceService/';
const EMPTY = new Uint8Array(0);
const types = protobuf.Root.fromJSON(descriptor);

function targetOf(port: number, headers: Record<string, string> = {}): LoadTarget {
  return { host: '127.0.0.1', port, basePath: '', tls: null, headers };
}

async function listen(server: NetServer | Http2Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

describe('callUnary, of a Nereid', () => {
  let server: ServerProcess;
  let target: LoadTarget;

  beforeAll(async () => {
    server = await ServerProcess.start([`--model-repository=${exampleRepository}`, '--model-control-mode=explicit', '--load-model=simple']);
    target = targetOf(Number(server.grpc.split(':').at(-1)));
  }, 60_000);

  afterAll(async () => {
    await server?.stop();
  });

  it('gives the answer', async () => {
    const answer = await callUnary(target, `${SERVICE}ServerMetadata`, EMPTY, 5_000);
    expect(types.lookupType('inference.ServerMetadataResponse').decode(answer)).toMatchObject({ name: 'nereid' });
    const type = types.lookupType('inference.ModelMetadataRequest');
    const metadata = await callUnary(target, `${SERVICE}ModelMetadata`, type.encode({ name: 'simple' }).finish(), 5_000);
    expect(types.lookupType('inference.ModelMetadataResponse').decode(metadata)).toMatchObject({ name: 'simple' });
  });

  it('says what the server says', async () => {
    const message = types.lookupType('inference.ModelMetadataRequest').encode({ name: 'símple' }).finish();
    const call = callUnary(target, `${SERVICE}ModelMetadata`, message, 5_000);
    await expect(call).rejects.toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining('símple') });
    const nothing = callUnary(target, '/inference.GRPCInferenceService/ModelGuess', EMPTY, 5_000);
    await expect(nothing).rejects.toMatchObject({ code: 'UNIMPLEMENTED' });
  });

  it('is told so on a port of HTTP/1.1', async () => {
    const call = callUnary(targetOf(Number(server.http.split(':').at(-1))), `${SERVICE}ServerMetadata`, EMPTY, 5_000);
    await expect(call).rejects.toMatchObject({ message: expect.stringContaining('gRPC port') });
  });
});

describe('callUnary, of others', () => {
  it('does not wait for ever', async () => {
    const server = createServer(() => {});
    const port = await listen(server);
    const sockets = new Set<import('node:net').Socket>();
    server.on('connection', (socket) => sockets.add(socket));
    const call = callUnary(targetOf(port), '/x/Y', EMPTY, 50);
    await expect(call).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', message: expect.stringContaining('50 ms') });
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  it('knows a server that is not there', async () => {
    const server = createServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    await expect(callUnary(targetOf(port), '/x/Y', EMPTY, 5_000)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('sends metadata and a path of the gateway, and takes HTTP statuses', async () => {
    const seen: Record<string, unknown>[] = [];
    const server = createHttp2Server((request, response) => {
      seen.push(request.headers);
      response.writeHead(503, { 'content-type': 'text/plain' }).end('busy');
    });
    const port = await listen(server);
    const target: LoadTarget = { ...targetOf(port, { authorization: 'Bearer x' }), basePath: '/gateway' };
    await expect(callUnary(target, '/x/Y', EMPTY, 5_000)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('HTTP 503 (text/plain)'),
    });
    expect(seen).toMatchObject([
      { ':path': '/gateway/x/Y', authorization: 'Bearer x', te: 'trailers', 'content-type': 'application/grpc' },
    ]);
    await new Promise((resolve) => server.close(resolve));
  });

  it('refuses what is no metadata', async () => {
    const target = targetOf(1, { te: 'gzip' });
    await expect(callUnary(target, '/x/Y', EMPTY, 50)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('te'),
    });
    const secret = callUnary(targetOf(1, { authorization: 'a\nb' }), '/x/Y', EMPTY, 50);
    await expect(secret).rejects.toMatchObject({ message: expect.not.stringContaining('a\nb') });
  });
});
