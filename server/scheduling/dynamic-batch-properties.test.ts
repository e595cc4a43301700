import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FailureReason } from '../../proto/inference-error.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import type { Batch } from './batch.ts';
import { knownSpeed, priorities, queuePolicy, Rig } from './dynamic-batch.case.ts';
import type { DynamicBatchSchedulerOptions } from './dynamic-batch-scheduler.ts';
import { expiryNs, type QueuePolicies, type QueuePolicy } from './queue-policy.ts';

/** Any order of arrivals, cancels, answers, failures, refusals for want of memory, and instances that come and go. */

const POISON = -7;
const ROWS = 6;
const poisoned = new InferenceError('INTERNAL', 'the model refuses this value', { failureReason: 'BACKEND' });
const hostGone = new InferenceError('UNAVAILABLE', 'the host died', { failureReason: 'OTHER' });

const send = fc.record({
  do: fc.constant('send' as const),
  rows: fc.integer({ min: 1, max: ROWS }),
  columns: fc.constantFrom(1, 1, 1, 2),
  isPoisoned: fc.constantFrom(false, false, false, true),
  priority: fc.nat(4),
  timeoutNs: fc.constantFrom(0, 0, 150_000, 5_000_000),
  deadlineNs: fc.constantFrom(null, null, 40_000, 400_000),
});
const action = fc.oneof(
  { weight: 8, arbitrary: send },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('tick' as const) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('run' as const), at: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), at: fc.nat(60) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('advance' as const), ns: fc.integer({ min: 1, max: 200_000 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('memory' as const), at: fc.nat(2), isOut: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('come' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('go' as const), at: fc.nat(2) }) },
);
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

interface Setting {
  readonly options: Partial<DynamicBatchSchedulerOptions>;
  readonly maxQueueDelayNs: number;
  readonly isAdvised: boolean;
}

const policy: fc.Arbitrary<QueuePolicy> = fc.record({
  maxSize: fc.constantFrom(3, 100),
  timeoutNs: fc.constantFrom(0, 100_000, 300_000),
  allowsOverride: fc.boolean(),
  isDelayed: fc.boolean(),
});
const policies: fc.Arbitrary<QueuePolicies> = fc
  .record({ levels: fc.constantFrom(0, 1, 3), byDefault: policy, first: policy })
  .map(({ levels, byDefault, first }) => priorities(levels, byDefault, levels === 0 ? [] : [[1, first]]));
const setting: fc.Arbitrary<Setting> = fc
  .record({
    queuePolicies: fc.oneof(fc.constant(null), policies),
    preservesOrder: fc.boolean(),
    maxQueueDelayNs: fc.constantFrom(0, 50_000),
    isAdvised: fc.boolean(),
  })
  .map(({ queuePolicies, preservesOrder, maxQueueDelayNs, isAdvised }) => ({
    // As configurations are checked: no order among priorities or delayed requests.
    options: { queuePolicies, preservesOrder: preservesOrder && queuePolicies === null, maxQueueSize: 20 },
    maxQueueDelayNs,
    isAdvised,
  }));

class Run {
  readonly rig: Rig;
  readonly accepted: InferenceRequest[] = [];
  readonly #policies: QueuePolicies | null;
  readonly #started: Set<InferenceRequest> = new Set();
  readonly #reasons: Record<FailureReason, number> = { REJECTED: 0, CANCELED: 0, BACKEND: 0, OTHER: 0 };
  readonly #advisor = knownSpeed(20_000, 3_000);
  readonly #isAdvised: boolean;
  readonly #maxQueueDelayNs: number;

