import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../proto/inference-error.ts';
import { knownSpeed, priorities, Rig } from './dynamic-batch.case.ts';

describe('a scheduler with an advisor', () => {
  it('makes batches no larger than the earliest deadline in them allows', () => {
    const advisor = knownSpeed(100, 10);
    const { rig, sendNow } = bind({ advisor });
    sendNow({ rows: 8 });
    // Alone, one row takes 110.
    sendNow({}, {}, { deadlineNs: 130 }, {}, {});
    rig.answer();
    expect(rig.batches[1]).toEqual(['1', '2', '3']);
    rig.answer();
    expect(rig.batches[2]).toEqual(['4', '5']);
  });

  it('leaves out the one whose deadline would make the batch too small for those before it', () => {
    const advisor = knownSpeed(100, 10);
    const { rig, sendNow } = bind({ advisor });
    sendNow({ rows: 8 });
    sendNow({ rows: 2 }, { rows: 2 }, { deadlineNs: 140 }, {});
    rig.answer();
    expect(rig.batches[1]).toEqual(['1', '2']);
  });

  it('ends what would be late even alone, before it costs anything', () => {
    const advisor = knownSpeed(100, 10);
    const { rig, sendNow } = bind({ advisor });
    sendNow({}, { deadlineNs: 109 }, { deadlineNs: 125, rows: 3 }, { deadlineNs: 130, rows: 3 }, {});
    expect(rig.endings).toEqual(['1:DEADLINE_EXCEEDED', '2:DEADLINE_EXCEEDED']);
    expect(rig.ledger.endings[0]!.error).toMatchObject({ failureReason: 'REJECTED' });
    expect(rig.batches[0]).toEqual(['0']);
    expect(rig.scheduler.inflightCount).toBe(3);
  });

  it('holds an incomplete batch as long as it says, and not past the queue delay', () => {
    const advisor = knownSpeed(100, 10);
    const { rig, sendNow } = bind({ advisor }, { maxQueueDelayNs: 1000 });
    advisor.holdForNs = 300;
    sendNow({});
    rig.clock.advance(299);
    expect(rig.batches).toEqual([]);
    // Asked again when the time is over.
    advisor.holdForNs = 0;
    rig.clock.advance(1);
    expect(rig.batches).toEqual([['0']]);
    rig.answer();
    advisor.holdForNs = 10_000;
    sendNow({});
    rig.clock.advance(999);
    expect(rig.batches).toHaveLength(1);
    rig.clock.advance(1);
    expect(rig.batches).toHaveLength(2);
  });

  it('does not hold a batch for longer than its deadlines allow', () => {
    const { rig, sendNow } = bind({ advisor: knownSpeed(100, 10) }, { maxQueueDelayNs: 1000 });
    sendNow({ deadlineNs: 1000 }, {});
    expect(rig.batches).toEqual([['0', '1']]);
    rig.answer();
    sendNow({ deadlineNs: 1130 }, {});
    expect(rig.batches).toHaveLength(1);
    rig.clock.advance(1000);
    expect(rig.batches).toHaveLength(2);
  });

  it('tells it how long batches took from when their instance was free', () => {
    const advisor = knownSpeed(100, 10);
    const { rig, sendNow } = bind({ advisor });
    sendNow({ rows: 8 });
    rig.clock.advance(100);
    sendNow({ rows: 7 }, { rows: 1 });
    rig.clock.advance(50);
    rig.answer();
    rig.clock.advance(30);
    rig.answer();
    rig.clock.advance(1000);
    sendNow({});
    rig.clock.advance(20);
    rig.fail(new InferenceError('INTERNAL', 'failed'));
    sendNow({}, {});
    rig.clock.advance(5);
    rig.answer();
    // The second one waited in the host behind the first.
    expect(advisor.executions).toEqual([
      [8, 1, 150],
      [8, 2, 30],
      [2, 2, 5],
    ]);
  });

  it('tells it what each request is queued behind', () => {
    const advisor = knownSpeed(100, 10);
    const { rig, sendNow } = bind({ advisor, queuePolicies: priorities(3) });
    sendNow({ rows: 5 });
    sendNow({ rows: 2, priority: 2 }, { rows: 3, priority: 3 }, { rows: 4, priority: 1 }, { priority: 2 });
    expect(advisor.arrivals).toEqual([
      [0, 0, 0],
      [0, 0, 5],
      [1, 2, 5],
      [0, 0, 5],
      [2, 6, 5],
    ]);
    rig.fail(new InferenceError('INTERNAL', 'failed'), true);
    while (rig.instances.alive[0]!.running.length > 0) rig.answer();
    sendNow({ priority: 3 });
    expect(advisor.arrivals.at(-1)).toEqual([0, 0, 0]);
  });

  it('refuses what it refuses, and is asked no more about it', () => {
    const advisor = knownSpeed(100, 10);
    const refusal = new InferenceError('UNAVAILABLE', 'too late', { failureReason: 'REJECTED' });
    const { rig } = bind({ advisor: { ...advisor, arrive: () => refusal } });
    expect(() => rig.send()).toThrow(refusal);
    expect(rig.scheduler.inflightCount).toBe(0);
    expect(rig.endings).toEqual([]);
  });
});

function bind(...args: ConstructorParameters<typeof Rig>): { rig: Rig; sendNow: Rig['sendNow'] } {
  const rig = new Rig(...args);
  return { rig, sendNow: rig.sendNow.bind(rig) };
}
