import { describe, expect, test } from 'vitest';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { InstanceChannel } from '../execution/execution-host.ts';
import { InstanceGroup } from '../execution/instance-group.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { noNestedCalls } from '../inference/nested-calls.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { normaliseModelConfig } from '../model-config/normalise-model-config.ts';
import { parseModelConfig } from '../model-config/parse-model-config.ts';
import { describeStatistics } from '../protocols/describe-model.ts';
import type { ProtocolContext } from '../protocols/protocol.ts';
import { Model } from '../repository/model.ts';
import type { ModelRepository } from '../repository/model-repository.ts';
import { ManualClock } from '../scheduling/manual-clock.ts';
import { int32Request, Ledger, ManualInstance } from '../scheduling/scheduling-fixtures.ts';
import { Admission } from './admission.ts';
import { InferenceDoor } from './infer.ts';

/**
 * The statistics that clients read, held against schedules worked out by hand on a clock that the test turns. Times are nanoseconds from the schedule's start; in each table a request's line is
 * arrival, start of its batch, end.
 */

class Schedule {
  readonly clock: ManualClock = new ManualClock();
  readonly instances: ManualInstance[];
  readonly caller: Ledger = new Ledger();
  readonly model: Model;
  readonly #door: InferenceDoor;
  readonly #startNs: number;

  constructor(yaml: string, instanceCount = 1) {
    const parsed: ModelConfig = parseModelConfig(
      `name: m\nbackend: onnxruntime\ninput: [{name: IN0, data_type: TYPE_INT32, dims: [1]}]\noutput: [{name: OUT0, data_type: TYPE_INT32, dims: [1]}]\n${yaml}`,
      'yaml',
      'config.yaml',
    );
    const config = normaliseModelConfig(parsed, { name: 'm', firstVersionEntries: ['model.onnx'] });
    this.#startNs = this.clock.nowNs();
    this.instances = Array.from({ length: instanceCount }, () => new ManualInstance());
    const group = new InstanceGroup({
      key: 'm:1',
      metadata: {
        inputs: [{ name: 'IN0', datatype: 'INT32', shape: [-1, 1], optional: false }],
        outputs: [{ name: 'OUT0', datatype: 'INT32', shape: [-1, 1], optional: false }],
      },
      onCapacity: () => this.model.scheduler.poke(),
      onFailed: () => {},
      onStop: () => Promise.resolve(),
    });
    this.model = new Model({
      version: 1,
      config,
      labels: new Map(),
      instances: group as InstanceGroup<InstanceChannel>,
      reporter: new ModelReporter('m', '1', {}),
      defaultMaxQueueSize: 100,
      clock: this.clock,
      nestedCalls: noNestedCalls,
      onFault: (error) => {
        throw error;
      },
      onStopped: () => {},
    });
    group.add(this.instances);
    this.#door = new InferenceDoor({} as ModelRepository, new Admission(100, 2 ** 30), this.clock, null);
  }

