import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { InferRequest } from '../../../clients/typescript/src/transport.ts';
import { exampleRepository, makeRepository, ServerProcess } from '../../../server/e2e/serve.ts';
import type { Lane } from '../../load/lane.ts';
import type { LoadPlan, PlannedRequest } from '../../load/load-plan.ts';
import { identity } from '../../models/test-models.ts';
import { bytesOf, inferRequest, int32, OK, openLane, planOf, type RecordingSink } from './recorded-lane.case.ts';

/** An image of 1x3x224x224 floats: 602,112 bytes. */
const IMAGE = [1, 3, 224, 224];
const IMAGE_DATA = new Uint8Array(Float32Array.from({ length: 3 * 224 * 224 }, (_, i) => i / 7).buffer);

const ones = Array.from({ length: 16 }, () => 1);
const twos = Array.from({ length: 16 }, () => 2);

function addSub(modelName = 'simple'): InferRequest {
  return inferRequest(modelName, [int32('INPUT0', [1, 16], twos), int32('INPUT1', [1, 16], ones)]);
}

const SUM = { name: 'OUTPUT0', data: bytesOf(Array.from({ length: 16 }, () => 3)), tolerance: 0 };
const image: PlannedRequest = {
  infer: inferRequest('image', [{ name: 'INPUT0', datatype: 'FP32', shape: IMAGE, data: IMAGE_DATA }]),
  text: null,
  expected: [{ name: 'OUTPUT0', data: IMAGE_DATA, tolerance: 0 }],
};

/** One answer for each number, `delayMs` apart. */
function repeat(numbers: readonly number[], delayMs: number, parameters: InferRequest['parameters']): InferRequest {
  const delays = new Uint8Array(Uint32Array.from(numbers, () => delayMs).buffer);
  return inferRequest(
    'repeat_int32',
    [
      int32('IN', [numbers.length], numbers),
      { name: 'DELAY', datatype: 'UINT32', shape: [numbers.length], data: delays },
      { name: 'WAIT', datatype: 'UINT32', shape: [1], data: new Uint8Array(4) },
    ],
    { parameters },
  );
}

