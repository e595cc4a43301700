import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exampleRepository, ServerProcess, until } from '../../server/e2e/serve.ts';
import { OUTCOMES } from '../load/load-window.ts';
import { readJson } from '../report/read-json.ts';

/** Short: what is looked at is what is said, and not how precise it is. */
const SHORT = ['--window=100', '--min-windows=2', '--warm-up-max=0.3', '--time-max=0.4'];

let server: ServerProcess;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
  server = await ServerProcess.start([
    `--model-repository=${exampleRepository}`,
    '--model-control-mode=explicit',
    ...['simple', 'simple_sequence', 'simple_identity', 'repeat_int32', 'tiny_llm'].map((name) => `--load-model=${name}`),
  ]);
});

afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function bench(...args: readonly string[]) {
  const { code, stdout, stderr } = await ServerProcess.run(['bench', ...args]).exited;
  return { code, stdout, stderr };
}

const http = (): string => `--url=${new URL(server.http).origin}`;
const grpc = (): string => `--url=${server.grpc}`;

describe('nereid bench', () => {
  test.each([
    ['http-json', http],
    ['http-binary', http],
    ['websocket-json', http],
    ['websocket-binary', http],
    ['grpc', grpc],
    ['grpc-stream', grpc],
  ])('%s: every answer is right, and the server tells where the time went', async (protocol, url) => {
    const json = join(folder, `${protocol}.json`);
    const ran = await bench(
      'simple',
      url(),
      `--protocol=${protocol}`,
      '--concurrency=1,8',
      '--validate=1',
      '--deterministic',
      ...SHORT,
      `--json=${json}`,
    );
    expect(ran.stderr).toContain(`simple at`);
    expect(ran.stdout).toContain('concurrency 8');
    const report = await readJson(json);
    expect(report.points.map((point) => point.name)).toEqual(['concurrency 1', 'concurrency 8']);
    for (const point of report.points) {
      expect(point.errors).toEqual([]);
      expect(point.outcomes.ok).toBeGreaterThan(0);
      expect(point.validated).toBe(point.outcomes.ok);
      expect(point.throughput.value).toBeGreaterThan(0);
      expect(point.split).not.toBeNull();
      expect(point.serverUse?.source).toBe('process');
      expect(point.windows.length).toBeGreaterThanOrEqual(2);
      expect(point.latency!.count).toBe(point.outcomes.ok);
    }
    expect(report).toMatchObject({ model: 'simple', protocol, server: { name: 'nereid' } });
    // Nothing but a saturated generator can fail such a run.
    expect(ran.code).toBe(report.points.some((point) => point.isSaturated) ? 1 : 0);
  });

  test('an open loop sends at its rate, over two processes', async () => {
    const json = join(folder, 'rate.json');
    await bench(
      'simple',
      http(),
      '--rate=200',
      '--distribution=poisson',
      '--processes=2',
      '--deadline=2000',
      ...SHORT,
      '--time-max=1',
      `--json=${json}`,
    );
    const [point] = (await readJson(json)).points;
    expect(point).toMatchObject({
      name: 'rate 200/s Poisson',
      load: { kind: 'rate', value: 200, schedule: 'poisson' },
      generator: { processes: 2 },
    });
    expect(point!.lag!.count).toBeGreaterThan(20);
    expect(point!.goodput.value).toBeGreaterThan(0);
  });

  test('sequences, strings, a decoupled model', async () => {
    const sequences = await bench('simple_sequence', http(), '--sequence-length=3:5', '--concurrency=2', ...SHORT);
    expect(sequences.stdout + sequences.stderr).not.toMatch(/HTTP [45]/);
    const strings = join(folder, 'strings.json');
    await bench('simple_identity', grpc(), '--protocol=grpc', '--concurrency=2', '--validate=1', ...SHORT, `--json=${strings}`);
    expect((await readJson(strings)).points[0]!.errors).toEqual([]);
    const decoupled = join(folder, 'decoupled.json');
    await bench(
      'repeat_int32',
      grpc(),
      '--protocol=grpc-stream',
      '--shape=IN:3',
      '--shape=DELAY:3',
      '--input=zero',
      '--concurrency=2',
      ...SHORT,
      `--json=${decoupled}`,
    );
    const [point] = (await readJson(decoupled)).points;
    expect(point!.errors).toEqual([]);
    expect(point!.text!.tokens).toBeGreaterThanOrEqual(3 * point!.outcomes.ok);
  });

  test.each([
    ['openai', ['--max-tokens=8']],
    ['generate-stream', ['--max-tokens=8']],
    ['generate', ['--max-tokens=8']],
    ['openai', ['--max-tokens=8', '--no-stream']],
  ])('text: %s %j', async (protocol, more) => {
    const json = join(folder, `${protocol}.json`);
    const ran = await bench(
      'tiny_llm',
      http(),
      `--protocol=${protocol}`,
      '--prompt-tokens=8',
      '--concurrency=2',
      ...more,
      ...SHORT,
      '--time-max=1',
      '--window=300',
      `--json=${json}`,
    );
    const [point] = (await readJson(json)).points;
    expect(point!.errors, ran.stderr).toEqual([]);
    expect(point!.outcomes.ok).toBeGreaterThan(0);
    if (protocol === 'generate') {
      // It does not say how many tokens there are.
      expect(point!.text).toBeNull();
    } else {
      expect(point!.text!.tokens).toBeGreaterThan(point!.outcomes.ok);
      if (more.includes('--no-stream')) expect(point!.text!.firstToken).toBeNull();
      else expect(point!.text!.firstToken!.count).toBeGreaterThan(0);
    }
  });

  test('answers that are not the expected ones fail the run', async () => {
    const data = join(folder, 'wrong.json');
    const row = (value: number): number[] => Array.from({ length: 16 }, () => value);
    writeFileSync(
      data,
      JSON.stringify({ data: [{ INPUT0: row(1), INPUT1: row(2) }], validation_data: [{ OUTPUT0: row(4), OUTPUT1: row(-1) }] }),
    );
    const { code, stdout } = await bench('simple', http(), `--input=${data}`, '--validate=1', '--concurrency=1', ...SHORT);
    expect(code).toBe(1);
    expect(stdout).toMatch(/OUTPUT0.*expected 4.*got 3/);
  });

  test('CSV and HTML; secrets are in neither', async () => {
    const [csv, html, json] = ['r.csv', 'r.html', 'r.json'].map((name) => join(folder, name)) as [string, string, string];
    await bench(
      'simple',
      http(),
      '--header=authorization: Bearer sesame',
      '--concurrency=1',
      ...SHORT,
      `--csv=${csv}`,
      `--html=${html}`,
      `--json=${json}`,
    );
    expect(readFileSync(csv, 'utf8').trim().split('\n')).toHaveLength(2);
    expect(readFileSync(html, 'utf8')).toContain('<svg');
    for (const file of [csv, html, json]) expect(readFileSync(file, 'utf8')).not.toContain('sesame');
  });

  test('what cannot be measured says why, and ends with 1 or 2', async () => {
    expect(await bench('simpel', http())).toMatchObject({ code: 1, stderr: expect.stringContaining("'simple'") });
    expect(await bench('simple', '--url=http://127.0.0.1:1')).toMatchObject({ code: 1, stderr: expect.stringMatching(/nothing|refused/i) });
    expect(await bench('simple', http(), `--json=${join(folder, 'no', 'r.json')}`)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--json: expected a path in a directory that is there'),
    });
    expect(await bench('simple', '--url=https://127.0.0.1:1', '--ca=/nowhere.pem')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--ca: expected a PEM file'),
    });
    expect(await bench('simple', '--concurency=3')).toMatchObject({ code: 2, stderr: expect.stringContaining('--concurrency') });
    expect(await bench('repeat_int32', http(), '--concurrency=1')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('--shape IN:'),
    });
    expect((await bench('--help')).stdout).toContain('nereid bench MODEL');
  });

  test('Ctrl-C ends the run and keeps what was measured', async () => {
    const json = join(folder, 'cut.json');
    const ran = ServerProcess.run([
      'bench',
      'simple',
      http(),
      '--concurrency=1,2',
      '--window=100',
      '--time-max=60',
      '--min-windows=500',
      '--warm-up-max=0.3',
      `--json=${json}`,
    ]);
    await until(() => ran.stderr.includes('random'));
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    ran.signal('SIGINT');
    expect((await ran.exited).code).toBe(130);
    await until(() => existsSync(json));
    const report = await readJson(json);
    expect(report.points).toHaveLength(1);
    expect(report.points[0]!.warnings).toContain('cut short');
    expect(OUTCOMES.reduce((sum, outcome) => sum + report.points[0]!.outcomes[outcome], 0)).toBeGreaterThan(0);
  });
});
