import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { heavyOnRequest } from '../../bench/models/test-models.ts';
import { loadUws } from '../transports/uws/uws-module.ts';
import { type Call, type CallKind, type CallRequest, CancellableCalls } from './cancellable-calls.ts';
import { exampleRepository, makeRepository, ServerProcess, until } from './serve.ts';

/**
 * Callers that go away, and deadlines that pass, on every protocol and wherever the request is: in the queue, in a host behind another batch, running, or giving responses. Each time:
 * it ends at once and is counted once, everybody else is served, and what nobody waits for is not run.
 */

const uws = await loadUws();
const engines = 'module' in uws ? (['uws', 'node'] as const) : (['node'] as const);
const MAX_INFLIGHT = 12;
/** What a request takes that others wait for, about. */
const LONG_MS = 800;
const DEADLINE_MS = 100;

const kinds: readonly CallKind[] = ['REST', 'gRPC unary', 'gRPC stream', 'WebSocket message', 'WebSocket connection'];
/** What a caller that gave up gets to hear: where its connection is gone, nothing. */
const heardOfCancel: Readonly<Record<CallKind, string>> = {
  REST: 'GONE',
  'gRPC unary': 'CANCELLED',
  'gRPC stream': 'CANCELLED',
  'WebSocket message': 'CANCELLED',
  'WebSocket connection': 'GONE',
};

interface Counts {
  readonly success: number;
  readonly fail: number;
  readonly executions: number;
  readonly cancelled: number;
  readonly rejected: number;
  readonly wasted: number;
}

