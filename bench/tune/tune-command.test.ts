/** The command as it is called: a process of its own, with real servers, models and load, and windows too short to say much of the machine. */

import { type ChildProcess, spawn } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { childrenOf, exampleRepository, isAlive, makeRepository, until } from '../../server/e2e/serve.ts';
import type { TuneReport } from './tune-report.ts';

const entry = fileURLToPath(new URL('../../dist/server/main.js', import.meta.url));
/** One instance answers two hundred times a second whatever the machine does, two do twice as much. */
const SLEEPER = `
export const config = {
  inputs: [{ name: 'IN', datatype: 'INT32', dims: [1] }],
  outputs: [{ name: 'OUT', datatype: 'INT32', dims: [1] }],
};
const clock = new Int32Array(new SharedArrayBuffer(4));
export function execute(requests) {
  Atomics.wait(clock, 0, 0, 5);
  return requests.map(({ inputs: { IN } }) => ({ OUT: { shape: IN.shape, data: IN.data } }));
}
`;

let repository: ReturnType<typeof makeRepository>;
let running: ChildProcess | null = null;
const out = join(tmpdir(), `nereid-tune-out-${process.pid}`);

beforeEach(async () => {
  repository = makeRepository({ 'sleeper/1/model.mjs': SLEEPER, 'sleeper/config.yaml': '# It sleeps.\nbackend: javascript\n' });
  for (const name of ['digits', 'read_digit', 'digit_preprocess', 'digit_label']) {
    await cp(join(exampleRepository, name), join(repository.path, name), { recursive: true });
  }
  await mkdir(out, { recursive: true });
});

afterEach(async () => {
  running?.kill('SIGKILL');
  repository.remove();
  await rm(out, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(args: readonly string[], onStderr: (text: string) => void = () => {}): Promise<Ended> {
  const child = spawn(process.execPath, [entry, 'tune', ...args, '--model-repository', repository.path], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running = child;
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    onStderr(stderr);
  });
  return new Promise((resolve) => {
    child.once('close', (code) => {
      running = null;
      resolve({ code, stdout, stderr });
    });
  });
}

async function filesBelow(directory: string): Promise<string[]> {
  const found = await readdir(directory, { recursive: true });
  const times = await Promise.all(found.map(async (name) => `${name} ${(await stat(join(directory, name))).mtimeMs}`));
  return times.sort();
}

test('what is better beyond doubt is found, shown and written', async () => {
  const args = ['sleeper', '--cores', '2', '--concurrency', '4', '--window', '100', '--budget', '1', '--percentile', '90'];
  const json = join(out, 'tune.json');
  const html = join(out, 'tune.html');
  const { code, stdout, stderr } = await start([...args, '--json', json, '--html', html, '--write', '--yes']);
  expect([code, stderr]).toEqual([0, expect.stringMatching(/left {2}as it is, 4 at once: /)]);
  expect(stdout).toContain('2 instances: ');
  expect(stdout).toContain('+ instance_group: [{ count: 2, kind: KIND_CPU }]');
  expect(await readFile(join(repository.path, 'sleeper/config.yaml'), 'utf8')).toBe(
    '# It sleeps.\nbackend: javascript\ninstance_group: [{ count: 2, kind: KIND_CPU }]\n',
  );
  const report = JSON.parse(await readFile(json, 'utf8')) as TuneReport;
  expect(report).toMatchObject({ format: 'nereid-tune/1', model: 'sleeper', present: { instances: 1 }, warnings: [] });
  expect(report.candidates[0]).toMatchObject({ words: 'as it is', objection: '' });
  expect(report.candidates[report.chosen]).toMatchObject({ knobs: { instances: 2 }, failure: '' });
  expect(report.candidates[report.chosen]!.ratio!.value).toBeGreaterThan(1.4);
  expect(await readFile(html, 'utf8')).toContain('<svg');
}, 150_000);

test('knobs of all kinds are tried by what is loaded, and the repository is as it was', async () => {
  const before = await filesBelow(repository.path);
  const args = [
    'digits',
    '--delay',
    '0,300',
    '--instances',
    '1',
    '--threads',
    '1,2',
    '--cores',
    '2',
    '--max-batch',
    '128',
    '--hosts',
    'process,inline',
  ];
  const json = join(out, 'tune.json');
  const { code } = await start([...args, '--concurrency', '8', '--window', '60', '--budget', '0.7', '--latency', '10000', '--json', json]);
  const report = JSON.parse(await readFile(json, 'utf8')) as TuneReport;
  expect(report.candidates.filter(({ failure }) => failure !== '')).toEqual([]);
  const tried = report.candidates.map(({ knobs }) => knobs);
  expect(tried[0]).toEqual({ maxBatchSize: 64, queueDelayUs: 0, instances: 1, threads: 1, host: 'process' });
  expect(tried).toEqual(expect.arrayContaining([expect.objectContaining({ queueDelayUs: 300 }), expect.objectContaining({ threads: 2 })]));
  expect(tried).toEqual(
    expect.arrayContaining([expect.objectContaining({ maxBatchSize: 128 }), expect.objectContaining({ host: 'inline' })]),
  );
  for (const { points } of report.candidates)
    for (const { point } of points) expect(point).toMatchObject({ errorShare: 0, memoryMiB: expect.any(Number) });
  // A generator without time to spare is told by the status, and this machine may be that busy.
  expect(code).toBe(report.candidates[report.chosen]!.best!.point.isSaturated ? 1 : 0);
  expect(await filesBelow(repository.path)).toEqual(before);
}, 150_000);

test('Ctrl-C ends the server, and what is known is told', async () => {
  let servers: number[] = [];
  const ended = start(['sleeper', '--concurrency', '4', '--window', '100'], (text) => {
    if (servers.length > 0 || !text.includes('at once')) return;
    servers = childrenOf(running!.pid!);
    running!.kill('SIGINT');
  });
  const { code, stdout } = await ended;
  expect(servers.length).toBeGreaterThan(0);
  expect([code, stdout]).toEqual([130, expect.stringContaining('as it is')]);
  expect(stdout).toContain('told to end before it was done');
  await until(() => !servers.some(isAlive));
}, 60_000);

test.each([
  [['digit'], 1, /no model 'digit' in .*; did you mean 'digits'\?/],
  [['read_digit'], 1, /is an ensemble.*tune its steps: digit_preprocess, digits, digit_label/],
  [['digits', '--instances', '1,x'], 2, /--instances: expected a number/],
  [['digits', '--cores', '1', '--threads', '2'], 2, /--threads: expected a number from 1 to 1, got '2'/],
  [['digits', '--rate', '5', '--objective', 'throughput'], 2, /--rate says what the throughput is/],
  [['digits', '--write'], 2, /--yes writes without asking/],
  [['digits', '--hosts', 'inlin'], 2, /--hosts: expected one of process, inline, got 'inlin'; did you mean 'inline'/],
  [['digits', '--shape', 'nope:3'], 1, /nope/],
] as const)('a mistake is one line: %j', async (args, code, message) => {
  const ended = await start(args);
  expect([ended.code, ended.stderr]).toEqual([code, expect.stringMatching(message)]);
});

test('a model that cannot be loaded is told, and no server is left', async () => {
  await writeFile(join(repository.path, 'sleeper/1/model.mjs'), 'this is no program');
  const { code, stderr } = await start(['sleeper']);
  expect([code, stderr]).toEqual([1, expect.stringMatching(/cannot be loaded as it is/)]);
});
