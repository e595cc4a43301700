import { describe, expect, test } from 'vitest';
import { end, HeldModels, MS, settled } from './held-models.case.ts';

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
