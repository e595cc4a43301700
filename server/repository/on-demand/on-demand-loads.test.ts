import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { thenWaiting } from '../waiting.ts';
import { type Asked, HeldModels, MS, settled } from './held-models.case.ts';

describe('waiting', () => {
  test('one load for many callers, each of whom hears once', async () => {
    const held = new HeldModels();
    const asked = Array.from({ length: 50 }, () => held.ask('a'));
    expect([held.log, held.onDemand.waitingCount]).toEqual([[], 50]);
    await settled();
    expect(held.log).toEqual(['+a']);
    await held.loaded('a');
    expect(asked.map(({ answers }) => answers)).toEqual(Array.from({ length: 50 }, () => ['loaded']));
    expect([held.onDemand.waitingCount, held.clock.timerCount]).toEqual([0, 0]);
  });

  test('one caller too many is refused at once, and a place that is given up is free', async () => {
    const held = new HeldModels({ maxWaiting: 2 });
    const [first, , third] = [held.ask('a'), held.ask('b'), held.ask('b')];
    expect(third.error).toMatchObject({ code: 'UNAVAILABLE', failureReason: 'REJECTED', retryAfterSeconds: 1 });
    expect(third.error!.message).toContain('--load-on-demand-max-waiting');
    first.waiting!.cancel();
    const fourth = held.ask('b');
    await settled();
    expect([first.answers, fourth.answers, held.onDemand.waitingCount]).toEqual([['CANCELLED'], [], 2]);
    await held.loaded('b');
    expect([first.answers, fourth.answers]).toEqual([['CANCELLED'], ['loaded']]);
  });

  test('a caller that has waited long enough hears so, and the load goes on for the others', async () => {
    const held = new HeldModels({ timeoutMs: 1_000 });
    const early = held.ask('a');
    held.clock.advance(600 * MS);
    const late = held.ask('a');
    held.clock.advance(399 * MS);
    await settled();
    expect([early.answers, late.answers]).toEqual([[], []]);
    held.clock.advance(1 * MS);
    await settled();
    expect(early.error).toMatchObject({ code: 'UNAVAILABLE', retryAfterSeconds: 1, message: expect.stringContaining('after 1000 ms') });
    await held.loaded('a');
    expect([early.answers, late.answers, held.log]).toEqual([['UNAVAILABLE'], ['loaded'], ['+a']]);
    expect(held.clock.timerCount).toBe(0);
  });

  test('a cancel ends one wait, and not the load; cancelling what is made from a wait is cancelling it', async () => {
    const held = new HeldModels();
    const [one, two] = [held.ask('a'), held.ask('a')];
    const mapped = thenWaiting(held.onDemand.wait('a'), () => 'mapped');
    await settled();
    one.waiting!.cancel();
    one.waiting!.cancel();
    mapped.cancel();
    await expect(mapped).rejects.toMatchObject({ code: 'CANCELLED' });
    await held.loaded('a');
    two.waiting!.cancel();
    await settled();
    expect([one.answers, two.answers]).toEqual([['CANCELLED'], ['loaded']]);
  });

  test('a bounded number of loads at one time; those that nobody waits for any more are not begun', async () => {
    const held = new HeldModels();
    const asked = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => held.ask(name));
    await settled();
    expect(held.log).toEqual(['+a', '+b', '+c', '+d']);
    asked[4]!.waiting!.cancel();
    await held.loaded('b');
    expect(held.log).toEqual(['+a', '+b', '+c', '+d', '+f']);
    await held.loaded('a', invalidArgument('no'));
    expect(held.log.at(-1)).toBe('+g');
    for (const name of ['c', 'd', 'f', 'g']) await held.loaded(name);
    expect(asked.map(({ answers }) => answers.join())).toEqual([
      'UNAVAILABLE',
      'loaded',
      'loaded',
      'loaded',
      'CANCELLED',
      'loaded',
      'loaded',
    ]);
  });

  test('the end of the server is told to all who wait', async () => {
    const held = new HeldModels();
    const asked = ['a', 'b', 'c', 'd', 'e', 'a'].map((name) => held.ask(name));
    await settled();
    held.onDemand.stop();
    await settled();
    expect(asked.map(({ answers }) => answers)).toEqual(asked.map(() => ['UNAVAILABLE']));
    expect(asked[0]!.error!.message).toContain('shutting down');
    expect(held.ask('a').answers).toEqual(['UNAVAILABLE']);
    await held.loaded('a');
    expect([held.log, held.clock.timerCount]).toEqual([['+a', '+b', '+c', '+d'], 0]);
  });
});

