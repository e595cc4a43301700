import { readFileSync } from 'node:fs';
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { afterEach, describe, expect, it } from 'vitest';
import { encodeInferRequest } from '../../../clients/typescript/src/grpc/encode-infer-request.ts';
import type { InferRequest } from '../../../clients/typescript/src/transport.ts';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import type { Lane } from '../../load/lane.ts';
import type { LoadPlan } from '../../load/load-plan.ts';
import { callUnary } from './grpc-call.ts';
import { frameMessage } from './message-prefix.ts';
import { ANY_REQUEST, bytesOf, inferRequest, int32, OK, openLane, planOf, type RecordingSink } from './recorded-lane.case.ts';

const types = protobuf.Root.fromJSON(descriptor);
const requestType = types.lookupType('inference.ModelInferRequest');
const responseType = types.lookupType('inference.ModelInferResponse');
const streamResponseType = types.lookupType('inference.ModelStreamInferResponse');

interface Request {
  readonly modelName: string;
  readonly id: string;
  readonly rawInputContents: readonly Uint8Array[];
  readonly parameters: Record<string, unknown>;
}

function decode(bytes: Uint8Array): Request {
  return requestType.toObject(requestType.decode(bytes), { defaults: true, longs: Number }) as Request;
}

/** The first input comes back. */
function echo({ id, rawInputContents: [data] }: Request): object {
  return { modelName: 'echo', id, outputs: [{ name: 'OUT', datatype: 'INT32', shape: [data!.length / 4] }], rawOutputContents: [data] };
}

let lane: Lane | null = null;
let sink: RecordingSink;

async function open(plan: LoadPlan): Promise<Lane> {
  ({ lane, sink } = await openLane(plan));
  return lane;
}

afterEach(() => {
  lane?.close();
  lane = null;
});

