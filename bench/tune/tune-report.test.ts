import { describe, expect, test } from 'vitest';
import { machineFacts } from '../command/machine-facts.ts';
import { Candidate } from './candidate.ts';
import type { Arm, FinalResult } from './compare-finalists.ts';
import type { Knobs } from './knobs.ts';
import type { TrialPoint } from './trial.ts';
import type { TuneGoal } from './tune-goal.ts';
import { tunePage } from './tune-page.ts';
import { isTrustworthy, type TuneFindings, type TuneReport, tuneReport } from './tune-report.ts';
import { tuneText } from './tune-text.ts';

const PRESENT: Knobs = { maxBatchSize: 8, queueDelayUs: 0, instances: 1, threads: 1, host: 'process' };
const GOAL: TuneGoal = {
  objective: 'throughput',
  percentile: '99',
  latencyLimitUs: 5_000,
  memoryLimitMiB: Number.POSITIVE_INFINITY,
  ratePerSecond: null,
};

function point(perSecond: number, latencyUs: number, given: Partial<TrialPoint> = {}): TrialPoint {
  return {
    throughput: { value: perSecond, low: perSecond * 0.98, high: perSecond * 1.02 },
    latencyUs,
    p50Us: latencyUs / 2,
    p99Us: latencyUs,
    errorShare: 0,
    firstError: '',
    unsent: 0,
    cpuUsPerRequest: 40,
    memoryMiB: 120,
    batchSize: 3.5,
    isSaturated: false,
    ...given,
  };
}

function candidate(change: Partial<Knobs>, points: readonly (readonly [number, TrialPoint])[], failure = ''): Candidate {
  const made = new Candidate({ ...PRESENT, ...change });
  for (const [level, one] of points) made.points.set(level, one);
  made.failure = failure;
  return made;
}

function arm(of: Candidate, level: number, perSecond: readonly number[], given: Partial<TrialPoint> = {}): Arm {
  return { candidate: of, level, rounds: perSecond.map((one) => point(one, 3_000, given)), dropped: '' };
}

function report(candidates: readonly Candidate[], final: FinalResult, given: Partial<TuneFindings> = {}): TuneReport {
  return tuneReport({
    startedAt: '2026-03-01T10:00:00.000Z',
    command: ['m'],
    machine: machineFacts(true),
    model: 'm<script>',
    protocol: 'http-binary',
    input: 'random',
    goal: GOAL,
    isLimitDefault: false,
    present: PRESENT,
    fixed: ['threads: the backend has none'],
    isCutShort: false,
    candidates,
    final,
    editsFor: ({ instances }) => (instances === 1 ? [] : [{ path: ['instance_group', 0, 'count'], value: instances }]),
    ...given,
  });
}

const present = candidate({}, [
  [1, point(300, 1_000)],
  [4, point(1_000, 3_000)],
]);
const better = candidate({ instances: 2 }, [[4, point(2_000, 2_500)]]);
const broken = candidate({ threads: 4 }, [], 'out of\u001b[31m memory');
const slow = candidate({ queueDelayUs: 9_000 }, [[4, point(500, 12_000)]]);
const all = [present, better, broken, slow];

describe('a better one', () => {
  const chosen = arm(better, 4, [2_000, 2_100, 1_900, 2_000]);
  const found = report(all, { present: arm(present, 4, [1_000, 1_010, 990, 1_000]), arms: [chosen], chosen, rounds: 4 });

  test('is told with what it gains, and what has to be set', () => {
    expect(found.verdict).toMatch(
      /^2 instances: 2\.00 times as many answers a second \(between 1\.9\d and 2\.\d\d with 95 %\), p99 3\.00 ms of 5\.00 ms allowed\.$/,
    );
    expect([found.chosen, found.edits]).toEqual([1, [{ path: ['instance_group', 0, 'count'], value: 2 }]]);
    expect(isTrustworthy(found)).toBe(true);
    expect(found.candidates.map(({ objection }) => objection)).toEqual(['', '', broken.failure, 'p99 is 12.0 ms, over the limit']);
  });

  test('the table has the present one first, then the best, and at the end what cannot be chosen, with the reason', () => {
    const text = tuneText(found, false);
    const rows = text.split('\n').filter((line) => /^(as it is|2 instances|4 threads|delay 9000 us) {2}/.test(line));
    expect(rows.map((row) => row.split('  ')[0])).toEqual(['as it is', '2 instances', 'delay 9000 us', '4 threads']);
    expect(rows[1]).toMatch(/2\.00 \(1\.9\d-2\.\d\d\)/);
    expect(rows[3]).toContain('not loaded: out of');
    expect(text).not.toContain('\u001b');
    expect(text).toContain('left as it is: threads: the backend has none');
  });

  test('the page has all of it, and nothing of a name is markup', () => {
    const page = tunePage(found);
    expect(page).toContain('Latency over throughput');
    expect(page).toContain('chosen');
    expect(page).not.toContain('m<script>');
    expect(page).not.toContain('NaN');
  });
});

describe('none that is better', () => {
  const rival = arm(better, 4, [1_050, 900, 1_200, 950]);
  const stays = arm(present, 4, [1_000, 1_100, 900, 1_000]);

  test('is told with the nearest', () => {
    const found = report(all, { present: stays, arms: [rival], chosen: stays, rounds: 4 });
    expect(found.verdict).toMatch(
      /^It stays as it is: nothing is better beyond doubt\. Nearest is 2 instances, worth 1\.\d\d times as much/,
    );
    expect([found.chosen, found.edits, isTrustworthy(found)]).toEqual([0, [], true]);
  });

  test('for want of time', () => {
    const alone = arm(present, 4, [1_000]);
    const found = report(all, { present: alone, arms: [arm(better, 4, [1_100])], chosen: alone, rounds: 1 });
    expect(found.warnings).toEqual([expect.stringMatching(/after 1 of at least 4 rounds.*--budget/)]);
  });

  test('nothing to compare', () => {
    const alone = arm(present, 4, []);
    const found = report([present], { present: alone, arms: [], chosen: alone, rounds: 0 });
    expect(found.verdict).toMatch(/nothing that was tried came near it/);
    expect(tunePage(found)).toContain('<svg');
  });

  test('nothing within the limits', () => {
    const over = candidate({}, [[1, point(10, 90_000)]]);
    const only = { ...arm(over, 1, []), dropped: '' };
    const found = report([over], { present: only, arms: [], chosen: only, rounds: 0 });
    expect(found.verdict).toMatch(/^Nothing that was tried kept the limits.*p99 is 90\.0 ms/);
    expect(isTrustworthy(found)).toBe(false);
  });
});

test('warnings: a generator without time to spare, a flag of the server, an early end', () => {
  const inline = candidate({ host: 'inline', maxBatchSize: 4 }, [[4, point(2_000, 2_500)]]);
  const chosen = arm(inline, 4, [2_000, 2_000, 2_001, 2_000], { isSaturated: true });
  const final = { present: arm(present, 4, [1_000, 1_010, 990, 1_000]), arms: [chosen], chosen, rounds: 4 };
  const found = report([present, inline], final, { isCutShort: true });
  const expected = [/told to end/, /no time to spare/, /--execution-host inline is a flag of the whole server/, /more than 4 rows/];
  expect(found.warnings).toEqual(expected.map((text) => expect.stringMatching(text)));
  expect(isTrustworthy(found)).toBe(false);
});
