import protobuf from 'protobufjs';
import { afterEach, describe, expect, test } from 'vitest';
import { descriptor } from '../../../../proto/gen/descriptor.ts';
import type { CallContext, Transport } from '../transport.ts';
import { FaultyServer, type ReceivedCall } from './faulty-server.case.ts';
import { createTransport } from './grpc-transport.ts';

const root = protobuf.Root.fromJSON(descriptor).resolveAll();
const live = Buffer.from([8, 1]);
const anyCall: CallContext = { signal: null, deadlineMs: Number.POSITIVE_INFINITY, headers: {} };

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function serve(reply: (call: ReceivedCall) => void): Promise<FaultyServer> {
  const server = await FaultyServer.start(reply);
  ends.push(() => server.stop());
  return server;
}

function open(port: number): Transport {
  const transport = createTransport(new URL(`grpc://127.0.0.1:${port}`), { compression: 'none', tls: null, fetch: null });
  ends.push(() => transport.close());
  return transport;
}

function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    (value) => `it went well: ${String(value)}`,
    (error: unknown) => error,
  );
}

describe('control calls', () => {
  test.each([
    ['isServerLive', 14, false],
    ['isServerReady', 14, false],
    ['isModelReady', 14, false],
    ['isModelReady', 5, false],
    ['isServerLive', 5, 'NOT_FOUND'],
    ['isModelReady', 3, 'INVALID_ARGUMENT'],
    ['isModelReady', 13, 'INTERNAL'],
  ] as const)('%s of a server that answers %d is %s', async (method, status, expected) => {
    const server = await serve((call) => call.end(status, 'no'));
    const transport = open(server.port);
    const outcome = method === 'isModelReady' ? transport.isModelReady('m', '', anyCall) : transport[method](anyCall);
    if (expected === false) expect(await outcome).toBe(false);
    else expect(await failureOf(outcome)).toMatchObject({ code: expected });
  });

  test('a server that is not there is an error, not a no', async () => {
    const first = await FaultyServer.start(() => {});
    await first.stop();
    expect(await failureOf(open(first.port).isModelReady('m', '', anyCall))).toMatchObject({ phase: 'refused', status: 0 });
  });

  test('yes is true', async () => {
    const server = await serve((call) => call.send(live).end(0));
    const transport = open(server.port);
    expect(await transport.isServerLive(anyCall)).toBe(true);
    expect(await transport.isModelReady('m', '3', anyCall)).toBe(true);
    expect(root.lookupType('inference.ModelReadyRequest').decode(server.calls[1]!.message)).toMatchObject({ name: 'm', version: '3' });
  });

  const reply = (type: string, value: object): ((call: ReceivedCall) => void) => {
    const message = root.lookupType(`inference.${type}`);
    return (call) => call.send(message.encode(message.fromObject(value)).finish()).end(0);
  };
  const sent = (server: FaultyServer): object => {
    const call = server.calls.at(-1)!;
    const message = root.lookupType(`inference.${call.method}Request`);
    return message.toObject(message.decode(call.message), { bytes: Array, longs: Number });
  };

  test('load and unload with all that they can say', async () => {
    const server = await serve((call) => call.send(Buffer.alloc(0)).end(0));
    const transport = open(server.port);
    await transport.loadModel('m', '{"backend":"x"}', new Map([['1/model.onnx', new Uint8Array([1, 2])]]), anyCall);
    expect(sent(server)).toEqual({
      modelName: 'm',
      parameters: { config: { stringParam: '{"backend":"x"}' }, 'file:1/model.onnx': { bytesParam: [1, 2] } },
    });
    await transport.unloadModel('m', true, anyCall);
    expect(sent(server)).toEqual({ modelName: 'm', parameters: { unload_dependents: { boolParam: true } } });
    await transport.unloadModel('m', false, anyCall);
    expect(sent(server)).toEqual({ modelName: 'm' });
    await expect(transport.rollbackModel('m', anyCall)).rejects.toMatchObject({
      code: 'UNIMPLEMENTED',
      message: expect.stringContaining('over gRPC'),
    });
    expect(server.calls.length).toBe(3);
  });

  test('shared memory', async () => {
    const region = { name: 'r', key: '/r', offset: 8, byteSize: 2 ** 40 };
    const server = await serve(reply('SystemSharedMemoryStatusResponse', { regions: { r: region } }));
    const transport = open(server.port);
    expect(await transport.systemSharedMemoryStatus('r', anyCall)).toEqual([region]);
    await transport.registerSystemSharedMemory(region, anyCall);
    expect(sent(server)).toEqual(region);
    await transport.registerCudaSharedMemory({ name: 'c', deviceId: 1, byteSize: 64 }, new Uint8Array([5]), anyCall);
    expect(sent(server)).toEqual({ name: 'c', deviceId: 1, byteSize: 64, rawHandle: [5] });
    await transport.unregisterCudaSharedMemory('c', anyCall);
    expect(sent(server)).toEqual({ name: 'c' });
  });

  test('trace settings: a list, a text, back to the default', async () => {
    const settings = { trace_level: { value: ['TIMESTAMPS'] }, trace_rate: { value: ['1000'] } };
    const server = await serve(reply('TraceSettingResponse', { settings }));
    const update = { trace_level: ['TIMESTAMPS', 'TENSORS'], trace_rate: '5', trace_count: null };
    expect(await open(server.port).traceSettings('m', update, anyCall)).toEqual({ trace_level: ['TIMESTAMPS'], trace_rate: '1000' });
    expect(sent(server)).toEqual({
      modelName: 'm',
      settings: { trace_level: { value: ['TIMESTAMPS', 'TENSORS'] }, trace_rate: { value: ['5'] }, trace_count: {} },
    });
  });

  test('log settings', async () => {
    const settings = { log_info: { boolParam: false }, log_verbose_level: { uint32Param: 2 }, log_format: { stringParam: 'default' } };
    const server = await serve(reply('LogSettingsResponse', { settings }));
    const flat = { log_info: false, log_verbose_level: 2, log_format: 'default' };
    const transport = open(server.port);
    expect(await transport.logSettings(flat, anyCall)).toEqual(flat);
    expect(sent(server)).toEqual({ settings });
    expect(await failureOf(transport.logSettings({ log_verbose_level: -1 }, anyCall))).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
