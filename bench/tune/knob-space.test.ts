import { describe, expect, test } from 'vitest';
import { type KnobLists, type KnobSpace, type KnobSpaceOptions, knobSpace } from './knob-space.ts';
import { type ConfigDocument, describeKnobs, type Knobs, knobsOf, threadParameterOf } from './knobs.ts';

const LISTS: KnobLists = { maxBatch: null, delaysUs: null, instances: null, threads: null, hosts: ['process'] };
const CONFIG: ConfigDocument = {
  name: 'm',
  backend: 'onnxruntime',
  max_batch_size: 8,
  dynamic_batching: { preferred_batch_size: [8], max_queue_delay_microseconds: '250' },
  instance_group: [{ name: 'm', count: 2, kind: 'KIND_CPU' }],
  parameters: { intra_op_thread_count: { string_value: '4' } },
};

function spaceOf(config: ConfigDocument, given: Partial<KnobSpaceOptions> = {}): KnobSpace {
  const threads = threadParameterOf(config, 4);
  const present = knobsOf(config, threads, 'process');
  const usual = { cores: 4, rowsInFlight: 64, rowsOfRequest: 1, latencyLimitUs: Number.POSITIVE_INFINITY };
  return knobSpace({ config, present, threads, lists: LISTS, ...usual, ...given });
}

const valuesOf = (space: KnobSpace): Record<string, readonly unknown[]> =>
  Object.fromEntries(space.axes.map(({ knob, values }) => [knob, values]));

describe('the present configuration', () => {
  test('is read as a server tells it', () => {
    expect(knobsOf(CONFIG, threadParameterOf(CONFIG, 4), 'process')).toEqual({
      maxBatchSize: 8,
      queueDelayUs: 250,
      instances: 2,
      threads: 4,
      host: 'process',
    });
  });

  test('what it does not say is what the server takes', () => {
    const config = { backend: 'llamacpp', max_batch_size: 0, instance_group: [{}] };
    expect(knobsOf(config, threadParameterOf(config, 8), 'inline')).toEqual({
      maxBatchSize: 0,
      queueDelayUs: -1,
      instances: 1,
      threads: 7,
      host: 'inline',
    });
  });

  test('others are told by what differs', () => {
    const present: Knobs = { maxBatchSize: 8, queueDelayUs: -1, instances: 1, threads: 1, host: 'process' };
    expect(describeKnobs(present, present)).toBe('as it is');
    expect(describeKnobs({ maxBatchSize: 16, queueDelayUs: 100, instances: 2, threads: 0, host: 'inline' }, present)).toBe(
      'batch 16, delay 100 us, 2 instances, threads as the backend likes, inline host',
    );
  });
});

describe('what may be tried', () => {
  test('goes around what there is, up to what can be used', () => {
    expect(valuesOf(spaceOf(CONFIG))).toEqual({
      instances: [1, 2, 4],
      threads: [1, 2, 4],
      queueDelayUs: [0, 100, 250, 500, 2000],
      maxBatchSize: [8, 16, 32, 64],
    });
    // A batch that cannot fill, a delay as long as the limit, more than the cores.
    expect(valuesOf(spaceOf(CONFIG, { rowsInFlight: 8, latencyLimitUs: 500, cores: 1 }))).toEqual({
      instances: [1, 2],
      threads: [1, 4],
      queueDelayUs: [0, 100, 250],
    });
  });

  test('lists take their place; batches that a request does not fit into are left out', () => {
    const lists: KnobLists = { maxBatch: [2, 4, 32], delaysUs: [7], instances: [3], threads: [4], hosts: ['process', 'inline'] };
    expect(valuesOf(spaceOf(CONFIG, { lists, rowsOfRequest: 4 }))).toEqual({
      instances: [2, 3],
      queueDelayUs: [7, 250],
      maxBatchSize: [4, 8, 32],
      host: ['inline', 'process'],
    });
  });

  test('instances times threads stay within the cores, the present ones apart', () => {
    const { isAllowed, present } = spaceOf(CONFIG);
    expect(isAllowed(present)).toBe(true);
    expect(isAllowed({ ...present, queueDelayUs: 0 })).toBe(true);
    expect(isAllowed({ ...present, instances: 4 })).toBe(false);
    expect(isAllowed({ ...present, instances: 4, threads: 1 })).toBe(true);
    expect(isAllowed({ ...present, instances: 2, threads: 0 })).toBe(false);
  });

  test.each<[string, ConfigDocument, RegExp]>([
    ['sequences', { sequence_batching: {}, dynamic_batching: undefined }, /batches by its sequences/],
    ['any number of responses', { model_transaction_policy: { decoupled: true } }, /runs its requests by itself/],
    ['no batch dimension', { max_batch_size: 0, dynamic_batching: undefined }, /no batch dimension/],
  ])('%s: batches stay as they are, and it is told why', (_, change, why) => {
    const space = spaceOf({ ...CONFIG, ...change });
    expect(Object.keys(valuesOf(space))).toEqual(['instances', 'threads']);
    expect(space.fixed).toEqual([expect.stringMatching(why), expect.stringMatching(why)]);
  });

  test('several instance groups, and a backend without threads', () => {
    const config = { ...CONFIG, backend: 'javascript', instance_group: [{ count: 1 }, { count: 1 }] };
    const space = spaceOf(config, { lists: { ...LISTS, hosts: ['process', 'inline'] } });
    expect(space.fixed).toEqual([
      expect.stringMatching(/^instances: /),
      expect.stringMatching(/^threads: /),
      expect.stringMatching(/^host: /),
    ]);
    expect(space.axes.map(({ knob }) => knob)).toEqual(['queueDelayUs', 'maxBatchSize']);
  });

  test('an ensemble has nothing, and its steps are named', () => {
    const step = [{ model_name: 'a' }, { model_name: 'b' }, { model_name: 'a' }];
    expect(() => spaceOf({ name: 'e', ensemble_scheduling: { step } })).toThrow(/'e' is an ensemble.*tune its steps: a, b$/);
  });
});
