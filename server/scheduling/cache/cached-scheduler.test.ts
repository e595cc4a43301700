import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import { ModelReporter } from '../../metrics/model-reporter.ts';
import { DynamicBatchScheduler } from '../dynamic-batch-scheduler.ts';
import { directPolicy } from '../form-batch.ts';
import { ManualClock } from '../manual-clock.ts';
import { identitySignature, int32Request, Ledger, ManualInstance } from '../scheduling-fixtures.ts';
import { CachedScheduler } from './cached-scheduler.ts';
import { LocalStore } from './local-store.ts';
import type { CachedResponse, ResponseStore } from './response-store.ts';

const unused = { usedBytes: 0, entryCount: 0, evictedCount: 0, tooLargeCount: 0, failedCount: 0 };

function setUp({ store = new LocalStore(1 << 20) as ResponseStore, maxQueueSize = 100, instance = new ManualInstance(1) } = {}) {
  const clock = new ManualClock();
  const signature = identitySignature(0, [[-1]]);
  const reporter = new ModelReporter('identity', '1', {});
  const faults: unknown[] = [];
  const onFault = (error: unknown): void => {
    faults.push(error);
  };
  const inner = new DynamicBatchScheduler({ signature, policy: directPolicy, maxQueueSize, instances: instance, reporter, clock, onFault });
  const load = { identity: 'first' };
  const scheduler = new CachedScheduler({ inner, signature, store, identity: () => load.identity, reporter, clock, onFault });
  const ledger = new Ledger();
  const send = (id: string, values: readonly number[], caller: InferenceCaller = ledger): InferenceRequest => {
    const request = int32Request(id, caller, [{ shape: [values.length], values }]);
    request.batchSize = 1;
    request.inputBytes = request.inputs[0]!.data.length;
    scheduler.enqueue(request);
    return request;
  };
  /** The model answers or fails what it runs; then it gets what waits. */
  const step = (end: (instance: ManualInstance) => void = (one) => one.answer()): void => {
    clock.tick();
    end(instance);
    clock.tick();
  };
  const ended = (): string[] => ledger.endings.map(({ id, error, outputs }) => `${id}:${error?.code ?? ints(outputs[0]!.data)}`);
  return { clock, instance, inner, scheduler, reporter, ledger, load, faults, send, step, ended };
}

function ints(data: Uint8Array): string {
  return new Int32Array(data.slice().buffer).join(',');
}

