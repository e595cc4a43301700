import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { captureOutput } from '../../server/commands/captured-output.case.ts';
import { type MadePoint, madePoint, madeReport } from '../report/made-report.case.ts';
import { reportJson } from '../report/write-json.ts';
import { compareCommand } from './compare-command.ts';

let folder: string;
const file = (name: string): string => join(folder, name);

/** Points at 1 and 16 requests in flight. */
function write(name: string, given: Partial<MadePoint>, report: Parameters<typeof madeReport>[1] = {}): void {
  const points = [1, 16].map((concurrency) => madePoint({ pace: { kind: 'closed', concurrency }, ...given }));
  writeFileSync(file(name), reportJson(madeReport(points, report)));
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'compare-'));
  write('a.json', { seed: 1 });
  write('same.json', { seed: 2 });
  write('faster.json', { seed: 3, perSecond: 5_000, medianUs: 700, cpuUsPerRequest: 90 });
  write('slower.json', { seed: 4, perSecond: 3_000, medianUs: 1300, cpuUsPerRequest: 150 });
});
afterAll(() => rmSync(folder, { recursive: true }));

interface ComparisonJson {
  readonly comparisons: {
    readonly other: string;
    readonly warnings: string[];
    readonly points: {
      readonly name: string;
      readonly measures: {
        readonly name: string;
        readonly ratio: number;
        readonly interval: { low: number; high: number };
        readonly verdict: string;
      }[];
    }[];
  }[];
  readonly regressions: string[];
}

async function compareAsJson(...names: string[]): Promise<ComparisonJson & { code: number }> {
  const { code, stdout } = await captureOutput(() => compareCommand([...names.map(file), '--json', '--fail-above', '5']));
  return { ...(JSON.parse(stdout) as ComparisonJson), code };
}

function verdicts(compared: ComparisonJson, run = 0): Record<string, string> {
  const measures = compared.comparisons[run]!.points[0]!.measures;
  return Object.fromEntries(measures.map(({ name, verdict }) => [name, verdict]));
}

