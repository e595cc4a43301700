import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BenchReport } from './bench-report.ts';
import { madePoint, madeReport } from './made-report.case.ts';
import { parseReport, readJson } from './read-json.ts';
import { reportJson, writeJson } from './write-json.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'report-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('the report as JSON', () => {
  it.each([
    [
      'ordinary',
      madeReport([madePoint(), madePoint({ busy: 0.99, errors: [{ outcome: 'failed', status: 's', message: 'm', count: 8 }] })]),
    ],
    [
      'of text, at a rate',
      madeReport([madePoint({ tokens: 9, perSecond: 300, pace: { kind: 'open', perSecond: 9, schedule: 'fixed', maxInFlight: 2 } })]),
    ],
    // Windows without an answer have NaN as their quantiles, which JSON has not.
    ['of a server that is dead', madeReport([madePoint({ perSecond: 0, cpuUsPerRequest: null, tellsSplit: false })])],
    ['without points', madeReport([])],
  ])('comes back as it was: %s', async (_, report) => {
    const file = join(folder, 'report.json');
    await writeJson(file, report);
    expect(await readJson(file)).toEqual(report);
  });

  it('leaves out what it does not know', () => {
    const text = JSON.stringify({ ...madeReport([]), later: 1 });
    expect(parseReport(text, 'r')).toEqual(madeReport([]));
  });

  const broken = (change: (report: Record<string, unknown>) => void): string => {
    const report = JSON.parse(reportJson(madeReport([madePoint()]))) as Record<string, unknown>;
    change(report);
    return JSON.stringify(report);
  };
  const firstPoint = (report: Record<string, unknown>): Record<string, unknown> => (report['points'] as Record<string, unknown>[])[0]!;

  it.each([
    ['{', 'r.json: expected JSON as nereid bench --json writes it: '],
    ['[]', "r.json: format: expected 'nereid-bench/1', got nothing; nereid bench MODEL --json FILE writes such a file"],
    ['{"fromat":"x"}', "got nothing; did you mean 'fromat'?"],
    ['{"format":"nereid-bench/9"}', "got 'nereid-bench/9': another version of nereid wrote it"],
    ['{"format":7}', "expected 'nereid-bench/1', got 7"],
    [broken((report) => delete report['machine']), 'r.json: machine: expected, but not there'],
    [
      broken((report) => (report['protocol'] = 'grcp')),
      `r.json: protocol: expected one of http-json, http-binary, grpc, grpc-stream, websocket-json, websocket-binary, generate, generate-stream, openai, got "grcp"; did you mean 'grpc'?`,
    ],
    [broken((report) => (report['points'] = {})), 'r.json: points: expected an array, got {}'],
    [broken((report) => (firstPoint(report)['throughput'] = 5)), 'r.json: points[0].throughput: expected an object, got 5'],
    [broken((report) => (firstPoint(report)['sent'] = 'many')), 'r.json: points[0].sent: expected a number, got "many"'],
    [
      broken((report) => ((firstPoint(report)['latency'] as Record<string, unknown>)['curve'] = [[50]])),
      'r.json: points[0].latency.curve[0][1]: expected a number, got nothing',
    ],
    [broken((report) => (firstPoint(report)['isSaturated'] = null)), 'points[0].isSaturated: expected true or false, got null'],
  ])('refuses %.40s', (text, words) => {
    expect(() => parseReport(text, 'r.json')).toThrow(words);
  });

  it('names the file that is not there', async () => {
    await expect(readJson(join(folder, 'none.json'))).rejects.toThrow('ENOENT');
    writeFileSync(join(folder, 'empty.json'), '');
    await expect(readJson(join(folder, 'empty.json'))).rejects.toThrow('empty.json: expected JSON');
  });

  it('has every field of the contract', () => {
    const report: BenchReport = madeReport([
      madePoint({ tokens: 9, pace: { kind: 'open', perSecond: 9, schedule: 'fixed', maxInFlight: 2 } }),
    ]);
    expect(Object.keys(parseReport(reportJson(report), 'r').points[0]!)).toEqual(Object.keys(report.points[0]!));
  });
});