  constructor({ options, maxQueueDelayNs, isAdvised }: Setting) {
    this.#policies = options.queuePolicies ?? null;
    this.#isAdvised = isAdvised;
    this.#maxQueueDelayNs = maxQueueDelayNs;
    this.rig = new Rig({ ...options, advisor: isAdvised ? this.#advisor : null }, { maxQueueDelayNs }, 2);
    this.rig.onStarted = (batch) => this.#check(batch);
  }

  do(step: Action): void {
    const { rig } = this;
    const { alive } = rig.instances;
    if (step.do === 'tick') rig.clock.tick();
    else if (step.do === 'send') this.#send(step);
    else if (step.do === 'run') this.#run(step.at);
    else if (step.do === 'cancel') this.accepted[step.at]?.cancel();
    else if (step.do === 'come' && alive.length < 3) rig.add();
    else if (step.do === 'advance') {
      rig.clock.tick();
      rig.clock.advance(step.ns);
      this.#checkWaiting();
    } else if (step.do === 'memory') {
      const instance = alive[step.at];
      // An instance with nothing in flight never refuses for ever.
      if (instance !== undefined) instance.isOutOfMemory = step.isOut && instance.running.length > 0;
    } else if (step.do === 'go' && alive.length > 1) {
      for (const instance of alive.splice(step.at % alive.length, 1)) {
        while (instance.running.length > 0) instance.fail(hostGone);
      }
    }
  }

  drain(): void {
    const { alive } = this.rig.instances;
    for (let i = 0; this.rig.scheduler.inflightCount > 0 && i < 1000; i++) {
      for (const instance of alive) instance.isOutOfMemory = false;
      this.rig.scheduler.poke();
      this.rig.clock.tick();
      this.rig.clock.advance(1000);
      this.#run(i);
    }
  }

  async checkEnd(): Promise<void> {
    const { rig, accepted } = this;
    const { endings } = rig.ledger;
    expect(endings.map(({ id }) => Number(id)).sort((a, b) => a - b)).toEqual(accepted.map(({ id }) => Number(id)));
    const byId = new Map(accepted.map((request) => [request.id, request]));
    const counted = { REJECTED: 0, CANCELED: 0, BACKEND: 0, OTHER: 0 };
    for (const { id, error, outputs } of endings) {
      const request = byId.get(id)!;
      if (error === null) {
        const columns = request.boundInputs[0]!.shape[1]!;
        expect(outputs[0]!.shape).toEqual([request.batchSize, columns]);
        expect([...new Int32Array(outputs[0]!.data.buffer)]).toEqual(Array(request.batchSize * columns).fill(Number(id)));
        continue;
      }
      counted[error.failureReason]++;
      if (error === poisoned) expect(isPoisoned(request)).toBe(true);
      else expect(error === hostGone ? 'gone' : error.code).toMatch(/^(gone|CANCELLED|DEADLINE_EXCEEDED|UNAVAILABLE)$/);
      if (error.code === 'CANCELLED') expect(error.failureReason).toBe('CANCELED');
      else if (error !== poisoned && error !== hostGone) expect(error.failureReason).toBe('REJECTED');
    }
    expect(counted).toEqual(this.#reasons);
    if (rig.scheduler.responder !== null) {
      const ran = endings.filter(({ error }) => error === null || error === poisoned || error === hostGone).map(({ id }) => Number(id));
      expect(ran).toEqual([...ran].sort((a, b) => a - b));
    }
    expect([rig.scheduler.inflightCount, rig.scheduler.pendingCount, rig.reporter.pendingCount]).toEqual([0, 0, 0]);
    if (this.#isAdvised) {
      rig.send();
      expect(this.#advisor.arrivals.at(-1)).toEqual([0, 0, 0]);
      this.drain();
      for (const [rows, requests, ns] of this.#advisor.executions) expect(rows! >= requests! && ns! >= 0).toBe(true);
    }
    await rig.scheduler.stop();
    expect(rig.clock.timerCount).toBe(0);
  }

  #send(step: Extract<Action, { do: 'send' }>): void {
    const { rig } = this;
    const { deadlineNs, isPoisoned: isBad, ...asked } = step;
    const request = rig.request({ ...asked, ...(deadlineNs === null ? {} : { deadlineNs }), ...(isBad ? { value: POISON } : {}) });
    let ends = 0;
    request.observer = {
      onRequestEnd: (_request, _response, error) => {
        ends++;
        expect(ends).toBe(1);
        if (error !== null) this.#reasons[error.failureReason]++;
      },
    };
    const waiting = this.#waiting().filter((one) => this.#level(one) === this.#level(request)).length;
    const maxSize = this.#policies === null ? 20 : this.#policy(request).maxSize;
    try {
      rig.scheduler.enqueue(request);
      this.accepted.push(request);
      expect(waiting).toBeLessThan(maxSize);
    } catch (error) {
      expect(error).toMatchObject({ code: 'UNAVAILABLE', failureReason: 'REJECTED' });
      expect(waiting).toBe(maxSize);
    }
  }

  /** What a host does: a batch with a value that the model refuses fails whole. */
  #run(at: number): void {
    const busy = this.rig.instances.alive.filter(({ running }) => running.length > 0);
    const instance = busy[at % Math.max(1, busy.length)];
    if (instance === undefined) return;
    const values = new Int32Array(instance.running[0]!.inputs[0]!.data.buffer);
    if (values.includes(POISON)) instance.fail(poisoned, true);
    else instance.answer();
  }

  #waiting(): InferenceRequest[] {
    return this.accepted.filter((request) => !this.#started.has(request) && !request.isDone);
  }

  #level({ priority }: InferenceRequest): number {
    if (this.#policies === null) return 0;
    return priority >= 1 && priority <= this.#policies.levels ? priority : this.#policies.defaultLevel;
  }

  #policy(request: InferenceRequest): QueuePolicy {
    return this.#policies?.byLevel.get(this.#level(request)) ?? this.#policies?.defaultPolicy ?? queuePolicy();
  }

  /** Timers have run for all that is due. */
  #checkWaiting(): void {
    const nowNs = this.rig.clock.nowNs();
    for (const request of this.#waiting()) {
      expect(request.deadlineNs).toBeGreaterThan(nowNs);
      if (!this.#policy(request).isDelayed) expect(expiryNs(request, this.#policy(request))).toBeGreaterThan(nowNs);
    }
  }

  #check({ requests, batchSize }: Batch): void {
    const nowNs = this.rig.clock.nowNs();
    const isPart = this.#started.has(requests[0]!);
    for (const request of requests) {
      expect(request.isDone).toBe(false);
      expect(this.#started.has(request)).toBe(isPart);
      expect(request.boundInputs[0]!.shape[1]).toBe(requests[0]!.boundInputs[0]!.shape[1]);
      this.#started.add(request);
    }
    expect(batchSize).toBe(requests.reduce((rows, one) => rows + one.batchSize, 0));
    expect(batchSize).toBeLessThanOrEqual(8);
    const waiting = this.#waiting();
    // While something more urgent is held to become a fuller batch, an idle instance runs what has been begun.
    if (isPart && this.#maxQueueDelayNs > 0) return;
    const levels = (isPart ? [requests[0]!] : requests).map((one) => this.#level(one));
    for (const other of waiting) expect(this.#level(other)).toBeGreaterThanOrEqual(Math.max(...levels));
    if (isPart) return;
    for (const request of requests) {
      expect(request.deadlineNs).toBeGreaterThan(nowNs);
      const isLate = this.#isLate(request, nowNs);
      if (!this.#policy(request).isDelayed) expect(isLate).toBe(false);
      const ahead = waiting.filter((one) => this.#level(one) === this.#level(request) && !this.#isLate(one, nowNs));
      for (const other of ahead) expect(!isLate && Number(other.id) > Number(request.id)).toBe(true);
    }
    if (!this.#isAdvised) return;
    const earliestNs = Math.min(...requests.map(({ deadlineNs }) => deadlineNs));
    expect(batchSize).toBeLessThanOrEqual(this.#advisor.maxRows(requests[0]!, earliestNs, nowNs));
  }

  #isLate(request: InferenceRequest, nowNs: number): boolean {
    return expiryNs(request, this.#policy(request)) <= nowNs;
  }
}

function isPoisoned(request: InferenceRequest): boolean {
  return new Int32Array(request.boundInputs[0]!.data.buffer)[0] === POISON;
}

describe('the dynamic batch scheduler', () => {
  it('loses no request, answers none twice, keeps order and priority, and never gives a row to another', async () => {
    await fc.assert(
      fc.asyncProperty(setting, fc.array(action, { maxLength: 120, size: 'max' }), async (how, steps) => {
        const run = new Run(how);
        for (const step of steps) run.do(step);
        run.drain();
        await run.checkEnd();
      }),
      { numRuns: 600 },
    );
  }, 60_000);
});
