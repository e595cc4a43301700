import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../../proto/tensor.ts';
import { LocalStore } from './local-store.ts';

function response(length: number, fill = 1): { outputs: Tensor[]; parameters: null } {
  return { outputs: [{ name: 'OUT', datatype: 'UINT8', shape: [length], data: new Uint8Array(length).fill(fill) }], parameters: null };
}

function sizeOf(length: number): number {
  const store = new LocalStore(1 << 20);
  store.insert('k', response(length));
  return store.usedBytes;
}

describe('LocalStore', () => {
  it('drops what was used longest ago when it is full', () => {
    const store = new LocalStore(2 * sizeOf(100));
    store.insert('a', response(100));
    store.insert('b', response(100));
    expect(store.lookup('a')).not.toBeNull();
    store.insert('c', response(100));
    expect([store.lookup('a') !== null, store.lookup('b'), store.lookup('c') !== null]).toEqual([true, null, true]);
    expect([store.entryCount, store.evictedCount]).toEqual([2, 1]);
  });

  it('does not keep what alone is larger than it, and drops nothing for it', () => {
    const store = new LocalStore(sizeOf(100));
    store.insert('a', response(100));
    store.insert('b', response(109));
    expect([store.lookup('a') !== null, store.lookup('b'), store.tooLargeCount]).toEqual([true, null, 1]);
  });

  it('copies', () => {
    const store = new LocalStore(4096);
    const given = response(3, 7);
    store.insert('a', given);
    given.outputs[0]!.data.fill(0);
    const found = store.lookup('a')!;
    expect([...found.outputs[0]!.data]).toEqual([7, 7, 7]);
    expect(found.outputs[0]!.data.byteOffset % 8).toBe(0);
  });

  it('counts what it holds, and never holds more than it may', () => {
    const step = fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 1500 }), fc.boolean());
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 600, max: 6000 }), (steps, maxBytes) => {
        const store = new LocalStore(maxBytes);
        /** As it should be: keys in order of use. */
        let model: [string, number][] = [];
        for (const [n, length, isLookup] of steps) {
          const key = String(n);
          const at = model.findIndex(([one]) => one === key);
          if (isLookup) {
            expect(store.lookup(key)?.outputs.at(0)?.data.length).toBe(model[at]?.[1]);
            if (at >= 0) model.push(...model.splice(at, 1));
            continue;
          }
          store.insert(key, response(length));
          if (sizeOf(length) > maxBytes) continue;
          if (at >= 0) model.splice(at, 1);
          model.push([key, length]);
          while (model.reduce((sum, [, one]) => sum + sizeOf(one), 0) > maxBytes) model = model.slice(1);
        }
        expect(store.usedBytes).toBe(model.reduce((sum, [, length]) => sum + sizeOf(length), 0));
        expect(store.usedBytes).toBeLessThanOrEqual(maxBytes);
        expect(store.entryCount).toBe(model.length);
      }),
    );
  });
});
