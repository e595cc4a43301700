import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../proto/inference-error.ts';
import { settleStatistics } from '../data-plane/settle-statistics.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { priorities, queuePolicy, Rig } from './dynamic-batch.case.ts';

const US = 1000;

describe('priority levels', () => {
  it('a lower number goes first, order of arrival within a level, whatever came in between', () => {
    const { sendNow, ...rest } = bind({ queuePolicies: priorities(3) });
    sendNow({ rows: 8 });
    sendNow({ priority: 3 }, { priority: 1 }, { priority: 3 }, { priority: 2 }, { priority: 1 });
    rest.rig.answer();
    expect(rest.rig.batches[1]).toEqual(['2', '5', '4', '1', '3']);
  });

  it('0 and a level that does not exist are the default level', () => {
    const { sendNow, rig } = bind({ queuePolicies: priorities(3) });
    sendNow({ rows: 8 });
    sendNow({ priority: 3 }, { priority: 4 }, { priority: 0 }, { priority: 1 }, { priority: 2 }, { priority: 2 ** 40 });
    rig.answer();
    expect(rig.batches[1]).toEqual(['4', '2', '3', '5', '6', '1']);
  });

  it('what is more urgent goes first in the next batch, though one of lower priority was ready', () => {
    const { sendNow, rig } = bind({ queuePolicies: priorities(2) });
    sendNow({ rows: 8, priority: 2 });
    sendNow({ rows: 8, priority: 2 });
    // A batch that cannot grow is not given to a busy instance either: it would be in front of what comes next.
    expect(rig.batches).toEqual([['0']]);
    sendNow({ priority: 1 });
    rig.answer();
    rig.answer();
    expect(rig.batches).toEqual([['0'], ['2'], ['1']]);
  });

  it('without priorities a batch that cannot grow waits in the host', () => {
    const { sendNow, rig } = bind({});
    sendNow({ rows: 8 });
    sendNow({ rows: 8 });
    expect(rig.batches).toEqual([['0'], ['1']]);
  });

  it('a full level refuses, and takes nothing from the others', () => {
    const { sendNow, rig } = bind({ queuePolicies: priorities(2, { maxSize: 2 }, [[2, queuePolicy({ maxSize: 1 })]]) });
    sendNow({ rows: 8 });
    sendNow({ priority: 1 }, { priority: 2 }, { priority: 1 });
    for (const priority of [0, 1, 2, 3]) {
      expect(() => rig.send({ priority })).toThrow(
        expect.objectContaining({
          code: 'UNAVAILABLE',
          failureReason: 'REJECTED',
          message: expect.stringContaining('Exceeds maximum queue size'),
        }),
      );
    }
    expect(rig.scheduler.pendingCount).toBe(3);
    rig.answer();
    rig.send({ priority: 2 });
  });

  it('makes room at once for what comes after a cancel', () => {
    const { sendNow, rig } = bind({ queuePolicies: priorities(2, { maxSize: 1 }) });
    sendNow({ rows: 8 });
    const [gone] = sendNow({ priority: 2 });
    gone!.cancel();
    rig.send({ priority: 2 });
    expect(rig.scheduler.pendingCount).toBe(1);
  });

  it('a million levels cost what waits in them', () => {
    const { rig } = bind({ queuePolicies: priorities(1_000_000, { maxSize: 100 }) }, { maxBatchSize: 0 });
    const wanted: number[] = [];
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 2000; i++) {
      const priority = 1 + ((i * 7919) % 1_000_000);
      wanted.push(priority);
      rig.send({ priority });
    }
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(20e6);
    rig.clock.tick();
    while (rig.instances.alive[0]!.running.length > 0) rig.answer();
    expect(rig.endings.map((id) => wanted[Number(id)])).toEqual([...wanted].sort((a, b) => a - b));
  });
});

