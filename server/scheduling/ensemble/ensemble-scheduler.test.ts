import { afterEach, describe, expect, it, vi } from 'vitest';
import { FakeEnsemble, type FakeModel, orElse, scalarOf, step, watchKept } from './fake-models.case.ts';

const one: FakeModel = { inputs: ['X'], outputs: ['Y'] };
const two: FakeModel = { inputs: ['A', 'B'], outputs: ['Y'] };
const when = (tensor: string, not = false, equals: string[] = []) => ({ tensor, not, equals });

afterEach(() => vi.restoreAllMocks());

describe('the steps of an ensemble', () => {
  it('run when their inputs are there, side by side where they can, with what the request says', () => {
    const kept = watchKept();
    const ensemble = new FakeEnsemble(
      ['IN'],
      ['OUT'],
      [
        step('a', { X: 'IN' }, { Y: 'a' }),
        step('b', { X: 'a' }, { Y: 'b' }),
        step('c', { X: 'a' }, { Y: 'c' }),
        step('d', { A: 'b', B: 'c' }, { Y: 'OUT' }),
      ],
      { a: one, b: one, c: one, d: two },
    );
    const { models, scheduler, clock, reporter } = ensemble;
    const request = ensemble.send('r', { IN: 1 });
    expect(models.pending.map(({ modelName }) => modelName)).toEqual(['a']);
    expect(models.to('a')).toMatchObject({ id: 'r', parameters: { p: 1 }, priority: 2, timeoutUs: 3, depth: 1, modelVersion: '' });
    models.answer(models.to('a'), { Y: 10 });
    expect(models.pending.map(({ modelName }) => modelName)).toEqual(['b', 'c']);
    models.answer(models.to('c'), { Y: 12 });
    models.answer(models.to('b'), { Y: 11 });
    expect(models.to('d').inputs.map((input) => [input.name, scalarOf(input)])).toEqual([
      ['A', 11],
      ['B', 12],
    ]);
    expect([scheduler.inflightCount, ensemble.ends]).toEqual([1, []]);
    models.answer(models.to('d'), { Y: 13 });
    expect(ensemble.ends).toEqual([{ OUT: 13 }]);
    // Four steps of 1, 2, 3 and 4 ns.
    expect(reporter.batches.get(1)!.computeInfer.ns).toBe(12);
    expect([request.isDone, scheduler.inflightCount, clock.timerCount, reporter.executionCount]).toEqual([true, 0, 0, 1]);
    // The last response went straight to the caller.
    expect(kept.balance()).toEqual([1, 1, 1]);
  });

  it('name themselves when they fail; what else runs is cancelled', () => {
    const kept = watchKept();
    const ensemble = new FakeEnsemble(
      ['IN'],
      ['OUT', 'SIDE'],
      [step('a', { X: 'IN' }, { Y: 'a' }), step('b', { X: 'a' }, { Y: 'OUT' }), step('c', { X: 'a' }, { Y: 'SIDE' })],
      { a: one, b: one, c: one },
    );
    ensemble.send('r', { IN: 1 });
    ensemble.models.answer(ensemble.models.to('a'), { Y: 10 });
    ensemble.models.fail(ensemble.models.to('b'), 'it is broken');
    expect(ensemble.ends).toEqual(["in ensemble 'e', it is broken (step 1, model 'b')"]);
    expect(ensemble.ledger.endings[0]!.error).toMatchObject({ code: 'UNAVAILABLE', failureReason: 'BACKEND' });
    expect(ensemble.models.to('c')).toMatchObject({ isCancelled: true, isDone: true });
    expect([kept.balance(), ensemble.scheduler.inflightCount]).toEqual([[1], 0]);
  });

  it('end with the request: nothing runs for one that was cancelled', async () => {
    const ensemble = new FakeEnsemble(['IN'], ['OUT'], [step('a', { X: 'IN' }, { Y: 'a' }), step('b', { X: 'a' }, { Y: 'OUT' })], {
      a: one,
      b: one,
    });
    const request = ensemble.send('r', { IN: 1 });
    ensemble.models.answer(ensemble.models.to('a'), { Y: 1 });
    const stopped = ensemble.scheduler.stop();
    request.cancel();
    expect(ensemble.models.to('b').isDone).toBe(true);
    expect(ensemble.ledger.endings.map(({ error }) => error?.code)).toEqual(['CANCELLED']);
    ensemble.models.answer(ensemble.models.to('b'), { Y: 1 });
    expect(ensemble.ledger.endings).toHaveLength(1);
    await stopped;
    expect(() => ensemble.send('late', { IN: 1 })).toThrow('stopping');
  });

  it('run in the place of another that failed or was late, with the time that is left', () => {
    const steps = [step('a', { X: 'IN' }, { Y: 'OUT' }, { fallback: orElse('b'), timeoutMicroseconds: 5 })];
    const ensemble = new FakeEnsemble(['IN'], ['OUT'], steps, { a: one, b: one });
    ensemble.send('fails', { IN: 1 });
    expect(ensemble.models.to('a').deadlineNs).toBe(ensemble.clock.nowNs() + 5000);
    ensemble.models.fail(ensemble.models.to('a'), 'no');
    expect(ensemble.models.to('b').deadlineNs).toBe(Number.POSITIVE_INFINITY);
    ensemble.models.answer(ensemble.models.to('b'), { Y: 2 });
    ensemble.send('late', { IN: 1 });
    ensemble.models.to('a').expire();
    ensemble.models.answer(ensemble.models.to('b'), { Y: 3 });
    ensemble.send('both', { IN: 1 });
    ensemble.models.pending.splice(0, 1);
    ensemble.models.fail(ensemble.models.to('a'), 'no');
    ensemble.models.fail(ensemble.models.to('b'), 'neither');
    expect(ensemble.ends).toEqual([
      { OUT: 2 },
      { OUT: 3 },
      "in ensemble 'e', no (step 0, model 'a'); its fallback 'b' failed too: neither",
    ]);
  });

  it('are held back by max_inflight_requests, and those of a cancelled request never start', () => {
    const ensemble = new FakeEnsemble(['IN'], ['OUT'], [step('a', { X: 'IN' }, { Y: 'OUT' })], { a: one }, 2);
    const requests = ['0', '1', '2', '3'].map((id) => ensemble.send(id, { IN: 1 }));
    const { models } = ensemble;
    expect([models.pending.map(({ id }) => id), ensemble.scheduler.pendingCount]).toEqual([['0', '1'], 2]);
    requests[2]!.cancel();
    models.answer(models.pending[1]!, { Y: 1 });
    expect([models.pending.map(({ id }) => id), ensemble.scheduler.pendingCount]).toEqual([['0', '3'], 0]);
    models.answer(models.pending[1]!, { Y: 1 });
    models.answer(models.pending[0]!, { Y: 1 });
    ensemble.send('4', { IN: 1 });
    ensemble.send('5', { IN: 1 });
    expect(models.pending.map(({ id }) => id)).toEqual(['4', '5']);
  });

  it('run by what tensors say, and an output that none made is missing', () => {
    const ensemble = new FakeEnsemble(
      ['IN', 'FLAG'],
      ['OUT', 'MORE'],
      [
        step('a', { X: 'IN' }, { Y: 'OUT' }, { when: [when('FLAG')] }),
        step('b', { X: 'IN' }, { Y: 'OUT' }, { when: [when('FLAG', true)] }),
        step('c', { X: 'IN' }, { Y: 'more' }, { when: [when('FLAG', false, ['7', '8'])] }),
        step('d', { X: 'more' }, { Y: 'MORE' }),
      ],
      { a: one, b: one, c: one, d: one },
    );
    const { models } = ensemble;
    ensemble.send('no', { IN: 1, FLAG: 0 });
    expect(models.pending.map(({ modelName }) => modelName)).toEqual(['b']);
    models.answer(models.to('b'), { Y: 2 });
    ensemble.send('yes', { IN: 1, FLAG: 8 });
    expect(models.pending.map(({ modelName }) => modelName)).toEqual(['a', 'c']);
    models.answer(models.to('a'), { Y: 1 });
    models.answer(models.to('c'), { Y: 3 });
    models.answer(models.to('d'), { Y: 4 });
    ensemble.send('asked', { IN: 1, FLAG: 1 }, ['MORE']);
    // Never within the call.
    expect(ensemble.ends).toHaveLength(2);
    ensemble.clock.tick();
    expect(ensemble.ends.slice(0, 2)).toEqual([{ OUT: 2 }, { OUT: 1, MORE: 4 }]);
    expect(ensemble.ends[2]).toBe(
      "in ensemble 'e', output 'MORE' was not made for this request: of step 3, model 'd' none ran, or none gave it; a step runs when its conditions (when) hold and its inputs are there",
    );
    expect(ensemble.ledger.endings[2]!.error!.code).toBe('INVALID_ARGUMENT');
  });
});

