import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../proto/inference-error.ts';
import { InferenceRequest, type RequestHolder } from '../inference/inference-request.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import type { Model } from '../repository/model.ts';
import type { ModelRepository } from '../repository/model-repository.ts';
import { LoadWaiters } from '../repository/on-demand/load-waiters.ts';
import { thenWaiting } from '../repository/waiting.ts';
import { ManualClock } from '../scheduling/manual-clock.ts';
import { identitySignature, Ledger } from '../scheduling/scheduling-fixtures.ts';
import { NestedInference } from './nested-inference.ts';

/** Holds requests until the test ends them. */
class HoldingScheduler implements RequestHolder {
  readonly held: InferenceRequest[] = [];
  readonly cancelled: string[] = [];
  refusal: InferenceError | null = null;

  enqueue(request: InferenceRequest): void {
    if (this.refusal !== null) throw this.refusal;
    request.holder = this;
    this.held.push(request);
  }

  onRequestCancelled(request: InferenceRequest): void {
    this.cancelled.push(request.id);
  }

  onRequestResumed(): void {}
}

function setUp() {
  const clock = new ManualClock();
  const faults: unknown[] = [];
  const nested = new NestedInference(clock, (error) => faults.push(error));
  const scheduler = new HoldingScheduler();
  const reporter = new ModelReporter('identity', '1', {});
  const model = { name: 'identity', version: '1', signature: identitySignature(4, [[1]]), isDecoupled: false, scheduler, reporter };
  const waiters = new LoadWaiters(10, 60_000, clock);
  let isLoaded = true;
  nested.connect({
    route: (name: string) => {
      if (name !== 'identity') throw new InferenceError('NOT_FOUND', `unknown model: '${name}'`);
      return isLoaded ? model : thenWaiting(waiters.add(name), () => model as unknown as Model);
    },
  } as unknown as ModelRepository);
  const told = new Ledger();
  const call = (id: string, deadlineNs = Number.POSITIVE_INFINITY, modelName = 'identity', columns = 1): InferenceRequest => {
    const data = new Uint8Array(4 * columns);
    const request = new InferenceRequest({
      modelName,
      modelVersion: '',
      id,
      inputs: [{ name: 'IN0', datatype: 'INT32', shape: [1, columns], data }],
      outputs: [],
      parameters: {},
      priority: 0,
      timeoutUs: 0,
      caller: told,
    });
    request.deadlineNs = deadlineNs;
    nested.infer(request);
    return request;
  };
  const codes = (): (string | undefined)[] => told.endings.map(({ id, error }) => `${id} ${error?.code ?? 'OK'}`);
  const unload = (): void => {
    isLoaded = false;
  };
  return { clock, faults, scheduler, reporter, waiters, call, codes, unload };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('requests that requests make', () => {
  it('end at their deadlines, wherever they are, and are counted once', async () => {
    const { clock, scheduler, reporter, waiters, call, codes, unload } = setUp();
    call('queued', clock.nowNs() + 5e6);
    call('patient');
    unload();
    call('waiting', clock.nowNs() + 3e6);
    expect([scheduler.held.length, waiters.count]).toEqual([2, 1]);
    clock.advance(3e6);
    expect(codes()).toEqual(['waiting DEADLINE_EXCEEDED']);
    await settle();
    expect(waiters.count).toBe(0);
    clock.advance(2e6);
    expect(codes()).toEqual(['waiting DEADLINE_EXCEEDED', 'queued DEADLINE_EXCEEDED']);
    expect([scheduler.cancelled, reporter.failures.REJECTED, reporter.fail.count, clock.timerCount]).toEqual([['queued'], 1, 1, 0]);
  });

  it('are refused when their deadline is over, outside the call', () => {
    const { clock, reporter, call, codes } = setUp();
    call('late', clock.nowNs());
    expect(codes()).toEqual([]);
    clock.tick();
    expect([codes(), reporter.fail.count]).toEqual([['late DEADLINE_EXCEEDED'], 0]);
  });

  it('may be cancelled while their model is loaded, and end with its failure', async () => {
    const { scheduler, waiters, call, codes, unload } = setUp();
    unload();
    const gone = call('gone');
    call('unlucky');
    gone.cancel();
    expect(codes()).toEqual(['gone CANCELLED']);
    await settle();
    expect(waiters.count).toBe(1);
    waiters.settle('identity', new InferenceError('UNAVAILABLE', 'it does not load'));
    await settle();
    expect([codes(), scheduler.held.length]).toEqual([['gone CANCELLED', 'unlucky UNAVAILABLE'], 0]);
  });

  it('keep their order when their model is loaded', async () => {
    const { scheduler, waiters, call, unload } = setUp();
    unload();
    for (const id of ['a', 'b', 'c']) call(id, 60e9);
    waiters.settle('identity', null);
    await settle();
    expect(scheduler.held.map(({ id }) => id)).toEqual(['a', 'b', 'c']);
  });

  it('hear of a refusal outside the call: no such model, a wrong input, a queue that is full', () => {
    const { clock, scheduler, reporter, call, codes } = setUp();
    call('unknown', undefined, 'nobody');
    call('wrong', undefined, 'identity', 7);
    scheduler.refusal = new InferenceError('UNAVAILABLE', 'full', { failureReason: 'REJECTED' });
    call('refused', clock.nowNs() + 1e6);
    expect(codes()).toEqual([]);
    clock.tick();
    expect(codes()).toEqual(['unknown NOT_FOUND', 'wrong INVALID_ARGUMENT', 'refused UNAVAILABLE']);
    // Only what came to its scheduler counts, once.
    expect([reporter.fail.count, reporter.failures.REJECTED, clock.timerCount]).toEqual([1, 1, 0]);
  });
});
