import { describe, expect, test } from 'vitest';
import { SeededRandom } from '../../../bench/statistics/seeded-random.ts';
import { int32Request, Ledger } from '../scheduling-fixtures.ts';
import { QueueSimulation, type SimulationOptions } from './queue-simulation.ts';

const MS = 1e6;
const SECOND = 1e9;
const FOREVER = Number.POSITIVE_INFINITY;
const caller = new Ledger();
const request = int32Request('', caller, [{ shape: [1, 4], values: [1, 2, 3, 4] }]);

/** 32 rows in 7.4 ms: 4,324 rows a second. */
const timeOf = (rows: number): number => MS + 0.2 * MS * rows;
const CAPACITY = 32 / (timeOf(32) / SECOND);

function simulation(options: Partial<SimulationOptions> = {}): QueueSimulation {
  return new QueueSimulation({ maxBatchSize: 32, timeOf, ...options });
}

/** A simulation that knows its model, with nothing in the queue. */
function learned(options: Partial<SimulationOptions> = {}): QueueSimulation {
  const queue = simulation(options);
  const random = new SeededRandom(1);
  queue.load(
    CAPACITY,
    SECOND,
    () => random.next(),
    () => FOREVER,
  );
  queue.clock.advance(10 * SECOND);
  return queue;
}

function deadlineRequest(ns: number): typeof request {
  const one = int32Request('', caller, [{ shape: [1, 4], values: [1, 2, 3, 4] }]);
  one.deadlineNs = ns;
  return one;
}

describe('overload', () => {
  test.each([
    ['30 ms', 3, () => 30, 0.97],
    ['100 ms', 3, () => 100, 0.97],
    ['8 to 100 ms', 3, (random: SeededRandom) => 8 + 92 * random.next(), 0.97],
    ['30 ms', 10, () => 30, 0.95],
    // Less than two executions.
    ['12 ms', 3, () => 12, 0.75],
  ])('deadlines of %s, %d times what the model can do: what is in time stays at the peak', (_name, times, deadline, share) => {
    const queue = simulation();
    const random = new SeededRandom(2);
    const { served, late, refused } = queue.load(
      CAPACITY * times,
      4 * SECOND,
      () => random.next(),
      () => deadline(random) * MS,
    );
    expect(served / 4 / CAPACITY).toBeGreaterThan(share);
    // Work in vain.
    expect(late / served).toBeLessThan(0.03);
    expect(refused).toBe(queue.reporter.refusedByDeadline);
  });

  test('without learning, next to nothing would be in time', () => {
    const queue = simulation({ isLearned: false });
    const random = new SeededRandom(2);
    const { served } = queue.load(
      CAPACITY * 3,
      4 * SECOND,
      () => random.next(),
      () => 30 * MS,
    );
    expect(served / 4 / CAPACITY).toBeLessThan(0.2);
  });

  test('half of what the model can do: nothing is refused, dropped or late', () => {
    for (const noise of [0, 0.5]) {
      const times = new SeededRandom(3);
      const queue = simulation({ timeOf: (rows) => timeOf(rows) * (1 + noise * (times.next() - 0.5)) });
      const random = new SeededRandom(4);
      const outcome = queue.load(
        CAPACITY / 2,
        10 * SECOND,
        () => random.next(),
        () => 25 * MS,
      );
      expect(outcome.served).toBeGreaterThan(20_000);
      expect((outcome.refused + outcome.dropped + outcome.late) / outcome.served).toBeLessThan(0.001);
    }
  });

  test('on a machine that becomes five times slower, and as fast as before again', () => {
    let factor = 1;
    const queue = simulation({ timeOf: (rows) => timeOf(rows) * factor });
    const random = new SeededRandom(5);
    const goodput = (seconds: number): number => {
      const before = queue.outcome.served;
      queue.load(
        (CAPACITY / factor) * 3,
        seconds * SECOND,
        () => random.next(),
        () => 200 * MS,
      );
      return ((queue.outcome.served - before) / seconds / CAPACITY) * factor;
    };
    expect(goodput(2)).toBeGreaterThan(0.95);
    factor = 5;
    expect(goodput(4)).toBeGreaterThan(0.85);
    factor = 1;
    expect(goodput(4)).toBeGreaterThan(0.85);
  });
});

