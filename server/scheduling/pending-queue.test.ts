import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { PendingQueue } from './pending-queue.ts';
import { int32Request, Ledger } from './scheduling-fixtures.ts';

const ledger = new Ledger();
const request = (id: string): InferenceRequest => int32Request(id, ledger, []);
const ids = (queue: PendingQueue): string[] => Array.from({ length: queue.length }, (_, i) => queue.at(i).id);

describe('PendingQueue', () => {
  it('refuses the request past its bound and keeps the others', () => {
    const queue = new PendingQueue(2);
    expect([queue.push(request('a')), queue.push(request('b')), queue.push(request('c'))]).toEqual([true, true, false]);
    expect(ids(queue)).toEqual(['a', 'b']);
  });

  it('does what a plain array does, whatever the order of calls', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('push' as const), n: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ do: fc.constant('shift' as const), n: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ do: fc.constant('unshift' as const), n: fc.integer({ min: 1, max: 5 }) }),
      fc.record({ do: fc.constant('remove' as const), n: fc.integer({ min: 2, max: 5 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const queue = new PendingQueue(100);
        let model: string[] = [];
        let next = 0;
        for (const { do: what, n } of steps) {
          if (what === 'push') {
            for (let i = 0; i < n; i++) {
              const id = String(next++);
              if (queue.push(request(id))) model.push(id);
            }
          } else if (what === 'shift') {
            for (let i = 0; i < n && queue.length > 0; i++) expect(queue.shift().id).toBe(model.shift());
          } else if (what === 'unshift') {
            const back = Array.from({ length: n }, () => String(next++));
            queue.unshift(back.map(request));
            model.unshift(...back);
          } else {
            const removed: InferenceRequest[] = [];
            queue.removeIf((one) => Number(one.id) % n === 0, removed);
            expect(removed.map((one) => one.id)).toEqual(model.filter((id) => Number(id) % n === 0));
            model = model.filter((id) => Number(id) % n !== 0);
          }
          expect(ids(queue)).toEqual(model);
        }
      }),
    );
  });
});
