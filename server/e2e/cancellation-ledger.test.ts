import { afterAll, beforeAll, expect, it } from 'vitest';
import { heavyOnRequest } from '../../bench/models/test-models.ts';
import { SeededRandom } from '../../bench/statistics/seeded-random.ts';
import { type CallEnd, type CallKind, type CallRequest, CancellableCalls } from './cancellable-calls.ts';
import { makeRepository, ServerProcess, until } from './serve.ts';

/**
 * Callers on every protocol that mostly lose their patience, at any moment, with batches forming and running meanwhile: each call has one end, an answer is the caller's own, and when
 * all is over nothing is left of it in the server.
 */

const MAX_INFLIGHT = 24;
const callers = 24;
const callsEach = 40;
const kinds: readonly CallKind[] = ['REST', 'gRPC unary', 'gRPC stream', 'WebSocket message', 'WebSocket connection'];
const labels = '{model="work",version="1"}';

let server: ServerProcess;
let repository: ReturnType<typeof makeRepository>;
let calls: CancellableCalls;

beforeAll(async () => {
  repository = makeRepository({
    'work/1/model.onnx': heavyOnRequest(),
    'work/config.yaml': 'max_batch_size: 4\ndynamic_batching: { max_queue_delay_microseconds: 500 }\n',
  });
  server = await ServerProcess.start([`--model-repository=${repository.path}`, `--max-inflight-requests=${MAX_INFLIGHT}`]);
  calls = new CancellableCalls(server);
});

afterAll(async () => {
  calls.close();
  expect((await server.stop()).code).toBe(0);
  repository.remove();
});

function work(serial: number, multiplications: number, timeoutMs: number | null): CallRequest {
  return {
    model: 'work',
    id: `w${serial}`,
    inputs: [
      { name: 'INPUT0', datatype: 'FP32', shape: [1, 16], data: new Uint8Array(new Float32Array(16).fill(serial).buffer) },
      { name: 'INPUT1', datatype: 'INT64', shape: [1, 1], data: new Uint8Array(BigInt64Array.of(BigInt(multiplications)).buffer) },
    ],
    ...(timeoutMs === null ? {} : { timeoutMs }),
  };
}

const isOwn = (serial: number, { data }: CallEnd): boolean =>
  Buffer.from(data).equals(Buffer.from(new Float32Array(16).fill(serial).buffer));

async function failures(reason: string): Promise<number> {
  return (await server.metric(`nv_inference_request_failure{model="work",version="1",reason="${reason}"}`))!;
}

it('no call is lost, none ends twice, none gets the answer of another, and nothing is left behind', { timeout: 120_000 }, async () => {
  const tally: Record<string, number> = {};
  const wrong: string[] = [];
  const client = async (which: number): Promise<void> => {
    const random = new SeededRandom(1000 + which);
    for (let i = 0; i < callsEach; i++) {
      const serial = which * callsEach + i + 1;
      const kind = kinds[Math.floor(random.next() * kinds.length)]!;
      const timeoutMs = random.next() < 0.3 ? 1 + Math.floor(random.next() * 40) : null;
      const cancelAfterMs = random.next() < 0.4 ? random.next() * 30 : null;
      const call = await calls.start(kind, work(serial, 1 + Math.floor(random.next() * 8), timeoutMs));
      if (cancelAfterMs !== null) setTimeout(() => call.cancel(), cancelAfterMs);
      const end = await call.ended;
      tally[end.code] = (tally[end.code] ?? 0) + 1;
      const isRight =
        end.code === 'OK'
          ? isOwn(serial, end) && end.responses === 1
          : end.code === 'GONE' || end.code === 'CANCELLED'
            ? cancelAfterMs !== null
            : end.code === 'DEADLINE_EXCEEDED'
              ? timeoutMs !== null
              : end.code === 'UNAVAILABLE';
      if (!isRight) wrong.push(`${serial} ${kind}: ${end.code} ${end.message}`);
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, which) => client(which)));
  expect(wrong).toEqual([]);
  expect(Object.values(tally).reduce((a, b) => a + b)).toBe(callers * callsEach);
  for (const code of ['OK', 'GONE', 'CANCELLED', 'DEADLINE_EXCEEDED']) expect(tally[code], code).toBeGreaterThan(10);

  await until(async () => (await server.metric(`nv_inference_pending_request_count${labels}`)) === 0);
  // As many fit as at the start, and no more: no permit was lost, and none given back twice.
  const held = [await calls.start('REST', work(5000, 6000, null)), await calls.start('REST', work(5001, 6000, null))];
  // Read by the time that this is answered.
  await server.get('/v2/health/live');
  for (let i = 2; i < MAX_INFLIGHT; i++) held.push(await calls.start(kinds[i % kinds.length]!, work(5000 + i, 1, null)));
  // The rest is in the host: a batch of at most four that runs, and one behind it.
  await until(async () => (await server.metric(`nv_inference_pending_request_count${labels}`))! >= MAX_INFLIGHT - 8);
  await server.get('/v2/health/live');
  const tooMany = await (await calls.start('REST', work(6000, 1, null))).ended;
  expect(tooMany).toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining(`busy with ${MAX_INFLIGHT} requests`) });
  for (const [i, call] of held.entries()) {
    const end = await call.ended;
    expect([i, end.code, isOwn(5000 + i, end)]).toEqual([i, 'OK', true]);
  }

  // Each ended once: what reached the model either succeeded or failed, and what was thrown away was run.
  const {
    inference_stats: stats,
    inference_count: inferences,
    batch_stats: batches,
  } = (await server.get('/v2/models/work/stats')).json.model_stats[0];
  const wasted = (await server.metric(`nereid_inference_wasted_total${labels}`))!;
  const rows = (batches as { batch_size: number; compute_infer: { count: number } }[]).reduce(
    (sum, one) => sum + Number(one.batch_size) * one.compute_infer.count,
    0,
  );
  expect(rows).toBe(inferences + wasted);
  expect(stats.success.count).toBe(inferences);
  expect(stats.fail.count).toBe((await failures('CANCELED')) + (await failures('REJECTED')));
  expect([await failures('OTHER'), await failures('BACKEND')]).toEqual([0, 0]);
});
