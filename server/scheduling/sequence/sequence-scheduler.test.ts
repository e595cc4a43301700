import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import { SequenceHarness } from './sequence-harness.case.ts';

const MS = 1e6;
const strategies = [
  ['direct', ''],
  ['oldest', 'oldest { max_candidate_sequences: 4 }'],
] as const;

describe.each(strategies)('a sequence, strategy %s', (strategy, batching) => {
  it('runs its requests one after the other and keeps its state', () => {
    const harness = new SequenceHarness({ batching, hasState: true });
    harness.send(1n, 's', 5);
    harness.send(1n, '', 2);
    harness.send(1n, 'e', 1);
    harness.clock.tick();
    expect(harness.instances[0]!.executions).toHaveLength(1);
    expect(harness.scheduler.inflightCount).toBe(3);
    harness.runAll();
    expect(harness.answers).toEqual(['1:5 5', '1:2 7', '1:1 8']);
    expect(harness.instances[0]!.executions.map(([row]) => [row!.start, row!.end, row!.ready, row!.correlation])).toEqual([
      [1, 0, 1, 1n],
      [0, 0, 1, 1n],
      [0, 1, 1, 1n],
    ]);
    expect(harness.scheduler.liveCount).toBe(0);
    expect(harness.scheduler.stateBytes).toBe(0);
    expect(harness.scheduler.inflightCount).toBe(0);
  });

  it('of one request starts and ends at once', () => {
    const harness = new SequenceHarness({ batching });
    harness.send(1n, 'se', 5);
    harness.runAll();
    expect(harness.answers).toEqual(['1:5 5']);
    expect(harness.instances[0]!.executions[0]![0]).toMatchObject({ start: 1, end: 1 });
    expect(harness.scheduler.liveCount).toBe(0);
  });

  it('shares an execution with others, none of which sees its state', () => {
    const harness = new SequenceHarness({ batching, hasState: true });
    for (const id of [1n, 2n, 3n]) harness.send(id, 's', Number(id) * 10);
    harness.runAll();
    for (const id of [3n, 1n, 2n]) harness.send(id, '', Number(id));
    harness.runAll();
    expect(harness.instances[0]!.executions.map((rows) => rows.length)).toEqual([3, 3]);
    expect(harness.answers.slice(0, 3)).toEqual(['1:10 10', '2:20 20', '3:30 30']);
    expect(harness.answers.slice(3).sort()).toEqual(['1:1 11', '2:2 22', '3:3 33']);
  });

  it('waits in the backlog for a slot, in order of arrival, and its later requests with it', () => {
    const harness = new SequenceHarness({ batching, maxBatchSize: 4 });
    for (let id = 1n; id <= 4n; id++) harness.send(id, 's', 1);
    harness.send(5n, 's', 1);
    harness.send(6n, 's', 1);
    harness.send(6n, 'e', 2);
    harness.send(5n, 'e', 2);
    harness.runAll();
    expect(harness.answers).toHaveLength(4);
    expect(harness.scheduler.pendingCount).toBe(4);
    harness.send(2n, 'e', 1);
    harness.runAll();
    expect(harness.answers.slice(4)).toEqual(['2:1 2', '5:1 1', '5:2 3', '6:1 1', '6:2 3']);
  });

  it('is refused without an id, without a start, and in batches', () => {
    const harness = new SequenceHarness({ batching });
    expect(() => harness.send(1n, '', 1)).toThrow(/for sequence 1 to model 'adder' must specify the START flag on the first request/);
    const alone = harness.request(null, '', 1);
    expect(() => harness.scheduler.enqueue(alone)).toThrow(/must specify a non-zero or non-empty correlation ID/);
    const two = harness.request(1n, 's', 1);
    two.batchSize = 2;
    expect(() => harness.scheduler.enqueue(two)).toThrow(/must specify batch-size 1 .* got 2/);
    expect(() => harness.send('one', 's', 1)).toThrow(
      "sequence batching control 'CORRID' data-type is 'UINT64' for model 'adder', so sequence_id: expected a number, got the string \"one\"",
    );
    const texts = new SequenceHarness({ batching, correlationType: 'TYPE_STRING' });
    expect(() => texts.send(1n, 's', 1)).toThrow(/expected a string, got the number 1/);
    texts.send('café', 's', 1);
    texts.runAll();
    expect(texts.instances[0]!.executions[0]![0]!.correlation).toBe('café');
    expect(harness.scheduler.inflightCount + harness.scheduler.liveCount).toBe(0);
  });

  it('that begins anew while it is live forgets its state, in order', () => {
    const harness = new SequenceHarness({ batching, hasState: true });
    harness.send(1n, 's', 5);
    harness.send(1n, '', 1);
    harness.send(1n, 's', 7);
    harness.send(1n, 'e', 1);
    harness.runAll();
    expect(harness.answers).toEqual(['1:5 5', '1:1 6', '1:7 7', '1:1 8']);
    expect(harness.scheduler.liveCount).toBe(0);
  });

  it('may take the id of one whose end still waits', () => {
    const harness = new SequenceHarness({ batching, hasState: true });
    harness.send(1n, 's', 5);
    harness.send(1n, 'e', 1);
    expect(() => harness.send(1n, '', 1)).toThrow(/START/);
    harness.send(1n, 's', 7);
    harness.send(1n, '', 1, { name: 'second' });
    harness.runAll();
    expect([...harness.answers].sort()).toEqual(['1:1 6', '1:5 5', '1:7 7', 'second 8']);
    expect(harness.scheduler.liveCount).toBe(1);
  });

  it('ends when nothing came for so long, from its last answer on', () => {
    const harness = new SequenceHarness({ batching: `${batching} max_sequence_idle_microseconds: 5000`, hasState: true });
    harness.send(1n, 's', 1);
    harness.clock.tick();
    harness.clock.advance(50 * MS);
    harness.runAll();
    harness.clock.advance(4 * MS);
    harness.send(1n, '', 1);
    harness.runAll();
    harness.clock.advance(4.9 * MS);
    expect(harness.scheduler.liveCount).toBe(1);
    harness.clock.advance(0.2 * MS);
    expect(harness.scheduler.liveCount).toBe(0);
    expect(harness.scheduler.stateBytes).toBe(0);
    expect(() => harness.send(1n, '', 1)).toThrow(/must specify the START flag/);
    expect(harness.clock.timerCount).toBe(0);
  });

  it('gives up waiting for a slot after the shortest timeout of its requests, all of it', () => {
    const harness = new SequenceHarness({ batching, maxBatchSize: 4 });
    for (let id = 1n; id <= 4n; id++) harness.send(id, 's', 1);
    harness.send(5n, 's', 1, { timeoutUs: 8000 });
    harness.send(5n, '', 2, { timeoutUs: 3000 });
    harness.send(6n, 's', 1);
    harness.clock.tick();
    harness.clock.advance(2.9 * MS);
    expect(harness.answers).toEqual([]);
    harness.clock.advance(0.2 * MS);
    expect(harness.answers).toEqual(['5:1 UNAVAILABLE', '5:2 UNAVAILABLE']);
    const { error } = harness.ledger.endings[0]!;
    expect(error?.message).toMatch(/^timeout of the corresponding sequence has been expired/);
    expect(error?.failureReason).toBe('REJECTED');
    expect(() => harness.send(5n, '', 3)).toThrow(/START/);
    harness.runAll();
    expect(harness.answers).toHaveLength(6);
  });

  it('is bounded in number and in waiting requests', () => {
    const harness = new SequenceHarness({ batching, maxBatchSize: 4, maxQueueSize: 3 });
    for (let id = 1n; id <= 3n; id++) harness.send(id, 's', 1);
    expect(() => harness.send(4n, 's', 1)).toThrow(/Exceeds maximum queue size: 3/);
    expect(() => harness.send(1n, '', 1)).toThrow(/Exceeds maximum queue size: 3/);
    harness.clock.tick();
    for (let id = 4n; id <= 6n; id++) harness.send(id, 's', 1);
    expect(harness.scheduler.liveCount).toBe(6);
  });

  it('is cancelled whole by one of its requests, and gives its slot to the next', () => {
    const harness = new SequenceHarness({
      batching: strategy === 'oldest' ? 'oldest { max_candidate_sequences: 1 }' : '',
      maxBatchSize: 1,
    });
    harness.send(1n, 's', 1);
    harness.clock.tick();
    const second = harness.send(1n, '', 2);
    harness.send(1n, '', 3);
    harness.send(2n, 's', 4);
    harness.clock.tick();
    second.cancel();
    expect(harness.answers).toEqual(['1:3 CANCELLED', '1:2 CANCELLED']);
    expect(() => harness.send(1n, '', 5)).toThrow(/START/);
    harness.runAll();
    expect(harness.answers.slice(2)).toEqual(['1:1 1', '2:4 4']);
  });

  it('is cancelled whole when the request that runs is', () => {
    const harness = new SequenceHarness({ batching, hasState: true });
    const first = harness.send(1n, 's', 1);
    harness.send(1n, '', 2);
    harness.clock.tick();
    first.cancel();
    harness.runAll();
    expect(harness.answers).toEqual(['1:1 CANCELLED', '1:2 CANCELLED']);
    expect(harness.scheduler.liveCount).toBe(0);
    expect(harness.reporter.wastedWork.count).toBe(1);
  });

  it('goes on with the state it had after a run that failed', () => {
    const harness = new SequenceHarness({ batching, hasState: true });
    harness.send(1n, 's', 5);
    harness.runAll();
    harness.send(1n, '', 100);
    harness.clock.tick();
    harness.instances[0]!.fail(new InferenceError('INTERNAL', 'bad run'), true);
    harness.send(1n, 'e', 2);
    harness.runAll();
    expect(harness.answers).toEqual(['1:5 5', '1:100 INTERNAL', '1:2 7']);
  });

  it('has not begun when its first run fails', () => {
    const harness = new SequenceHarness({ batching });
    harness.send(1n, 's', 5);
    harness.send(1n, '', 6);
    harness.send(2n, 's', 5);
    harness.send(2n, 's', 7);
    harness.clock.tick();
    harness.instances[0]!.fail(new InferenceError('INTERNAL', 'bad run'));
    expect(harness.answers).toEqual(['1:6 UNAVAILABLE', '1:5 INTERNAL', '2:5 INTERNAL']);
    expect(harness.ledger.endings[0]!.error?.message).toMatch(/sequence 1 of model 'adder' has not begun/);
    expect(() => harness.send(1n, '', 1)).toThrow(/START/);
    harness.runAll();
    expect(harness.answers[3]).toBe('2:7 7');
  });

  it('runs again apart from the one that made their run fail, where the model keeps nothing', () => {
    const harness = new SequenceHarness({ batching, hasState: true });
    for (let id = 1n; id <= 4n; id++) harness.send(id, 's', Number(id));
    harness.clock.tick();
    const [instance] = harness.instances;
    const bad = new InferenceError('INTERNAL', 'bad row');
    for (let turn = 0; turn < 12 && harness.answers.length < 4; turn++) {
      if (instance!.running[0]!.rows.some(({ input, ready }) => input === 3 && ready === 1)) instance!.fail(bad, true);
      else instance!.answer();
      harness.clock.tick();
    }
    expect([...harness.answers].sort()).toEqual(['1:1 1', '2:2 2', '3:3 INTERNAL', '4:4 4']);
    harness.send(1n, '', 10);
    harness.runAll();
    expect(harness.answers.at(-1)).toBe('1:10 11');
  });

  it('of a model that keeps its state fails with its run, which must not be repeated', () => {
    const harness = new SequenceHarness({ batching });
    for (let id = 1n; id <= 3n; id++) harness.send(id, 's', Number(id));
    harness.clock.tick();
    harness.instances[0]!.fail(new InferenceError('INTERNAL', 'bad row'), true);
    expect(harness.answers).toEqual(['1:1 INTERNAL', '2:2 INTERNAL', '3:3 INTERNAL']);
    expect(harness.instances[0]!.executions).toHaveLength(1);
  });

  it('outlives its instance where its state is ours', () => {
    const harness = new SequenceHarness({ batching, hasState: true });
    harness.send(1n, 's', 5);
    harness.send(2n, 's', 6);
    harness.runAll();
    harness.send(2n, '', 1);
    harness.send(2n, '', 2);
    harness.clock.tick();
    harness.kill(harness.instances[0]!, true);
    harness.send(1n, 'e', 1);
    harness.runAll();
    expect([...harness.answers].sort()).toEqual(['1:1 6', '1:5 5', '2:1 UNAVAILABLE', '2:2 8', '2:6 6']);
  });

  it('is lost with an instance that had its state, and says so once', () => {
    const harness = new SequenceHarness({ batching });
    for (const id of [1n, 2n, 3n]) harness.send(id, 's', 5);
    harness.runAll();
    harness.send(2n, '', 1);
    harness.send(2n, '', 2);
    harness.clock.tick();
    harness.kill(harness.instances[0]!, true);
    harness.clock.tick();
    expect(harness.answers.slice(3)).toEqual(['2:2 UNAVAILABLE', '2:1 UNAVAILABLE']);
    expect(() => harness.send(1n, '', 1)).toThrow(/sequence 1 is lost: .* begin it again with sequence_start/);
    expect(() => harness.send(1n, '', 1)).toThrow(/START/);
    harness.send(3n, 's', 9);
    harness.send(1n, 's', 8);
    harness.runAll();
    expect(harness.answers.slice(5)).toEqual(['3:9 9', '1:8 8']);
    expect(harness.scheduler.liveCount).toBe(2);
  });

  it('may go on while the server stops, but not begin', async () => {
    const harness = new SequenceHarness({ batching, hasState: true });
    harness.send(1n, 's', 5);
    harness.clock.tick();
    let isStopped = false;
    const stopped = harness.scheduler.stop().then(() => {
      isStopped = true;
    });
    harness.send(1n, '', 1);
    expect(() => harness.send(2n, 's', 1)).toThrow(/Server is stopping/);
    await Promise.resolve();
    expect(isStopped).toBe(false);
    harness.runAll();
    await stopped;
    expect(harness.answers).toEqual(['1:5 5', '1:1 6']);
    expect(() => harness.send(1n, '', 1)).toThrow(/Server is stopping/);
    expect(harness.scheduler.liveCount + harness.scheduler.stateBytes + harness.clock.timerCount).toBe(0);
  });

  it('gives its slot to those that wait when the server stops and nothing of it runs', async () => {
    const harness = new SequenceHarness({ batching: `${batching} max_sequence_idle_microseconds: 3600000000` });
    for (let id = 1n; id <= 6n; id++) harness.send(id, 's', 1);
    harness.send(6n, '', 2);
    harness.runAll();
    expect(harness.answers).toHaveLength(4);
    const stopped = harness.scheduler.stop();
    harness.scheduler.poke();
    harness.runAll();
    await stopped;
    expect(harness.answers.slice(4).sort()).toEqual(['5:1 1', '6:1 1', '6:2 3']);
  });

  it('waits for tensor memory and is refused when no instance will come', () => {
    const harness = new SequenceHarness({ batching });
    const [instance] = harness.instances;
    instance!.isOutOfMemory = true;
    harness.send(1n, 's', 5);
    harness.send(1n, '', 5);
    harness.clock.tick();
    expect(harness.scheduler.pendingCount).toBe(2);
    instance!.isOutOfMemory = false;
    harness.scheduler.poke();
    harness.clock.tick();
    expect(instance!.executions).toHaveLength(1);
    harness.scheduler.failPending(new InferenceError('UNAVAILABLE', 'gone'));
    expect(harness.answers).toEqual(['1:5 UNAVAILABLE']);
    instance!.answer();
    expect(harness.answers[1]).toBe('1:5 5');
    expect(harness.scheduler.inflightCount + harness.scheduler.liveCount).toBe(0);
  });

  it('of a request without an id, in an iterative model, is that request', () => {
    const harness = new SequenceHarness({ batching: `${batching} iterative_sequence: true` });
    const requests = [harness.request(null, '', 1, { name: 'a' }), harness.request(null, '', 2, { name: 'b' })];
    for (const request of requests) harness.scheduler.enqueue(request);
    harness.runAll();
    expect(harness.answers).toEqual(['a 1', 'b 2']);
    expect(harness.instances[0]!.executions[0]!.map(({ start, correlation }) => [start, correlation])).toEqual([
      [1, 1n],
      [1, 2n],
    ]);
    expect(harness.scheduler.liveCount).toBe(0);
  });
});
