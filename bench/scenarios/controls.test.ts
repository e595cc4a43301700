/** Controls are worth something only when they do the work, and answer as what they are compared with does. They run from dist/. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTransport as createGrpc } from '../../clients/typescript/src/grpc/grpc-transport.ts';
import { createTransport as createHttp } from '../../clients/typescript/src/http/http-transport.ts';
import type { Transport } from '../../clients/typescript/src/transport.ts';
import { createTransport as createWebSocket } from '../../clients/typescript/src/websocket/websocket-transport.ts';
import { loadUws } from '../../server/transports/uws/uws-module.ts';
import type { WireProtocol } from '../load/load-plan.ts';
import { type BenchRepository, makeBenchRepository } from './bench-repository.ts';
import type { EchoOptions } from './blocking-echo.ts';
import { ANY_CORE } from './child.ts';
import { LoopProcess } from './loop-process.ts';
import { nodeOnCore } from './pinning.ts';
import type { RawOnnxRuntimeOptions } from './raw-onnxruntime.ts';
import { bytesRequests, tinyRequests } from './requests.ts';
import { INLINE } from './rows/contenders.ts';
import type { EmptyStack } from './scenario.ts';
import { ServerFleet } from './server-fleet.ts';

let repository: BenchRepository;
let fleet: ServerFleet;
beforeAll(() => {
  repository = makeBenchRepository(['tiny', 'bytes']);
  fleet = new ServerFleet(repository, ANY_CORE);
});
afterAll(async () => {
  await fleet.close();
  repository.remove();
});

const options = { compression: 'none', tls: null, fetch: null } as const;
const transports: Readonly<Record<string, (port: number) => Transport>> = {
  'http-binary': (port) => createHttp(new URL(`http://127.0.0.1:${port}`), options),
  'http-json': (port) => createHttp(new URL(`http://127.0.0.1:${port}`), options),
  grpc: (port) => createGrpc(new URL(`grpc://127.0.0.1:${port}`), options),
  'websocket-binary': (port) => createWebSocket(new URL(`ws://127.0.0.1:${port}`), options),
  'websocket-json': (port) => createWebSocket(new URL(`ws://127.0.0.1:${port}`), options),
};

const stacks: readonly [EmptyStack, WireProtocol][] = [
  ['uws', 'http-binary'],
  ['uws', 'http-json'],
  ['node', 'http-binary'],
  ['node', 'http-json'],
  ['http2', 'grpc'],
  ['grpc-js', 'grpc'],
  ['websocket', 'websocket-binary'],
  ['websocket', 'websocket-json'],
];
/** Of uWebSockets.js, which does not load on every Node. */
const ofUws: readonly EmptyStack[] = ['uws', 'websocket'];
const hasUws = 'module' in (await loadUws());

describe.each(stacks.filter(([stack]) => hasUws || !ofUws.includes(stack)))('the empty %s server, %s', (stack, protocol) => {
  test('answers as the server does, the first time and later, many at once', async () => {
    const request = tinyRequests(protocol.endsWith('json') ? 'json' : 'binary')[0]!.infer!;
    const real = await fleet.get(INLINE);
    const control = await fleet.getEmpty({ kind: 'empty', stack, like: INLINE }, `${stack} ${protocol}`, protocol);
    const call = { signal: null, deadlineMs: Number.POSITIVE_INFINITY, headers: {} };
    const [wanted, ...answers] = await Promise.all(
      [real, control].map(async (server) => {
        const transport = transports[protocol]!(server.portOf(protocol));
        try {
          const first = await Promise.all(Array.from({ length: 8 }, () => transport.infer(request, call)));
          return [...first, await transport.infer(request, call)].map(({ modelName, outputs }) => ({ modelName, outputs }));
        } finally {
          await transport.close();
        }
      }),
    );
    expect(wanted![0]!.outputs.map(({ name }) => name)).toEqual(['OUTPUT0', 'OUTPUT1']);
    expect(answers).toEqual([wanted]);
  });
});

describe.each(['c-api', 'binding'] as const)('ONNX Runtime alone, %s', (through) => {
  async function loop(model: string, batch: number | 'best', requests = tinyRequests('binary')): Promise<LoopProcess> {
    const raw: RawOnnxRuntimeOptions = {
      modelFile: repository.modelFile(model),
      through,
      batch,
      requests: requests.map(({ infer }) => infer!.inputs),
    };
    return LoopProcess.start('raw-onnxruntime.js', raw, null);
  }

  test('runs a model, and counts rows', async () => {
    const process = await loop('tiny', 4);
    const { items, itemsPerSecond, p50Us, p99Us } = await process.run(50);
    await process.close();
    expect(items % 4).toBe(0);
    expect(items).toBeGreaterThan(0);
    expect(itemsPerSecond).toBeGreaterThan(0);
    expect(p99Us).toBeGreaterThanOrEqual(p50Us);
  });

  test('looks for the batch that is best for a row', async () => {
    const process = await loop('tiny', 'best');
    // A row of 16 numbers costs nothing beside the run.
    expect(process.note).toMatch(/^batch (2|4|8|16|32|64)$/);
    await process.close();
  });

  test('runs strings', async () => {
    const process = await loop('bytes', 1, bytesRequests(3));
    expect((await process.run(20)).items).toBeGreaterThan(0);
    await process.close();
  });

  test('says what is wrong with a model or a request', async () => {
    const strange = tinyRequests('binary').map((request) => ({
      ...request,
      infer: { ...request.infer!, inputs: [{ name: 'INPUT0', datatype: 'INT32' as const, shape: [2, 16], data: new Uint8Array(128) }] },
    }));
    await expect(loop('tiny', 1, strange)).rejects.toThrow('inputs.INPUT0: expected a first dimension of 1, got [2, 16]');
    await expect(loop('absent', 1)).rejects.toThrow(/model\.onnx.*(does not|doesn't) exist/s);
  });
});

test('bytes go to another process and back, also more than a socket buffers', async () => {
  for (const [sentBytes, answeredBytes] of [
    [100, 100],
    [3_000_000, 10],
  ] as const) {
    const echo: EchoOptions = { sentBytes, answeredBytes, isPinned: false };
    const process = await LoopProcess.start('blocking-echo.js', echo, null);
    expect((await process.run(30)).items).toBeGreaterThan(0);
    await process.close();
  }
});

test('a process is kept on a core only where one is asked for', () => {
  expect(nodeOnCore(null, ['x.js'])).toEqual([process.execPath, 'x.js']);
  expect(nodeOnCore(0, ['x.js']).slice(-2)).toEqual([process.execPath, 'x.js']);
});

test('a model that nobody makes is an error with the names of those that are', () => {
  expect(() => makeBenchRepository(['tyni'])).toThrow("no model 'tyni' is made for benchmarks; there are tiny, mlp");
});
