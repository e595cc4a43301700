import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../inference/clock.ts';
import { ManualClock } from '../scheduling/manual-clock.ts';
import { DeadlineWatch, type Watched } from './deadline-watch.ts';

class Entry implements Watched {
  readonly deadlineNs: number;
  watchIndex = -1;
  expiredNs = -1;
  readonly #onExpire: (entry: Entry) => void;

  constructor(deadlineNs: number, onExpire: (entry: Entry) => void = () => {}) {
    this.deadlineNs = deadlineNs;
    this.#onExpire = onExpire;
  }

  expire(): void {
    this.#onExpire(this);
  }
}

const unheard = (error: unknown): void => {
  throw error;
};

describe('DeadlineWatch', () => {
  it('ends each entry at its deadline, by one timer', () => {
    const clock = new ManualClock();
    const watch = new DeadlineWatch(clock, unheard);
    const startNs = clock.nowNs();
    const expired: number[] = [];
    for (const ms of [30, 10, 20, 10]) watch.add(new Entry(startNs + ms * 1e6, () => expired.push(ms)));
    expect([watch.size, clock.timerCount]).toEqual([4, 1]);
    clock.advance(9.9e6);
    expect(expired).toEqual([]);
    clock.advance(0.1e6);
    expect([expired, watch.size, clock.timerCount]).toEqual([[10, 10], 2, 1]);
    clock.advance(10e6);
    expect(expired).toEqual([10, 10, 20]);
    clock.advance(1e9);
    expect([expired, watch.size, clock.timerCount]).toEqual([[10, 10, 20, 30], 0, 0]);
  });

  it('has no timer while it watches nothing', () => {
    const clock = new ManualClock();
    const watch = new DeadlineWatch(clock, unheard);
    const entries = [5, 1].map((ms) => new Entry(clock.nowNs() + ms * 1e6));
    for (const entry of entries) watch.add(entry);
    for (const entry of entries) watch.remove(entry);
    watch.remove(entries[0]!);
    expect([watch.size, clock.timerCount]).toEqual([0, 0]);
  });

  it('waits for deadlines that are further than a timer reaches', () => {
    const clock = new ManualClock();
    const watch = new DeadlineWatch(clock, unheard);
    const farNs = (2 ** 31 + 1000) * 1e6;
    let isExpired = false;
    watch.add(
      new Entry(clock.nowNs() + farNs, () => {
        isExpired = true;
      }),
    );
    clock.advance(farNs - 1e6);
    expect(isExpired).toBe(false);
    clock.advance(2e6);
    expect(isExpired).toBe(true);
  });

  it('lets the loop go on between callers when many deadlines pass at once, and forgets none', () => {
    const clock = new ManualClock();
    const watch = new DeadlineWatch(clock, unheard);
    const deadlineNs = clock.nowNs() + 1e6;
    let count = 0;
    // Each takes a millisecond.
    for (let i = 0; i < 20; i++) {
      watch.add(
        new Entry(deadlineNs, () => {
          count++;
          clock.advance(1e6);
        }),
      );
    }
    let turns = 0;
    const { endOfTick } = clock;
    clock.endOfTick = (callback) => {
      turns++;
      endOfTick.call(clock, callback);
    };
    clock.advance(1e6);
    clock.tick();
    expect(count).toBe(20);
    expect(turns).toBeGreaterThanOrEqual(6);
    watch.add(new Entry(clock.nowNs() + 5e6, () => count++));
    clock.advance(5e6);
    expect(count).toBe(21);
  });

  it('tells of what an entry throws, and ends the others', () => {
    const clock = new ManualClock();
    const faults: unknown[] = [];
    const watch = new DeadlineWatch(clock, (error) => faults.push(error));
    let count = 0;
    const broken = (): void => {
      throw new Error('broken caller');
    };
    for (const onExpire of [broken, () => count++, broken, () => count++]) watch.add(new Entry(clock.nowNs() + 1e6, onExpire));
    clock.advance(1e6);
    expect([faults.length, count, watch.size]).toEqual([2, 2, 0]);
  });

  it('is never early on the real clock, though timers are', async () => {
    const early = await new Promise<number>((resolve) => {
      const watch = new DeadlineWatch(systemClock, unheard);
      const all: number[] = [];
      for (let i = 0; i < 50; i++) {
        watch.add(
          new Entry(systemClock.nowNs() + i * 0.37e6, ({ deadlineNs }) => {
            all.push(systemClock.nowNs() - deadlineNs);
            if (all.length === 50) resolve(Math.min(...all));
          }),
        );
      }
    });
    expect(early).toBeGreaterThanOrEqual(0);
  });

  it('does what a list of all entries would do, whatever comes and goes', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), by: fc.nat(40), nested: fc.boolean() }),
      fc.record({ kind: fc.constant('remove' as const), by: fc.nat(100), nested: fc.constant(false) }),
      fc.record({ kind: fc.constant('advance' as const), by: fc.nat(15), nested: fc.constant(false) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const clock = new ManualClock();
        const watch = new DeadlineWatch(clock, unheard);
        const live = new Set<Entry>();
        const all: Entry[] = [];
        const add = (ms: number, nested: boolean): void => {
          const entry = new Entry(clock.nowNs() + ms * 1e6, (one) => {
            expect(live.delete(one)).toBe(true);
            one.expiredNs = clock.nowNs();
            // Whoever hears of a deadline may end others, and begin some.
            if (!nested) return;
            const [other] = live;
            if (other !== undefined) {
              watch.remove(other);
              live.delete(other);
            }
            add(3, false);
          });
          all.push(entry);
          live.add(entry);
          watch.add(entry);
        };
        for (const { kind, by, nested } of steps) {
          if (kind === 'add') add(by, nested);
          else if (kind === 'advance') {
            clock.advance(by * 1e6);
            clock.tick();
            for (const entry of live) expect(entry.deadlineNs).toBeGreaterThan(clock.nowNs() - 1);
          } else {
            const entry = all[by];
            if (entry === undefined) continue;
            watch.remove(entry);
            live.delete(entry);
          }
          expect(watch.size).toBe(live.size);
          for (const entry of all) expect(entry.watchIndex >= 0).toBe(live.has(entry));
          expect(clock.timerCount).toBe(live.size > 0 ? 1 : 0);
        }
        for (const { expiredNs, deadlineNs } of all) if (expiredNs >= 0) expect(expiredNs).toBeGreaterThanOrEqual(deadlineNs);
      }),
      { numRuns: 300 },
    );
  });
});
