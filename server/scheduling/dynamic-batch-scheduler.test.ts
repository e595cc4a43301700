import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../proto/inference-error.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { DynamicBatchScheduler, type InstanceSource } from './dynamic-batch-scheduler.ts';
import type { BatchPolicy } from './form-batch.ts';
import { ManualClock } from './manual-clock.ts';
import { identitySignature, int32Request, Ledger, ManualInstance } from './scheduling-fixtures.ts';

interface Rig {
  readonly clock: ManualClock;
  readonly instance: ManualInstance;
  readonly scheduler: DynamicBatchScheduler;
  readonly reporter: ModelReporter;
  readonly ledger: Ledger;
  send(id: string, rows?: number): InferenceRequest;
  /** Rows of each batch that has been started and not answered. */
  running(): number[];
}

function rig(changes: Partial<BatchPolicy> = {}, maxQueueSize = 100, source?: InstanceSource): Rig {
  const clock = new ManualClock();
  const instance = new ManualInstance();
  const reporter = new ModelReporter('identity', '1', {});
  const ledger = new Ledger();
  const scheduler = new DynamicBatchScheduler({
    signature: identitySignature(8, [[1]]),
    policy: { maxBatchSize: 8, preferredBatchSizes: [8], maxQueueDelayNs: 0, variableInputs: [], hasOptionalInputs: false, ...changes },
    maxQueueSize,
    instances: source ?? instance,
    reporter,
    clock,
    onFault: (error) => {
      throw error;
    },
  });
  return {
    clock,
    instance,
    scheduler,
    reporter,
    ledger,
    send(id, rows = 1) {
      const request = int32Request(id, ledger, [{ shape: [rows, 1], values: Array.from({ length: rows }, () => Number(id)) }]);
      scheduler.enqueue(request);
      return request;
    },
    running: () => instance.running.map(({ batch }) => batch.inputs[0]!.shape[0]!),
  };
}