describe('lanes to a Nereid', () => {
  let server: ServerProcess;
  let images: { path: string; remove(): void };
  let port: number;
  let lane: Lane | null = null;
  let sink: RecordingSink;

  async function open(requests: readonly InferRequest[], changes: Partial<LoadPlan> = {}): Promise<Lane> {
    ({ lane, sink } = await openLane(planOf(port, requests, changes)));
    return lane;
  }

  beforeAll(async () => {
    images = makeRepository({ 'image/1/model.onnx': identity('FP32', IMAGE), 'image/config.pbtxt': 'max_batch_size: 0\n' });
    const models = ['simple', 'repeat_int32', 'simple_sequence', 'image'].map((name) => `--load-model=${name}`);
    server = await ServerProcess.start([
      `--model-repository=${exampleRepository}`,
      `--model-repository=${images.path}`,
      '--model-control-mode=explicit',
      ...models,
    ]);
    port = Number(server.grpc.split(':').at(-1));
  });

  afterEach(() => {
    lane?.close();
    lane = null;
  });

  afterAll(async () => {
    await server?.stop();
    images?.remove();
  });

  describe.each(['grpc', 'grpc-stream'] as const)('over %s', (protocol) => {
    it('infers, many requests at once', async () => {
      const requests = [{ infer: addSub(), text: null, expected: [SUM] }];
      const to = await open([], { protocol, requests });
      for (let slot = 0; slot < to.capacity; slot++) to.send(slot, 0, null, slot % 3 === 0, 0);
      for (let slot = 0; slot < to.capacity; slot++) expect(await sink.endOf(slot)).toEqual(OK);
    });

    it('sends the next request from within the end of the last', async () => {
      const to = await open([addSub()], { protocol });
      let next = 8;
      sink.onEnded = () => {
        if (next < 500) to.send(next++, 0, null, true, 0);
      };
      for (let slot = 0; slot < 8; slot++) to.send(slot, 0, null, true, 0);
      for (let slot = 0; slot < 500; slot++) expect(await sink.endOf(slot)).toEqual(OK);
    });

    it('carries images', async () => {
      const to = await open([], { protocol, requests: [image] });
      for (let slot = 0; slot < 6; slot++) to.send(slot, 0, null, slot > 2, 0);
      for (let slot = 0; slot < 6; slot++) expect(await sink.endOf(slot)).toEqual(OK);
      expect(sink.received).toBeGreaterThan(6 * IMAGE_DATA.length);
      expect(sink.sent).toBeGreaterThan(6 * IMAGE_DATA.length);
    });

    it('says what the server says, and goes on', async () => {
      const to = await open([addSub('símple'), addSub()], { protocol });
      to.send(0, 0, null, true, 0);
      to.send(1, 1, null, true, 0);
      expect(await sink.endOf(1)).toEqual(OK);
      expect(await sink.endOf(0)).toEqual({
        outcome: 'failed',
        status: 'gRPC 5 NOT_FOUND',
        message: expect.stringContaining('símple'),
      });
    });

    it('keeps sequences apart', async () => {
      const values = [10, 20, 30];
      // The first of a sequence comes back 1 higher.
      const requests = values.map((value, i) => ({
        infer: inferRequest('simple_sequence', [int32('INPUT', [1, 1], [value])]),
        text: null,
        expected: [{ name: 'OUTPUT', data: bytesOf([i === 0 ? value + 1 : value]), tolerance: 0 }],
      }));
      const firstId = protocol === 'grpc' ? 4_294_967_290 : 4_294_968_000;
      const to = await open([], { protocol, requests, sequence: { minLength: 3, maxLength: 3, firstId } });
      for (let index = 0; index < 3; index++) {
        for (let sequence = 0; sequence < 4; sequence++) {
          to.send(100 * index + sequence, index, { id: firstId + sequence, isStart: index === 0, isEnd: index === 2 }, true, 0);
        }
        for (let sequence = 0; sequence < 4; sequence++) expect(await sink.endOf(100 * index + sequence)).toEqual(OK);
      }
      // The end was told: the sequence is not there any more.
      to.send(1000, 1, { id: firstId, isStart: false, isEnd: false }, false, 0);
      expect(await sink.endOf(1000)).toMatchObject({ outcome: 'failed', message: expect.stringContaining(String(firstId)) });
    });
  });

  it('tells the server the deadline', async () => {
    const to = await open([addSub()], { sendsDeadline: true, deadlineMs: 1_000 });
    to.send(0, 0, null, true, 1_000);
    expect(await sink.endOf(0)).toEqual(OK);
    to.send(1, 0, null, true, 0.001);
    expect(await sink.endOf(1)).toMatchObject({ outcome: 'expired', status: 'gRPC 4 DEADLINE_EXCEEDED' });
  });

  it('counts the answers of decoupled models', async () => {
    const parameters = { triton_enable_empty_final_response: true };
    const requests = [repeat([4, 2, 0], 1, parameters), repeat([], 1, parameters), repeat([1], 0, parameters)];
    const to = await open(requests, { protocol: 'grpc-stream' });
    for (let slot = 0; slot < 9; slot++) to.send(slot, slot % 3, null, true, 0);
    for (let slot = 0; slot < 9; slot++) expect(await sink.endOf(slot)).toEqual(OK);
    expect([...sink.parts].sort(([a], [b]) => a - b)).toEqual([
      [0, 3],
      [2, 1],
      [3, 3],
      [5, 1],
      [6, 3],
      [8, 1],
    ]);
  });

  it('finishes what is in flight when the server goes', async () => {
    const own = await ServerProcess.start([
      `--model-repository=${exampleRepository}`,
      '--model-control-mode=explicit',
      '--load-model=repeat_int32',
    ]);
    try {
      const request = repeat([1, 2, 3], 100, { triton_enable_empty_final_response: true });
      const plan = planOf(Number(own.grpc.split(':').at(-1)), [request], { protocol: 'grpc-stream' });
      const first = await openLane(plan);
      const second = await openLane({ ...plan, protocol: 'grpc' });
      first.lane.send(0, 0, null, false, 0);
      // A model with several answers has none for ModelInfer: one call that ends at once, so that the connection is known to both.
      second.lane.send(0, 0, null, false, 0);
      expect(await second.sink.endOf(0)).toMatchObject({ status: 'gRPC 12 UNIMPLEMENTED' });
      own.signal('SIGTERM');
      expect(await first.sink.endOf(0)).toEqual(OK);
      expect(first.sink.parts.get(0)).toBe(3);
      await own.exited;
      for (const { lane: one, sink: told } of [first, second]) {
        expect(one.isOpen).toBe(false);
        expect(told.closedWith).not.toBeNull();
      }
      expect(second.sink.closedWith).toContain('GOAWAY');
    } finally {
      await own.kill();
    }
  });
});
