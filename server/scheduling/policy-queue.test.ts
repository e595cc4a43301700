import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { priorities, queuePolicy, Rig } from './dynamic-batch.case.ts';
import { PolicyQueue } from './policy-queue.ts';
import { expiryNs, type QueuePolicies } from './queue-policy.ts';

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('push' as const),
      priority: fc.nat(100),
      rows: fc.integer({ min: 1, max: 9 }),
      own: fc.constantFrom(0, 20, 90),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('take' as const), count: fc.integer({ min: 1, max: 9 }), isPutBack: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), every: fc.integer({ min: 2, max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('expire' as const), ns: fc.nat(80) }) },
);

interface Waiting {
  readonly request: InferenceRequest;
  readonly level: number;
  isLate: boolean;
}

/** The same in one plain, sorted array. */
class PlainQueue {
  all: Waiting[] = [];
  readonly #policies: QueuePolicies;

  constructor(policies: QueuePolicies) {
    this.#policies = policies;
  }

  policyOf(level: number): ReturnType<typeof queuePolicy> {
    return this.#policies.byLevel.get(level) ?? this.#policies.defaultPolicy;
  }

  push(request: InferenceRequest): boolean {
    const { priority } = request;
    const level = priority >= 1 && priority <= this.#policies.levels ? priority : this.#policies.defaultLevel;
    if (this.all.filter((one) => one.level === level).length >= this.policyOf(level).maxSize) return false;
    this.all.push({ request, level, isLate: false });
    this.#sort();
    return true;
  }

  expire(nowNs: number): string[] {
    const due = this.all.filter(({ request, level, isLate }) => !isLate && expiryNs(request, this.policyOf(level)) <= nowNs);
    this.all = this.all.filter((one) => !due.includes(one));
    for (const one of due) {
      if (!this.policyOf(one.level).isDelayed) continue;
      one.isLate = true;
      this.all.push(one);
    }
    this.#sort();
    return due.filter(({ isLate }) => !isLate).map(({ request }) => request.id);
  }

  /** Sorting is stable. */
  #sort(): void {
    this.all.sort((a, b) => a.level - b.level || Number(a.isLate) - Number(b.isLate));
  }
}

it('does what one sorted array does, whatever the order of calls', () => {
  const policies = priorities(80, { timeoutNs: 100, isDelayed: true }, [
    [1, queuePolicy({ maxSize: 2, timeoutNs: 50 })],
    [2, queuePolicy({ timeoutNs: 60, allowsOverride: true })],
    [3, queuePolicy({ timeoutNs: 60, allowsOverride: true, isDelayed: true })],
    [4, queuePolicy()],
  ]);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80, size: 'max' }), fc.constantFrom(5, 101), (steps, spread) => {
      const rig = new Rig();
      const queue = new PolicyQueue(policies);
      const plain = new PlainQueue(policies);
      let nowNs = 0;
      for (const one of steps) {
        if (one.do === 'push') {
          const request = rig.request({ priority: one.priority % spread, rows: one.rows, timeoutNs: one.own * 1000 });
          // Nanoseconds are enough here, where a request's timeout is in microseconds.
          Object.assign(request, { timeoutUs: one.own / 1000, queuedNs: nowNs });
          expect(queue.push(request)).toBe(plain.push(request));
        } else if (one.do === 'take') {
          const taken: InferenceRequest[] = [];
          for (let i = 0; i < one.count && queue.length > 0; i++) taken.push(queue.shift());
          expect(taken.map(({ id }) => id)).toEqual(plain.all.slice(0, one.count).map(({ request }) => request.id));
          if (one.isPutBack) queue.unshift(taken);
          else plain.all.splice(0, one.count);
        } else if (one.do === 'remove') {
          const removed: InferenceRequest[] = [];
          const isGone = ({ id }: InferenceRequest): boolean => Number(id) % one.every === 0;
          queue.removeIf(isGone, removed);
          expect(removed.map(({ id }) => id)).toEqual(plain.all.filter(({ request }) => isGone(request)).map(({ request }) => request.id));
          plain.all = plain.all.filter(({ request }) => !isGone(request));
        } else {
          nowNs += one.ns;
          const rejected: InferenceRequest[] = [];
          queue.expire(nowNs, rejected);
          expect(rejected.map(({ id }) => id)).toEqual(plain.expire(nowNs));
        }
        expect(Array.from({ length: queue.length }, (_, i) => queue.at(i).id)).toEqual(plain.all.map(({ request }) => request.id));
        const next = Math.min(
          ...plain.all.filter(({ isLate }) => !isLate).map(({ request, level }) => expiryNs(request, plain.policyOf(level))),
        );
        expect(queue.nextExpiryNs).toBeLessThanOrEqual(next);
        const probe = rig.request({ priority: 3 });
        const before = plain.all.filter(({ level }) => level <= 3).map(({ request }) => request.batchSize);
        expect([queue.requestsBefore(probe), queue.rowsBefore(probe)]).toEqual([
          before.length,
          before.reduce((sum, rows) => sum + rows, 0),
        ]);
      }
      queue.expire(nowNs, []);
      plain.expire(nowNs);
      const next = plain.all.filter(({ isLate }) => !isLate).map(({ request, level }) => expiryNs(request, plain.policyOf(level)));
      expect(queue.nextExpiryNs).toBe(Math.min(...next));
    }),
    { numRuns: 200 },
  );
});
