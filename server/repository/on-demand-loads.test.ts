import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { ManualClock } from '../scheduling/manual-clock.ts';
import { type ModelUse, OnDemandLoads, type OnDemandOptions } from './on-demand-loads.ts';
import { thenWaiting, type Waiting } from './waiting.ts';

const MS = 1e6;

interface OpenLoad {
  readonly name: string;
  readonly end: (error: unknown) => void;
}

/** Models whose loads and unloads end when the test says so. */
class HeldModels {
  readonly clock = new ManualClock();
  /** Begun and not ended. */
  readonly loads: OpenLoad[] = [];
  readonly unloads: OpenLoad[] = [];
  /** Whatever was begun: '+a' a load, '-a' an unload. */
  readonly log: string[] = [];
  readonly bytes: Record<string, number> = {};
  readonly inUse: Map<string, { inflightCount: number; lastUsedMs: number; isEvictable: boolean }> = new Map();
  readonly faults: unknown[] = [];
  readonly onDemand: OnDemandLoads;

  constructor(options: Partial<OnDemandOptions> = {}) {
    this.onDemand = new OnDemandLoads({
      maxWaiting: 100,
      timeoutMs: 1_000,
      memoryBudgetBytes: 0,
      idleUnloadMs: 0,
      clock: this.clock,
      onFault: (error) => this.faults.push(error),
      models: {
        load: (name) => this.#begin('+', name, this.loads, () => this.add(name)),
        unload: (name) => this.#begin('-', name, this.unloads, () => this.inUse.delete(name)),
        loaded: () => this.uses(),
        estimateBytes: (name) => Promise.resolve(this.bytesOf(name)),
      },
      ...options,
    });
  }

  get nowMs(): number {
    return this.clock.nowNs() / MS;
  }

  get usedBytes(): number {
    return this.uses().reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  }

  bytesOf(name: string): number {
    return this.bytes[name] ?? 10;
  }

  add(name: string): void {
    this.inUse.set(name, { inflightCount: 0, lastUsedMs: this.nowMs, isEvictable: true });
  }

  use(name: string, inflightCount: number): void {
    Object.assign(this.inUse.get(name)!, { inflightCount, lastUsedMs: this.nowMs });
  }

  uses(): ModelUse[] {
    return [...this.inUse].map(([name, use]) => ({ name, memoryBytes: this.bytesOf(name), ...use }));
  }

  /** Ends the oldest load of the model, and lets everybody hear. */
  async loaded(name: string, error: unknown = null): Promise<void> {
    await end(this.loads, name, error);
    this.clock.tick();
    await settled();
  }

  async unloaded(name: string, error: unknown = null): Promise<void> {
    await end(this.unloads, name, error);
  }

  /** Waits, and is told: what became of it. */
  ask(name: string): Asked {
    return new Asked(this.onDemand, name);
  }

  #begin(sign: string, name: string, list: OpenLoad[], done: () => void): Promise<void> {
    this.log.push(sign + name);
    return new Promise((resolve, reject) => {
      list.push({
        name,
        end: (error) => {
          if (error !== null) return reject(error);
          done();
          resolve();
        },
      });
    });
  }
}

class Asked {
  readonly answers: string[] = [];
  waiting: Waiting<void> | null = null;
  error: InferenceError | null = null;

  constructor(onDemand: OnDemandLoads, name: string) {
    try {
      this.waiting = onDemand.wait(name);
    } catch (error) {
      this.#told(error);
      return;
    }
    this.waiting.then(
      () => this.answers.push('loaded'),
      (error: unknown) => this.#told(error),
    );
  }

  #told(error: unknown): void {
    this.error = error as InferenceError;
    this.answers.push(this.error.code);
  }
}

async function end(list: OpenLoad[], name: string, error: unknown): Promise<void> {
  await settled();
  const at = list.findIndex((one) => one.name === name);
  if (at < 0) throw new Error(`nothing of '${name}' is under way: ${list.map((one) => one.name).join(', ')}`);
  list.splice(at, 1)[0]!.end(error);
  await settled();
}

