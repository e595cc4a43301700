/** What goes wrong around a model that is being replaced: the old version or the new one serves, never half of one, and no request fails over it. */

import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, test } from 'vitest';
import { versionedModel } from '../../bench/models/versioned-model.ts';
import { type Answer, isAlive, makeRepository, ServerProcess, until } from './serve.ts';

/** Takes long enough to read that a deletion can come in between. */
const LARGE_BYTES = 2 ** 25;

type Mode = 'explicit' | 'poll';

const modeFlags: Readonly<Record<Mode, readonly string[]>> = {
  explicit: ['--model-control-mode=explicit', '--load-model=*'],
  poll: ['--model-control-mode=poll', '--repository-poll-secs=1', '--repository-settle-ms=100'],
};

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** One model, `m`, and whoever deploys it. */
class Deployment {
  readonly root: string;

  constructor() {
    const repository = makeRepository({ 'm/1/model.onnx': versionedModel(1) });
    cleanups.push(repository.remove);
    this.root = repository.path;
  }

  path(...below: string[]): string {
    return join(this.root, 'm', ...below);
  }

  /** It appears whole, as those who deploy should have it. `stamp` is what the model says of itself. */
  addVersion(version: number, stamp: number = version, padding = 0): void {
    const staged = mkdtempSync(join(this.root, '.staged-'));
    writeFileSync(join(staged, 'model.onnx'), versionedModel(stamp, padding));
    renameSync(staged, this.path(String(version)));
  }

  async serve(mode: Mode, ...more: string[]): Promise<ServerProcess> {
    const server = await ServerProcess.start([`--model-repository=${this.root}`, ...modeFlags[mode], '--rollback-keep-secs=0', ...more]);
    cleanups.push(() => server.kill());
    return server;
  }
}

interface Served {
  readonly status: number;
  /** As the answer names it, and as the model computed it. */
  readonly version: number;
  readonly stamp: number;
  readonly error?: string;
}

let nextValue = 0;

async function infer(server: ServerProcess): Promise<Served> {
  const value = ++nextValue;
  const { status, json } = await server.post('/v2/models/m/infer', {
    inputs: [{ name: 'INPUT0', datatype: 'INT64', shape: [1, 1], data: [value] }],
  });
  if (status !== 200) return { status, version: -1, stamp: -1, error: json?.error };
  expect(json.outputs[0].data).toEqual([value]);
  return { status, version: Number(json.model_version), stamp: json.outputs[1].data[0] };
}

const load = (server: ServerProcess, body: object = {}): Promise<Answer> => server.post('/v2/repository/models/m/load', body);
interface IndexRow {
  readonly version?: string;
  readonly state?: string;
}
const readyVersions = async (server: ServerProcess): Promise<(string | undefined)[]> =>
  ((await server.post('/v2/repository/index', '')).json as IndexRow[])
    .filter(({ state }) => state === 'READY')
    .map(({ version }) => version);
const indexText = async (server: ServerProcess): Promise<string> => JSON.stringify((await server.post('/v2/repository/index', '')).json);

/** Until the model says `stamp`: by a load call, or by itself. */
async function untilServed(mode: Mode, server: ServerProcess, stamp: number): Promise<void> {
  if (mode === 'explicit') expect((await load(server)).json?.error).toBeUndefined();
  else await until(async () => (await infer(server)).stamp === stamp);
  expect(await infer(server)).toMatchObject({ status: 200, stamp });
}

/** What is on disk cannot be served: the call says so with `text`, or the index does. */
async function untilRefused(mode: Mode, server: ServerProcess, text: string): Promise<void> {
  if (mode === 'explicit') {
    const answer = await load(server);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.json.error).toContain(text);
  }
  await until(async () => (await indexText(server)).includes(text));
}

