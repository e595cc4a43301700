import { expect, test } from 'vitest';
import { keepRounds } from './drop-rounds.ts';
import { baselineOf, findRegressions } from './find-regressions.ts';
import { parseMachineTime, sharesBetween } from './machine-watch.ts';
import { memoryGrowth } from './memory-slope.ts';
import { putTable } from './put-tables.ts';
import { renderResult } from './render-result.ts';
import { tinyRequests } from './requests.ts';
import { empty, INLINE, latency, nereid, processorTime, throughput } from './rows/contenders.ts';
import { gatePart, rotated, type ScenarioResult, summarize } from './run-scenario.ts';
import type { Scenario, Slice } from './scenario.ts';

const slice = (perSecond: number, more: Partial<Slice> = {}): Slice => ({
  perSecond,
  p50Us: 100,
  p99Us: 1000,
  cpuUsPerRequest: 10,
  generatorBusy: 0.5,
  shares: { steal: 0, others: 0 },
  ...more,
});
const load = { protocol: 'http-binary', requests: tinyRequests('binary'), concurrency: 1 } as const;
const scenario: Scenario = {
  name: 'pair',
  title: 'Pair',
  about: '',
  cores: 'any',
  models: ['tiny'],
  seconds: 0,
  contenders: [empty('control', 'uws', INLINE, load), nereid('ours', INLINE, load), nereid('other', INLINE, load)],
  ratios: [
    throughput('ours / control', { of: 'ours', to: 'control', inGate: true }, 0.6),
    processorTime('ours / control', { of: 'ours', to: 'control' }),
    latency('ours / both, p50', { of: 'ours', to: ['control', 'other'] }, null),
  ],
};
const open = scenario.contenders.map(({ name }) => ({ name, note: '' }));

function measured(ours: readonly number[], control: readonly Slice[] = ours.map(() => slice(100))): ScenarioResult {
  const slices = new Map([
    ['control', control],
    ['ours', ours.map((perSecond) => slice(perSecond))],
    ['other', ours.map(() => slice(1, { p50Us: 300 }))],
  ]);
  return summarize(scenario, open, slices, 1);
}

test('a ratio is the median of the ratios of the rounds, not the ratio of the medians', () => {
  const control = [slice(100), slice(200), slice(400), slice(100), slice(100)];
  const { ratios, rows } = measured([50, 120, 280, 90, 40], control);
  // 0.5, 0.6, 0.7, 0.9, 0.4
  expect(ratios[0]!.estimate.value).toBeCloseTo(0.6);
  expect(rows.find(({ name }) => name === 'ours')!.perSecond).toBe(90);
});

test('several controls are added up', () => {
  expect(measured([1]).ratios[2]!.estimate.value).toBeCloseTo(100 / 400);
});

test.each<[string, Partial<Slice>, string]>([
  ['was taken from the machine', { shares: { steal: 0.03, others: 0 } }, "round 2: 3 % of the machine was taken away during 'control'"],
  ['other processes had', { shares: { steal: 0, others: 0.2 } }, "round 2: other processes took 20 % of the machine during 'control'"],
  ['moved the p99 of a control', { p99Us: 2500 }, "round 2: p99 of 'control' was 2500 us, usually 1000 us"],
])('a round with a slice that %s is dropped for everybody', (_, fault, why) => {
  const control = [slice(100), slice(1, fault), slice(100), slice(100)];
  const { ratios, keptRounds, warnings } = measured([60, 99, 60, 60], control);
  expect(keptRounds).toBe(3);
  expect(warnings).toEqual([why]);
  expect(ratios[0]!.estimate.value).toBeCloseTo(0.6);
});

test('the p99 of a contender that is no control drops nothing', () => {
  const slices = new Map([['ours', [slice(1), slice(1, { p99Us: 9000 }), slice(1)]]]);
  expect(keepRounds(slices, () => false)).toEqual({ kept: [0, 1, 2], dropped: [] });
});

test('where hardly a round is left, all are shown, and said to be', () => {
  const bad = { shares: { steal: 0.5, others: 0 } };
  const control = [slice(100, bad), slice(100, bad), slice(100), slice(100)];
  const { keptRounds, warnings, rows } = measured([60, 60, 60, 60], control);
  expect(keptRounds).toBe(0);
  expect(warnings).toEqual(['the machine was not quiet: 2 of 4 rounds would be dropped, so all are shown']);
  expect(rows[0]!.perSecond).toBe(100);
});

test('a generator without time to spare is said to bound the figure', () => {
  const { warnings } = measured(
    [60, 60, 60],
    Array.from({ length: 3 }, () => slice(100, { generatorBusy: 0.99 })),
  );
  expect(warnings).toEqual(["the generator had no time to spare: 'control' can do more than is shown"]);
});

test('over the rounds everybody comes first, and not always behind the same one', () => {
  const all = ['a', 'b', 'c'];
  const orders = Array.from({ length: 6 }, (_, round) => rotated(all, round));
  expect(new Set(orders.map(([first]) => first))).toEqual(new Set(all));
  for (const order of orders) expect([...order].sort()).toEqual(all);
  const before = new Set(orders.map((order) => order[order.indexOf('b') - 1]));
  expect(before.size).toBeGreaterThan(1);
  expect(rotated([], 3)).toEqual([]);
});

