/**
 * How long a large model takes to load through the server's load call, beside `InferenceSession.create` of onnxruntime-node in a process of its own, in turns.
 * What counts is the median over the rounds of the ratios. The server's figure includes what it does besides: a new process, the checks, the answer over HTTP.
 *
 * BENCH_ROUNDS (7), BENCH_MODEL_MB (100); SMALL=1 for a small model and two rounds.
 */

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { mlp } from '../models/test-models.ts';
import { serveModels } from './child.ts';
import { median } from './http-client.ts';

const isSmall = process.env['SMALL'] === '1';
const rounds = Number(process.env['BENCH_ROUNDS'] ?? (isSmall ? 2 : 7));
const megabytes = Number(process.env['BENCH_MODEL_MB'] ?? (isSmall ? 10 : 100));
const rawLoad = fileURLToPath(new URL('raw-load.js', import.meta.url));
const run = promisify(execFile);

const FEATURES = 1024;
const folder = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
const file = join(folder, 'large', '1', 'model.onnx');
mkdirSync(join(folder, 'large', '1'), { recursive: true });
// Two layers of FEATURES x hidden floats.
writeFileSync(file, mlp(FEATURES, Math.round((megabytes * 1e6) / 4 / 2 / FEATURES), FEATURES));

const server = await serveModels(folder, '--model-control-mode=explicit', '--rollback-keep-secs=0');

async function control(what: 'load' | 'unload'): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${server.port}/v2/repository/models/large/${what}`, { method: 'POST', body: '{}' });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${what} was answered ${answer.status}: ${text}`);
}

async function loadByServer(): Promise<number> {
  const startedMs = performance.now();
  await control('load');
  const tookMs = performance.now() - startedMs;
  await control('unload');
  // The unload goes on behind its answer, and is no part of what comes next.
  const url = `http://127.0.0.1:${server.port}/v2/repository/index`;
  while (/UNLOADING/.test(await (await fetch(url, { method: 'POST' })).text())) await new Promise((resolve) => setTimeout(resolve, 10));
  return tookMs;
}

interface Round {
  readonly serverMs: number;
  /** `create` alone, and with the start and end of its process. */
  readonly createMs: number;
  readonly processMs: number;
}

async function loadRaw(): Promise<Pick<Round, 'createMs' | 'processMs'>> {
  const startedMs = performance.now();
  const { stdout } = await run(process.execPath, [rawLoad, file]);
  return { createMs: Number(stdout), processMs: performance.now() - startedMs };
}

const measured: Round[] = [];
try {
  // The file is in the page cache from here on.
  await loadRaw();
  await loadByServer();
  for (let round = 0; round < rounds; round++) {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round + 1}/${rounds}`);
    if (round % 2 === 0) {
      const serverMs = await loadByServer();
      measured.push({ serverMs, ...(await loadRaw()) });
    } else {
      const raw = await loadRaw();
      measured.push({ serverMs: await loadByServer(), ...raw });
    }
  }
} finally {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  await server.stop();
}
const fileMb = statSync(file).size / 1e6;
rmSync(folder, { recursive: true, force: true });

const overRounds = (of: (round: Round) => number): number => median(measured.map(of));
const shown = (value: number, digits = 0): string => value.toFixed(digits).padStart(10);
console.log(`\n${cpus().length} cores, Node ${process.version}; a model of ${fileMb.toFixed(0)} MB, ${rounds} rounds, medians, ms\n`);
console.log(`${'load call of the server'.padEnd(52)}${shown(overRounds(({ serverMs }) => serverMs))}`);
console.log(`${'InferenceSession.create of onnxruntime-node'.padEnd(52)}${shown(overRounds(({ createMs }) => createMs))}`);
console.log(`${'  with its process, from start to end'.padEnd(52)}${shown(overRounds(({ processMs }) => processMs))}`);
const ratio = overRounds(({ serverMs, createMs }) => serverMs / createMs);
console.log(`\n${'goal'.padEnd(44)}  measured   wanted`);
console.log(`${'load call / InferenceSession.create'.padEnd(44)}${shown(ratio, 2)}   <= 1.2    ${ratio <= 1.2 ? 'met' : 'NOT MET'}`);
console.log(
  `${'load call / its whole process'.padEnd(44)}${shown(
    overRounds(({ serverMs, processMs }) => serverMs / processMs),
    2,
  )}`,
);