/** Clients that infer without a pause while `change` happens. None of their requests may fail, nor a version go back. */
async function underLoad(server: ServerProcess, change: () => Promise<void>, { mayGoBack = false } = {}): Promise<void> {
  let isOver = false;
  const client = async (): Promise<void> => {
    let newest = 0;
    while (!isOver) {
      const answer = await infer(server);
      expect(answer).toMatchObject({ status: 200 });
      expect(answer.stamp).toBe(answer.version);
      if (!mayGoBack) expect(answer.version).toBeGreaterThanOrEqual(newest);
      newest = answer.version;
    }
  };
  const clients = Promise.all([client(), client()]);
  try {
    await Promise.race([change(), clients]);
  } finally {
    isOver = true;
    await clients;
  }
}

describe('a server killed in the middle of a swap', () => {
  const moments = 5;

  it.each(['explicit', 'poll'] as const)('starts again with the old version or the new one (%s)', { timeout: 120_000 }, async (mode) => {
    const deployment = new Deployment();
    let server = await deployment.serve(mode);
    deployment.addVersion(2);
    const startedMs = performance.now();
    await untilServed(mode, server, 2);
    const swapMs = performance.now() - startedMs;
    for (let moment = 0; moment < moments; moment++) {
      const version = moment + 3;
      const hosts = server.hosts();
      // Whoever deploys is cut off as well, and leaves this behind.
      mkdirSync(deployment.path(`.staged-${version}`));
      writeFileSync(deployment.path(`.staged-${version}`, 'model.onnx'), versionedModel(version).subarray(0, 100));
      deployment.addVersion(version);
      if (mode === 'explicit') load(server).catch(() => {});
      // Spread over the length of a swap, and a little beyond it.
      await new Promise((resolve) => setTimeout(resolve, (swapMs * 1.2 * moment) / (moments - 1)));
      hosts.push(...server.hosts());
      await server.kill();
      await until(() => !hosts.some(isAlive));

      server = await deployment.serve(mode);
      expect((await server.get('/v2/health/ready')).status).toBe(200);
      const { status, version: served, stamp } = await infer(server);
      expect([status, stamp]).toEqual([200, served]);
      expect([version - 1, version]).toContain(served);
      await untilServed(mode, server, version);
      await expect.poll(() => readyVersions(server)).toEqual([String(version)]);
    }
  });
});

describe.each(['explicit', 'poll'] as const)('while clients infer (%s)', (mode) => {
  it('a version deleted while it is being read leaves a whole one serving', { timeout: 60_000 }, async () => {
    const deployment = new Deployment();
    const server = await deployment.serve(mode);
    const change = async (): Promise<void> => {
      for (const [version, removeAfterMs] of [
        [2, 0],
        [3, 100],
        [4, 250],
      ] as const) {
        deployment.addVersion(version, version, LARGE_BYTES);
        const loading = mode === 'explicit' ? load(server) : null;
        await new Promise((resolve) => setTimeout(resolve, removeAfterMs));
        renameSync(deployment.path(String(version)), deployment.path('.gone'));
        rmSync(deployment.path('.gone'), { recursive: true });
        const answer = await loading;
        if (answer !== null && answer.status !== 200) expect(answer.json.error).toBeTruthy();
      }
    };
    // Back to the version that is still there is where it goes.
    await underLoad(server, change, { mayGoBack: true });
    deployment.addVersion(5);
    await untilServed(mode, server, 5);
    rmSync(deployment.path('1'), { recursive: true });
    expect((await server.get('/v2/health/ready')).status).toBe(200);
    expect(await infer(server)).toMatchObject({ status: 200, version: 5 });
  });

  it('a configuration edited to nonsense is refused with its reason, and taken once it is whole again', async () => {
    const deployment = new Deployment();
    const server = await deployment.serve(mode);
    await underLoad(server, async () => {
      writeFileSync(deployment.path('config.pbtxt'), 'max_batch_sise: 8\n');
      await untilRefused(mode, server, 'max_batch_size');
      expect(await infer(server)).toMatchObject({ status: 200, version: 1 });
      expect((await server.get('/v2/models/m/config')).json).not.toMatchObject({ max_batch_size: 8 });
      expect((await server.get('/v2/health/ready')).status).toBe(200);

      writeFileSync(deployment.path('config.pbtxt'), 'max_batch_size: 8\n');
      if (mode === 'explicit') expect((await load(server)).status).toBe(200);
      await until(async () => (await server.get('/v2/models/m/config')).json.max_batch_size === 8);
      await expect.poll(() => indexText(server)).not.toContain('max_batch_size');
      expect(await readyVersions(server)).toEqual(['1']);
    });
  });

  it('of two versions that arrive at once the newer one serves', async () => {
    const deployment = new Deployment();
    const server = await deployment.serve(mode);
    await underLoad(server, async () => {
      for (const [older, newer] of [
        [2, 3],
        [4, 5],
        [6, 7],
      ] as const) {
        deployment.addVersion(older);
        const first = mode === 'explicit' ? load(server) : null;
        deployment.addVersion(newer);
        expect((await first)?.status ?? 200).toBe(200);
        await untilServed(mode, server, newer);
        await expect.poll(() => readyVersions(server)).toEqual([String(newer)]);
      }
    });
  });

  it('a file with a date from before the one it replaces is noticed', async () => {
    const deployment = new Deployment();
    const server = await deployment.serve(mode);
    const past = new Date('1999-12-31T23:59:59Z');
    for (const stamp of [7, 8, 9]) {
      // The same size and, from the second on, the same date.
      const staged = join(deployment.root, '.staged');
      writeFileSync(staged, versionedModel(stamp));
      utimesSync(staged, past, past);
      renameSync(staged, deployment.path('1', 'model.onnx'));
      utimesSync(deployment.path('1'), past, past);
      await untilServed(mode, server, stamp);
    }
    deployment.addVersion(2);
    utimesSync(deployment.path('2', 'model.onnx'), past, past);
    utimesSync(deployment.path('2'), past, past);
    utimesSync(deployment.path(), past, past);
    await untilServed(mode, server, 2);
  });
});

