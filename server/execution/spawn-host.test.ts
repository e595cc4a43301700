import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, expect, it, vi } from 'vitest';
import { spawnHost } from './spawn-host.ts';

const folder = mkdtempSync(join(tmpdir(), 'nereid-spawn-'));
const entry = join(folder, 'host.mjs');
writeFileSync(entry, 'process.stdout.write(JSON.stringify([process.env.UV_THREADPOOL_SIZE ?? null, process.env.NODE_OPTIONS ?? null]))');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

async function environmentOf(codeMemoryBytes: number): Promise<[threads: string | null, options: string | null]> {
  return JSON.parse(await text(spawnHost(entry, null, codeMemoryBytes).stdout!));
}

it('gives a host with one instance as many threads as the machine runs, and at least 4', async () => {
  vi.stubEnv('UV_THREADPOOL_SIZE', undefined);
  const threads = Number((await environmentOf(0))[0]);
  expect(threads).toBe(Math.max(4, Math.min(16, availableParallelism())));
  expect((await environmentOf(-1))[0]).toBe(null);
});

it('leaves that to whoever started the server, but none of its options for Node.js', async () => {
  vi.stubEnv('UV_THREADPOOL_SIZE', '7');
  vi.stubEnv('NODE_OPTIONS', '--no-warnings');
  expect(await environmentOf(0)).toEqual(['7', null]);
  expect(await environmentOf(-1)).toEqual(['7', null]);
});
