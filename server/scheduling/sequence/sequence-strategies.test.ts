import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import { bytesOf, SequenceHarness } from './sequence-harness.case.ts';

const MS = 1e6;

describe('10,000 live sequences', () => {
  it('end by one timer, in the order in which they became idle, and leave nothing behind', () => {
    const batching = 'oldest { max_candidate_sequences: 9000 } max_sequence_idle_microseconds: 10000';
    const harness = new SequenceHarness({ batching, maxBatchSize: 500, hasState: true, maxQueueSize: 10_000 });
    for (let id = 1n; id <= 10_000n; id++) harness.send(id, 's', 1);
    harness.runAll();
    expect(harness.answers).toHaveLength(9000);
    expect(harness.scheduler.stateBytes).toBe(9000 * 4);
    expect(harness.clock.timerCount).toBe(1);
    harness.clock.advance(5 * MS);
    for (let id = 1n; id <= 100n; id++) harness.send(id, '', 1);
    harness.runAll();
    harness.clock.advance(5.5 * MS);
    harness.runAll();
    expect(harness.answers).toHaveLength(10_100);
    expect(harness.scheduler.liveCount).toBe(1100);
    expect(harness.clock.timerCount).toBe(1);
    harness.clock.advance(20 * MS);
    expect(harness.scheduler.liveCount + harness.scheduler.stateBytes + harness.clock.timerCount).toBe(0);
  });
});

describe('direct', () => {
  it('keeps each sequence in its row and fills the others with null requests', () => {
    const harness = new SequenceHarness({ maxBatchSize: 4 });
    for (let id = 1n; id <= 4n; id++) harness.send(id, 's', 10);
    harness.runAll();
    harness.send(3n, '', 5);
    harness.runAll();
    const rows = harness.instances[0]!.executions[1]!;
    expect(rows.map(({ ready, correlation, input }) => [ready, correlation, input])).toEqual([
      [0, 0n, 0],
      [0, 0n, 0],
      [1, 3n, 5],
    ]);
    expect(harness.answers.at(-1)).toBe('3:5 15');
  });

  it('waits up to its delay until enough slots are ready', () => {
    const batching = 'direct { max_queue_delay_microseconds: 3000 minimum_slot_utilization: 0.75 }';
    const harness = new SequenceHarness({ maxBatchSize: 4, batching });
    const { executions } = harness.instances[0]!;
    harness.send(1n, 's', 1);
    harness.clock.tick();
    harness.clock.advance(2 * MS);
    expect(executions).toHaveLength(0);
    harness.clock.advance(1.1 * MS);
    expect(executions).toHaveLength(1);
    harness.runAll();
    for (const id of [2n, 3n]) harness.send(id, 's', 1);
    harness.clock.tick();
    expect(executions).toHaveLength(1);
    harness.send(1n, '', 1);
    harness.clock.tick();
    expect(executions[1]).toHaveLength(3);
  });

  it('sends rows of another shape as null this time, the longest waiting deciding', () => {
    const harness = new SequenceHarness({ maxBatchSize: 4, columns: -1 });
    harness.clock.tick();
    harness.send(2n, 's', 1, { width: 3 });
    harness.clock.advance(10);
    harness.send(1n, 's', 2, { width: 2 });
    harness.clock.advance(10);
    harness.send(3n, 's', 3, { width: 3 });
    harness.clock.tick();
    const [instance] = harness.instances;
    expect(instance!.running[0]!.shape).toEqual([3, 3]);
    expect(instance!.executions[0]!.map(({ ready, input }) => [ready, input])).toEqual([
      [1, 1],
      [0, 0],
      [1, 3],
    ]);
    harness.runAll();
    expect(harness.answers).toEqual(['2:1 1', '3:3 3', '1:2 2']);
  });

  it('has one slot and no batch dimension where the model does not batch', () => {
    const harness = new SequenceHarness({ maxBatchSize: 0, hasState: true, instances: 2 });
    for (const id of [1n, 2n, 3n]) harness.send(id, 's', 1);
    harness.clock.tick();
    expect(harness.instances.map(({ executions }) => executions.length)).toEqual([1, 1]);
    for (const id of [1n, 2n]) harness.send(id, 'e', 1);
    harness.runAll();
    expect([...harness.answers].sort()).toEqual(['1:1 1', '1:1 2', '2:1 1', '2:1 2', '3:1 1']);
  });
});