describe('a lane to a server of grpc-js with small windows', () => {
  const BIG: InferRequest = inferRequest('echo', [
    int32(
      'IN',
      [150_000],
      Array.from({ length: 150_000 }, (_, i) => i),
    ),
  ]);
  const expected = [{ name: 'OUT', data: bytesOf(Array.from({ length: 150_000 }, (_, i) => i)), tolerance: 0 }];
  let server: Server;
  let seen: Metadata[] = [];

  async function start(options: object = {}, credentials = ServerCredentials.createInsecure()): Promise<number> {
    seen = [];
    const same = (bytes: Buffer): Buffer => bytes;
    const serialize = { requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same };
    const service: ServiceDefinition = {
      modelInfer: { path: '/inference.GRPCInferenceService/ModelInfer', requestStream: false, responseStream: false, ...serialize },
      modelStreamInfer: {
        path: '/inference.GRPCInferenceService/ModelStreamInfer',
        requestStream: true,
        responseStream: true,
        ...serialize,
      },
    };
    server = new Server({ 'grpc.max_receive_message_length': -1, ...options });
    server.addService(service, {
      modelInfer: (call: ServerUnaryCall<Buffer, Buffer>, callback: (error: object | null, answer?: Buffer) => void) => {
        seen.push(call.metadata);
        const request = decode(call.request);
        if (request.modelName === 'broken') {
          callback({ code: 8, details: 'too large, símple' });
          return;
        }
        callback(null, Buffer.from(responseType.encode(responseType.fromObject(echo(request))).finish()));
      },
      modelStreamInfer: (call: ServerDuplexStream<Buffer, Buffer>) => {
        call.on('data', (bytes: Buffer) => {
          const request = decode(bytes);
          if (request.modelName === 'ends') {
            call.emit('error', { code: 14, details: 'enough' });
            return;
          }
          // As Triton says it, and as servers do that know of no ids.
          const answer = request.modelName === 'broken' ? { errorMessage: 'broken' } : { inferResponse: echo(request) };
          call.write(Buffer.from(streamResponseType.encode(streamResponseType.fromObject(answer)).finish()));
        });
        call.on('end', () => call.end());
      },
    });
    return new Promise((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', credentials, (error, port) => (error === null ? resolve(port) : reject(error)));
    });
  }

  afterEach(() => server.forceShutdown());

  it.each(['grpc', 'grpc-stream'] as const)('carries messages many times its windows, over %s', async (protocol) => {
    const port = await start({ 'grpc-node.flow_control_window': 65_535 });
    const plan = planOf(port, [BIG], { protocol, requests: [{ infer: BIG, text: null, expected }] });
    const to = await open(plan);
    for (let slot = 0; slot < 8; slot++) to.send(slot, 0, null, slot % 2 === 0, 0);
    for (let slot = 0; slot < 8; slot++) expect(await sink.endOf(slot)).toEqual(OK);
  });

  it('has no more calls than the server takes', async () => {
    const to = await open(planOf(await start({ 'grpc.max_concurrent_streams': 3 }), [ANY_REQUEST]));
    expect(to.capacity).toBe(3);
  });

  it('sends metadata, the deadline, and statuses come back', async () => {
    const port = await start();
    const plan = planOf(port, [ANY_REQUEST, inferRequest('broken', ANY_REQUEST.inputs)], { sendsDeadline: true, deadlineMs: 5_000 });
    const to = await open({ ...plan, target: { ...plan.target, headers: { authorization: 'Bearer x', 'trace-bin': 'AAEC' } } });
    to.send(0, 0, null, true, 4_000);
    to.send(1, 0, null, true, 120_000);
    to.send(2, 0, null, true, 0);
    to.send(3, 1, null, true, 4_000);
    for (const slot of [0, 1, 2]) expect(await sink.endOf(slot)).toEqual(OK);
    expect(await sink.endOf(3)).toEqual({ outcome: 'refused', status: 'gRPC 8 RESOURCE_EXHAUSTED', message: 'too large, símple' });
    expect(seen).toHaveLength(4);
    for (const metadata of seen) {
      expect(metadata.get('authorization')).toEqual(['Bearer x']);
      expect(metadata.get('trace-bin')).toEqual([Buffer.from([0, 1, 2])]);
    }
  });

  it('goes over TLS, as control calls do', async () => {
    const pem = (name: string): Buffer =>
      readFileSync(new URL(`../../../server/transports/fixtures/localhost.${name}.pem`, import.meta.url));
    const pair = { cert_chain: pem('cert'), private_key: pem('key') };
    const port = await start({}, ServerCredentials.createSsl(null, [pair]));
    const tls = { ca: String(pem('cert')), cert: '', key: '', verify: true };
    const target = { ...planOf(port, [ANY_REQUEST]).target, host: 'localhost', tls };
    const to = await open({ ...planOf(port, [ANY_REQUEST]), target });
    to.send(0, 0, null, true, 0);
    expect(await sink.endOf(0)).toEqual(OK);
    const message = encodeInferRequest(ANY_REQUEST, false);
    const answer = await callUnary(target, '/inference.GRPCInferenceService/ModelInfer', message, 5_000);
    expect(responseType.decode(answer)).toMatchObject({ modelName: 'echo' });
    const stranger = { ...target, tls: { ...tls, ca: '' } };
    await expect(open({ ...planOf(port, [ANY_REQUEST]), target: stranger })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(callUnary(stranger, '/inference.GRPCInferenceService/ModelInfer', message, 5_000)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    });
    await open({ ...planOf(port, [ANY_REQUEST]), target: { ...stranger, tls: { ...stranger.tls, verify: false } } });
  });

  it('gives errors without an id to the oldest request, and goes on', async () => {
    const port = await start();
    const broken = inferRequest('broken', ANY_REQUEST.inputs);
    const to = await open(planOf(port, [ANY_REQUEST, broken], { protocol: 'grpc-stream' }));
    for (const [slot, index] of [0, 1, 0].entries()) to.send(slot, index, null, true, 0);
    expect(await sink.endOf(2)).toEqual(OK);
    expect(await sink.endOf(0)).toEqual(OK);
    expect(await sink.endOf(1)).toEqual({ outcome: 'failed', status: 'gRPC 2 UNKNOWN', message: 'broken' });
  });

  it('ends with its stream', async () => {
    const port = await start();
    const to = await open(planOf(port, [inferRequest('ends', ANY_REQUEST.inputs)], { protocol: 'grpc-stream' }));
    to.send(0, 0, null, false, 0);
    expect(await sink.endOf(0)).toEqual({ outcome: 'refused', status: 'gRPC 14 UNAVAILABLE', message: 'enough' });
    expect([to.isOpen, sink.closedWith]).toEqual([false, expect.stringContaining('enough')]);
  });

  it('passes over the answer to what was abandoned in a stream', async () => {
    const port = await start({ 'grpc-node.flow_control_window': 65_535 });
    const to = await open(planOf(port, [BIG], { protocol: 'grpc-stream' }));
    for (const slot of [0, 1, 2]) to.send(slot, 0, null, true, 0);
    // The first is half sent, the second not at all.
    to.abandon(0);
    to.abandon(1);
    to.send(1, 0, null, true, 0);
    expect(await sink.endOf(2)).toEqual(OK);
    expect(await sink.endOf(1)).toEqual(OK);
    expect([...sink.ends.keys()]).toEqual([2, 1]);
    // Three messages in all.
    expect(sink.sent).toBeGreaterThan(1_800_000);
    expect(sink.sent).toBeLessThan(1_900_000);
  });
});

