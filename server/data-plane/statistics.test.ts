import { describe, expect, test } from 'vitest';
import type { ModelMetadata } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { InstanceChannel } from '../execution/execution-host.ts';
import { InstanceGroup } from '../execution/instance-group.ts';
import type { InferenceRequest, RequestSequence } from '../inference/inference-request.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { normaliseModelConfig } from '../model-config/normalise-model-config.ts';
import { parseModelConfig } from '../model-config/parse-model-config.ts';
import { describeStatistics } from '../protocols/describe-model.ts';
import type { ProtocolContext } from '../protocols/protocol.ts';
import { composeEnsemble } from '../repository/ensembles/compose-ensemble.ts';
import { Model } from '../repository/model.ts';
import type { ModelRepository } from '../repository/model-repository.ts';
import { LocalStore } from '../scheduling/cache/local-store.ts';
import { ManualClock } from '../scheduling/manual-clock.ts';
import { int32Request, Ledger, ManualInstance } from '../scheduling/scheduling-fixtures.ts';
import { Admission } from './admission.ts';
import { InferenceDoor } from './infer.ts';
import { NestedInference } from './nested-inference.ts';

/**
 * The statistics that clients read, held against schedules worked out by hand on a clock that the test turns. Times are nanoseconds from the schedule's start; in each table a request's line is
 * arrival, start of its batch, end.
 */

const INT32 = '{name: IN0, data_type: TYPE_INT32, dims: [1]}';
const TENSORS = `input: [${INT32}]\noutput: [${INT32.replace('IN0', 'OUT0')}]`;
const METADATA: ModelMetadata = {
  inputs: [{ name: 'IN0', datatype: 'INT32', shape: [-1, 1], optional: false }],
  outputs: [{ name: 'OUT0', datatype: 'INT32', shape: [-1, 1], optional: false }],
};

class Schedule {
  readonly clock: ManualClock = new ManualClock();
  readonly caller: Ledger = new Ledger();
  readonly #models: Map<string, { readonly model: Model; readonly instance: ManualInstance }> = new Map();
  readonly #nested: NestedInference;
  readonly #door: InferenceDoor;
  readonly #store: LocalStore = new LocalStore(1 << 20);
  readonly #startNs: number = this.clock.nowNs();

  /** Models by name, in the order in which they are loaded; one instance each. */
  constructor(models: Readonly<Record<string, string>>) {
    const repository = {
      find: (name: string) => this.#models.get(name)?.model ?? null,
      route: (name: string) => this.#models.get(name)!.model,
    } as unknown as ModelRepository;
    this.#nested = new NestedInference(this.clock, throwFault);
    this.#nested.connect(repository);
    this.#door = new InferenceDoor(repository, new Admission(100, 2 ** 30), this.clock, null);
    for (const [name, yaml] of Object.entries(models)) this.#load(name, `name: ${name}\n${TENSORS}\n${yaml}`);
  }

  #load(name: string, yaml: string): void {
    const parsed = parseModelConfig(yaml, 'yaml', 'config.yaml');
    const config = normaliseModelConfig(parsed, { name, firstVersionEntries: ['model.onnx'] });
    const instance = new ManualInstance();
    const group = new InstanceGroup({
      key: `${name}:1`,
      metadata: METADATA,
      onCapacity: () => this.model(name).scheduler.poke(),
      onFailed: throwFault,
      onStop: () => Promise.resolve(),
    });
    const composed = config.ensembleScheduling === null ? null : composeEnsemble(config, new Map(), this.#nested);
    const model = new Model({
      version: 1,
      config: composed?.config ?? config,
      labels: new Map(),
      instances: group as InstanceGroup<InstanceChannel>,
      plan: composed?.plan ?? null,
      reporter: new ModelReporter(name, '1', {}),
      defaultMaxQueueSize: 100,
      maxQueueTimeNs: 1e9,
      clock: this.clock,
      nestedCalls: this.#nested,
      responseStore: this.#store,
      onFault: throwFault,
      onStopped: () => {},
    });
    this.#models.set(name, { model, instance });
    group.add([instance]);
  }

  model(name = 'm'): Model {
    return this.#models.get(name)!.model;
  }