describe('DynamicBatchScheduler', () => {
  it('runs together what one tick brought, and nothing before the tick ends', () => {
    const { clock, send, running, instance, ledger } = rig();
    send('1');
    send('2');
    send('3', 2);
    expect(running()).toEqual([]);
    clock.tick();
    expect(running()).toEqual([4]);
    instance.answer();
    expect(ledger.endings.map((ending) => ending.id)).toEqual(['1', '2', '3']);
  });

  it('collects while the instance is busy, then runs what has gathered', () => {
    const { clock, send, running, instance } = rig();
    send('1');
    clock.tick();
    for (const id of ['2', '3', '4']) send(id);
    clock.tick();
    expect(running()).toEqual([1]);
    instance.answer();
    clock.tick();
    expect(running()).toEqual([3]);
  });

  it('holds an incomplete batch for the queue delay of its oldest request, and no longer', () => {
    const { clock, send, running } = rig({ maxQueueDelayNs: 1000 });
    send('1');
    clock.tick();
    clock.advance(600);
    send('2');
    clock.tick();
    expect(running()).toEqual([]);
    clock.advance(400);
    expect(running()).toEqual([2]);
    expect(clock.timerCount).toBe(0);
  });

  it('refuses the request past the bound of the queue, at once, and serves the others', () => {
    const { clock, send, instance, ledger } = rig({}, 2);
    send('1');
    send('2');
    expect(() => send('3')).toThrow(
      expect.objectContaining({ code: 'UNAVAILABLE', message: expect.stringContaining('Exceeds maximum queue size') }),
    );
    clock.tick();
    instance.answer();
    expect(ledger.endings.map((ending) => ending.id)).toEqual(['1', '2']);
  });

  it('keeps the order when there is no tensor memory for a batch at the moment', () => {
    const { clock, send, instance, running, scheduler } = rig();
    instance.isOutOfMemory = true;
    send('1');
    send('2');
    clock.tick();
    expect(running()).toEqual([]);
    expect(scheduler.pendingCount).toBe(2);
    instance.isOutOfMemory = false;
    send('3');
    clock.tick();
    expect(running()).toEqual([3]);
  });

  it('drops what was cancelled or came too late before it runs', () => {
    const { clock, send, running, ledger, scheduler } = rig({ maxQueueDelayNs: 5000 });
    const gone = send('1');
    const late = send('2');
    late.deadlineNs = clock.nowNs() + 1000;
    // The scheduler learns a deadline when the request is enqueued.
    scheduler.enqueue(Object.assign(int32Request('3', ledger, [{ shape: [1, 1], values: [3] }]), { deadlineNs: clock.nowNs() + 1000 }));
    send('4');
    clock.tick();
    gone.cancel();
    clock.tick();
    clock.advance(5000);
    expect(running()).toEqual([1]);
    expect(ledger.endings.map(({ id, error }) => [id, error?.code])).toEqual([
      ['1', 'CANCELLED'],
      ['2', 'DEADLINE_EXCEEDED'],
      ['3', 'DEADLINE_EXCEEDED'],
    ]);
  });

  it('a batch that fails fails its own requests, and the next one runs', () => {
    const { clock, send, instance, ledger, running } = rig();
    send('1');
    send('2');
    clock.tick();
    send('3');
    instance.fail(new InferenceError('INTERNAL', 'the model failed', { failureReason: 'BACKEND' }));
    clock.tick();
    expect(ledger.endings.map(({ id, error }) => [id, error?.code])).toEqual([
      ['1', 'INTERNAL'],
      ['2', 'INTERNAL'],
    ]);
    expect(running()).toEqual([1]);
  });

  it('a batch that the model refuses is divided until only the request at fault fails', () => {
    const { clock, send, instance, ledger, running, scheduler, reporter } = rig();
    const sizes: number[] = [];
    for (const id of ['1', '2', '3', '4', '5', '6']) send(id);
    clock.tick();
    send('7');
    while (scheduler.inflightCount > 0) {
      sizes.push(...running());
      const values = new Int32Array(instance.running[0]!.inputs[0]!.data.buffer);
      if (values.includes(5)) instance.fail(new InferenceError('INTERNAL', 'no five', { failureReason: 'BACKEND' }), true);
      else instance.answer();
      clock.tick();
    }
    // What was there first is answered first.
    expect(sizes).toEqual([6, 3, 3, 2, 1, 1, 1, 1]);
    expect(ledger.endings.filter(({ error }) => error !== null).map(({ id }) => id)).toEqual(['5']);
    expect(ledger.endings.map(({ id }) => id).sort()).toEqual(['1', '2', '3', '4', '5', '6', '7']);
    for (const { id, outputs, error } of ledger.endings) {
      if (error === null) expect([...new Int32Array(outputs[0]!.data.buffer)]).toEqual([Number(id)]);
    }
    expect(reporter.pendingCount).toBe(0);
  });

  it('ends the halves of a divided batch when no instance comes any more', () => {
    const { clock, send, instance, ledger, scheduler } = rig();
    send('1');
    send('2');
    clock.tick();
    instance.fail(new InferenceError('INTERNAL', 'failed'), true);
    scheduler.failPending(new InferenceError('UNAVAILABLE', 'gone'));
    expect(ledger.endings.map(({ id, error }) => [id, error?.code])).toEqual([
      ['1', 'UNAVAILABLE'],
      ['2', 'UNAVAILABLE'],
    ]);
    expect(scheduler.inflightCount).toBe(0);
  });

  it('stop finishes what was accepted and refuses the rest', async () => {
    const { clock, send, instance, scheduler, ledger } = rig();
    send('1');
    const stopped = scheduler.stop();
    expect(() => send('2')).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
    clock.tick();
    instance.answer();
    await stopped;
    expect(ledger.endings).toHaveLength(1);
  });

  it('ends every request when no instance will come', async () => {
    const { send, scheduler, ledger, reporter } = rig({}, 10, { take: () => null, expect: () => {} });
    send('1');
    send('2');
    scheduler.failPending(new InferenceError('UNAVAILABLE', 'quarantined'));
    expect(ledger.endings.map(({ error }) => error?.code)).toEqual(['UNAVAILABLE', 'UNAVAILABLE']);
    expect(reporter.pendingCount).toBe(0);
    await scheduler.stop();
  });

  it('counts executions, rows and the four durations as a hand-computed schedule has them', () => {
    const { clock, send, instance, reporter } = rig();
    send('1', 2);
    clock.advance(100);
    send('2', 1);
    clock.tick();
    clock.advance(50);
    instance.answer();
    expect(reporter.executionCount).toBe(1);
    expect([...reporter.batches.keys()]).toEqual([3]);
    const batch = reporter.batches.get(3)!;
    // 50 in all, of which the host said 10 infer and 5 output.
    expect([batch.computeInput.ns, batch.computeInfer.ns, batch.computeOutput.ns]).toEqual([35, 10, 5]);
  });

  it('loses no request, answers none twice, and never gives a row to another', () => {
    const action = fc.oneof(
      { weight: 5, arbitrary: fc.record({ do: fc.constant('send' as const), rows: fc.integer({ min: 1, max: 8 }) }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('tick' as const), rows: fc.constant(0) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('answer' as const), rows: fc.constant(0) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('fail' as const), rows: fc.nat(1) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), rows: fc.nat(30) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('advance' as const), rows: fc.integer({ min: 1, max: 2000 }) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('memory' as const), rows: fc.nat(1) }) },
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), fc.constantFrom(0, 1000), (actions, maxQueueDelayNs) => {
        const { clock, send, instance, ledger, scheduler } = rig({ maxQueueDelayNs }, 10);
        const accepted: InferenceRequest[] = [];
        let next = 0;
        for (const { do: what, rows } of actions) {
          if (what === 'send') {
            try {
              accepted.push(send(String(next++), rows));
            } catch (error) {
              expect(error).toMatchObject({ code: 'UNAVAILABLE' });
            }
          } else if (what === 'tick') clock.tick();
          else if (what === 'advance') clock.advance(rows);
          else if (what === 'cancel') accepted[rows]?.cancel();
          else if (what === 'memory') instance.isOutOfMemory = rows === 1;
          else if (instance.running.length > 0) {
            if (what === 'answer') instance.answer();
            else instance.fail(new InferenceError('INTERNAL', 'failed'), rows === 1);
          }
        }
        instance.isOutOfMemory = false;
        scheduler.poke();
        for (let i = 0; scheduler.inflightCount > 0 && i < 100; i++) {
          clock.tick();
          clock.advance(1000);
          if (instance.running.length > 0) instance.answer();
        }
        expect(ledger.endings.map((ending) => ending.id).sort()).toEqual(accepted.map((request) => request.id).sort());
        for (const { id, error, outputs } of ledger.endings) {
          if (error !== null) continue;
          const request = accepted.find((one) => one.id === id)!;
          expect(outputs[0]!.shape).toEqual([request.batchSize, 1]);
          expect([...new Int32Array(outputs[0]!.data.buffer)]).toEqual(Array(request.batchSize).fill(Number(id)));
        }
      }),
      { numRuns: 300 },
    );
  });
});
