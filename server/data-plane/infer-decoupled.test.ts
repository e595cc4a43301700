import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { HostPool } from '../execution/host-pool.ts';
import { systemClock } from '../inference/clock.ts';
import { type InferenceCaller, InferenceRequest, type RequestedOutput } from '../inference/inference-request.ts';
import type { InferenceResponse } from '../inference/inference-response.ts';
import { noNestedCalls } from '../inference/nested-calls.ts';
import { MetricsRegistry } from '../metrics/metrics.ts';
import { parseMetricsConfig } from '../metrics/metrics-config.ts';
import type { Model } from '../repository/model.ts';
import { ModelLoader } from '../repository/model-loader.ts';
import { ModelRepository } from '../repository/model-repository.ts';
import { Admission } from './admission.ts';
import { InferenceDoor } from './infer.ts';

const exampleRepository = fileURLToPath(new URL('../../model-repository/', import.meta.url));
const quiet = { info: () => {}, warn: () => {}, error: () => {} };

/** One caller for one request: what it was told. */
class Caller implements InferenceCaller {
  readonly responses: Record<string, number>[] = [];
  readonly finals: boolean[] = [];
  endCount = 0;
  onEachResponse: () => void = () => {};
  readonly ended: Promise<InferenceError | null>;
  #resolve!: (error: InferenceError | null) => void;

