import { describe, expect, test } from 'vitest';
import { HeldModels, MS } from './held-models.case.ts';

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