describe.each(engines)('over %s', (engine) => {
  let server: ServerProcess;
  let repository: ReturnType<typeof makeRepository>;
  let calls: CancellableCalls;
  let longRun = 0;
  let serial = 0;
  /** gRPC is the same whatever serves HTTP. */
  const ownKinds = engine === engines[0] ? kinds : kinds.filter((kind) => !kind.startsWith('gRPC'));

  beforeAll(async () => {
    const repeat = join(exampleRepository, 'repeat_int32');
    repository = makeRepository({
      'work/1/model.onnx': heavyOnRequest(),
      'work/config.yaml': 'max_batch_size: 1\n',
      'sequence/1/model.onnx': heavyOnRequest(),
      'sequence/config.yaml': 'max_batch_size: 1\nsequence_batching: { max_sequence_idle_microseconds: 60000000 }\n',
      'repeat_int32/config.pbtxt': readFileSync(join(repeat, 'config.pbtxt')),
      'repeat_int32/1/.keep': '',
    });
    server = await ServerProcess.start([
      `--model-repository=${repository.path}`,
      `--http-engine=${engine}`,
      `--max-inflight-requests=${MAX_INFLIGHT}`,
    ]);
    calls = new CancellableCalls(server);
    // The quickest of several counts, by the server's own statistics: others may keep the machine busy now, and not later. Few and short, so that the server learns too little of the model to refuse
    // what comes too late.
    const inferMs = async (): Promise<number> =>
      (await server.get('/v2/models/work/stats')).json.model_stats[0].inference_stats.compute_infer.ns / 1e6;
    let quickestMs = Number.POSITIVE_INFINITY;
    for (let run = 0, count = 100; run < 5; run++) {
      const beforeMs = await inferMs();
      expect((await (await start('REST', work(count))).ended).code).toBe('OK');
      const tookMs = (await inferMs()) - beforeMs;
      quickestMs = Math.min(quickestMs, tookMs / count);
      if (tookMs < LONG_MS / 8) count *= 4;
    }
    longRun = Math.ceil(LONG_MS / quickestMs);
  }, 60_000);

  afterAll(async () => {
    calls.close();
    expect((await server.stop()).code).toBe(0);
    repository.remove();
  });

  const start = (kind: CallKind, request: CallRequest): Promise<Call> => calls.start(kind, request);

  /** OUTPUT0 is its own number, after so many multiplications. */
  function work(multiplications: number, timeoutMs?: number): CallRequest {
    serial++;
    return {
      model: 'work',
      id: `w${serial}`,
      inputs: [
        { name: 'INPUT0', datatype: 'FP32', shape: [1, 16], data: new Uint8Array(new Float32Array(16).fill(serial).buffer) },
        { name: 'INPUT1', datatype: 'INT64', shape: [1, 1], data: new Uint8Array(BigInt64Array.of(BigInt(multiplications)).buffer) },
      ],
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    };
  }

  function repeat(count: number, delayMs: number, timeoutMs?: number): CallRequest {
    const uints = (values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
    return {
      model: 'repeat_int32',
      id: `r${++serial}`,
      inputs: [
        { name: 'IN', datatype: 'INT32', shape: [count], data: uints(Array.from({ length: count }, (_, i) => i)) },
        { name: 'DELAY', datatype: 'UINT32', shape: [count], data: uints(Array(count).fill(delayMs)) },
        { name: 'WAIT', datatype: 'UINT32', shape: [1], data: uints([0]) },
      ],
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    };
  }

  async function counts(model: string): Promise<Counts> {
    const { inference_stats: stats, execution_count: executions } = (await server.get(`/v2/models/${model}/stats`)).json.model_stats[0];
    const labels = `{model="${model}",version="1"}`;
    const failures = (reason: string): Promise<number | undefined> =>
      server.metric(`nv_inference_request_failure{model="${model}",version="1",reason="${reason}"}`);
    return {
      success: stats.success.count,
      fail: stats.fail.count,
      executions,
      cancelled: (await failures('CANCELED'))!,
      rejected: (await failures('REJECTED'))!,
      wasted: (await server.metric(`nereid_inference_wasted_total${labels}`))!,
    };
  }

  const pendingIs = (count: number, model = 'work'): Promise<void> =>
    until(async () => (await server.metric(`nv_inference_pending_request_count{model="${model}",version="1"}`)) === count);

  /** What was sent before has been read once this is answered. */
  const barrier = (): Promise<unknown> => server.get('/v2/health/live');

  /** A gRPC client resets its call at its own deadline, which may come first: then it has gone away, as far as the server can tell. */
  const comparable = (kind: CallKind, all: Counts): Counts =>
    kind.startsWith('gRPC') ? { ...all, cancelled: all.cancelled + all.rejected, rejected: 0 } : all;

  async function settled(kind: CallKind, model: string, before: Counts, more: Partial<Counts>): Promise<void> {
    const sums = Object.entries(before).map(([key, value]) => [key, value + (more[key as keyof Counts] ?? 0)]);
    const expected = comparable(kind, Object.fromEntries(sums) as Counts);
    const now = async (): Promise<Counts> => comparable(kind, await counts(model));
    await until(async () => JSON.stringify(await now()) === JSON.stringify(expected)).catch(() => {});
    expect(await now()).toEqual(expected);
    await pendingIs(0, model);
  }

  it.each(ownKinds)('%s: what waits, in the queue or in a host, ends at once and is never run', { timeout: 30_000 }, async (kind) => {
    const before = await counts('work');
    const blocker = await start('REST', work(longRun));
    let isRunning = true;
    void blocker.ended.then(() => {
      isRunning = false;
    });
    await barrier();
    const slot = await start(kind, work(1));
    await barrier();
    const queued = await start(kind, work(1));
    const late = await start(kind, work(1, DEADLINE_MS));
    const bystander = await start(kind, work(1));
    expect(await late.ended).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await pendingIs(2);
    queued.cancel();
    slot.cancel();
    expect((await queued.ended).code).toBe(heardOfCancel[kind]);
    expect((await slot.ended).code).toBe(heardOfCancel[kind]);
    // The bystander alone.
    await pendingIs(1);
    expect(isRunning, 'all that while the blocker runs').toBe(true);
    expect((await blocker.ended).code).toBe('OK');
    expect((await bystander.ended).code).toBe('OK');
    await settled(kind, 'work', before, { success: 2, fail: 3, executions: 2, cancelled: 2, rejected: 1 });
  });

  it.each(ownKinds)('%s: what waits in a host ends at its deadline and is not run', { timeout: 30_000 }, async (kind) => {
    const before = await counts('work');
    const blocker = await start('REST', work(2 * longRun));
    await barrier();
    const slot = await start(kind, work(1, DEADLINE_MS));
    await barrier();
    const bystander = await start('REST', work(1));
    expect(await slot.ended).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect((await blocker.ended).code).toBe('OK');
    expect((await bystander.ended).code).toBe('OK');
    await settled(kind, 'work', before, { success: 2, fail: 1, executions: 2, rejected: 1 });
  });

  it.each(ownKinds)('%s: what runs ends at once, and its work is counted as wasted', { timeout: 30_000 }, async (kind) => {
    const before = await counts('work');
    const wastedUs = async (): Promise<number> => (await server.metric('nereid_inference_wasted_duration_us{model="work",version="1"}'))!;
    const beforeUs = await wastedUs();
    const cancelled = await start(kind, work(longRun >> 1));
    await barrier();
    const late = await start(kind, work(longRun >> 1, LONG_MS / 2 + DEADLINE_MS));
    const bystanders = await Promise.all([start('REST', work(1)), start('REST', work(1))]);
    await pendingIs(2);
    cancelled.cancel();
    expect((await cancelled.ended).code).toBe(heardOfCancel[kind]);
    const end = await late.ended;
    for (const bystander of bystanders) expect((await bystander.ended).code).toBe('OK');
    // Whether its deadline comes in the host's queue, in its run or behind it is the machine's to say; the ledger is right each time.
    const isLate = end.code === 'DEADLINE_EXCEEDED';
    const after = await counts('work');
    const wasRun = after.executions - before.executions === 4;
    expect(isLate || end.code === 'OK').toBe(true);
    await settled(kind, 'work', before, {
      success: isLate ? 2 : 3,
      fail: isLate ? 2 : 1,
      executions: wasRun ? 4 : 3,
      cancelled: 1,
      rejected: isLate ? 1 : 0,
      wasted: isLate && wasRun ? 2 : 1,
    });
    expect((await wastedUs()) - beforeUs).toBeGreaterThan(1000);
  });

  it.each(ownKinds.filter((kind) => kind !== 'REST' && kind !== 'gRPC unary'))(
    '%s: a decoupled model stops',
    { timeout: 30_000 },
    async (kind) => {
      const before = await counts('repeat_int32');
      const endless = await start(kind, repeat(1000, 50));
      const late = await start(kind, repeat(1000, 20, DEADLINE_MS));
      const bystander = await start(kind, repeat(5, 50));
      expect((await bystander.ended).responses).toBe(5);
      endless.cancel();
      expect((await endless.ended).code).toBe(heardOfCancel[kind]);
      expect(await late.ended).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
      await settled(kind, 'repeat_int32', before, { success: 1, fail: 2, executions: 1, cancelled: 1, rejected: 1, wasted: 2 });
    },
  );

  it.each(ownKinds)('%s: a request of a sequence takes those behind it along, and its slot is free', { timeout: 30_000 }, async (kind) => {
    const before = await counts('sequence');
    const id = 1000 + ++serial;
    const step = (multiplications: number, more: object = {}): CallRequest => ({
      ...work(multiplications),
      model: 'sequence',
      parameters: { sequence_id: id, ...more },
    });
    const running = await start(kind, step(longRun >> 1, { sequence_start: true }));
    await barrier();
    const steps: Call[] = [];
    for (let i = 0; i < 3; i++) {
      steps.push(await start(kind, step(1)));
      await barrier();
    }
    steps[1]!.cancel();
    expect((await steps[1]!.ended).code).toBe(heardOfCancel[kind]);
    for (const other of [steps[0]!, steps[2]!]) expect(await other.ended).toMatchObject({ code: 'CANCELLED' });
    // What runs is its caller's, or has ended with its sequence; either way it is counted as that.
    const isAnswered = (await running.ended).code === 'OK';
    expect(await (await start(kind, step(1))).ended).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('START') });
    const again = await start(kind, step(1, { sequence_start: true, sequence_end: true }));
    expect((await again.ended).code).toBe('OK');
    const after = await counts('sequence');
    expect([after.success - before.success, after.cancelled - before.cancelled]).toEqual(isAnswered ? [2, 3] : [1, 4]);
    await pendingIs(0, 'sequence');
  });

  it('a request that arrives behind its deadline is refused, and so is nonsense', async () => {
    const post = (timeout: string): Promise<{ status: number; json: { error: string } }> =>
      server.post('/v2/models/work/infer', { inputs: [] }, { 'Inference-Timeout-Ms': timeout });
    for (const timeout of ['0', '-1', 'soon', '1e3', 'Infinity', '1,2', '604800001', '0x10']) {
      const { status, json } = await post(timeout);
      expect([timeout, status]).toEqual([timeout, 400]);
      expect(json.error).toMatch(/^Inference-Timeout-Ms: expected a number of milliseconds above 0 and up to 604800000, got "/);
    }
    // Its client gives up at once, whatever the server makes of it, which one that comes later waits for.
    const gone = await start('gRPC unary', work(1, 0.001));
    expect(await gone.ended).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect((await (await start('gRPC unary', work(1))).ended).code).toBe('OK');
    const before = await counts('work');
    const tiny = await start('REST', work(longRun, 0.000001));
    expect(await tiny.ended).toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      message: expect.stringMatching(/^Request timeout expired before/),
    });
    expect((await counts('work')).success).toBe(before.success);
  });

  it('gives back each permit once: as many requests fit as at the start, and no more', { timeout: 30_000 }, async () => {
    const before = await counts('work');
    // Long enough to start all the others meanwhile, on a busy machine too.
    const held = [await start('REST', work(4 * longRun))];
    await barrier();
    for (let i = 1; i < MAX_INFLIGHT; i++) held.push(await start(ownKinds[i % ownKinds.length]!, work(1)));
    await pendingIs(MAX_INFLIGHT - 2);
    const tooMany = await start('REST', work(1));
    expect(await tooMany.ended).toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining(`busy with ${MAX_INFLIGHT} requests`),
    });
    for (const call of held) expect((await call.ended).code).toBe('OK');
    await settled('REST', 'work', before, { success: MAX_INFLIGHT, executions: MAX_INFLIGHT });
  });
});