describe('oldest', () => {
  it('waits for a preferred size up to its delay', () => {
    const batching = 'oldest { max_candidate_sequences: 8 preferred_batch_size: 2 max_queue_delay_microseconds: 3000 }';
    const harness = new SequenceHarness({ maxBatchSize: 4, batching });
    const { executions } = harness.instances[0]!;
    harness.send(1n, 's', 1);
    harness.clock.tick();
    expect(executions).toHaveLength(0);
    harness.send(2n, 's', 1);
    harness.clock.tick();
    expect(executions[0]).toHaveLength(2);
    harness.runAll();
    harness.send(1n, '', 1);
    harness.clock.tick();
    harness.clock.advance(3.1 * MS);
    expect(executions[1]).toHaveLength(1);
  });

  it('answers in the order of the queue where it is to be preserved, also when a run is repeated', () => {
    const batching = 'oldest { max_candidate_sequences: 8 preserve_ordering: true }';
    const harness = new SequenceHarness({ maxBatchSize: 2, batching, hasState: true });
    const [instance] = harness.instances;
    instance!.capacity = 4;
    for (let id = 1n; id <= 4n; id++) harness.send(id, 's', Number(id));
    harness.clock.tick();
    expect(instance!.running).toHaveLength(1);
    instance!.fail(new InferenceError('INTERNAL', 'again'), true);
    harness.runAll();
    expect(harness.answers).toEqual(['1:1 1', '2:2 2', '3:3 3', '4:4 4']);
  });
});

describe('implicit state', () => {
  const state = (initial: string, dims = '1'): string =>
    `state { input_name: "STATE_IN" output_name: "STATE_OUT" data_type: TYPE_INT32 dims: ${dims} ${initial} }`;

  it('begins with a file, at every start', () => {
    const initial = 'initial_state { name: "i" data_type: TYPE_INT32 dims: 1 data_file: "forty" }';
    const initialStates = new Map([['STATE_IN', bytesOf([40])]]);
    const harness = new SequenceHarness({ state: state(initial), initialStates });
    harness.send(1n, 's', 2);
    harness.send(1n, '', 1);
    harness.send(1n, 's', 2);
    harness.send(2n, 's', 3);
    harness.runAll();
    expect(harness.answers).toEqual(['1:2 42', '2:3 43', '1:1 43', '1:2 42']);
    expect([...initialStates.values()]).toEqual([bytesOf([40])]);
  });

  it('may have another shape after each request', () => {
    const harness = new SequenceHarness({ state: state('', '-1'), hasState: true });
    harness.send(1n, 's', 2);
    harness.clock.tick();
    const [instance] = harness.instances;
    const { batch } = instance!.running.shift()!;
    const longer = { name: 'STATE_OUT', datatype: 'INT32', shape: [1, 3], data: bytesOf([7, 8, 9]) } as const;
    batch.complete([{ name: 'OUT', datatype: 'INT32', shape: [1, 1], data: bytesOf([2]) }, longer], { inferNs: 1, outputNs: 1 });
    expect(harness.scheduler.stateBytes).toBe(12);
    harness.send(1n, '', 1);
    harness.clock.tick();
    const next = instance!.running[0]!.batch;
    const index = next.inputs.findIndex(({ name }) => name === 'STATE_IN');
    const data = new Uint8Array(12);
    next.writeInput(index, data);
    expect([next.inputs[index]!.shape, data]).toEqual([[1, 3], bytesOf([7, 8, 9])]);
  });

  it('that does not fit ends its sequence, with the reason', () => {
    const harness = new SequenceHarness({ hasState: true, maxStateBytes: 8 });
    for (const id of [1n, 2n, 3n]) harness.send(id, 's', 2);
    harness.send(3n, '', 4);
    harness.runAll();
    expect(harness.answers).toEqual(['1:2 2', '2:2 2', '3:4 RESOURCE_EXHAUSTED', '3:2 RESOURCE_EXHAUSTED']);
    expect(harness.ledger.endings[3]!.error?.message).toMatch(/would pass 8 bytes, .* end others with sequence_end/);
    harness.send(1n, 'e', 1);
    harness.runAll();
    harness.send(3n, 's', 5);
    harness.runAll();
    expect(harness.answers.slice(4)).toEqual(['1:1 3', '3:5 5']);
    expect(harness.scheduler.stateBytes).toBe(8);
  });

  it('that the model does not give ends its sequence', () => {
    const harness = new SequenceHarness({ hasState: true });
    harness.send(1n, 's', 2);
    harness.clock.tick();
    const { batch } = harness.instances[0]!.running.shift()!;
    batch.complete([{ name: 'OUT', datatype: 'INT32', shape: [1, 1], data: bytesOf([2]) }], { inferNs: 1, outputNs: 1 });
    expect(harness.ledger.endings[0]!.error?.message).toMatch(/did not give the output 'STATE_OUT', the state of its sequences/);
    expect(harness.scheduler.liveCount).toBe(0);
  });

  it('is not given to callers', () => {
    const harness = new SequenceHarness({ hasState: true });
    harness.send(1n, 's', 2);
    harness.runAll();
    expect(harness.ledger.endings[0]!.outputs.map(({ name }) => name)).toEqual(['OUT']);
  });
});
