import { describe, expect, it } from 'vitest';
import { consoleTable } from './console-table.ts';
import { madePoint, madeReport } from './made-report.case.ts';
import { wantsColours } from './terminal-text.ts';

const closed = (concurrency: number) => ({ pace: { kind: 'closed', concurrency } }) as const;

function rows(table: string): string[] {
  return table.split('\n').filter((line) => /^(?:load|concurrency|rate) /.test(line));
}

describe('consoleTable', () => {
  it('has a row for each point, its columns under their titles', () => {
    const points = [madePoint({ ...closed(1), perSecond: 2_000, medianUs: 400 }), madePoint(closed(16))];
    const table = consoleTable(madeReport(points), false);
    const [head, first, second, ...others] = rows(table);
    expect(others).toEqual([]);
    expect(head!.split(/ {2,}/)).toEqual([
      'load',
      'answers/s',
      'p50',
      'p90',
      'p99',
      'p99.9',
      'errors',
      'server CPU',
      'CPU/answer',
      'queue',
      'compute',
      'overhead',
      'network',
    ]);
    expect(first).toMatch(/^concurrency 1 +2,0\d\d ±\d\.\d % +\d+(?:\.\d)? /);
    expect(second!.split(/ {2,}/)).toHaveLength(13);
    expect(new Set([head, first, second].map((line) => line!.length)).size).toBe(1);
    expect(table).toContain('simple over http-binary, nereid 0.1.0 at http://127.0.0.1:8000\n');
    expect(table).toContain('server and generator on it together');
    expect(table).not.toMatch(/Warnings|Errors/);
  });

  it('has no processor time of an answer where there is none', () => {
    const point = madePoint({ ...closed(4), cpuUsPerRequest: 120 });
    const table = consoleTable(
      madeReport([{ ...point, outcomes: { ...point.outcomes, ok: 0 }, serverUse: { ...point.serverUse!, cpuUsPerRequest: 0 } }]),
      false,
    );
    const [head, row] = rows(table);
    expect(row!.slice(0, head!.indexOf('CPU/answer') + 'CPU/answer'.length)).toMatch(/ -$/);
  });

  it('shows latency where answers of text came in one piece', () => {
    const point = madePoint({ tokens: 16, perSecond: 500 });
    const text = { ...point.text!, firstToken: null, betweenTokens: null };
    const [head] = rows(consoleTable(madeReport([{ ...point, text }]), false));
    expect(head!.split(/ {2,}/).slice(0, 4)).toEqual(['load', 'answers/s', 'p50', 'p90']);
    expect(head).toContain('tokens/s');
    expect(head).not.toContain('TTFT');
  });

  it('leaves out what no point knows, and adds goodput where there is a limit', () => {
    const point = madePoint({ cpuUsPerRequest: null, tellsSplit: false });
    const table = consoleTable(madeReport([point], { deadlineMs: 20 }), false);
    expect(rows(table)[0]!.split(/ {2,}/)).toEqual(['load', 'answers/s', 'goodput/s', 'p50', 'p90', 'p99', 'p99.9', 'errors']);
    expect(table).toContain('goodput: within 20 ms');
  });

  it('tells of tokens where answers are text', () => {
    const point = madePoint({
      tokens: 16,
      perSecond: 500,
      medianUs: 50_000,
      pace: { kind: 'open', perSecond: 500, schedule: 'poisson', maxInFlight: 9 },
    });
    const [head, row] = rows(consoleTable(madeReport([point]), false));
    expect(head!.split(/ {2,}/)).toEqual([
      'load',
      'answers/s',
      'TTFT p50',
      'TTFT p99',
      'ITL p50',
      'ITL p99',
      'tokens/s',
      'errors',
      'server CPU',
      'CPU/answer',
    ]);
    expect(row).toMatch(/^rate 500\/s Poisson /);
  });

  it('says below it what must not be trusted, and what went wrong', () => {
    const point = madePoint({
      busy: 0.97,
      unsent: 80,
      errors: [
        { outcome: 'wrong', status: 'wrong answer', message: 'OUTPUT0[3]: expected 4, got 5', count: 8 },
        { outcome: 'refused', status: 'HTTP 503', message: 'queue\r\n full \u001b[2J', count: 800 },
      ],
    });
    const table = consoleTable(madeReport([point]), false);
    expect(rows(table)[1]).toMatch(/ 888 \(5\.2 %\) /);
    expect(table).toContain('Warnings\n  concurrency 4: the generator was busy 97 %');
    expect(table).toContain('Errors\n  concurrency 4: 800 refused (4.7 %), 8 wrong (below 0.1 %), 80 due and not sent (0.5 %) of 16,');
    expect(table).toMatch(/ 800 {2}HTTP 503: queue full \\x1b\[2J\n +8 {2}wrong answer: OUTPUT0\[3\]: expected 4, got 5\n$/);
  });

  it('paints for terminals alone', () => {
    const painted = consoleTable(madeReport([madePoint({ busy: 0.97 })]), true);
    expect(painted).toContain('\u001b[31mconcurrency 4\u001b[0m');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are taken away.
    expect(painted.replaceAll(/\u001b\[\d+m/g, '')).toBe(consoleTable(madeReport([madePoint({ busy: 0.97 })]), false));
    expect(wantsColours({ isTTY: true }, {})).toBe(true);
    expect(wantsColours({ isTTY: true }, { NO_COLOR: '1' })).toBe(false);
    expect(wantsColours({ isTTY: true }, { TERM: 'dumb' })).toBe(false);
    expect(wantsColours({}, {})).toBe(false);
  });

  it('takes points without an answer, and a run without a point', () => {
    const dead = madePoint({ perSecond: 0, errors: [{ outcome: 'failed', status: 'connection lost', message: '', count: 80 }] });
    expect(dead.latency).toBeNull();
    expect(rows(consoleTable(madeReport([dead]), false))[1]).toMatch(/^concurrency 4 +0 +80 \(100 %\)/);
    expect(consoleTable(madeReport([]), false)).toContain('no point was measured');
  });
});