/** All that promises have to say is said. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

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

  test('keeps NOT_FOUND', async () => {
    const held = new HeldModels();
    const asked = held.ask('a');
    await held.loaded('a', new InferenceError('NOT_FOUND', 'its directory is gone'));
    expect(asked.error).toMatchObject({ code: 'NOT_FOUND', message: 'its directory is gone' });
  });
});

describe('the memory budget', () => {
  async function loadAll(held: HeldModels, ...names: string[]): Promise<void> {
    for (const name of names) {
      held.ask(name);
      await held.loaded(name);
      held.clock.advance(1 * MS);
    }
  }

  test('the least recently used idle models go, and their memory is free before the load begins', async () => {
    const held = new HeldModels({ memoryBudgetBytes: 30 });
    await loadAll(held, 'a', 'b', 'c');
    held.use('a', 0);
    const asked = held.ask('d');
    await settled();
    expect(held.log).toEqual(['+a', '+b', '+c', '-b']);
    await held.unloaded('b');
    expect(held.log.at(-1)).toBe('+d');
    await held.loaded('d');
    expect([asked.answers, [...held.inUse.keys()]]).toEqual([['loaded'], ['a', 'c', 'd']]);
  });

  test('a model in use, or loaded to stay, never goes: what does not fit is refused, and nothing is evicted in vain', async () => {
    const held = new HeldModels({ memoryBudgetBytes: 30 });
    await loadAll(held, 'a', 'b', 'c');
    held.use('a', 1);
    held.inUse.get('b')!.isEvictable = false;
    held.bytes['large'] = 20;
    const refused = held.ask('large');
    await settled();
    expect(refused.error).toMatchObject({ code: 'UNAVAILABLE', failureReason: 'REJECTED', retryAfterSeconds: 1 });
    expect(refused.error!.message).toBe(
      "model 'large' needs about 20 bytes of memory, and 30 of the budget of 30 are in use; models in use, or loaded to stay, leave no room: retry later, or raise --model-memory-budget",
    );
    held.bytes['huge'] = 31;
    const huge = held.ask('huge');
    await settled();
    expect(huge.error!.message).toContain('it can never be loaded');
    expect(held.log).toEqual(['+a', '+b', '+c']);
    held.use('a', 0);
    // The wait for room does not grow.
    for (let n = 0; n < 3; n++) held.clock.advance(1_000 * MS);
    const later = held.ask('large');
    await held.unloaded('c');
    await held.unloaded('a');
    await held.loaded('large');
    expect(later.answers).toEqual(['loaded']);
  });

  test('loads side by side do not overshoot', async () => {
    const held = new HeldModels({ memoryBudgetBytes: 25 });
    const asked = ['a', 'b', 'c'].map((name) => held.ask(name));
    await settled();
    expect(held.log).toEqual(['+a', '+b']);
    expect(asked[2]!.error).toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('20 of the budget of 25') });
    await held.loaded('a', new Error('no'));
    held.clock.advance(1_000 * MS);
    held.ask('c');
    await settled();
    expect(held.log).toEqual(['+a', '+b', '+c']);
  });

  test('what was loaded is not evicted before those who waited have sent their requests', async () => {
    const held = new HeldModels({ memoryBudgetBytes: 10 });
    held.ask('a');
    await settled();
    const other = held.ask('b');
    await settled();
    expect(other.answers).toEqual(['UNAVAILABLE']);
    await end(held.loads, 'a', null);
    held.clock.advance(1_000 * MS - 1);
    const still = held.ask('b');
    expect(still.answers).toEqual(['UNAVAILABLE']);
    held.onDemand.forget('b');
    const early = held.ask('b');
    await settled();
    // 'a' is fresh: its tick has not ended.
    expect([early.answers, held.log]).toEqual([['UNAVAILABLE'], ['+a']]);
    held.clock.tick();
    held.onDemand.forget('b');
    held.ask('b');
    await settled();
    expect(held.log).toEqual(['+a', '-a']);
  });

  test('a model counts as what it took the last time, where that is more than its files say', async () => {
    const held = new HeldModels({ memoryBudgetBytes: 30, idleUnloadMs: 1_000 });
    held.ask('a');
    await settled();
    held.bytes['a'] = 25;
    await held.loaded('a');
    held.clock.advance(1_000 * MS);
    await held.unloaded('a');
    held.bytes['a'] = 10;
    await loadAll(held, 'b');
    held.use('b', 1);
    const asked = held.ask('a');
    await settled();
    expect(asked.error!.message).toContain('needs about 25 bytes');
    held.onDemand.forget('a');
    const again = held.ask('a');
    await held.loaded('a');
    expect(again.answers).toEqual(['loaded']);
  });

  test('an unload that fails is a fault, and the next model goes instead', async () => {
    const held = new HeldModels({ memoryBudgetBytes: 20 });
    await loadAll(held, 'a', 'b');
    const asked = held.ask('c');
    await held.unloaded('a', new Error('stuck'));
    await held.unloaded('b');
    await held.loaded('c');
    expect([asked.answers, held.faults.map(String)]).toEqual([['loaded'], ['Error: stuck']]);
  });

  test('a model that takes more than was thought, or came in another way, makes others go', async () => {
    const held = new HeldModels({ memoryBudgetBytes: 30 });
    await loadAll(held, 'a', 'b', 'c');
    held.bytes['c'] = 15;
    held.onDemand.modelsChanged();
    await held.unloaded('a');
    expect(held.usedBytes).toBe(25);
    held.bytes['d'] = 100;
    held.add('d');
    held.inUse.get('d')!.isEvictable = false;
    held.onDemand.modelsChanged();
    await held.unloaded('b');
    await held.unloaded('c');
    expect([...held.inUse.keys()]).toEqual(['d']);
  });
});

describe('idle models', () => {
  test('go after their time without requests; a timer runs only while one may go', async () => {
    const held = new HeldModels({ idleUnloadMs: 5_000 });
    expect(held.clock.timerCount).toBe(0);
    held.ask('a');
    await held.loaded('a');
    held.clock.advance(3_000 * MS);
    held.use('a', 0);
    held.ask('b');
    await held.loaded('b');
    held.use('b', 1);
    held.clock.advance(4_999 * MS);
    expect(held.log).toEqual(['+a', '+b']);
    held.clock.advance(2 * MS);
    await held.unloaded('a');
    expect(held.log).toEqual(['+a', '+b', '-a']);
    held.clock.advance(20_000 * MS);
    expect(held.log).toEqual(['+a', '+b', '-a']);
    held.use('b', 0);
    held.clock.advance(11_000 * MS);
    await held.unloaded('b');
    held.clock.advance(5_000 * MS);
    expect([held.log, held.clock.timerCount]).toEqual([['+a', '+b', '-a', '-b'], 0]);
    const again = held.ask('a');
    await held.loaded('a');
    expect(again.answers).toEqual(['loaded']);
  });

  test('models that are loaded to stay, or by hand', async () => {
    const held = new HeldModels({ idleUnloadMs: 1_000 });
    held.add('kept');
    held.inUse.get('kept')!.isEvictable = false;
    held.onDemand.modelsChanged();
    expect(held.clock.timerCount).toBe(0);
    held.add('told');
    held.onDemand.modelsChanged();
    held.clock.advance(1_001 * MS);
    expect(held.log).toEqual(['-told']);
    // One unload at a time of one model, however long it takes.
    held.clock.advance(10_000 * MS);
    expect(held.log).toEqual(['-told']);
    held.onDemand.stop();
    expect(held.clock.timerCount).toBe(0);
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