describe('admission by deadline', () => {
  test('refuses nothing before it knows the model', () => {
    const { advisor, clock } = simulation();
    expect(advisor.arrive(deadlineRequest(clock.nowNs() + 1), 1000, 1000, 32, clock.nowNs())).toBeNull();
    expect(advisor.maxRows(request, clock.nowNs() + 1, clock.nowNs())).toBe(FOREVER);
  });

  test('says what it expects, what the deadline is, and when the queue will have drained', () => {
    const { advisor, clock } = learned();
    const nowNs = clock.nowNs();
    const error = advisor.arrive(deadlineRequest(nowNs + 50 * MS), 6400, 6400, 32, nowNs);
    expect(error).toMatchObject({ code: 'UNAVAILABLE', failureReason: 'REJECTED' });
    expect(error!.message).toMatch(
      /^model 'identity' would answer in about 1\d{3} ms, behind 6432 rows, and the request's deadline is in 50\.0 ms; retry later, or give it more time$/,
    );
    expect(error!.retryAfterSeconds).toBeGreaterThan(1.4);
    expect(error!.retryAfterSeconds).toBeLessThan(1.7);
    expect(advisor.arrive(deadlineRequest(nowNs + 2 * SECOND), 6400, 6400, 32, nowNs)).toBeNull();
  });

  test('counts the instances that are alive', () => {
    const { advisor, clock, instances } = learned();
    const ask = (): boolean => advisor.arrive(deadlineRequest(clock.nowNs() + SECOND), 6400, 6400, 32, clock.nowNs()) === null;
    expect(ask()).toBe(false);
    instances.aliveCount = 2;
    expect(ask()).toBe(true);
    // A host is being replaced.
    instances.aliveCount = 0;
    expect(ask()).toBe(false);
  });

  test('what an idle model cannot do in time is refused, but tried now and then', () => {
    const queue = learned();
    const { advisor, clock } = queue;
    const isTaken = (): boolean => advisor.arrive(deadlineRequest(clock.nowNs() + MS), 0, 0, 0, clock.nowNs()) === null;
    expect(isTaken()).toBe(true);
    advisor.executed(request, 1, 1, timeOf(1));
    expect(isTaken()).toBe(false);
    expect(advisor.maxRows(request, clock.nowNs() + MS, clock.nowNs())).toBe(0);
    clock.advance(13 * MS);
    expect(isTaken()).toBe(true);
    expect(advisor.maxRows(request, clock.nowNs() + MS, clock.nowNs())).toBe(1);
    clock.advance(1);
    expect(advisor.maxRows(request, clock.nowNs() + MS, clock.nowNs())).toBe(0);
  });

  test('a model that was slow is not refused for ever', () => {
    let factor = 1;
    const queue = learned({ timeOf: (rows) => timeOf(rows) * factor });
    factor = 50;
    queue.load(
      50,
      SECOND,
      () => 0.5,
      () => FOREVER,
    );
    factor = 1;
    const { served } = queue.outcome;
    queue.load(
      100,
      10 * SECOND,
      () => 0.5,
      () => 20 * MS,
    );
    expect(queue.outcome.served - served).toBeGreaterThan(700);
  });
});

describe('the size of a batch', () => {
  test('is what can be done by the earliest deadline', () => {
    const { advisor, clock } = learned();
    const nowNs = clock.nowNs();
    advisor.executed(request, 1, 1, timeOf(1));
    expect(advisor.maxRows(request, nowNs + 100 * MS, nowNs)).toBe(FOREVER);
    const rows = advisor.maxRows(request, nowNs + 4 * MS, nowNs);
    expect(timeOf(rows)).toBeLessThan(4 * MS);
    expect(timeOf(rows)).toBeGreaterThan(3 * MS);
    expect(advisor.maxRows(request, nowNs + 1.3 * MS, nowNs)).toBe(1);
    expect(advisor.maxRows(request, nowNs + 0.5 * MS, nowNs)).toBe(0);
  });

  test('a request that runs alone is in time with all of its rows, or not at all', () => {
    const { advisor, clock } = simulation();
    const alone = new QueueSimulation({ maxBatchSize: 32, timeOf }, { maxBatchSize: 0, clock }).advisor;
    const ofEight = int32Request('', caller, [{ shape: [8, 4], values: [] }]);
    for (let i = 0; i < 40; i++)
      for (const one of [advisor, alone]) one.executed(ofEight, i % 2 === 0 ? 8 : 1, 1, timeOf(i % 2 === 0 ? 8 : 1));
    const nowNs = clock.nowNs();
    expect(alone.maxRows(ofEight, nowNs + 5 * MS, nowNs)).toBe(FOREVER);
    expect(alone.maxRows(ofEight, nowNs + 2 * MS, nowNs)).toBe(0);
    expect(alone.maxRows(request, nowNs + 2 * MS, nowNs)).toBe(FOREVER);
  });

  test('an urgent request has a small batch for itself; where all are urgent, the first are given up for the others', () => {
    const { advisor, clock } = learned();
    const nowNs = clock.nowNs();
    advisor.executed(request, 1, 1, timeOf(1));
    advisor.arrive(request, 500, 500, 32, nowNs);
    const answers = Array.from({ length: 30 }, () => advisor.maxRows(request, nowNs + 1.6 * MS, nowNs));
    expect(answers[0]).toBeGreaterThan(0);
    expect(answers).toContain(0);
    // Not for ever.
    const later = Array.from({ length: 200 }, () => advisor.maxRows(request, nowNs + 1.6 * MS, nowNs));
    expect(later.some((rows) => rows > 0)).toBe(true);
  });
});

