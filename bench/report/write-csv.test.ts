import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { madePoint, madeReport } from './made-report.case.ts';
import { CSV_COLUMNS, reportCsv, writeCsv } from './write-csv.ts';

/** RFC 4180, quotes and all. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  for (const line of text.matchAll(/((?:"(?:[^"]|"")*"|[^"\n])*)\n/g)) {
    const fields = [...`${line[1]!},`.matchAll(/("(?:[^"]|"")*"|[^,]*),/g)].map(([, field]) => field!);
    rows.push(fields.map((field) => (field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field)));
  }
  return rows;
}

describe('reportCsv', () => {
  const quoting = {
    ...madePoint({ pace: { kind: 'open', perSecond: 250, schedule: 'poisson', maxInFlight: 9 } }),
    warnings: ['a "b", c', 'd\ne'],
  };
  const points = [madePoint(), quoting, madePoint({ perSecond: 0, cpuUsPerRequest: null, tellsSplit: false })];
  const [names, ...rows] = parseCsv(reportCsv(madeReport(points)));
  const cell = (row: number, name: string): string => rows[row]![names!.indexOf(name)]!;

  it('has a line for each point, with every column', () => {
    expect(names).toEqual(Object.keys(CSV_COLUMNS));
    expect(rows.map((row) => row.length)).toEqual([names!.length, names!.length, names!.length]);
    expect(new Set(names).size).toBe(names!.length);
  });

  it("has perf_analyzer's names where it has the same figures", () => {
    expect(names).toEqual(
      expect.arrayContaining([
        'Concurrency',
        'Request Rate',
        'Network+Server Send/Recv',
        'Server Queue',
        'Server Compute Input',
        'Server Compute Infer',
        'Server Compute Output',
        'p50 latency',
        'p90 latency',
        'p95 latency',
        'p99 latency',
        'Avg latency',
      ]),
    );
  });

  it('has the figures of the report, and nothing where there is none', () => {
    const { throughput, latency, split } = points[0]!;
    expect(cell(0, 'Concurrency')).toBe('4');
    expect(cell(0, 'Request Rate')).toBe('');
    expect([cell(1, 'Concurrency'), cell(1, 'Request Rate'), cell(1, 'Schedule')]).toEqual(['', '250', 'poisson']);
    expect(Number(cell(0, 'Requests/Second'))).toBeCloseTo(throughput.value, 4);
    expect(Number(cell(0, 'p99 latency'))).toBeCloseTo(latency!.quantiles['99']!.value, 4);
    expect(Number(cell(0, 'Network+Server Send/Recv'))).toBeCloseTo(split!.overhead + split!.network, 4);
    expect(Number(cell(0, 'OK'))).toBe(points[0]!.outcomes.ok);
    expect([cell(2, 'p50 latency'), cell(2, 'Server Queue'), cell(2, 'Server CPU Cores'), cell(2, 'OK')]).toEqual(['', '', '', '0']);
    expect(cell(1, 'Warnings')).toBe('a "b", c; d\ne');
  });

  it('is written to a file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'csv-'));
    try {
      await writeCsv(join(folder, 'x.csv'), madeReport(points));
      expect(readFileSync(join(folder, 'x.csv'), 'utf8')).toBe(reportCsv(madeReport(points)));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
