import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SeededRandom } from '../../../bench/statistics/seeded-random.ts';
import { LatencyModel } from './latency-model.ts';
import { SizeGrid } from './size-grid.ts';

const US = 1e3;
const MS = 1e6;

function modelOf(maxRows: number): LatencyModel {
  return new LatencyModel(new SizeGrid(maxRows));
}

/** Runs `count` batches of the given sizes in turn. */
function run(model: LatencyModel, count: number, sizes: readonly number[], timeOf: (rows: number) => number): void {
  for (let i = 0; i < count; i++) {
    const rows = sizes[i % sizes.length]!;
    model.observe(rows, timeOf(rows));
  }
}

/** Of a 3.7 M parameter MLP, microseconds. */
const measured: Readonly<Record<number, number>> = { 1: 119, 2: 121, 4: 131, 8: 229, 16: 364, 32: 723, 64: 1369 };

describe('a straight line', () => {
  test('is found: A, B, and the sizes that never ran', () => {
    const model = modelOf(64);
    run(model, 60, [1, 3, 7, 20], (rows) => 900 * US + rows * 50 * US);
    expect(model.fixedNs).toBeCloseTo(900 * US, -2);
    expect(model.rowNs).toBeCloseTo(50 * US, -2);
    for (const rows of [1, 2, 10, 20, 40, 64]) expect(model.predict(rows) / (900 * US + rows * 50 * US)).toBeCloseTo(1, 2);
    expect(model.rowsWithin(899 * US)).toBe(0);
    expect(model.rowsWithin(1901 * US)).toBe(20);
    expect(model.rowsWithin(1e12)).toBe(64);
    expect(model.bestRowsPerNs).toBeCloseTo(64 / (4100 * US), 8);
  });

  test('is not known before eight executions', () => {
    const model = modelOf(8);
    run(model, 7, [1], () => MS);
    expect(model.isKnown).toBe(false);
    model.observe(1, MS);
    expect(model.isKnown).toBe(true);
  });

  test('of one size alone is not told apart: smaller ones take no longer, larger ones no longer than in proportion', () => {
    const model = modelOf(32);
    run(model, 20, [8], () => 4 * MS);
    expect(model.isLineKnown).toBe(false);
    expect(model.predict(1)).toBe(4 * MS);
    expect(model.predict(16)).toBe(8 * MS);
  });
});

describe('times that are no line', () => {
  test('are predicted as measured, and straight between', () => {
    const model = modelOf(64);
    run(model, 700, Object.keys(measured).map(Number), (rows) => measured[rows]! * US);
    for (const [rows, us] of Object.entries(measured)) expect(model.predict(Number(rows)) / (us * US)).toBeCloseTo(1, 0);
    expect(model.predict(4) / model.predict(1)).toBeLessThan(1.25);
    expect(model.predict(48)).toBeGreaterThan(model.predict(32));
    expect(model.predict(48)).toBeLessThan(model.predict(64));
    expect(model.fixedNs).toBeGreaterThanOrEqual(0);
  });

  test('never give a negative A or B, and never less time for more rows', () => {
    const times = fc.array(fc.tuple(fc.integer({ min: 1, max: 64 }), fc.double({ min: 1, max: 1e9, noNaN: true })), {
      minLength: 1,
      maxLength: 200,
    });
    fc.assert(
      fc.property(times, (executions) => {
        const model = modelOf(64);
        for (const [rows, ns] of executions) {
          model.observe(rows, ns);
          expect(model.fixedNs).toBeGreaterThanOrEqual(0);
          expect(model.rowNs).toBeGreaterThanOrEqual(0);
        }
        expect(Number.isFinite(model.bestRowsPerNs) && model.bestRowsPerNs > 0).toBe(true);
        for (let rows = 2; rows <= 64; rows++) expect(model.predict(rows)).toBeGreaterThanOrEqual(model.predict(rows - 1));
      }),
    );
  });

  test('rowsWithin is the inverse of predict', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.double({ min: 0.5, max: 4, noNaN: true }),
        fc.double({ min: 0, max: 2, noNaN: true }),
        (seed, bend, share) => {
          const model = modelOf(100);
          const random = new SeededRandom(seed);
          run(model, 80, [1, 2, 5, 9, 17, 40, 77], (rows) => (MS + 20 * US * rows ** bend) * (0.9 + 0.2 * random.next()));
          const ns = model.predict(100) * share;
          const rows = model.rowsWithin(ns);
          if (rows > 0) expect(model.predict(rows)).toBeLessThanOrEqual(ns * (1 + 1e-9));
          if (rows < 100) expect(model.predict(rows + 1)).toBeGreaterThan(ns);
        },
      ),
    );
  });
});

describe('accidents', () => {
  test('a pause of 100 runs changes little, and its time counts as three', () => {
    const model = modelOf(8);
    run(model, 40, [4], () => MS);
    expect(model.observe(4, 100 * MS)).toBe(3 * MS);
    expect(model.predict(4)).toBeLessThan(1.3 * MS);
    run(model, 20, [4], () => MS);
    expect(model.predict(4)).toBeLessThan(1.05 * MS);
  });

  test('slow first runs are forgotten at once', () => {
    const model = modelOf(8);
    model.observe(1, 200 * MS);
    model.observe(1, 30 * MS);
    run(model, 8, [1], () => MS);
    expect(model.predict(1)).toBeLessThan(1.2 * MS);
    expect(model.isKnown).toBe(true);
  });

  test('noise of half the time leaves the line where it is', () => {
    const model = modelOf(32);
    const random = new SeededRandom(5);
    run(model, 600, [1, 2, 4, 8, 16, 32], (rows) => (MS + 100 * US * rows) * (0.5 + random.next()));
    for (const rows of [1, 8, 32]) expect(Math.abs(model.predict(rows) / (MS + 100 * US * rows) - 1)).toBeLessThan(0.3);
    expect(model.deviation).toBeGreaterThan(0.1);
  });
});

describe.each([5, 0.2, 1.5])('a machine whose times become %f times what they were', (factor) => {
  test('is followed within 25 executions', () => {
    const model = modelOf(32);
    run(model, 200, [1, 4, 16, 32], (rows) => MS + 100 * US * rows);
    run(model, 25, [1, 4, 16, 32], (rows) => factor * (MS + 100 * US * rows));
    for (const rows of [1, 4, 16, 32])
      expect(model.predict(rows) / (factor * (MS + 100 * US * rows))).toBeCloseTo(1, factor === 1.5 ? 0 : 1);
  });

  test('is followed for the sizes that do not run, too', () => {
    const model = modelOf(32);
    run(model, 200, [1, 4, 16, 32], (rows) => MS + 100 * US * rows);
    run(model, 400, [32], (rows) => factor * (MS + 100 * US * rows));
    for (const rows of [1, 16]) expect(Math.abs(model.predict(rows) / (factor * (MS + 100 * US * rows)) - 1)).toBeLessThan(0.4);
  });
});
