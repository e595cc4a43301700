import { afterEach, describe, expect, it, vi } from 'vitest';
import { InferenceError } from '../../proto/inference-error.ts';
import { KeptOutputs } from '../inference/kept-outputs.ts';
import { Rig } from './dynamic-batch.case.ts';
import { ResponseOrder } from './response-order.ts';
import { identitySignature } from './scheduling-fixtures.ts';

const refused = new InferenceError('INTERNAL', 'refused', { failureReason: 'BACKEND' });

/** Each instance runs one request at a time. */
function ordered(instanceCount: number): Rig {
  const rig = new Rig({ preservesOrder: true }, { maxBatchSize: 1, preferredBatchSizes: [1] }, 0);
  for (let i = 0; i < instanceCount; i++) rig.add(1);
  return rig;
}

describe('preserve_ordering', () => {
  afterEach(() => vi.restoreAllMocks());

  it('answers in order of arrival, whichever instance is first', () => {
    const release = vi.spyOn(KeptOutputs.prototype, 'release');
    const rig = ordered(3);
    rig.sendNow({}, {}, {});
    rig.answer(2);
    rig.answer(1);
    expect(rig.endings).toEqual([]);
    expect(release).not.toHaveBeenCalled();
    rig.answer(0);
    expect(rig.endings).toEqual(['0', '1', '2']);
    expect(rig.ledger.endings.map(({ outputs }) => new Int32Array(outputs[0]!.data.buffer)[0])).toEqual([0, 1, 2]);
    expect(release).toHaveBeenCalledTimes(2);
    expect(rig.scheduler.inflightCount).toBe(0);
  });

  it('a failure keeps its place', () => {
    const rig = ordered(3);
    rig.sendNow({}, {}, {});
    rig.fail(refused, false, 1);
    rig.answer(2);
    expect(rig.endings).toEqual([]);
    rig.fail(refused, false, 0);
    expect(rig.endings).toEqual(['0:INTERNAL', '1:INTERNAL', '2']);
  });

  it('who cancels leaves, with what was kept for it', () => {
    const release = vi.spyOn(KeptOutputs.prototype, 'release');
    const rig = ordered(3);
    const [a, b] = rig.sendNow({}, {}, {});
    rig.answer(1);
    rig.answer(2);
    b!.cancel();
    expect(release).toHaveBeenCalledTimes(1);
    a!.cancel();
    expect(rig.endings).toEqual(['1:CANCELLED', '0:CANCELLED']);
    rig.answer(0);
    expect(rig.endings).toEqual(['1:CANCELLED', '0:CANCELLED', '2']);
    expect(release).toHaveBeenCalledTimes(2);
  });

  it.each(['cancel', 'expire'] as const)('who leaves while it runs lets the others pass before its batch has ended: %s', (end) => {
    const rig = ordered(2);
    const [a] = rig.sendNow({}, {});
    rig.answer(1);
    a![end]();
    rig.clock.tick();
    expect(rig.endings.at(-1)).toBe('1');
    rig.answer(0);
    expect(rig.endings).toHaveLength(2);
    expect(rig.scheduler.inflightCount).toBe(0);
  });

  it('the halves of a poisoned batch are answered in order', () => {
    const rig = new Rig({ preservesOrder: true }, {}, 2);
    rig.sendNow({}, {}, {});
    rig.sendNow({ rows: 8 });
    rig.fail(refused, true, 0);
    // Instance 0 has 0 and 1, then 2 behind it; instance 1 is through with 3 first.
    rig.answer(1);
    expect(rig.endings).toEqual([]);
    rig.fail(refused, true, 0);
    for (let i = 0; rig.scheduler.inflightCount > 0 && i < 10; i++) {
      const busy = rig.instances.alive.findLastIndex((one) => one.running.length > 0);
      const { running } = rig.instances.alive[busy]!;
      if (new Int32Array(running[0]!.inputs[0]!.data.buffer).includes(1)) rig.fail(refused, true, busy);
      else rig.answer(busy);
    }
    expect(rig.endings).toEqual(['0', '1:INTERNAL', '2', '3']);
  });

  it('a half that is cancelled while it waits lets the others pass', () => {
    const both = new Rig({ preservesOrder: true }, { maxBatchSize: 2, preferredBatchSizes: [2] }, 2);
    const [a, b] = both.sendNow({}, {});
    both.sendNow({ rows: 2 });
    both.answer(1);
    both.instances.alive[0]!.fail(refused, true);
    a!.cancel();
    b!.cancel();
    both.clock.tick();
    expect(both.endings).toEqual(['0:CANCELLED', '1:CANCELLED', '2']);
    expect(both.scheduler.inflightCount).toBe(0);
  });

  it('begins no more while too many wait for one that hangs', () => {
    const rig = ordered(2);
    rig.sendNow({});
    for (let i = 0; i < 50; i++) {
      rig.sendNow({});
      if (rig.instances.alive[1]!.running.length > 0) rig.answer(1);
    }
    expect(rig.batches).toHaveLength(9);
    expect(rig.scheduler.pendingCount).toBe(42);
    rig.answer(0);
    for (let i = 0; rig.scheduler.inflightCount > 0 && i < 100; i++) {
      rig.answer(rig.instances.alive.findIndex((one) => one.running.length > 0));
    }
    expect(rig.endings).toEqual(Array.from({ length: 51 }, (_, i) => String(i)));
  });

  it('a batch without tensor memory has not begun', () => {
    const rig = ordered(2);
    rig.sendNow({});
    rig.instances.alive[1]!.isOutOfMemory = true;
    rig.sendNow({}, {});
    rig.instances.alive[1]!.isOutOfMemory = false;
    rig.answer(0);
    rig.answer(1);
    expect(rig.endings).toEqual(['0']);
    rig.answer(0);
    expect(rig.endings).toEqual(['0', '1', '2']);
  });

  it('forgets what was begun in vain', () => {
    const rig = new Rig();
    const order = new ResponseOrder(identitySignature(1, [[1]]), 8, () => {});
    const [a, b] = [rig.request(), rig.request()];
    order.begin([a, b]);
    order.takeBack(1);
    order.begin([b]);
    order.takeBack(2);
    order.begin([b]);
    order.fail(b, refused);
    expect([a.isDone, b.isDone]).toEqual([false, true]);
  });

  it('a caller that throws costs the others nothing', () => {
    const faults: unknown[] = [];
    const rig = new Rig({ preservesOrder: true, onFault: (fault) => faults.push(fault) }, { maxBatchSize: 1, preferredBatchSizes: [1] }, 3);
    const throwing = {
      onResponse: () => {
        throw new Error('a broken caller');
      },
      onComplete: () => {},
      onError: () => {},
    };
    rig.send();
    rig.scheduler.enqueue(rig.request({}, throwing));
    rig.sendNow({});
    rig.answer(2);
    rig.answer(1);
    rig.answer(0);
    expect(rig.endings).toEqual(['0', '2']);
    expect(faults).toHaveLength(1);
  });

  it('gives only the outputs that were asked for, once their turn comes', async () => {
    const rig = new Rig(
      { preservesOrder: true, signature: identitySignature(1, [[1], [1]]) },
      { maxBatchSize: 1, preferredBatchSizes: [1], variableInputs: [] },
      2,
    );
    const first = rig.send({ inputs: 2 });
    const second = rig.send({ inputs: 2, outputs: ['OUT1'] });
    rig.clock.tick();
    rig.answer(1);
    const stopped = rig.scheduler.stop();
    expect(rig.scheduler.inflightCount).toBe(1);
    rig.answer(0);
    await stopped;
    expect([first.isDone, second.isDone]).toEqual([true, true]);
    expect(rig.ledger.endings[1]!.outputs.map(({ name }) => name)).toEqual(['OUT1']);
  });
});
