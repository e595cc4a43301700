import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../proto/inference-error.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { EndInTurns } from './end-in-turns.ts';
import { ManualClock } from './manual-clock.ts';
import { PendingQueue } from './pending-queue.ts';
import { QueueSweep } from './queue-sweep.ts';
import { int32Request, Ledger } from './scheduling-fixtures.ts';

const one = (id: number, ledger: Ledger): InferenceRequest => int32Request(String(id), ledger, [{ shape: [1, 1], values: [id] }]);

describe('PendingQueue.removeIf', () => {
  it('looks no further than its limit, whatever went before', () => {
    fc.assert(
      fc.property(fc.nat(20), fc.array(fc.boolean(), { maxLength: 40 }), fc.nat(12), (shifted, gone, limit) => {
        const queue = new PendingQueue(1000);
        const ledger = new Ledger();
        for (let i = 0; i < shifted; i++) queue.push(one(-1, ledger));
        const requests = gone.map((_, i) => one(i, ledger));
        for (let i = 0; i < shifted; i++) queue.shift();
        for (const request of requests) queue.push(request);
        const stays: InferenceRequest[] = [];
        const leaves: InferenceRequest[] = [];
        let kept = 0;
        requests.forEach((request, i) => {
          const isSeen = kept < limit || (kept === limit && gone.slice(0, i + 1).filter((isGone) => !isGone).length === limit);
          if (isSeen && gone[i]) leaves.push(request);
          else {
            stays.push(request);
            kept++;
          }
        });
        const removed: InferenceRequest[] = [];
        const isGone = (request: InferenceRequest): boolean => gone[Number(request.id)]!;
        const seen = queue.removeIf(isGone, removed, limit);
        expect(removed).toEqual(leaves);
        expect(seen).toBe(Math.min(limit, gone.filter((isLeaving) => !isLeaving).length));
        expect([queue.length, queue.rows]).toEqual([stays.length, stays.length]);
        expect(Array.from({ length: queue.length }, (_, i) => queue.at(i))).toEqual(stays);
      }),
    );
  });
});

/** A search of the whole queue takes a millisecond. */
class SlowQueue extends PendingQueue {
  readonly limits: number[] = [];
  readonly #clock: ManualClock;

  constructor(clock: ManualClock) {
    super(1000);
    this.#clock = clock;
  }

  override removeIf(isGone: (request: InferenceRequest) => boolean, removed: InferenceRequest[], limit: number): number {
    this.limits.push(limit);
    if (limit === Number.POSITIVE_INFINITY) this.#clock.advance(1e6);
    return super.removeIf(isGone, removed, limit);
  }
}

describe('QueueSweep', () => {
  it('searches the whole queue for a small part of the time, and always what runs next', () => {
    const clock = new ManualClock();
    const queue = new SlowQueue(clock);
    const ending = new EndInTurns(clock, fail, () => {});
    const sweep = new QueueSweep(queue, clock, ending, 8);
    const ledger = new Ledger();
    const requests = Array.from({ length: 500 }, (_, i) => one(i, ledger));
    for (const request of requests) queue.push(request);
    const cancel = (index: number): void => {
      requests[index]!.cancel();
      sweep.hasGone = true;
      sweep.run(clock.nowNs());
    };
    cancel(400);
    expect([queue.length, sweep.hasGone, sweep.wakeNs(clock.nowNs())]).toEqual([499, false, Number.POSITIVE_INFINITY]);
    for (let i = 300; i < 400; i++) cancel(i);
    expect(queue.limits.filter((limit) => limit === Number.POSITIVE_INFINITY).length).toBe(1);
    cancel(0);
    expect([queue.length, queue.at(0)]).toEqual([498, requests[1]]);
    clock.advance(sweep.wakeNs(clock.nowNs()) - clock.nowNs());
    sweep.run(clock.nowNs());
    expect([queue.length, sweep.hasGone]).toEqual([398, false]);
  });
});

describe('EndInTurns', () => {
  it('lets others have a turn when callers take their time', () => {
    const clock = new ManualClock();
    const ledger = new Ledger();
    const slow = {
      onResponse: fail,
      onComplete: fail,
      onError: (request: InferenceRequest, error: InferenceError) => {
        clock.advance(1e6);
        ledger.onError(request, error);
      },
    };
    let allEnded = 0;
    const turns: (() => void)[] = [];
    const ending = new EndInTurns(
      { ...clock, nowNs: () => clock.nowNs(), endOfTick: (turn: () => void) => turns.push(turn) } as never,
      fail,
      () => {
        allEnded++;
      },
    );
    const error = new InferenceError('UNAVAILABLE', 'gone');
    ending.add(
      Array.from({ length: 4 }, (_, i) => int32Request(String(i), slow, [{ shape: [1, 1], values: [i] }])),
      null,
    );
    ending.add([int32Request('4', slow, [{ shape: [1, 1], values: [4] }])], () => error);
    ending.run();
    expect([ledger.endings.length, ending.length, turns.length]).toEqual([3, 2, 1]);
    ending.run();
    expect(ledger.endings.length).toBe(3);
    turns.shift()!();
    expect([ending.length, turns.length, allEnded]).toEqual([0, 0, 1]);
    expect(ledger.endings.map((end) => end.error!.code)).toEqual([...new Array<string>(4).fill('DEADLINE_EXCEEDED'), 'UNAVAILABLE']);
  });
});

function fail(fault?: unknown): never {
  throw new Error('not expected', { cause: fault });
}