describe('a load that fails', () => {
  test('is told to all who waited, with its reason, and for a while to whoever asks', async () => {
    const held = new HeldModels();
    const asked = [held.ask('a'), held.ask('a')];
    await held.loaded('a', invalidArgument('version 1: not an ONNX file'));
    for (const { error, answers } of asked) {
      expect(answers).toEqual(['UNAVAILABLE']);
      expect(error).toMatchObject({
        message: expect.stringMatching(/'a' could not be loaded on demand: .*not an ONNX file/),
        retryAfterSeconds: 1,
      });
    }
    held.clock.advance(400 * MS);
    const again = held.ask('a');
    expect([again.answers, again.error!.message, again.error!.retryAfterSeconds]).toEqual([['UNAVAILABLE'], asked[0]!.error!.message, 0.6]);
    // Nobody else is held up.
    held.ask('b');
    await held.loaded('b');
    held.clock.advance(600 * MS);
    const third = held.ask('a');
    await held.loaded('a');
    expect([third.answers, held.log]).toEqual([['loaded'], ['+a', '+b', '+a']]);
  });

  test('is tried again after 1 s, 2 s, 4 s ... 60 s, and at once when its files have changed', async () => {
    const held = new HeldModels();
    const delays: number[] = [];
    for (let n = 0; n < 8; n++) {
      const asked = held.ask('a');
      await held.loaded('a', new Error('/secret/path'));
      expect(asked.error!.message).not.toContain('secret');
      delays.push(asked.error!.retryAfterSeconds);
      held.clock.advance(delays.at(-1)! * 1000 * MS);
    }
    expect(delays).toEqual([1, 2, 4, 8, 16, 32, 60, 60]);
    held.ask('a');
    await held.loaded('a', new Error('again'));
    held.onDemand.forget('a');
    const asked = held.ask('a');
    await held.loaded('a', new Error('and again'));
    expect(asked.error!.retryAfterSeconds).toBe(1);
  });

  test('is heard of once for each attempt, whoever asks meanwhile; want of room is not', async () => {
    const held = new HeldModels({ memoryBudgetBytes: 10 });
    const asked = Array.from({ length: 20 }, () => held.ask('a'));
    await held.loaded('a', new InferenceError('INTERNAL', "failed to poll 'a': unknown field"));
    for (let n = 0; n < 20; n++) asked.push(held.ask('a'));
    expect(asked.every(({ answers }) => answers[0] === 'UNAVAILABLE')).toBe(true);
    expect(held.refused).toEqual(['a: INTERNAL']);
    held.clock.advance(1_000 * MS);
    held.ask('a');
    await held.loaded('a', invalidArgument('no'));
    held.bytes['huge'] = 11;
    const huge = held.ask('huge');
    await settled();
    expect(huge.answers).toEqual(['UNAVAILABLE']);
    expect(held.refused).toEqual(['a: INTERNAL', 'a: INVALID_ARGUMENT']);
  });

  test('keeps NOT_FOUND', async () => {
    const held = new HeldModels();
    const asked = held.ask('a');
    await held.loaded('a', new InferenceError('NOT_FOUND', 'its directory is gone'));
    expect(asked.error).toMatchObject({ code: 'NOT_FOUND', message: 'its directory is gone' });
  });
});

type Step =
  | { do: 'ask' | 'load' | 'fail' | 'unload' | 'use' | 'rest'; at: number }
  | { do: 'cancel'; at: number }
  | { do: 'wait'; at: number };

test('never over the budget, never one in use, exactly one answer for everybody', async () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  const step: fc.Arbitrary<Step> = fc.record({
    do: fc.constantFrom(
      'ask',
      'ask',
      'ask',
      'load',
      'load',
      'load',
      'fail',
      'unload',
      'unload',
      'use',
      'use',
      'use',
      'rest',
      'cancel',
      'wait',
    ),
    at: fc.nat(999),
  });
  const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: names.length, maxLength: names.length });
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 40, maxLength: 120 }),
      sizes,
      fc.constantFrom(0, 500),
      async (steps, bytes, idleUnloadMs) => {
        const budget = 50;
        const held = new HeldModels({ memoryBudgetBytes: budget, idleUnloadMs, maxWaiting: 8, timeoutMs: 700 });
        for (const [index, name] of names.entries()) held.bytes[name] = bytes[index]!;
        const asked: Asked[] = [];
        const check = (): void => {
          // A load counts from its beginning: the memory is taken while it runs.
          const loading = held.loads.reduce((sum, { name }) => sum + (held.inUse.has(name) ? 0 : held.bytesOf(name)), 0);
          expect(held.usedBytes + loading).toBeLessThanOrEqual(budget);
        };
        for (const { do: what, at } of steps) {
          const name = names[at % names.length]!;
          const unloadsBefore = held.log.length;
          const wasInUse = new Set([...held.inUse].filter(([, use]) => use.inflightCount > 0).map(([one]) => one));
          if (what === 'ask' && !held.inUse.has(name)) asked.push(held.ask(name));
          if (what === 'cancel') asked.at(at % Math.max(1, asked.length))?.waiting?.cancel();
          if (what === 'wait') held.clock.advance((at % 1_200) * MS);
          if (what === 'use' && held.inUse.has(name) && !held.unloads.some((one) => one.name === name)) held.use(name, 1);
          if (what === 'rest' && held.inUse.has(name)) held.use(name, 0);
          const open = what === 'unload' ? held.unloads : held.loads;
          const one = open[at % Math.max(1, open.length)];
          if (one !== undefined && what === 'load') await held.loaded(one.name);
          if (one !== undefined && what === 'fail') await held.loaded(one.name, new Error('no'));
          if (one !== undefined && what === 'unload') await held.unloaded(one.name);
          await settled();
          for (const begun of held.log.slice(unloadsBefore)) if (begun.startsWith('-')) expect(wasInUse).not.toContain(begun.slice(1));
          check();
        }
        // What is under way ends; whoever still waits runs out of time.
        for (let rounds = 0; held.loads.length + held.unloads.length > 0 && rounds < 100; rounds++) {
          if (held.unloads.length > 0) await held.unloaded(held.unloads[0]!.name);
          else await held.loaded(held.loads[0]!.name);
          await settled();
        }
        held.clock.advance(700 * MS);
        await settled();
        expect(asked.map(({ answers }) => answers.length)).toEqual(asked.map(() => 1));
        expect([held.onDemand.waitingCount, held.faults]).toEqual([0, []]);
      },
    ),
    { numRuns: 60 },
  );
});
