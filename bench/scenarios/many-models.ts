/**
 * A repository of many small models: from the start of the process until it is ready, the index, one inference on each, memory; with all of them loaded at start, and with
 * each loaded by its first request (--load-on-demand).
 *
 * BENCH_MODELS (1000); SMALL=1 for 50.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { versionedModel } from '../models/versioned-model.ts';
import { processTree, serveModels, treeMiB } from './child.ts';
import { median, quantile } from './http-client.ts';
import { RestSwapLane } from './swap-lanes.ts';

const count = Number(process.env['BENCH_MODELS'] ?? (process.env['SMALL'] === '1' ? 50 : 1000));
const READY_GOAL_MS = 5000;
const LANES = 4;

const folder = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
const names = Array.from({ length: count }, (_, i) => `model-${String(i).padStart(5, '0')}`);
const bytes = versionedModel(1);
for (const name of names) {
  mkdirSync(join(folder, name, '1'), { recursive: true });
  writeFileSync(join(folder, name, '1', 'model.onnx'), bytes);
}

interface Run {
  readonly readyMs: number;
  readonly readyModels: number;
  readonly indexMs: number;
  readonly inferMs: readonly number[];
  readonly inferAllMs: number;
  readonly failures: readonly string[];
  readonly startMiB: number;
  readonly endMiB: number;
  readonly processes: number;
}

async function measure(...more: readonly string[]): Promise<Run> {
  const server = await serveModels(folder, ...more);
  try {
    const startMiB = treeMiB(server.pid);
    const indexStartMs = performance.now();
    const index = (await (await fetch(`http://127.0.0.1:${server.port}/v2/repository/index`, { method: 'POST' })).json()) as {
      readonly state?: string;
    }[];
    const indexMs = performance.now() - indexStartMs;
    if (index.length < count) throw new Error(`the index has ${index.length} of ${count} models`);
    const inferMs: number[] = [];
    const failures: string[] = [];
    const inferStartMs = performance.now();
    let at = 0;
    const inferOnSome = async (): Promise<void> => {
      for (let name = names[at++]; name !== undefined; name = names[at++]) {
        const lane = new RestSwapLane(server.port, name, (what) => failures.push(what));
        const id = at;
        const startedMs = performance.now();
        const answer = await new Promise<Error | { readonly value: number }>((resolve) => lane.send(id, resolve));
        inferMs.push(performance.now() - startedMs);
        lane.close();
        if (answer instanceof Error) failures.push(`${name}: ${answer.message}`);
        else if (answer.value !== id) failures.push(`${name}: ${answer.value} instead of ${id}`);
      }
    };
    await Promise.all(Array.from({ length: LANES }, inferOnSome));
    return {
      readyMs: server.startMs,
      readyModels: index.filter(({ state }) => state === 'READY').length,
      indexMs,
      inferMs,
      inferAllMs: performance.now() - inferStartMs,
      failures,
      startMiB,
      endMiB: treeMiB(server.pid),
      processes: processTree(server.pid).length,
    };
  } finally {
    await server.stop();
  }
}

const shown = (value: number, digits = 0): string => value.toFixed(digits).padStart(10);
let isGood = true;
console.log(`\n${cpus().length} cores, Node ${process.version}; ${count} models\n`);
try {
  for (const [what, flags] of [
    ['all loaded at start', []],
    ['--load-on-demand', ['--load-on-demand']],
  ] as const) {
    const run = await measure(...flags);
    const faults = [...run.failures];
    if (flags.length > 0 && run.readyModels > 0) faults.push('models were loaded before their first request');
    if (flags.length === 0 && run.readyModels < count) faults.push('the server was ready before its models');
    console.log(`${what}: ${run.readyModels} models READY at start`);
    for (const [name, value, digits] of [
      ['from start to ready, ms', run.readyMs, 0],
      ['index, ms', run.indexMs, 1],
      [`one inference on each, ${LANES} at a time, ms`, run.inferAllMs, 0],
      ['  of one, connection included: p50, ms', median(run.inferMs), 2],
      ['  p99, ms', quantile(run.inferMs, 0.99), 2],
      ['  failed', run.failures.length, 0],
      ['memory when ready, MiB (PSS of all processes)', run.startMiB, 0],
      ['memory after the inferences, MiB', run.endMiB, 0],
      ['processes', run.processes, 0],
    ] as const) {
      console.log(`  ${name.padEnd(52)}${shown(value, digits)}`);
    }
    for (const fault of faults.slice(0, 3)) console.log(`    FAULT: ${fault}`);
    const isReady = run.readyMs < READY_GOAL_MS;
    console.log(`  ready in under ${READY_GOAL_MS / 1000} s: ${isReady ? 'met' : 'NOT MET'}\n`);
    isGood &&= faults.length === 0;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = isGood ? 0 : 1;
