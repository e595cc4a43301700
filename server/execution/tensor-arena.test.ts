import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { classFor, classWithin, SIZE_CLASS_COUNT, unitsOf } from './size-class.ts';
import { TensorArena } from './tensor-arena.ts';

const MIB = 1024 * 1024;

test('size classes rise, hold what they are for and waste less than a quarter', () => {
  for (let sizeClass = 1; sizeClass < SIZE_CLASS_COUNT; sizeClass++) {
    const units = unitsOf(sizeClass);
    expect(units).toBeGreaterThan(unitsOf(sizeClass - 1));
    if (units > 0x7fffffff) continue;
    expect(classFor(units)).toBe(sizeClass);
    expect(classWithin(units)).toBe(sizeClass);
    expect(classFor(unitsOf(sizeClass - 1) + 1)).toBe(sizeClass);
    expect(classWithin(units - 1)).toBe(sizeClass - 1);
  }
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0x7fffffff }), (units) => {
      expect(unitsOf(classFor(units))).toBeGreaterThanOrEqual(units);
      expect(unitsOf(classFor(units))).toBeLessThan(units * 1.25);
    }),
  );
});

describe('tensor arena', () => {
  type Step = { size: number } | { freeAt: number } | 'sweep';
  const size = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 2000 }) },
    { weight: 3, arbitrary: fc.integer({ min: 0, max: 100_000 }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 600_000 }) },
  );
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 5, arbitrary: size.map((bytes) => ({ size: bytes })) },
    { weight: 4, arbitrary: fc.nat().map((at) => ({ freeAt: at })) },
    { weight: 1, arbitrary: fc.constant('sweep' as const) },
  );

  test('blocks never overlap, never leave the range, and all of them merge again', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 100 }).map((lines) => lines * 64),
        fc.integer({ min: 64, max: 700_000 }),
        fc.array(step, { maxLength: 200, size: 'max' }),
        (base, byteLength, steps) => {
          const arena = new TensorArena(base, byteLength);
          /** Live blocks, by offset. */
          const live: { from: number; to: number }[] = [];
          let used = 0;
          let peak = 0;
          for (const action of steps) {
            if (action === 'sweep') {
              for (const range of arena.takeDiscardable(4096)) {
                const end = range.offset + range.byteLength;
                expect(range.offset >= base && end <= base + byteLength).toBe(true);
                expect(live.every((block) => block.to <= range.offset || block.from >= end)).toBe(true);
              }
            } else if ('size' in action) {
              const offset = arena.allocate(action.size);
              const at = live.findIndex((block) => block.from > offset);
              const place = at === -1 ? live.length : at;
              if (offset === -1) {
                // No gap between live blocks is long enough: nothing else may be the reason.
                let gapFrom = base;
                for (const block of [...live, { from: base + arena.byteLength, to: 0 }]) {
                  expect(block.from - gapFrom).toBeLessThan(Math.max(64, action.size));
                  gapFrom = block.to;
                }
                continue;
              }
              const capacity = arena.capacityOf(offset);
              expect(offset % 64).toBe(0);
              expect(capacity >= action.size && capacity >= 64 && capacity < Math.max(320, action.size * 1.25 + 64)).toBe(true);
              expect(offset >= base && offset + capacity <= base + byteLength).toBe(true);
              expect(live[place - 1]?.to ?? 0).toBeLessThanOrEqual(offset);
              expect(live[place]?.from ?? Number.POSITIVE_INFINITY).toBeGreaterThanOrEqual(offset + capacity);
              live.splice(place, 0, { from: offset, to: offset + capacity });
              used += capacity;
              peak = Math.max(peak, used);
            } else if (live.length > 0) {
              const [block] = live.splice(action.freeAt % live.length, 1);
              arena.free(block!.from);
              used -= block!.to - block!.from;
              expect(() => arena.free(block!.from)).toThrow(/freed already|no block/);
            }
            expect(arena.usedBytes).toBe(used);
            expect(arena.peakBytes).toBe(peak);
          }
          for (const block of live) arena.free(block.from);
          expect(arena.usedBytes).toBe(0);
          // Only one single free range can hold the whole of it.
          expect(arena.allocate(arena.byteLength)).toBe(base);
        },
      ),
    );
  });

  test('the block just freed comes back first', () => {
    const arena = new TensorArena(0, MIB);
    const offsets = [1000, 1000, 1000].map((bytes) => arena.allocate(bytes));
    for (const offset of offsets) arena.free(offset);
    expect([arena.allocate(1000), arena.allocate(900), arena.allocate(1024)]).toEqual(offsets.toReversed());
  });

  test('a block cut to measure, where its class does not fit, merges again', () => {
    const arena = new TensorArena(64, 10 * MIB);
    const most = arena.allocate(9 * MIB);
    expect(arena.capacityOf(most)).toBe(10 * MIB);
    arena.free(most);
    const small = arena.allocate(64);
    const exact = arena.allocate(9 * MIB);
    expect(arena.capacityOf(exact)).toBe(9 * MIB);
    arena.free(exact);
    arena.free(small);
    expect(arena.allocate(10 * MIB)).toBe(64);
  });

  test('a foreign offset or size is refused', () => {
    const arena = new TensorArena(128, MIB);
    const offset = arena.allocate(1000);
    for (const foreign of [offset + 64, offset + 1, 0, -1, 1e12, Number.NaN]) expect(() => arena.free(foreign)).toThrow(/no block/);
    expect(() => arena.capacityOf(offset + 64)).toThrow(/no block/);
    for (const bad of [-1, Number.NaN]) expect(() => arena.allocate(bad)).toThrow(RangeError);
    expect(arena.allocate(Number.POSITIVE_INFINITY)).toBe(-1);
    expect(arena.allocate(2 * MIB)).toBe(-1);
    expect(() => new TensorArena(32, MIB)).toThrow(/multiple of 64/);
    expect(() => new TensorArena(0, 63)).toThrow(RangeError);
  });

  test('more freed blocks than the lists keep still merge', () => {
    const arena = new TensorArena(0, 16 * MIB);
    const offsets = Array.from({ length: 20_000 }, () => arena.allocate(256));
    for (const offset of offsets) arena.free(offset);
    expect(arena.allocate(16 * MIB)).toBe(0);
  });

  test('offsets past 4 GiB stay exact', () => {
    const GIB = 1024 * MIB;
    const arena = new TensorArena(64, 16 * GIB);
    const offsets = Array.from({ length: 7 }, () => arena.allocate(2 * GIB));
    expect(offsets).toEqual(offsets.map((_, at) => 64 + at * 2 * GIB));
    for (const offset of offsets) arena.free(offset);
    expect(arena.allocate(16 * GIB)).toBe(64);
  });

  test('memory is discardable once, and only after it was idle for a whole round', () => {
    const arena = new TensorArena(0, 64 * MIB);
    const offset = arena.allocate(8 * MIB);
    const neighbour = arena.allocate(8 * MIB);
    arena.takeDiscardable(MIB);
    arena.free(offset);
    expect(arena.takeDiscardable(MIB)).toEqual([]);
    expect(arena.takeDiscardable(MIB, 6 * MIB)).toEqual([{ offset: 0, byteLength: 6 * MIB }]);
    expect(arena.takeDiscardable(MIB, 6 * MIB)).toEqual([{ offset: 6 * MIB, byteLength: 2 * MIB }]);
    expect(arena.takeDiscardable(MIB)).toEqual([]);
    // Used again: written pages again.
    arena.free(arena.allocate(8 * MIB));
    arena.free(neighbour);
    arena.takeDiscardable(MIB);
    expect(arena.takeDiscardable(MIB)).toEqual([{ offset: 0, byteLength: 16 * MIB }]);
  });

  test('a range is as young as its youngest part', () => {
    const arena = new TensorArena(0, 12 * MIB);
    const [first, second] = [arena.allocate(4 * MIB), arena.allocate(4 * MIB)];
    arena.allocate(64);
    arena.free(first);
    arena.takeDiscardable(MIB);
    arena.free(second);
    // Fails, and merges the two over it.
    expect(arena.allocate(9 * MIB)).toBe(-1);
    expect(arena.takeDiscardable(MIB)).toEqual([]);
    expect(arena.takeDiscardable(MIB)).toEqual([{ offset: 0, byteLength: 8 * MIB }]);
  });

  test('small blocks that idle side by side are discardable together, those in use are not', () => {
    const arena = new TensorArena(0, 64 * MIB);
    const offsets = Array.from({ length: 1024 }, () => arena.allocate(4096));
    for (const offset of offsets) arena.free(offset);
    arena.takeDiscardable(MIB);
    const warm = arena.allocate(4096);
    arena.free(warm);
    const ranges = arena.takeDiscardable(MIB);
    expect(warm).toBe(1023 * 4096);
    expect(ranges).toEqual([{ offset: 0, byteLength: 1023 * 4096 }]);
    expect(arena.allocate(4096)).toBe(warm);
  });
});