test('poll: a version that is copied in slowly serves when it is whole, and not before', async () => {
  const deployment = new Deployment();
  const server = await deployment.serve('poll');
  const bytes = versionedModel(2);
  await underLoad(server, async () => {
    mkdirSync(deployment.path('2'));
    for (let at = 0; at < bytes.length; at += 40) {
      appendFileSync(deployment.path('2', 'model.onnx'), bytes.subarray(at, at + 40));
      // Shorter than the directory has to be still, so that only a server that does not wait would load half a file.
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    await untilServed('poll', server, 2);
  });
  expect(server.stderr).not.toContain('UNAVAILABLE');
});

test('poll: a model whose directory goes is unloaded, and served again when it is back', async () => {
  const deployment = new Deployment();
  const server = await deployment.serve('poll');
  expect(await infer(server)).toMatchObject({ version: 1 });
  renameSync(deployment.path(), join(deployment.root, '.away'));
  await until(async () => (await infer(server)).status === 404);
  renameSync(join(deployment.root, '.away'), deployment.path());
  await untilServed('poll', server, 1);
});

test('a load request whose files find no room on the disk is refused, and leaves nothing behind', async (context) => {
  const small = mkdtempSync(join(tmpdir(), 'nereid-small-'));
  cleanups.push(() => rmSync(small, { recursive: true, force: true }));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', small], { stdio: 'ignore' });
  } catch {
    context.skip('a small file system cannot be mounted here: that needs root');
  }
  cleanups.push(() => execFileSync('umount', [small]));
  const deployment = new Deployment();
  const server = await ServerProcess.start([`--model-repository=${deployment.root}`, ...modeFlags.explicit], { TMPDIR: small });
  cleanups.push(() => server.kill());
  const before = readdirSync(small);
  const file = (bytes: Uint8Array): object => ({
    parameters: { config: '{}', 'file:2/model.onnx': Buffer.from(bytes).toString('base64') },
  });
  await underLoad(server, async () => {
    const answer = await load(server, file(versionedModel(2, 2 ** 22)));
    expect([answer.status, answer.json.error]).toEqual([413, expect.stringContaining('no room')]);
    expect(readdirSync(small)).toEqual(before);
    expect(await infer(server)).toMatchObject({ status: 200, version: 1 });
  });
  expect((await load(server, file(versionedModel(2)))).json?.error).toBeUndefined();
  expect(await infer(server)).toMatchObject({ status: 200, version: 2, stamp: 2 });
});