  /** The clock goes on to `ns`. */
  at(ns: number): this {
    this.clock.advance(this.#startNs + ns - this.clock.nowNs());
    return this;
  }

  send(
    id: string,
    rows: number,
    { deadlineNs = Number.POSITIVE_INFINITY, model = 'm', value = 1, sequence = null }: SendOptions = {},
  ): InferenceRequest {
    const request = int32Request(id, this.caller, [{ shape: [rows, 1], values: new Array(rows).fill(value) }], sequence);
    if (deadlineNs !== Number.POSITIVE_INFINITY) request.deadlineNs = this.#startNs + deadlineNs;
    this.#door.infer(request, this.model(model));
    return request;
  }

  tick(): this {
    this.clock.tick();
    return this;
  }

  /** What the oldest batch of a model took in its host. */
  answer(timing: { inferNs: number; outputNs: number }, model = 'm'): this {
    const { batch, inputs } = this.#models.get(model)!.instance.running.shift()!;
    const input = inputs.find(({ name }) => name === 'IN0')!;
    batch.complete([{ ...input, name: 'OUT0' }], timing);
    this.clock.tick();
    return this;
  }

  fail(model = 'm'): this {
    this.#models.get(model)!.instance.fail(new InferenceError('INTERNAL', 'the model failed', { failureReason: 'BACKEND' }), true);
    this.clock.tick();
    return this;
  }

  statistics(name = 'm'): Statistics {
    const repository = { readyModels: () => [this.model(name)], resolveVersion: () => '' };
    const { model_stats } = describeStatistics({ repository } as unknown as ProtocolContext, name, '') as {
      model_stats: [Statistics & { last_inference: number }];
    };
    const { last_inference, ...statistics } = model_stats[0];
    expect(last_inference).toBeGreaterThan(0);
    return statistics;
  }
}

interface SendOptions {
  readonly deadlineNs?: number;
  readonly model?: string;
  readonly value?: number;
  readonly sequence?: RequestSequence | null;
}

interface Statistics {
  readonly inference_stats: Readonly<Record<string, { readonly count: number; readonly ns: number }>>;
}

function throwFault(error: unknown): never {
  throw error;
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
    const schedule = new Schedule({ m: 'max_batch_size: 8' });
    // A: 0, 0, 400; B: 100, 400, 700
    schedule.send('A', 1);
    schedule.tick().at(100);
    schedule.send('B', 3);
    schedule.tick().at(400).answer({ inferNs: 250, outputNs: 30 });
    schedule.at(700).answer({ inferNs: 200, outputNs: 50 });
    expect(schedule.statistics()).toEqual({
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
    const schedule = new Schedule({ m: 'max_batch_size: 4\ndynamic_batching: {}' });
    // A: 0, 0, 400
    schedule.send('A', 1);
    schedule.tick().at(100);
    // B and C: 100, 400, 1000, together, as D has no room; E is cancelled in the queue at 200, F has until 350.
    schedule.send('B', 2);
    schedule.send('C', 1);
    const e = schedule.send('E', 1);
    schedule.send('F', 1, { deadlineNs: 350 });
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
    const { failures } = schedule.model().reporter;
    expect(failures).toEqual({ REJECTED: 1, CANCELED: 1, BACKEND: 1, OTHER: 0 });
    expect(schedule.statistics()).toMatchObject({
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
    expect(schedule.statistics().inference_stats['fail']).toEqual(d(3, 100 + 250 + 850));
  });

  test('work that nobody waited for is counted as wasted, not as served', () => {
    const schedule = new Schedule({ m: 'max_batch_size: 4\ndynamic_batching: {}' });
    schedule.send('A', 1);
    const b = schedule.send('B', 3);
    schedule.tick().at(100);
    b.cancel();
    schedule.at(500).answer({ inferNs: 400, outputNs: 20 });
    expect(schedule.statistics()).toMatchObject({
      inference_count: 1,
      execution_count: 1,
      inference_stats: { success: d(1, 500), fail: d(1, 100), compute_infer: d(1, 400) },
      batch_stats: [{ batch_size: 4 }],
    });
    // Three rows of four.
    expect(schedule.model().reporter.wastedWork).toEqual(d(1, 300));
  });

  test('a response cache: misses, hits, and what is shared while it runs', () => {
    const schedule = new Schedule({ m: 'max_batch_size: 4\ndynamic_batching: {}\nresponse_cache: { enable: true }' });
    // A misses: 0, 0, 500. B asks the same at 200 and shares its run; C asks the same at 700 and is answered at once; D is another: 900, 900, 1000.
    schedule.send('A', 1, { value: 7 });
    schedule.tick().at(200);
    schedule.send('B', 1, { value: 7 });
    schedule.tick().at(500).answer({ inferNs: 400, outputNs: 20 });
    schedule.tick().at(700);
    schedule.send('C', 1, { value: 7 });
    schedule.tick().at(900);
    schedule.send('D', 1, { value: 8 });
    schedule.tick().at(1000).answer({ inferNs: 60, outputNs: 10 });
    schedule.tick();
    expect(schedule.caller.endings.map(({ id, outputs }) => [id, new Int32Array(outputs[0]!.data.buffer)[0]])).toEqual([
      ['A', 7],
      ['B', 7],
      ['C', 7],
      ['D', 8],
    ]);
    expect(schedule.statistics()).toMatchObject({
      inference_count: 2,
      execution_count: 2,
      inference_stats: inferenceStats({
        success: d(4, 500 + 300 + 0 + 100),
        // Hits count here, as in Triton.
        queue: d(4, 0),
        compute_input: d(2, 80 + 30),
        compute_infer: d(2, 460),
        compute_output: d(2, 30),
        cache_hit: d(2, 300 + 0),
        // On this clock, looking and inserting take no time.
        cache_miss: d(2, 0),
      }),
    });
  });

  test('an ensemble: its own, and those of its models', () => {
    const schedule = new Schedule({
      a: 'max_batch_size: 4\ndynamic_batching: {}',
      b: 'max_batch_size: 4\ndynamic_batching: {}',
      m: `max_batch_size: 4\nplatform: ensemble\nensemble_scheduling: { step: [
        { model_name: a, model_version: -1, input_map: { IN0: IN0 }, output_map: { OUT0: between } },
        { model_name: b, model_version: -1, input_map: { IN0: between }, output_map: { OUT0: OUT0 } }] }`,
    });
    // A: a from 0 to 300, b from 300 to 800. B, two rows, at 100: waits for a until 300, runs to 400, waits for b until 800, runs to 1000.
    schedule.send('A', 1);
    schedule.tick().at(100);
    schedule.send('B', 2);
    schedule.tick().at(300).answer({ inferNs: 200, outputNs: 10 }, 'a');
    schedule.at(400).answer({ inferNs: 80, outputNs: 10 }, 'a');
    schedule.at(800).answer({ inferNs: 450, outputNs: 20 }, 'b');
    schedule.at(1000).answer({ inferNs: 150, outputNs: 20 }, 'b');
    expect(schedule.caller.endings.map(({ id, error }) => [id, error])).toEqual([
      ['A', null],
      ['B', null],
    ]);
    const a = { queue: d(2, 0 + 200), compute_input: d(2, 90 + 10), compute_infer: d(2, 200 + 80), compute_output: d(2, 10 + 10) };
    const b = { queue: d(2, 0 + 400), compute_input: d(2, 30 + 30), compute_infer: d(2, 450 + 150), compute_output: d(2, 20 + 20) };
    expect(schedule.statistics('a')).toMatchObject({
      inference_count: 3,
      execution_count: 2,
      inference_stats: inferenceStats({ success: d(2, 300 + 300), ...a }),
    });
    expect(schedule.statistics('b')).toMatchObject({
      inference_count: 3,
      execution_count: 2,
      inference_stats: inferenceStats({ success: d(2, 500 + 600), ...b }),
    });
    expect(schedule.statistics()).toMatchObject({
      inference_count: 3,
      execution_count: 2,
      inference_stats: inferenceStats({
        success: d(2, 800 + 900),
        queue: d(2, 200 + 400),
        compute_input: d(2, 100 + 60),
        compute_infer: d(2, 280 + 600),
        compute_output: d(2, 20 + 40),
      }),
    });
  });

  test('sequences: one waits for its slot, and requests of one never share a batch', () => {
    const schedule = new Schedule({
      m: `max_batch_size: 2\nsequence_batching: { max_sequence_idle_microseconds: 1000000, oldest: { max_candidate_sequences: 2 } }`,
    });
    const of = (id: bigint, isStart: boolean, isEnd: boolean): { sequence: RequestSequence } => ({ sequence: { id, isStart, isEnd } });
    // 1 and 2 begin together, 0 to 200; the second of 1 and the end of 2 wait for that, 50 to 200, and run to 300; 3 waits for the slot of 2, 100 to 300, and runs to 450.
    schedule.send('1a', 1, of(1n, true, false));
    schedule.send('2a', 1, of(2n, true, false));
    schedule.tick().at(50);
    schedule.send('1b', 1, of(1n, false, false));
    schedule.send('2b', 1, of(2n, false, true));
    schedule.tick().at(100);
    schedule.send('3a', 1, of(3n, true, true));
    schedule.tick().at(200).answer({ inferNs: 150, outputNs: 10 });
    schedule.at(300).answer({ inferNs: 70, outputNs: 10 });
    schedule.at(450).answer({ inferNs: 120, outputNs: 10 });
    expect(schedule.caller.endings.map(({ id, error }) => [id, error])).toEqual([
      ['1a', null],
      ['2a', null],
      ['1b', null],
      ['2b', null],
      ['3a', null],
    ]);
    expect(schedule.statistics()).toMatchObject({
      inference_count: 5,
      execution_count: 3,
      inference_stats: inferenceStats({
        success: d(5, 200 + 200 + 250 + 250 + 350),
        queue: d(5, 0 + 0 + 150 + 150 + 200),
        compute_input: d(5, 40 + 40 + 20 + 20 + 20),
        compute_infer: d(5, 150 + 150 + 70 + 70 + 120),
        compute_output: d(5, 50),
      }),
      batch_stats: [
        { batch_size: 1, compute_input: d(1, 20), compute_infer: d(1, 120), compute_output: d(1, 10) },
        { batch_size: 2, compute_input: d(2, 60), compute_infer: d(2, 220), compute_output: d(2, 20) },
      ],
    });
  });
});
