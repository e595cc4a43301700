/** Against a real Nereid, over both of its HTTP engines. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { InferRequest, InputTensor } from '../../../clients/typescript/src/transport.ts';
import { exampleRepository, makeRepository, ServerProcess, until } from '../../../server/e2e/serve.ts';
import { loadUws } from '../../../server/transports/uws/uws-module.ts';
import type { Lane } from '../../load/lane.ts';
import type { ExpectedOutput, LoadPlan } from '../../load/load-plan.ts';
import type { LoadWindow } from '../../load/load-window.ts';
import { LoadWorker } from '../../load/load-worker.ts';
import { identity } from '../../models/test-models.ts';
import { inferRequest, int32, makePlan, openLane, type RecordingSink } from './recorded-lane.case.ts';

const uws = await loadUws();
const engines = 'module' in uws ? (['uws', 'node'] as const) : (['node'] as const);
if (!('module' in uws)) console.warn(`the uws engine is not tested here: ${uws.reason}`);

const MODELS = ['simple', 'simple_string', 'simple_sequence', 'repeat_int32'].map((name) => `--load-model=${name}`);
const PROTOCOLS = ['websocket-json', 'websocket-binary'] as const;
const NUMBERS = Array.from({ length: 16 }, (_, i) => i * 3 - 7);
const ONES = NUMBERS.map(() => 1);
const SIMPLE = inferRequest('simple', [int32('INPUT0', [1, 16], NUMBERS), int32('INPUT1', [1, 16], ONES)]);
const SUM: ExpectedOutput = { name: 'OUTPUT0', data: new Uint8Array(Int32Array.from(NUMBERS, (value) => value + 1).buffer), tolerance: 0 };

function uint32(name: string, shape: readonly number[], values: readonly number[]): InputTensor {
  return { name, datatype: 'UINT32', shape, data: new Uint8Array(Uint32Array.from(values).buffer) };
}

function bytesTensor(name: string, texts: readonly string[]): InputTensor {
  const parts = texts.flatMap((text) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(Buffer.byteLength(text));
    return [length, Buffer.from(text)];
  });
  return { name, datatype: 'BYTES', shape: [1, texts.length], data: new Uint8Array(Buffer.concat(parts)) };
}

describe.each(engines)('over %s', (engine) => {
  let server: ServerProcess;
  let lane: Lane;
  let sink: RecordingSink;

  beforeAll(async () => {
    server = await ServerProcess.start([
      `--model-repository=${exampleRepository}`,
      '--model-control-mode=explicit',
      ...MODELS,
      `--http-engine=${engine}`,
    ]);
  });
  afterEach(() => lane?.close());
  afterAll(async () => {
    await server?.stop();
  });

  async function open(requests: readonly InferRequest[], changes: Partial<LoadPlan> = {}): Promise<void> {
    ({ lane, sink } = await openLane(makePlan(Number(new URL(server.http).port), requests, changes)));
  }

  async function end(slot: number, index: number, stamp: Parameters<Lane['send']>[2] = null): Promise<string> {
    lane.send(slot, index, stamp, true, 0);
    const { outcome, status, message } = await sink.endOf(slot);
    return `${outcome} ${status} ${message}`.trim();
  }

  describe.each(PROTOCOLS)('%s', (protocol) => {
    test('values, right and wrong', async () => {
      const right = { infer: SIMPLE, text: null, expected: [SUM] };
      const wrong = { ...right, expected: [{ ...SUM, data: SUM.data.with(4, 0) }] };
      const asked = {
        ...right,
        infer: { ...SIMPLE, outputs: [{ name: 'OUTPUT0', binaryData: true, classification: 0, sharedMemory: null }] },
      };
      const validation = { every: 1, outputs: ['OUTPUT0', 'OUTPUT1'].map((name) => ({ name, datatype: 'INT32' })), isDeterministic: true };
      await open([], { protocol, requests: [right, wrong, asked], validation });
      expect(await end(1, 0)).toBe('ok');
      expect(await end(2, 1)).toMatch(/^wrong wrong answer outputs\.OUTPUT0/);
      expect(await end(3, 2)).toBe('ok');
      expect(await end(4, 0)).toBe('ok');
      expect(sink.parts.size).toBe(0);
    });

    test('thousands of requests on one connection, as many in flight as it carries', async () => {
      await open([SIMPLE], { protocol, requests: [{ infer: SIMPLE, text: null, expected: [SUM] }] });
      let left = 3000;
      sink.onEnded = ({ slot }) => {
        if (left-- > 0) lane.send(slot, 0, null, true, 0);
      };
      for (let slot = 0; slot < lane.capacity; slot++) lane.send(slot, 0, null, true, 0);
      await until(() => sink.ends.length === 3000 + lane.capacity);
      expect(new Set(sink.ends.map(({ outcome, status, message }) => `${outcome} ${status} ${message}`))).toEqual(new Set(['ok  ']));
    });

    test('errors of a request, after which the connection goes on', async () => {
      await open([inferRequest('simpel', []), inferRequest('simple', [int32('INPUT0', [1, 15], NUMBERS.slice(1))]), SIMPLE], { protocol });
      expect(await end(1, 0)).toMatch(/^failed WebSocket 404 NOT_FOUND .*'simpel'.*'simple'/);
      expect(await end(2, 1)).toMatch(/^failed WebSocket 400 INVALID_ARGUMENT /);
      expect(await end(3, 2)).toBe('ok');
    });

    test('text', async () => {
      const texts = NUMBERS.map((value) => `${value}`);
      const request = inferRequest('simple_string', [bytesTensor('INPUT0', texts), bytesTensor('INPUT1', texts)]);
      const expected = [
        {
          name: 'OUTPUT0',
          data: bytesTensor(
            '',
            NUMBERS.map((value) => `${2 * value}`),
          ).data as Uint8Array,
          tolerance: 0,
        },
      ];
      await open([], { protocol, requests: [{ infer: request, text: null, expected }] });
      expect(await end(1, 0)).toBe('ok');
    });

    test('two sequences at once', async () => {
      const request = inferRequest('simple_sequence', [int32('INPUT', [1, 1], [5])]);
      const first = { name: 'OUTPUT', data: new Uint8Array(Int32Array.of(6).buffer), tolerance: 0 };
      const later = { ...first, data: new Uint8Array(Int32Array.of(5).buffer) };
      await open([], {
        protocol,
        requests: [first, later].map((one) => ({ infer: request, text: null, expected: [one] })),
        sequence: { minLength: 3, maxLength: 3, firstId: 1_000_000_000 },
      });
      const at = (id: number, n: number): Parameters<Lane['send']>[2] => ({ id: 1_000_000_000 + id, isStart: n === 0, isEnd: n === 2 });
      for (const n of [0, 1, 2]) {
        expect(await end(10 + n, n === 0 ? 0 : 1, at(1, n))).toBe('ok');
        expect(await end(20 + n, n === 0 ? 0 : 1, at(2, n))).toBe('ok');
      }
      // It has ended: who goes on with it is told so.
      expect(await end(30, 1, at(1, 1))).toMatch(/^failed WebSocket 400 INVALID_ARGUMENT .*sequence/i);
    });

    test('streams of a decoupled model, beside each other', async () => {
      const repeat = (values: readonly number[]): InferRequest =>
        inferRequest('repeat_int32', [
          int32('IN', [values.length], values),
          uint32(
            'DELAY',
            [values.length],
            values.map(() => 1),
          ),
          uint32('WAIT', [1], [0]),
        ]);
      const first = [{ name: 'OUT', data: new Uint8Array(Int32Array.of(4).buffer), tolerance: 0 }];
      await open([], { protocol, requests: [[4, 5, 6], [4]].map((values) => ({ infer: repeat(values), text: null, expected: first })) });
      for (const slot of [1, 2, 3]) lane.send(slot, slot % 2, null, true, 0);
      for (const slot of [1, 2, 3]) expect(await sink.endOf(slot)).toMatchObject({ outcome: 'ok', message: '' });
      expect([1, 2, 3].map((slot) => sink.parts.get(slot))).toEqual([1, 3, 1]);
    });

    test('the server is told how much time is left', async () => {
      const slow = inferRequest('repeat_int32', [int32('IN', [1], [4]), uint32('DELAY', [1], [5000]), uint32('WAIT', [1], [0])]);
      await open([slow, SIMPLE], { protocol, deadlineMs: 1000, sendsDeadline: true });
      lane.send(1, 0, null, true, 20.5);
      lane.send(2, 1, null, true, 1000);
      expect(await sink.endOf(1)).toMatchObject({ outcome: 'expired', status: 'WebSocket 504 DEADLINE_EXCEEDED' });
      expect(await sink.endOf(2)).toMatchObject({ outcome: 'ok' });
    });

    test('a stream that is given up ends in the server too', async () => {
      const long = inferRequest('repeat_int32', [
        int32('IN', [1000], new Array(1000).fill(4)),
        uint32('DELAY', [1000], new Array(1000).fill(20)),
        uint32('WAIT', [1], [0]),
      ]);
      await open([long, SIMPLE], { protocol });
      lane.send(1, 0, null, false, 0);
      await until(() => (sink.parts.get(1) ?? 0) > 1);
      lane.abandon(1);
      const parts = sink.parts.get(1);
      const received = sink.received;
      expect(await end(2, 1)).toBe('ok');
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(sink.parts.get(1)).toBe(parts);
      // The refusal CANCELLED and the answer to the other; not five parts more.
      expect(sink.received - received).toBeLessThan(900);
      expect(sink.ends.map(({ slot }) => slot)).toEqual([2]);
    });
  });

  test('a server that stops answers what it has, and the lane is told', async () => {
    const own = await ServerProcess.start([
      `--model-repository=${exampleRepository}`,
      '--model-control-mode=explicit',
      ...MODELS,
      `--http-engine=${engine}`,
    ]);
    const slow = inferRequest('repeat_int32', [int32('IN', [1], [4]), uint32('DELAY', [1], [300]), uint32('WAIT', [1], [300])]);
    ({ lane, sink } = await openLane(makePlan(Number(new URL(own.http).port), [slow])));
    lane.send(1, 0, null, true, 0);
    await until(() => sink.sent > 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const exit = own.stop();
    await until(() => sink.closedWith !== null);
    expect((await exit).code).toBe(0);
    expect(sink.ends).toEqual([{ slot: 1, outcome: 'ok', status: '', message: '' }]);
    expect(sink.closedWith).toBe('the server is shutting down');
    expect(lane.isOpen).toBe(false);
  });

  test.each(['native', 'node'] as const)('large messages over %s sockets, each answer looked at as a whole', async (sockets) => {
    if (sockets === 'native' && process.platform !== 'linux') return;
    const repository = makeRepository({ 'echo/1/model.onnx': identity('INT32', ['batch', 'n']) });
    const own = await ServerProcess.start([`--model-repository=${repository.path}`, `--http-engine=${engine}`]);
    try {
      const metadata = (await (await fetch(`${own.http}/v2/models/echo`)).json()) as Record<'inputs' | 'outputs', { name: string }[]>;
      // Of different lengths, so that one message in the place of another shows.
      const requests = [20_000, 3, 50_000].map((count) => {
        const tensor = int32(
          metadata.inputs[0]!.name,
          [1, count],
          Array.from({ length: count }, (_, i) => i * count),
        );
        const expected = [{ name: metadata.outputs[0]!.name, data: tensor.data as Uint8Array, tolerance: 0 }];
        return { infer: inferRequest('echo', [tensor]), text: null, expected };
      });
      for (const protocol of PROTOCOLS) {
        const worker = await LoadWorker.create(
          makePlan(Number(new URL(own.http).port), [], { protocol, requests, connections: 2, sockets }),
        );
        const windows: LoadWindow[] = [];
        try {
          await worker.start({ kind: 'closed', concurrency: 24 }, 50, (window) => windows.push(window));
          await until(() => windows.reduce((sum, { outcomes }) => sum + outcomes.ok, 0) >= 100, 20_000);
          windows.push(await worker.stop());
        } finally {
          worker.loop.close();
        }
        expect(windows.flatMap(({ errors }) => errors)).toEqual([]);
        expect(windows.reduce((sum, { validated, outcomes }) => sum + validated - outcomes.ok, 0)).toBe(0);
      }
    } finally {
      await own.stop();
      repository.remove();
    }
  });

  test('an address that has no WebSocket', async () => {
    const plan = makePlan(Number(new URL(server.http).port), [SIMPLE]);
    await expect(openLane({ ...plan, target: { ...plan.target, basePath: '/nowhere' } })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