describe('nereid bench compare', () => {
  it('says what is faster, what is slower, and what cannot be told', async () => {
    const compared = await compareAsJson('a.json', 'same.json', 'faster.json', 'slower.json');
    expect(verdicts(compared, 0)).toEqual({ 'answers/s': 'unclear', p50: 'unclear', p99: 'unclear', 'CPU/answer': 'unclear' });
    expect(verdicts(compared, 1)).toEqual({ 'answers/s': 'better', p50: 'better', p99: 'better', 'CPU/answer': 'better' });
    expect(verdicts(compared, 2)).toEqual({ 'answers/s': 'worse', p50: 'worse', p99: 'worse', 'CPU/answer': 'worse' });
    expect(compared.comparisons.map(({ other, points }) => [other, points.map(({ name }) => name)])).toEqual(
      ['same.json', 'faster.json', 'slower.json'].map((name) => [name, ['concurrency 1', 'concurrency 16']]),
    );
    const throughput = compared.comparisons[1]!.points[0]!.measures[0]!;
    expect(throughput.ratio).toBeCloseTo(1.25, 1);
    expect(throughput.interval.low).toBeLessThan(throughput.ratio);
    expect(throughput.interval.high).toBeGreaterThan(throughput.ratio);
    // The same files, the same intervals.
    expect(await compareAsJson('a.json', 'same.json', 'faster.json', 'slower.json')).toEqual(compared);
  });

  it('fails above the percent that was given, and not below', async () => {
    const fails = await captureOutput(() => compareCommand([file('a.json'), file('slower.json'), '--fail-above', '10']));
    expect(fails.code).toBe(1);
    expect(fails.stdout).toContain('Worse than allowed\n  slower.json, concurrency 1: answers/s is worse by');
    expect(fails.stdout).toMatch(/slower\.json, concurrency 16: p99 is worse by/);
    expect(await captureOutput(() => compareCommand([file('a.json'), file('slower.json'), '--fail-above', '80']))).toMatchObject({
      code: 0,
    });
    expect(await captureOutput(() => compareCommand([file('a.json'), file('slower.json')]))).toMatchObject({ code: 0 });
    expect(await captureOutput(() => compareCommand([file('a.json'), file('same.json'), '--fail-above', '5']))).toMatchObject({ code: 0 });
  });

  it('does not let a run pass that answers nothing, or fails more', async () => {
    const refused = [{ outcome: 'refused', status: 'HTTP 503', message: 'full', count: 4_000 }] as const;
    write('dead.json', { perSecond: 0, errors: refused, cpuUsPerRequest: null });
    const dead = await compareAsJson('a.json', 'dead.json');
    expect(dead.code).toBe(1);
    expect(verdicts(dead)).toEqual({ 'answers/s': 'worse' });
    write('refusing.json', { seed: 5, errors: refused });
    const refusing = await compareAsJson('a.json', 'refusing.json');
    expect(refusing.code).toBe(1);
    expect(refusing.regressions[0]).toContain('of the requests failed, 0 % before');
    expect(refusing.comparisons[0]!.warnings).toContainEqual(expect.stringContaining('the figures are of the rest'));
  });

  it('warns of what makes the runs no pair', async () => {
    const machine = { ...madeReport([]).machine, cpu: 'Another CPU', cores: 8 };
    write(
      'other.json',
      { seed: 6, busy: 0.99, isWarm: false },
      { model: 'digits', protocol: 'grpc', input: 'zero', deadlineMs: 20, machine },
    );
    const { comparisons } = await compareAsJson('a.json', 'other.json');
    const { warnings } = comparisons[0]!;
    for (const words of [
      'model differs: simple in a.json, digits in other.json',
      'protocol differs: http-binary in a.json, grpc in other.json',
      'input differs: random',
      'deadline, ms differs: 0 in a.json, 20 in other.json',
      'machine: processor differs: Example CPU in a.json, Another CPU in other.json',
      'machine: cores differs: 2',
      "other.json, concurrency 1: the generator was saturated: its ratio is not the servers'",
      'other.json, concurrency 16: not stable after',
    ]) {
      expect(warnings).toContainEqual(expect.stringContaining(words));
    }
    expect((await compareAsJson('a.json', 'same.json')).comparisons[0]!.warnings).toEqual([]);
  });

  it('compares the loads that are in both, and names the others', async () => {
    const points = [16, 64].map((concurrency) => madePoint({ pace: { kind: 'closed', concurrency } }));
    writeFileSync(file('wide.json'), reportJson(madeReport(points)));
    const { comparisons } = await compareAsJson('a.json', 'wide.json');
    expect(comparisons[0]!.points.map(({ name }) => name)).toEqual(['concurrency 16']);
    expect(comparisons[0]!.warnings).toEqual([
      'only in a.json, not in wide.json: concurrency 1',
      'only in wide.json, not in a.json: concurrency 64',
    ]);
    writeFileSync(
      file('rate.json'),
      reportJson(madeReport([madePoint({ pace: { kind: 'open', perSecond: 16, schedule: 'fixed', maxInFlight: 9 } })])),
    );
    expect(await captureOutput(() => compareCommand([file('a.json'), file('rate.json'), '--fail-above', '5']))).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(
        'no load is in both a.json and rate.json: a.json has concurrency 1, concurrency 16; rate.json has rate 16/s',
      ),
    });
  });

  it('compares tokens by the intervals of the runs, and says when windows are too few', async () => {
    const text = { tokens: 16, perSecond: 200, medianUs: 50_000, windowMs: 2000 };
    write('llm-a.json', { ...text, seed: 7 });
    write('llm-b.json', { ...text, seed: 8, medianUs: 80_000 });
    const compared = await compareAsJson('llm-a.json', 'llm-b.json');
    expect(verdicts(compared)).toMatchObject({ 'TTFT p50': 'worse', 'ITL p50': 'worse', 'ITL p99': 'worse' });
    expect(compared.comparisons[0]!.points[0]!.measures.find(({ name }) => name === 'ITL p50')!.ratio).toBeCloseTo(1.6, 1);
    write('short.json', { windows: 1, perSecond: 4_000, windowMs: 1000 });
    const { stdout } = await captureOutput(() => compareCommand([file('a.json'), file('short.json')]));
    expect(stdout).toMatch(/answers\/s .* - +too few windows to tell/);
  });

  it('prints a table, and a page with the curves of all runs', async () => {
    const { code, stdout } = await captureOutput(() =>
      compareCommand([file('a.json'), file('faster.json'), file('slower.json'), '--html', file('page.html')]),
    );
    expect(code).toBe(0);
    expect(stdout).toContain('faster.json against a.json\n  a.json: simple over http-binary, nereid 0.1.0 at http://127.0.0.1:8000');
    expect(stdout).toMatch(/\nconcurrency 1 +answers\/s +[\d,]+ +[\d,]+ +1\.2\d\d +1\.\d+ to 1\.\d+ +faster\n/);
    expect(stdout).toContain('The intervals know how windows of a run differ');
    const page = readFileSync(file('page.html'), 'utf8');
    expect(page.match(/<figure class="chart">/g)).toHaveLength(3);
    // p50 and p99 of three runs, and three percentile curves for each of two loads.
    expect(page.match(/<polyline class="line/g)).toHaveLength(12);
    expect(page.match(/no difference that can be told|faster<|slower<|cheaper<|dearer</g)).toHaveLength(16);
    expect(page).not.toMatch(/(?:src|href)=|url\(|@import|https?:(?!\/\/(?:127\.0\.0\.1:8000|www\.w3\.org))/);
  });

  it('names runs by their directories where files have the same name', async () => {
    const { stdout } = await captureOutput(() => compareCommand([file('a.json'), file('a.json')]));
    expect(stdout).toContain(`${file('a.json')} against ${file('a.json')}`);
    expect(stdout).toMatch(/answers\/s .* 1\.000 +0\.\d+ to 1\.\d+ +no difference that can be told/);
  });

  it.each([
    [[], 2, 'expected 2 to 8 files of nereid bench --json, got 0'],
    [['a.json'], 2, 'got 1'],
    [['a.json', 'same.json', '--fail-abov', '5'], 2, "did you mean '--fail-above'?"],
    [['a.json', 'same.json', '--fail-above', 'x'], 2, "--fail-above: expected a number from 0 to 1000, got 'x'"],
    [['a.json', 'none.json'], 1, 'ENOENT'],
    [['a.json', 'broken.json'], 1, 'broken.json: expected JSON as nereid bench --json writes it'],
  ])('refuses %j', async (argv, code, words) => {
    writeFileSync(file('broken.json'), '{"format":');
    const given = argv.map((argument) => (argument.endsWith('.json') ? file(argument) : argument));
    expect(await captureOutput(() => compareCommand(given))).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(words) });
  });

  it('--help names every option', async () => {
    const { code, stdout } = await captureOutput(() => compareCommand(['--help']));
    expect(code).toBe(0);
    for (const words of ['nereid bench compare A.json B.json', '--fail-above PERCENT', '--html FILE', '--json', 'Ends with 0']) {
      expect(stdout).toContain(words);
    }
  });
});