  constructor() {
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  onResponse(_request: InferenceRequest, { outputs }: InferenceResponse, isFinal: boolean): void {
    this.finals.push(isFinal);
    this.responses.push(
      Object.fromEntries(outputs.map(({ name, data }) => [name, new DataView(data.buffer, data.byteOffset).getInt32(0, true)])),
    );
    this.onEachResponse();
  }

  onComplete(): void {
    this.endCount++;
    this.#resolve(null);
  }

  onError(_request: InferenceRequest, error: InferenceError): void {
    this.endCount++;
    this.#resolve(error);
  }
}

function repeat(caller: Caller, values: readonly number[], delayMs = 0, outputs: readonly RequestedOutput[] = []): InferenceRequest {
  const tensor = (name: string, datatype: Tensor['datatype'], numbers: readonly number[]): Tensor => ({
    name,
    datatype,
    shape: [numbers.length],
    data: new Uint8Array(Int32Array.from(numbers).buffer),
  });
  return new InferenceRequest({
    modelName: 'repeat_int32',
    modelVersion: '',
    id: 'r',
    inputs: [
      tensor('IN', 'INT32', values),
      tensor(
        'DELAY',
        'UINT32',
        values.map(() => delayMs),
      ),
      tensor('WAIT', 'UINT32', [0]),
    ],
    outputs,
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller,
  });
}

describe.each(['process', 'inline'] as const)('a decoupled model through the door, in a host of kind %s', (kind) => {
  let pool: HostPool;
  let repository: ModelRepository;
  let examples: string;
  let door: InferenceDoor;
  let metrics: MetricsRegistry;
  const admission = new Admission(1000, 1 << 20);
  let model: Model;

  beforeAll(async () => {
    const onFault = (error: unknown): void => {
      throw error;
    };
    examples = mkdtempSync(join(tmpdir(), 'nereid-'));
    for (const name of ['repeat_int32', 'simple', 'simple_string'])
      cpSync(join(exampleRepository, name), join(examples, name), { recursive: true });
    pool = new HostPool({ kind, tensorMemoryBytes: 16 * 1024 * 1024, log: quiet });
    metrics = new MetricsRegistry({ config: parseMetricsConfig(['histogram_latencies=true']) });
    const loader = new ModelLoader({
      pool,
      metrics,
      clock: systemClock,
      maxQueueSize: 4,
      defaultMaxBatchSize: 4,
      disableAutoComplete: false,
      nestedCalls: noNestedCalls,
      onFault,
    });
    repository = new ModelRepository({
      directories: [examples],
      modelFiles: [],
      controlMode: 'none',
      loadModels: [],
      loader,
      warn: () => {},
      unusable: () => {},
      onFault,
    });
    await repository.loadAll({ started: () => {}, loading: () => {}, loaded: () => {} });
    door = new InferenceDoor(repository, admission, systemClock, null);
    model = door.route('repeat_int32', '') as Model;
  });

  afterAll(async () => {
    await repository.stop();
    await pool.stop();
    await metrics.close();
    rmSync(examples, { recursive: true });
  });

  it('is served from a version directory without a model file, beside the others', () => {
    expect(repository.index(false).map(({ name, state }) => [name, state])).toContainEqual(['repeat_int32', 'READY']);
    expect(repository.index(false).every(({ state }) => state === 'READY')).toBe(true);
    // The others share up to two hosts, and a decoupled model never shares with them.
    if (kind === 'inline') expect(pool.pids).toEqual([]);
    else expect([2, 3]).toContain(pool.pids.length);
    expect(model.isDecoupled).toBe(true);
    expect(() => door.routeUnary('repeat_int32', '')).toThrow(/decoupled transaction policy/);
  });

  it('answers with no response, one, and many', async () => {
    for (const values of [[], [5], [1, 2, 3, 4]]) {
      const caller = new Caller();
      door.infer(repeat(caller, values), model);
      expect(caller.responses).toEqual([]);
      expect(await caller.ended).toBeNull();
      expect(caller.responses).toEqual(values.map((OUT, IDX) => ({ OUT, IDX })));
      expect([caller.endCount, caller.finals.includes(true)]).toEqual([1, false]);
    }
  });

  it('hands over the outputs that the request names', async () => {
    const caller = new Caller();
    door.infer(repeat(caller, [8, 9], 0, [{ name: 'IDX', classification: 0, binaryData: false }]), model);
    expect(await caller.ended).toBeNull();
    expect(caller.responses).toEqual([{ IDX: 0 }, { IDX: 1 }]);
  });

  it('refuses what is not a request for it, as any model does', () => {
    const caller = new Caller();
    const wrong = repeat(caller, [1], 0, [{ name: 'NO', classification: 0, binaryData: false }]);
    expect(() => door.infer(wrong, model)).toThrow(/unexpected inference output 'NO'/);
    expect(caller.endCount).toBe(0);
  });

  it('ends for the caller when it is cancelled, and gives the place back', async () => {
    const caller = new Caller();
    const request = repeat(caller, [1, 2], 60_000);
    door.infer(request, model);
    expect(model.scheduler.inflightCount).toBe(1);
    setImmediate(() => request.cancel());
    expect(await caller.ended).toMatchObject({ code: 'CANCELLED', failureReason: 'CANCELED' });
    expect([model.scheduler.inflightCount, caller.responses.length]).toEqual([0, 0]);
  });

  it('stops for a paused caller and goes on', async () => {
    const caller = new Caller();
    const request = repeat(caller, Array(100).fill(1));
    caller.onEachResponse = () => {
      if (caller.responses.length === 3) request.pauseResponses();
      if (caller.responses.length > 60) caller.onEachResponse = () => {};
    };
    door.infer(request, model);
    // A later request is answered whole: by then whatever was on the way to the first has come.
    for (let i = 0; i < 3; i++) {
      const other = new Caller();
      door.infer(repeat(other, [1]), model);
      expect(await other.ended).toBeNull();
    }
    expect(caller.responses.length).toBeGreaterThanOrEqual(3);
    expect(caller.responses.length).toBeLessThan(40);
    expect(caller.endCount).toBe(0);
    request.resumeResponses();
    expect(await caller.ended).toBeNull();
    expect(caller.responses).toHaveLength(100);
  });

  it('counts requests, responses, and the time to the first one', async () => {
    const { reporter } = model;
    const before = { success: reporter.success.count, executions: reporter.executionCount, cancelled: reporter.failures.CANCELED };
    const caller = new Caller();
    door.infer(repeat(caller, [1, 2, 3], 20), model);
    expect(await caller.ended).toBeNull();
    expect(reporter.success.count - before.success).toBe(1);
    expect(reporter.executionCount - before.executions).toBe(1);
    expect(before.cancelled).toBe(1);
    const [first, second, third, end] = reporter.responses;
    expect([first, second, third].every((statistics) => statistics!.success.count >= 1)).toBe(true);
    // 20 ms before each, all together: a busy machine may hear of two at once.
    expect([first, second, third].reduce((sum, statistics) => sum + statistics!.computeInfer.ns, 0)).toBeGreaterThanOrEqual(57e6);
    expect(end!.empty.count).toBeGreaterThanOrEqual(1);
    const page = await metrics.render();
    const labels = 'model="repeat_int32",version="1"';
    const firstResponses = Number(/first_response_histogram_ms_count\{model="repeat_int32",version="1"\} (\d+)/.exec(page)![1]);
    // One request of this suite had no response, and one was cancelled before it had one.
    expect(firstResponses).toBe(reporter.success.count - 1);
    expect(page).toContain(`nv_inference_request_success{${labels}} ${reporter.success.count}`);
    expect(admission.requestsInFlight).toBe(0);
  });
});