describe('queue timeouts', () => {
  it('REJECT answers when the timeout passes, though every instance hangs', () => {
    const { sendNow, rig } = bind({ queuePolicies: priorities(0, { timeoutNs: 500 * US }) });
    sendNow({ rows: 8 });
    sendNow({});
    rig.clock.advance(200 * US);
    sendNow({});
    rig.clock.advance(299 * US);
    expect(rig.endings).toEqual([]);
    rig.clock.advance(1 * US);
    expect(rig.endings).toEqual(['1:UNAVAILABLE']);
    expect(rig.ledger.endings[0]!.error).toMatchObject({
      failureReason: 'REJECTED',
      message: expect.stringContaining('Request timeout expired'),
    });
    rig.clock.advance(200 * US);
    expect(rig.endings).toEqual(['1:UNAVAILABLE', '2:UNAVAILABLE']);
    // What runs is not in the queue any more.
    rig.answer();
    expect(rig.endings.at(-1)).toBe('0');
    expect(rig.clock.timerCount).toBe(0);
  });

  it('deadlines pass while every instance hangs, with no queue policy at all', () => {
    const { sendNow, rig } = bind({});
    sendNow({ rows: 8 }, { rows: 8 });
    sendNow({ deadlineNs: 900 }, { deadlineNs: 300 });
    rig.clock.advance(300);
    expect(rig.endings).toEqual(['3:DEADLINE_EXCEEDED']);
    rig.clock.advance(600);
    expect(rig.endings).toEqual(['3:DEADLINE_EXCEEDED', '2:DEADLINE_EXCEEDED']);
  });

  it('DELAY moves behind those in time of its level, and never refuses', () => {
    const late = queuePolicy({ timeoutNs: 100 * US, isDelayed: true, maxSize: 4 });
    const { sendNow, rig } = bind({ queuePolicies: priorities(2, {}, [[1, late]]) });
    sendNow({ rows: 8 });
    sendNow({ priority: 1 }, { priority: 2 }, { priority: 1 });
    rig.clock.advance(100 * US);
    sendNow({ priority: 1 }, { priority: 1 });
    // Delayed ones count as waiting.
    expect(() => rig.send({ priority: 1 })).toThrow('Exceeds maximum queue size');
    rig.clock.advance(10 * US);
    rig.answer();
    expect(rig.batches[1]).toEqual(['4', '5', '1', '3', '2']);
    expect(rig.endings).toEqual(['0']);
  });

  it('delayed requests return to where they were when there is no tensor memory', () => {
    const { sendNow, rig } = bind({ queuePolicies: priorities(0, { timeoutNs: 100 * US, isDelayed: true }) });
    sendNow({ rows: 8 });
    sendNow({}, {});
    rig.clock.advance(100 * US);
    sendNow({});
    rig.instances.alive[0]!.isOutOfMemory = true;
    rig.answer();
    sendNow({});
    rig.instances.alive[0]!.isOutOfMemory = false;
    sendNow({});
    expect(rig.batches[1]).toEqual(['3', '4', '5', '1', '2']);
  });

  it.each([
    ['shorter than the default', true, 500, 200, 200],
    ['longer than the default', true, 500, 800, 500],
    ['not allowed', false, 500, 200, 500],
    ['none of its own', true, 500, 0, 500],
    ['a default of 0: the override never applies', true, 0, 200, null],
  ])("a request's own timeout, %s", (_what, allowsOverride, timeoutUs, own, expected) => {
    const { sendNow, rig } = bind({ queuePolicies: priorities(1, { timeoutNs: timeoutUs * US, allowsOverride }) });
    sendNow({ rows: 8 });
    sendNow({}, { timeoutNs: own * US });
    if (expected === null) {
      rig.clock.advance(1e9);
      expect(rig.endings).toEqual([]);
      return;
    }
    rig.clock.advance(expected * US - 1);
    expect(rig.endings).toEqual([]);
    rig.clock.advance(1);
    expect(rig.endings).toContain('2:UNAVAILABLE');
  });

  it('what expires in the tick that frees an instance does not run', () => {
    const { sendNow, rig } = bind({ queuePolicies: priorities(0, { timeoutNs: 100 * US }) });
    sendNow({ rows: 8 });
    sendNow({});
    rig.clock.advance(50 * US);
    sendNow({});
    // The loop was busy for a while: the timer has had no turn.
    const late = rig.clock.nowNs() + 60 * US;
    rig.clock.nowNs = () => late;
    rig.answer();
    expect(rig.batches).toEqual([['0'], ['2']]);
    expect(rig.endings).toEqual(['0', '1:UNAVAILABLE']);
  });
});