describe('a decoupled step', () => {
  const steps = [
    step('slow', { X: 'IN' }, { Y: 'base' }),
    step('many', { X: 'IN' }, { Y: 'part' }),
    step('d', { A: 'part', B: 'base' }, { Y: 'OUT' }),
  ];
  const models = { slow: one, many: { ...one, isDecoupled: true }, d: two };

  it('makes a response of the ensemble of each of its own, in their order, and the end comes last', () => {
    const kept = watchKept();
    const ensemble = new FakeEnsemble(['IN'], ['OUT'], steps, models);
    const request = ensemble.send('r', { IN: 1 });
    const many = ensemble.models.to('many');
    ensemble.models.stream(many, { Y: 1 });
    ensemble.models.stream(many, { Y: 2 });
    expect(ensemble.models.pending.map(({ modelName }) => modelName)).toEqual(['slow', 'many']);
    ensemble.models.answer(ensemble.models.to('slow'), { Y: 100 });
    const [first, second] = ensemble.models.pending.filter(({ modelName }) => modelName === 'd');
    ensemble.models.stream(many, { Y: 3 });
    ensemble.models.complete(many);
    ensemble.models.answer(second!, { Y: 102 });
    expect(ensemble.ends).toEqual([]);
    ensemble.models.answer(first!, { Y: 101 });
    expect(ensemble.ends).toEqual([{ OUT: 101 }, { OUT: 102 }]);
    expect(request.isDone).toBe(false);
    ensemble.models.answer(ensemble.models.to('d'), { Y: 103 });
    // The last ending is the completion, without outputs.
    expect(ensemble.ends).toEqual([{ OUT: 101 }, { OUT: 102 }, { OUT: 103 }, {}]);
    expect([request.isDone, ensemble.scheduler.inflightCount, ensemble.faults]).toEqual([true, 0, []]);
    expect(kept.balance().every((count) => count === 1)).toBe(true);
    expect(request.timing).toMatchObject({ queueNs: 5 });
  });

  it('is paused while many of its responses are on their way, or the caller takes none', () => {
    const ensemble = new FakeEnsemble(['IN'], ['OUT'], steps, models);
    const request = ensemble.send('r', { IN: 1 });
    ensemble.models.answer(ensemble.models.to('slow'), { Y: 0 });
    const many = ensemble.models.to('many');
    for (let i = 0; i < 16; i++) ensemble.models.stream(many, { Y: i });
    expect(many.isPaused).toBe(true);
    ensemble.models.answer(ensemble.models.to('d'), { Y: 0 });
    expect(many.isPaused).toBe(false);
    request.pauseResponses();
    ensemble.models.answer(ensemble.models.to('d'), { Y: 1 });
    expect(many.isPaused).toBe(true);
    request.resumeResponses();
    expect(many.isPaused).toBe(false);
    request.cancel();
    expect(many.isDone).toBe(true);
    expect(ensemble.models.asked.every(({ isDone }) => isDone)).toBe(true);
  });

  it('that gives nothing ends the request without a response; one that is not wanted is not asked', () => {
    const ensemble = new FakeEnsemble(['IN'], ['OUT', 'BASE'], [...steps, step('c', { X: 'base' }, { Y: 'BASE' })], { ...models, c: one });
    ensemble.send('none', { IN: 1 });
    ensemble.models.complete(ensemble.models.to('many'));
    ensemble.models.answer(ensemble.models.to('slow'), { Y: 0 });
    ensemble.models.answer(ensemble.models.to('c'), { Y: 5 });
    expect(ensemble.ends).toEqual([{}]);
    ensemble.send('base', { IN: 1 }, ['BASE']);
    expect(ensemble.models.pending.map(({ modelName }) => modelName)).toEqual(['slow']);
    ensemble.models.answer(ensemble.models.to('slow'), { Y: 0 });
    ensemble.models.answer(ensemble.models.to('c'), { Y: 5 });
    expect(ensemble.ends).toEqual([{}, { BASE: 5 }, {}]);
  });
});