describe('holding an incomplete batch', () => {
  test('a lone request is not delayed', () => {
    const { advisor, clock } = learned();
    advisor.arrive(request, 0, 0, 0, clock.nowNs());
    expect(advisor.holdNs(request, 1, 1, 0, 5 * MS, clock.nowNs())).toBe(0);
  });

  test('as long as requests come so often that each us is worth it, and never past the bound', () => {
    const { advisor, clock } = learned();
    for (let i = 0; i < 1000; i++) {
      advisor.arrive(request, 0, 0, 0, clock.nowNs());
      clock.advance(0.2 * MS);
    }
    // Five come in a millisecond, and each that joins saves one.
    const hold = (requests: number, waitedNs: number, boundNs: number): number =>
      advisor.holdNs(request, requests, requests, waitedNs, boundNs, clock.nowNs());
    expect(hold(1, 0, 5 * MS)).toBeGreaterThan(0.8 * MS);
    expect(hold(1, 0, 5 * MS)).toBeLessThan(1.2 * MS);
    expect(hold(3, 0.4 * MS, 5 * MS)).toBeLessThan(0.8 * MS);
    expect(hold(1, 0, 0.1 * MS)).toBe(0.1 * MS);
    expect(hold(8, 0, 5 * MS)).toBe(0);
    expect(hold(1, 2 * MS, 5 * MS)).toBe(0);
  });

  test('as the configuration says, while the model is not known', () => {
    const { advisor, clock } = simulation();
    expect(advisor.holdNs(request, 1, 1, 0, 5 * MS, clock.nowNs())).toBe(5 * MS);
  });
});

describe('requests without a deadline', () => {
  test('wait as long as the model lets them, and those beyond are refused', () => {
    const queue = simulation({ maxQueueTimeNs: 100 * MS });
    const random = new SeededRandom(6);
    const { served, refused, longestWaitNs } = queue.load(
      CAPACITY * 3,
      4 * SECOND,
      () => random.next(),
      () => FOREVER,
    );
    expect(served / 4 / CAPACITY).toBeGreaterThan(0.99);
    expect(refused).toBe(queue.reporter.refusedByQueueTime);
    expect(longestWaitNs).toBeGreaterThan(80 * MS);
    expect(longestWaitNs).toBeLessThan(130 * MS);
  });

  test('a closed loop of 1,024 clients is never refused', () => {
    const queue = simulation();
    for (let round = 0; round < 10; round++) {
      while (queue.waiting < 1024) expect(queue.arrive()).toBe(true);
      queue.clock.advance(10 * MS);
    }
    expect(queue.outcome.refused).toBe(0);
  });

  test('two full batches for each instance are taken, however slow the model', () => {
    const { advisor, clock, instances } = learned({ maxQueueTimeNs: 1 });
    expect(advisor.arrive(request, 63, 63, 32, clock.nowNs())).toBeNull();
    expect(advisor.arrive(request, 64, 64, 32, clock.nowNs())).toMatchObject({ code: 'UNAVAILABLE', failureReason: 'REJECTED' });
    instances.aliveCount = 2;
    expect(advisor.arrive(request, 64, 64, 32, clock.nowNs())).toBeNull();
  });

  test('requests that run alone drain as slowly as they run', () => {
    const queue = new QueueSimulation({ maxBatchSize: 32, timeOf }, { maxBatchSize: 0, maxQueueTimeNs: 100 * MS });
    for (let i = 0; i < 10; i++) queue.advisor.executed(request, 1, 1, 2 * MS);
    const ask = (waiting: number): boolean => queue.advisor.arrive(request, waiting, waiting, 1, queue.clock.nowNs()) === null;
    expect(ask(45)).toBe(true);
    expect(ask(55)).toBe(false);
  });
});

test('what was learned is on the metrics page', () => {
  const { reporter } = learned();
  expect(reporter.batchFixedNs / MS).toBeCloseTo(1, 1);
  expect(reporter.batchRowNs / MS).toBeCloseTo(0.2, 1);
});