describe('a lane to a server of node:http2', () => {
  let server: Http2Server;
  let onStream: (stream: ServerHttp2Stream, headers: Record<string, unknown>) => void;

  async function start(settings: object = {}): Promise<number> {
    server = createServer({ settings });
    server.on('stream', (stream, headers) => onStream(stream, headers));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }

  function answerWith(trailers: Record<string, string>, messages: readonly Uint8Array[], headers: object = {}): void {
    onStream = (stream) => {
      stream.on('error', () => {});
      stream.on('wantTrailers', () => stream.sendTrailers(trailers));
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...headers }, { waitForTrailers: true });
      for (const message of messages) stream.write(frameMessage(message));
      stream.end();
    };
  }

  async function endOf(): Promise<object> {
    const to = await open(planOf((server.address() as AddressInfo).port, [ANY_REQUEST]));
    to.send(0, 0, null, true, 0);
    return sink.endOf(0);
  }

  afterEach(() => server.close());

  it('reads what its HPACK encoder writes', async () => {
    const to = await open(planOf(await start(), [ANY_REQUEST]));
    const text = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary-ascii', maxLength: 200 }));
    let slot = 0;
    await fc.assert(
      fc.asyncProperty(text, fc.integer({ min: 1, max: 16 }), async (message, code) => {
        answerWith({ 'grpc-status': String(code), 'grpc-message': encodeURIComponent(message), 'other-header': 'x'.repeat(code) }, []);
        slot++;
        to.send(slot, 0, null, false, 0);
        expect(await sink.endOf(slot)).toMatchObject({ message: message === '' ? 'the server gave no reason' : message });
      }),
      { numRuns: 100 },
    );
  });

  it.each([{}, { headerTableSize: 0 }, { headerTableSize: 8192 }])('is understood by its HPACK decoder: %o', async (settings) => {
    const seen: Record<string, unknown>[] = [];
    const port = await start(settings);
    answerWith({ 'grpc-status': '0' }, []);
    const respond = onStream;
    onStream = (stream, headers) => {
      seen.push({ ...headers });
      respond(stream, headers);
    };
    const plan = planOf(port, [ANY_REQUEST], { sendsDeadline: true });
    const to = await open({ ...plan, target: { ...plan.target, basePath: '/gateway', headers: { 'x-long': 'a'.repeat(300) } } });
    const timeouts = [1.5, 0, 2_000, 99_999_999, 0.000_1];
    for (const [slot, timeoutMs] of timeouts.entries()) {
      to.send(slot, 0, null, false, timeoutMs);
      await sink.endOf(slot);
    }
    expect(seen.map((headers) => headers['grpc-timeout'])).toEqual(['00001500u', undefined, '02000000u', '99999999m', '00000001u']);
    for (const headers of seen) {
      expect(headers).toMatchObject({
        ':method': 'POST',
        ':scheme': 'http',
        ':path': '/gateway/inference.GRPCInferenceService/ModelInfer',
        ':authority': `127.0.0.1:${port}`,
        te: 'trailers',
        'content-type': 'application/grpc',
        'user-agent': 'nereid-bench',
        'x-long': 'a'.repeat(300),
      });
    }
  });

  it('counts the messages of an answer', async () => {
    await start();
    answerWith({ 'grpc-status': '0' }, []);
    expect(await endOf()).toMatchObject({ outcome: 'failed', message: 'expected one message with status OK, got none' });
    answerWith({ 'grpc-status': '0' }, [Buffer.alloc(0), Buffer.alloc(0)]);
    expect(await endOf()).toMatchObject({ outcome: 'failed', message: 'expected one message with status OK, got 2' });
    onStream = (stream) => {
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.end(frameMessage(Buffer.from('abc')).subarray(0, 7));
    };
    expect(await endOf()).toMatchObject({ outcome: 'failed', message: 'expected one message with status OK, got one that is cut off' });
  });

  it('takes a status without headers before it, and HTTP statuses', async () => {
    await start();
    onStream = (stream) => stream.respond({ ':status': 200, 'grpc-status': '3', 'grpc-message': 'no' }, { endStream: true });
    expect(await endOf()).toEqual({ outcome: 'failed', status: 'gRPC 3 INVALID_ARGUMENT', message: 'no' });
    onStream = (stream) => {
      stream.respond({ ':status': 503, 'content-type': 'text/html' });
      stream.end('<html>');
    };
    expect(await endOf()).toMatchObject({ outcome: 'refused', status: 'HTTP 503', message: expect.stringContaining('text/html') });
    onStream = (stream) => stream.respond({ ':status': 204 }, { endStream: true });
    expect(await endOf()).toMatchObject({ outcome: 'failed', status: 'HTTP 204' });
    onStream = (stream) => {
      stream.respond({ ':status': 200 });
      stream.end();
    };
    expect(await endOf()).toMatchObject({ outcome: 'failed', message: expect.stringContaining('expected a grpc-status') });
  });

  it('refuses compressed answers, of which it looks at none', async () => {
    const compressed = frameMessage(Buffer.from('abc'));
    compressed[0] = 1;
    await start();
    onStream = (stream) => {
      stream.on('error', () => {});
      stream.respond({ ':status': 200 });
      stream.write(compressed);
    };
    expect(await endOf()).toMatchObject({ outcome: 'failed', message: expect.stringContaining('compressed') });
  });

  it('looks at answers', async () => {
    await start();
    answerWith({ 'grpc-status': '0' }, [Buffer.from([0x2a, 0x7f])]);
    expect(await endOf()).toMatchObject({ outcome: 'wrong', status: 'wrong answer' });
    const response = { outputs: [{ name: 'OUT', datatype: 'INT32', shape: [2] }], rawOutputContents: [bytesOf([1, 2])] };
    answerWith({ 'grpc-status': '0' }, [responseType.encode(responseType.fromObject(response)).finish()]);
    const plan = planOf((server.address() as AddressInfo).port, [ANY_REQUEST]);
    const requests = [
      [1, 2],
      [1, 3],
    ].map((values) => ({
      infer: ANY_REQUEST,
      text: null,
      expected: [{ name: 'OUT', data: bytesOf(values), tolerance: 0 }],
    }));
    const to = await open({ ...plan, requests });
    to.send(0, 0, null, true, 0);
    to.send(1, 1, null, true, 0);
    to.send(2, 1, null, false, 0);
    expect(await sink.endOf(0)).toEqual(OK);
    expect(await sink.endOf(1)).toMatchObject({ outcome: 'wrong', message: expect.stringContaining('OUT') });
    expect(await sink.endOf(2)).toEqual(OK);
  });

  it('survives answers that come before the request is out', async () => {
    const big = inferRequest('any', [
      int32(
        'IN',
        [200_000],
        Array.from({ length: 200_000 }, () => 1),
      ),
    ]);
    const port = await start();
    onStream = (stream) => {
      stream.on('error', () => {});
      stream.respond({ ':status': 200, 'grpc-status': '8', 'grpc-message': 'too large' }, { endStream: true });
    };
    const to = await open(planOf(port, [big]));
    for (const slot of [0, 1, 2]) {
      to.send(slot, 0, null, false, 0);
      expect(await sink.endOf(slot)).toMatchObject({ outcome: 'refused', message: 'too large' });
    }
    expect(to.isOpen).toBe(true);
  });
});

describe('plans that gRPC cannot carry', () => {
  it('are refused before anything is sent', async () => {
    const plan = planOf(1, [ANY_REQUEST]);
    const withHeaders = (headers: Record<string, string>): LoadPlan => ({ ...plan, target: { ...plan.target, headers } });
    await expect(open(withHeaders({ 'content-type': 'text/plain' }))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(open(withHeaders({ 'x-large': 'x'.repeat(20_000) }))).rejects.toMatchObject({ message: expect.stringContaining('16384') });
  });
});
