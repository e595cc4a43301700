import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startGrpcTransport } from '../../transports/grpc/grpc-transport.ts';
import { LOCAL_OPTIONS } from '../../transports/grpc/local-options.case.ts';
import type { RpcTransport } from '../../transports/rpc-call.ts';
import type { ProtocolContext } from '../protocol.ts';
import { grpcHealthMethods } from './health-methods.ts';
import { MAX_WATCHERS } from './health-watchers.ts';

const same = (bytes: Buffer): Buffer => bytes;
/** HealthCheckRequest { service }. */
const request = (service: string): Buffer =>
  service === '' ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, service.length]), Buffer.from(service)]);
const STATUS_OF_BYTES: Readonly<Record<string, string>> = { '0801': 'SERVING', '0802': 'NOT_SERVING', '0803': 'SERVICE_UNKNOWN' };

let isReady: boolean;
let isLive: boolean;
let faults: unknown[];
let transport: RpcTransport;
let client: Client;

beforeEach(async () => {
  isReady = true;
  isLive = true;
  faults = [];
  // Of the context, health reads these alone.
  const context: Pick<ProtocolContext, 'isReady' | 'isLive' | 'reportFault'> = {
    isReady: () => isReady,
    isLive: () => isLive,
    reportFault: () => {},
  };
  transport = await startGrpcTransport({
    ...LOCAL_OPTIONS,
    methods: grpcHealthMethods(context as ProtocolContext),
    onError: (error) => faults.push(error),
  });
  client = new Client(`localhost:${transport.port}`, credentials.createInsecure());
});

afterEach(async () => {
  client.close();
  await transport.close();
  expect(faults).toEqual([]);
});

function check(message: Buffer): Promise<string> {
  return new Promise((resolve, reject) =>
    client.makeUnaryRequest('/grpc.health.v1.Health/Check', same, same, message, (error, answer) =>
      error === null ? resolve(STATUS_OF_BYTES[answer!.toString('hex')]!) : reject(error),
    ),
  );
}

function watch(service: string) {
  const call = client.makeServerStreamRequest('/grpc.health.v1.Health/Watch', same, same, request(service));
  const heard: string[] = [];
  let onHeard = (): void => {};
  call.on('data', (bytes: Buffer) => {
    heard.push(STATUS_OF_BYTES[bytes.toString('hex')]!);
    onHeard();
  });
  const ended = new Promise<ServiceError>((resolve) => call.on('error', resolve));
  const count = async (wanted: number): Promise<string[]> => {
    while (heard.length < wanted) await new Promise<void>((resolve) => (onHeard = resolve));
    return heard;
  };
  return { call, ended, count };
}

describe('Check', () => {
  test.each(['', 'inference.GRPCInferenceService'])('of %j is the readiness of the server', async (service) => {
    expect(await check(request(service))).toBe('SERVING');
    isReady = false;
    expect(await check(request(service))).toBe('NOT_SERVING');
  });

  test('of a service that is not there is NOT_FOUND', async () => {
    await expect(check(request('inference.GRPCInferenceServise'))).rejects.toMatchObject({
      code: status.NOT_FOUND,
      details: expect.stringContaining("did you mean 'inference.GRPCInferenceService'?"),
    });
  });

  test('of what is no request is INVALID_ARGUMENT', async () => {
    await expect(check(Buffer.from([0x0a, 0x7f, 0x61]))).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });
});

describe('Watch', () => {
  test('tells the status at once and whenever it changes', async () => {
    const { call, count } = watch('');
    expect(await count(1)).toEqual(['SERVING']);
    isReady = false;
    expect(await count(2)).toEqual(['SERVING', 'NOT_SERVING']);
    isReady = true;
    expect(await count(3)).toEqual(['SERVING', 'NOT_SERVING', 'SERVING']);
    call.cancel();
  });

  test('of a service that is not there stays open', async () => {
    const { call, count } = watch('nothing');
    expect(await count(1)).toEqual(['SERVICE_UNKNOWN']);
    call.cancel();
  });

  test('ends when the server is on its way out, so that it can drain', async () => {
    const { count, ended } = watch('');
    await count(1);
    isReady = false;
    isLive = false;
    await transport.drain();
    expect(await ended).toMatchObject({ code: status.UNAVAILABLE, details: 'the server is shutting down' });
    expect(await count(2)).toEqual(['SERVING', 'NOT_SERVING']);
  });

  test('is bounded, and a watcher that goes makes room', async () => {
    const watchers = Array.from({ length: MAX_WATCHERS }, () => watch(''));
    await Promise.all(watchers.map(({ count }) => count(1)));
    expect(await watch('').ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    for (const { call } of watchers) call.cancel();
    await Promise.all(watchers.map(({ ended }) => ended));
    expect(await check(request(''))).toBe('SERVING');
    expect(await watch('').count(1)).toEqual(['SERVING']);
  });
});