describe('cancelled requests', () => {
  it('of a divided batch are not run again, and one without any is not run at all', () => {
    const { sendNow, rig } = bind({});
    const [, b, c, d] = sendNow({}, {}, {}, {});
    rig.instances.alive[0]!.fail(new InferenceError('INTERNAL', 'refused'), true);
    b!.cancel();
    c!.cancel();
    d!.cancel();
    expect(rig.scheduler.inflightCount).toBe(4);
    rig.clock.tick();
    expect(rig.batches).toEqual([['0', '1', '2', '3'], ['0']]);
    expect(rig.scheduler.inflightCount).toBe(1);
    rig.answer();
    expect(rig.endings).toEqual(['1:CANCELLED', '2:CANCELLED', '3:CANCELLED', '0']);
    expect(rig.scheduler.inflightCount).toBe(0);
  });

  it('before they are queued are not', () => {
    const { rig } = bind({});
    const request = rig.request();
    request.cancel();
    rig.scheduler.enqueue(request);
    rig.clock.tick();
    expect([rig.batches, rig.endings, rig.scheduler.inflightCount]).toEqual([[], ['0:CANCELLED'], 0]);
  });

  it('in a batch that is then divided are not run again', async () => {
    const { sendNow, rig } = bind({});
    const requests = sendNow({}, {});
    for (const request of requests) request.cancel();
    rig.fail(new InferenceError('INTERNAL', 'refused'), true);
    expect(rig.batches).toHaveLength(1);
    await rig.scheduler.stop();
  });

  it('by an answer, in the same tick, do not run', () => {
    const { rig } = bind({});
    // The instance answers inside `execute`, as inline ones do.
    const instance = rig.instances.alive[0]!;
    rig.onStarted = () => {
      instance.answer();
    };
    const second = rig.request({ rows: 8 });
    const first = rig.request({ rows: 8 }, { ...rig.ledger, onResponse: () => second.cancel(), onComplete: () => {}, onError: () => {} });
    rig.scheduler.enqueue(first);
    rig.scheduler.enqueue(second);
    rig.clock.tick();
    expect(rig.batches).toEqual([['1']]);
    expect(rig.endings).toEqual(['0:CANCELLED']);
    expect(rig.scheduler.inflightCount).toBe(0);
  });
});

describe('a poisoned batch', () => {
  it('of a lower priority waits with its halves for what is more urgent', () => {
    const { sendNow, rig } = bind({ queuePolicies: priorities(2) });
    sendNow({ priority: 2 }, { priority: 2 });
    sendNow({ priority: 1 }, { priority: 2 });
    rig.fail(new InferenceError('INTERNAL', 'refused'), true);
    while (rig.instances.alive[0]!.running.length > 0) rig.answer();
    expect(rig.batches).toEqual([['0', '1'], ['2', '3'], ['0'], ['1']]);
  });

  it('is divided in order of priority and arrival, whichever of several failed first', () => {
    const { sendNow, rig } = bind({ queuePolicies: priorities(2) }, {}, 2);
    const refused = new InferenceError('INTERNAL', 'refused');
    sendNow({ priority: 2 }, { priority: 2 });
    rig.clock.advance(1);
    sendNow({ priority: 1 }, { priority: 2 }, { priority: 1 });
    rig.instances.alive[0]!.fail(refused, true);
    rig.instances.alive[1]!.fail(refused, true);
    rig.instances.alive.length = 1;
    rig.clock.tick();
    rig.fail(refused, true);
    while (rig.instances.alive[0]!.running.length > 0) rig.answer();
    expect(rig.batches).toEqual([['0', '1'], ['2', '4', '3'], ['2', '4'], ['2'], ['4'], ['0'], ['1'], ['3']]);
  });

  it('costs at most two executions for each halving', () => {
    for (let count = 1; count <= 64; count++) {
      for (const culprit of [0, count >> 1, count - 1]) {
        const { rig, sendNow } = bind({}, { maxBatchSize: 64, preferredBatchSizes: [64] });
        sendNow(...Array.from({ length: count }, (_, i) => ({ value: i === culprit ? -1 : i })));
        const { running } = rig.instances.alive[0]!;
        while (running.length > 0) {
          if (new Int32Array(running[0]!.inputs[0]!.data.buffer).includes(-1)) rig.fail(new InferenceError('INTERNAL', 'refused'), true);
          else rig.answer();
        }
        expect(rig.batches.length).toBeLessThanOrEqual(1 + 2 * Math.ceil(Math.log2(count)));
        expect(rig.endings.filter((one) => one.includes(':'))).toEqual([`${culprit}:INTERNAL`]);
        expect(rig.endings).toHaveLength(count);
      }
    }
  });
});