  /** The clock goes on to `ns`. */
  at(ns: number): this {
    this.clock.advance(this.#startNs + ns - this.clock.nowNs());
    return this;
  }

  send(id: string, rows: number, deadlineNs = Number.POSITIVE_INFINITY): InferenceRequest {
    const request = int32Request(id, this.caller, [{ shape: [rows, 1], values: new Array(rows).fill(1) }]);
    if (deadlineNs !== Number.POSITIVE_INFINITY) request.deadlineNs = this.#startNs + deadlineNs;
    this.#door.infer(request, this.model);
    return request;
  }

  tick(): this {
    this.clock.tick();
    return this;
  }

  /** What the oldest batch of an instance took in its host. */
  answer(timing: { inferNs: number; outputNs: number }, instance = 0): this {
    const { batch, inputs } = this.instances[instance]!.running.shift()!;
    batch.complete(
      inputs.map((input) => ({ ...input, name: input.name.replace('IN', 'OUT') })),
      timing,
    );
    this.clock.tick();
    return this;
  }

  fail(instance = 0): this {
    this.instances[instance]!.fail(new InferenceError('INTERNAL', 'the model failed', { failureReason: 'BACKEND' }), true);
    this.clock.tick();
    return this;
  }

  get statistics(): object {
    const repository = { readyModels: () => [this.model], resolveVersion: () => '' };
    const { model_stats } = describeStatistics({ repository } as unknown as ProtocolContext, 'm', '') as {
      model_stats: [{ last_inference: number }];
    };
    const { last_inference, ...statistics } = model_stats[0];
    expect(last_inference).toBeGreaterThan(0);
    return statistics;
  }
}

const d = (count: number, ns: number): object => ({ count, ns });
const inferenceStats = (stats: Record<string, object>): object => ({
  success: d(0, 0),
  fail: d(0, 0),
  queue: d(0, 0),
  compute_input: d(0, 0),
  compute_infer: d(0, 0),
  compute_output: d(0, 0),
  cache_hit: d(0, 0),
  cache_miss: d(0, 0),
  ...stats,
});

describe('statistics of a schedule worked out by hand', () => {
  test('one request an execution', () => {
    const schedule = new Schedule('max_batch_size: 8');
    // A: 0, 0, 400; B: 100, 400, 700
    schedule.send('A', 1);
    schedule.tick().at(100);
    schedule.send('B', 3);
    schedule.tick().at(400).answer({ inferNs: 250, outputNs: 30 });
    schedule.at(700).answer({ inferNs: 200, outputNs: 50 });
    expect(schedule.statistics).toEqual({
      name: 'm',
      version: '1',
      inference_count: 4,
      execution_count: 2,
      inference_stats: inferenceStats({
        success: d(2, 400 + 600),
        queue: d(2, 0 + 300),
        compute_input: d(2, 120 + 50),
        compute_infer: d(2, 250 + 200),
        compute_output: d(2, 30 + 50),
      }),
      response_stats: {},
      batch_stats: [
        { batch_size: 1, compute_input: d(1, 120), compute_infer: d(1, 250), compute_output: d(1, 30) },
        { batch_size: 3, compute_input: d(1, 50), compute_infer: d(1, 200), compute_output: d(1, 50) },
      ],
      memory_usage: [],
    });
  });

  test('batches, a poisoned one, a cancelled request, one past its deadline', () => {
    const schedule = new Schedule('max_batch_size: 4\ndynamic_batching: {}');
    // A: 0, 0, 400
    schedule.send('A', 1);
    schedule.tick().at(100);
    // B and C: 100, 400, 1000, together, as D has no room; E is cancelled in the queue at 200, F has until 350.
    schedule.send('B', 2);
    schedule.send('C', 1);
    const e = schedule.send('E', 1);
    schedule.send('F', 1, 350);
    schedule.tick().at(150);
    schedule.send('D', 2);
    schedule.tick().at(200);
    e.cancel();
    schedule.tick().at(400).answer({ inferNs: 250, outputNs: 30 });
    schedule.at(500);
    // G poisons its batch with D: 1000 to 1100 together, then D alone 1100 to 1300, then G alone to 1350.
    schedule.send('G', 1);
    schedule.tick().at(1000).answer({ inferNs: 500, outputNs: 40 });
    schedule.at(1100).fail();
    schedule.at(1300).answer({ inferNs: 150, outputNs: 10 });
    schedule.at(1350).fail();
    const ends = new Map(schedule.caller.endings.map(({ id, error }) => [id, error?.code ?? 'OK']));
    expect([...ends].sort()).toEqual([
      ['A', 'OK'],
      ['B', 'OK'],
      ['C', 'OK'],
      ['D', 'OK'],
      ['E', 'CANCELLED'],
      ['F', 'DEADLINE_EXCEEDED'],
      ['G', 'INTERNAL'],
    ]);
    const { failures } = schedule.model.reporter;
    expect(failures).toEqual({ REJECTED: 1, CANCELED: 1, BACKEND: 1, OTHER: 0 });
    expect(schedule.statistics).toMatchObject({
      inference_count: 6,
      // The failed ones are not counted: neither G's own nor the one that it spoiled.
      execution_count: 3,
      inference_stats: {
        success: d(4, 400 + 900 + 900 + 1150),
        queue: d(4, 0 + 300 + 300 + 950),
        compute_input: d(4, 120 + 60 + 60 + 40),
        compute_infer: d(4, 250 + 500 + 500 + 150),
        compute_output: d(4, 30 + 40 + 40 + 10),
      },
      batch_stats: [
        { batch_size: 1, compute_input: d(1, 120), compute_infer: d(1, 250), compute_output: d(1, 30) },
        { batch_size: 2, compute_input: d(1, 40), compute_infer: d(1, 150), compute_output: d(1, 10) },
        { batch_size: 3, compute_input: d(1, 60), compute_infer: d(1, 500), compute_output: d(1, 40) },
      ],
    });
    expect((schedule.statistics as { inference_stats: { fail: { count: number } } }).inference_stats.fail.count).toBe(3);
  });

  test('work that nobody waited for is counted as wasted, not as served', () => {
    const schedule = new Schedule('max_batch_size: 4\ndynamic_batching: {}');
    schedule.send('A', 1);
    const b = schedule.send('B', 3);
    schedule.tick().at(100);
    b.cancel();
    schedule.at(500).answer({ inferNs: 400, outputNs: 20 });
    expect(schedule.statistics).toMatchObject({
      inference_count: 1,
      execution_count: 1,
      inference_stats: { success: d(1, 500), fail: d(1, 100), compute_infer: d(1, 400) },
      batch_stats: [{ batch_size: 4 }],
    });
    // Three rows of four.
    expect(schedule.model.reporter.wastedWork).toEqual(d(1, 300));
  });
});