test('the short form has the marked ratios and the contenders that they name', () => {
  const gate = gatePart(scenario)!;
  expect(gate.contenders.map(({ name }) => name)).toEqual(['control', 'ours']);
  expect(gate.ratios.map(({ what }) => what)).toEqual(['ours / control']);
  expect(gatePart({ ...scenario, ratios: scenario.ratios.slice(1) })).toBeNull();
});

test('a ratio may lose a fifth of the baseline, in its own direction', () => {
  const result = measured([60, 60, 60]);
  const baseline = (floor: number, ceiling: number) => ({
    machine: '',
    ratios: { pair: { 'ours / control': floor, 'ours / both, p50': ceiling } },
  });
  expect(findRegressions(result, baseline(0.74, 0.21))).toEqual([]);
  expect(findRegressions(result, baseline(0.76, 0.21))).toEqual([
    { scenario: 'pair', what: 'ours / control', baseline: 0.76, measured: 0.6 },
  ]);
  expect(findRegressions(result, baseline(0.74, 0.19)).map(({ what }) => what)).toEqual(['ours / both, p50']);
  expect(findRegressions(result, { machine: '', ratios: {} })).toEqual([]);
  expect(findRegressions(result, baselineOf('here', [result]))).toEqual([]);
  expect(findRegressions(measured([Number.NaN, Number.NaN, Number.NaN]), baseline(0.6, 1))).toHaveLength(1);
});

test('where the machine was not quiet, only processor time is compared', () => {
  const bad = { shares: { steal: 0.5, others: 0 } };
  const noisy = measured([10, 10, 10], [slice(100, bad), slice(100, bad), slice(100, bad)]);
  const before = { machine: '', ratios: { pair: { 'ours / control': 0.6, 'ours / control, processor time': 0.7 } } };
  expect(findRegressions(noisy, before).map(({ what }) => what)).toEqual(['ours / control, processor time']);
});

test('a result shows rows, ratios, goals and warnings', () => {
  const text = renderResult(measured([50, 50, 50, 50, 50])).join('\n');
  expect(text).toMatch(/^5 rounds of 1 s; medians$/m);
  expect(text).toMatch(/^ours +50 +100 +1000 +10.0 +50 %$/m);
  expect(text).toMatch(/^ours \/ control +0.50 +0.50 and 0.50 +>= 0.6 +NOT MET$/m);
  expect(text).toMatch(/^ours \/ both, p50 +0.25 +0.25 and 0.25 +none$/m);
  expect(renderResult(measured([50])).join('\n')).toMatch(/^ours \/ control +0.50 +- +>= 0.6 +NOT MET$/m);
});

test('a table goes between its markers and nowhere else', () => {
  const page = 'a\n<!-- bench: x -->\nold\n<!-- /bench -->\nb\n<!-- bench: y -->\n<!-- /bench -->\n';
  const once = putTable(page, 'x', ['1', '2']);
  expect(once).toBe('a\n<!-- bench: x -->\n```\n1\n2\n```\n<!-- /bench -->\nb\n<!-- bench: y -->\n<!-- /bench -->\n');
  expect(putTable(once, 'x', ['1', '2'])).toBe(once);
  expect(() => putTable(page, 'z', [])).toThrow("the page has no '<!-- bench: z -->'");
  expect(() => putTable('<!-- bench: x -->\n<!-- bench: y -->\n<!-- /bench -->', 'x', [])).toThrow("no '<!-- /bench -->' behind it");
});

test('memory that grows has a slope above 0, and memory that goes up and down has none', () => {
  const readings = (bytes: (i: number) => number) => Array.from({ length: 100 }, (_, i) => ({ requests: i * 1000, bytes: 1e8 + bytes(i) }));
  const growing = memoryGrowth(readings((i) => i * 5000 + (i % 7) * 1000));
  expect(growing.value).toBeCloseTo(5, 1);
  expect(growing.low).toBeGreaterThan(4);
  const still = memoryGrowth(readings((i) => (i % 7) * 100_000));
  expect(still.low).toBeLessThan(0);
  expect(still.high).toBeGreaterThan(0);
  expect(() => memoryGrowth([])).toThrow('expected at least 20 readings, got 0');
});

test("the machine's time is the benchmark's, others', and what was taken", () => {
  const stat = (user: number, idle: number, steal: number): string => `cpu  ${user} 0 0 ${idle} 0 0 10 ${steal} 0 0\ncpu0 1 2\n`;
  const before = { ...parseMachineTime(stat(100, 100, 0)), own: 0.5 };
  const after = { ...parseMachineTime(stat(150, 145, 5)), own: 0.8 };
  const shares = sharesBetween(before, after);
  expect(shares.steal).toBeCloseTo(0.05);
  expect(shares.others).toBeCloseTo(0.2);
  expect(sharesBetween(before, before)).toEqual({ steal: 0, others: 0 });
});