function bind(...args: ConstructorParameters<typeof Rig>): { rig: Rig; sendNow: Rig['sendNow'] } {
  const rig = new Rig(...args);
  return { rig, sendNow: rig.sendNow.bind(rig) };
}

it('statistics are those of a schedule computed by hand', () => {
  const { rig } = bind({ queuePolicies: priorities(2, { timeoutNs: 500 }) });
  const { clock, reporter } = rig;
  const send = (asked: Parameters<Rig['request']>[0]): InferenceRequest => {
    const request = rig.request(asked);
    request.receivedNs = clock.nowNs();
    request.observer = {
      onRequestEnd: (one, response, error) => settleStatistics(reporter, one, clock.nowNs() - one.receivedNs, response, error),
    };
    rig.scheduler.enqueue(request);
    return request;
  };
  const refused = new InferenceError('INTERNAL', 'refused', { failureReason: 'BACKEND' });
  // A runs from 0 to 300.
  send({ rows: 8 });
  clock.tick();
  clock.advance(100);
  send({ priority: 2 });
  send({ priority: 1 });
  const gone = send({ priority: 1 });
  send({ priority: 2 });
  clock.tick();
  clock.advance(100);
  gone.cancel();
  clock.advance(100);
  rig.answer();
  // C, B and E from 300 to 400, in vain; C and B to 450, in vain.
  clock.advance(100);
  send({ priority: 2 });
  rig.fail(refused, true);
  clock.advance(50);
  rig.fail(refused, true);
  // C from 450 to 500, B to 600. E hangs until 950: F is refused at 900.
  clock.advance(50);
  rig.answer();
  clock.advance(100);
  rig.answer();
  clock.advance(299);
  expect(reporter.failures.REJECTED).toBe(0);
  clock.advance(51);
  rig.fail(refused, true);
  expect(rig.endings).toEqual(['3:CANCELLED', '0', '2', '1', '5:UNAVAILABLE', '4:INTERNAL']);
  const { success, fail, queue, computeInput, computeInfer, computeOutput } = reporter;
  expect([success, fail, queue, computeInput, computeInfer, computeOutput].map(({ count, ns }) => [count, ns])).toEqual([
    [3, 300 + 400 + 500],
    [3, 100 + 500 + 850],
    [3, 0 + 350 + 400],
    // All but the 15 that the host says.
    [3, 285 + 35 + 85],
    [3, 30],
    [3, 15],
  ]);
  expect(reporter.failures).toEqual({ REJECTED: 1, CANCELED: 1, BACKEND: 1, OTHER: 0 });
  expect([reporter.inferenceCount, reporter.executionCount, reporter.pendingCount]).toEqual([10, 3, 0]);
  expect([...reporter.batches].map(([rows, { computeInfer: infer }]) => [rows, infer.count])).toEqual([
    [8, 1],
    [1, 2],
  ]);
});