describe('CachedScheduler', () => {
  it('runs the first and answers the next from the cache, at the end of its tick', () => {
    const { clock, instance, reporter, send, step, ended, scheduler } = setUp();
    send('a', [1, 2]);
    step();
    send('b', [1, 2]);
    expect(ended()).toEqual(['a:1,2']);
    expect(scheduler.inflightCount).toBe(1);
    clock.tick();
    expect(ended()).toEqual(['a:1,2', 'b:1,2']);
    expect(instance.running).toHaveLength(0);
    expect(scheduler.inflightCount).toBe(0);
    expect([reporter.cacheHit.count, reporter.cacheMiss.count, reporter.executionCount]).toEqual([1, 1, 1]);
  });

  it('keeps a copy: the host takes its memory back after each answer', () => {
    const { clock, send, step, ended } = setUp();
    send('a', [1]);
    step();
    send('b', [1]);
    clock.tick();
    send('c', [1]);
    clock.tick();
    expect(ended()).toEqual(['a:1', 'b:1', 'c:1']);
  });

  it('tells apart what the model may answer differently', () => {
    const { instance, clock, send, load, scheduler, ledger } = setUp({ instance: new ManualInstance(100) });
    const variants = [
      int32Request('shape', ledger, [{ shape: [1, 2], values: [1, 2] }]),
      Object.assign(int32Request('parameter 1', ledger, [{ shape: [2], values: [1, 2] }]), { parameters: { a: 1 } }),
      Object.assign(int32Request("parameter '1'", ledger, [{ shape: [2], values: [1, 2] }]), { parameters: { a: '1' } }),
      Object.assign(int32Request('parameters', ledger, [{ shape: [2], values: [1, 2] }]), { parameters: { a: 1, b: 2 } }),
    ];
    send('plain', [1, 2]);
    for (const request of variants) scheduler.enqueue(request);
    clock.tick();
    expect(instance.running).toHaveLength(5);
    const reordered = Object.assign(int32Request('reordered', ledger, [{ shape: [2], values: [1, 2] }]), { parameters: { b: 2, a: 1 } });
    scheduler.enqueue(reordered);
    const named = Object.assign(int32Request('named', ledger, [{ shape: [2], values: [1, 2] }]), {
      outputs: [{ name: 'OUT0', classification: 0, binaryData: true }],
    });
    scheduler.enqueue(named);
    clock.tick();
    expect(instance.running).toHaveLength(5);
    // Another load of the same version.
    load.identity = 'second';
    send('swapped', [1, 2]);
    clock.tick();
    expect(instance.running).toHaveLength(6);
  });

  it('runs one of identical requests in flight, and answers all', () => {
    const { instance, clock, reporter, send, step, ended } = setUp();
    send('a', [7]);
    send('b', [7]);
    clock.tick();
    send('c', [7]);
    clock.tick();
    expect(instance.running).toHaveLength(1);
    step();
    expect(ended()).toEqual(['a:7', 'b:7', 'c:7']);
    expect([reporter.cacheHit.count, reporter.cacheShared, reporter.cacheMiss.count, reporter.executionCount]).toEqual([2, 2, 1, 1]);
  });

  it('lets the next take over, with its own bytes, when the leader goes', () => {
    const { clock, send, step, ended, scheduler, instance } = setUp();
    const leader = send('a', [7]);
    send('b', [7]);
    send('c', [7]);
    leader.cancel();
    // The protocol has its buffer back.
    leader.inputs[0]!.data.fill(0xff);
    expect(ended()).toEqual(['a:CANCELLED']);
    step();
    expect(ended()).toEqual(['a:CANCELLED', 'b:7', 'c:7']);
    expect(scheduler.inflightCount).toBe(0);
    // The leader was running.
    const second = send('d', [8]);
    send('e', [8]);
    clock.tick();
    expect(instance.running).toHaveLength(1);
    second.expire();
    second.inputs[0]!.data.fill(0xff);
    step();
    expect(ended().slice(3)).toEqual(['d:DEADLINE_EXCEEDED']);
    step();
    expect(ended().slice(3)).toEqual(['d:DEADLINE_EXCEEDED', 'e:8']);
  });

  it('stops the run when nobody waits for it any more', () => {
    const { clock, instance, send, scheduler } = setUp();
    const first = send('a', [7]);
    const second = send('b', [7]);
    first.cancel();
    second.cancel();
    clock.tick();
    expect(instance.running).toHaveLength(0);
    expect(scheduler.inflightCount).toBe(0);
  });

  it('gives an error to the leader alone, keeps none, and lets the rest run by themselves after the second', () => {
    const { send, step, ended, instance, clock } = setUp({ instance: new ManualInstance(3) });
    for (const id of ['a', 'b', 'c', 'd']) send(id, [7]);
    const fail = (one: ManualInstance): void => one.fail(new InferenceError('INTERNAL', 'no'));
    step(fail);
    expect(ended()).toEqual(['a:INTERNAL']);
    step(fail);
    expect(ended()).toEqual(['a:INTERNAL', 'b:INTERNAL']);
    expect(instance.running).toHaveLength(2);
    step(fail);
    step();
    expect(ended()).toEqual(['a:INTERNAL', 'b:INTERNAL', 'c:INTERNAL', 'd:7']);
    send('e', [7]);
    clock.tick();
    expect(instance.running).toHaveLength(1);
  });

  it('refuses what the queue refuses, and forgets it', () => {
    const { send, clock, instance, scheduler, step, ended } = setUp({ maxQueueSize: 1 });
    send('a', [1]);
    clock.tick();
    send('b', [2]);
    expect(() => send('c', [3])).toThrow(/Exceeds maximum queue size/);
    // Waits for a run, not in the queue.
    send('d', [2]);
    expect(scheduler.inflightCount).toBe(3);
    step();
    step();
    expect(ended()).toEqual(['a:1', 'b:2', 'd:2']);
    send('e', [3]);
    clock.tick();
    expect(instance.running).toHaveLength(1);
  });

  it('does not let a request wait for the run that made it', () => {
    const { clock, instance, scheduler, send, ledger } = setUp({ instance: new ManualInstance(2) });
    send('outer', [1]);
    clock.tick();
    const inner = int32Request('inner', ledger, [{ shape: [1], values: [1] }]);
    inner.depth = 1;
    scheduler.enqueue(inner);
    clock.tick();
    expect(instance.running).toHaveLength(2);
  });

  it('keeps nothing that an older load answered', () => {
    const { clock, instance, load, send, step } = setUp();
    send('a', [1]);
    clock.tick();
    load.identity = 'second';
    step();
    load.identity = 'first';
    send('b', [1]);
    clock.tick();
    expect(instance.running).toHaveLength(1);
  });

  it('digests a large request over several turns, and drops it when it ends meanwhile', () => {
    const { clock, instance, send, scheduler, step, ended } = setUp();
    const large = Array.from({ length: 200_000 }, (_, i) => i);
    const gone = send('gone', large);
    send('a', large);
    send('b', large);
    expect(instance.running).toHaveLength(0);
    gone.cancel();
    clock.tick();
    expect(instance.running).toHaveLength(1);
    step();
    expect(ended().map((one) => one.split(':')[0])).toEqual(['gone', 'a', 'b']);
    send('c', large);
    clock.tick();
    expect(ended()).toHaveLength(4);
    expect(scheduler.inflightCount).toBe(0);
  });

  it('stops when all that it took is answered, and fails what waits when there is no instance any more', async () => {
    const { send, step, scheduler, clock, ended } = setUp();
    send('a', [1]);
    send('b', [1]);
    const stopped = scheduler.stop();
    expect(() => send('c', [1])).toThrow(/stopp/);
    step();
    await stopped;
    expect(ended()).toEqual(['a:1', 'b:1']);

    const other = setUp();
    other.send('a', [1]);
    other.send('b', [1]);
    other.send('c', [2]);
    other.scheduler.failPending(new InferenceError('UNAVAILABLE', 'gone'));
    clock.tick();
    expect(other.ended().sort()).toEqual(['a:UNAVAILABLE', 'b:UNAVAILABLE', 'c:UNAVAILABLE']);
    expect(other.scheduler.inflightCount).toBe(0);
  });

  it('waits for a store that is elsewhere once for all that are alike', async () => {
    const asked: ((found: CachedResponse | null) => void)[] = [];
    const store: ResponseStore = {
      isShared: true,
      lookup: () => new Promise((resolve) => asked.push(resolve)),
      insert: () => {},
      counts: unused,
      close: async () => {},
    };
    const { send, clock, instance, ended, step, reporter } = setUp({ store });
    const first = send('a', [1]);
    send('b', [1]);
    send('c', [2]);
    send('d', [2]);
    expect(asked).toHaveLength(2);
    first.cancel();
    asked[0]!({ outputs: [{ name: 'OUT0', datatype: 'INT32', shape: [1], data: new Uint8Array([9, 0, 0, 0]) }], parameters: null });
    asked[1]!(null);
    await new Promise((resolve) => setImmediate(resolve));
    clock.tick();
    expect(ended()).toEqual(['a:CANCELLED', 'b:9']);
    expect(instance.running).toHaveLength(1);
    step();
    expect(ended()).toEqual(['a:CANCELLED', 'b:9', 'c:2', 'd:2']);
    expect([reporter.cacheHit.count, reporter.cacheMiss.count]).toEqual([2, 1]);
  });

  it('ends each request exactly once with its own answer, whatever happens', () => {
    const event = fc.oneof(
      { weight: 5, arbitrary: fc.record({ kind: fc.constant('send' as const), value: fc.integer({ min: 0, max: 3 }) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(40) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('answer' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('fail' as const) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('tick' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('swap' as const) }) },
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80 }), fc.integer({ min: 1, max: 3 }), (events, capacity) => {
        const { clock, instance, send, ended, scheduler, load, faults } = setUp({
          // Small: entries push each other out.
          store: new LocalStore(1300),
          instance: new ManualInstance(capacity),
        });
        const sent: InferenceRequest[] = [];
        for (const one of events) {
          if (one.kind === 'send') sent.push(send(`${sent.length}=${one.value}`, [one.value]));
          else if (one.kind === 'cancel') sent[one.which % Math.max(1, sent.length)]?.cancel();
          else if (one.kind === 'answer' && instance.running.length > 0) instance.answer();
          else if (one.kind === 'fail' && instance.running.length > 0) instance.fail(new InferenceError('INTERNAL', 'no'));
          else if (one.kind === 'swap') load.identity += '+';
          else clock.tick();
        }
        clock.tick();
        while (instance.running.length > 0) {
          instance.answer();
          clock.tick();
        }
        expect(faults).toEqual([]);
        expect(ended()).toHaveLength(sent.length);
        for (const one of ended()) {
          const [, value, got] = /=(\d+):(.+)$/.exec(one)!;
          expect([value, 'CANCELLED', 'INTERNAL']).toContain(got);
        }
        expect(new Set(ended().map((one) => one.split('=')[0])).size).toBe(sent.length);
        expect(scheduler.inflightCount).toBe(0);
      }),
      { numRuns: 500 },
    );
  });
});
