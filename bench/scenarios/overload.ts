/**
 * `npm run bench:overload`: what remains of the goodput when three times as many requests come as the model can do, and how long a refusal takes. An open-loop sender (a process of its own) gives each request a
 * deadline, over gRPC; goodput counts the answers that came within it, from the time at which the request was meant to be sent.
 *
 * Beside them, a process of its own calls ServerLive, which does nothing: what that takes, a refusal cannot take less.
 *
 * First the peak: the best goodput of several rates around what a closed loop reached. Then three times the rate of the peak. Both in each round; what counts is the median over the rounds.
 *
 * BENCH_MODEL=waiting takes a model that waits 5 ms for each batch instead of computing, so that a core is left for whoever refuses.
 *
 * BENCH_ROUNDS (5), BENCH_SECONDS (4, of each rate), BENCH_DEADLINE_MS (60), BENCH_LAYERS (1500, of the model); SMALL=1 for one short round. BENCH_FLAGS go to the server (`--learned-batching=false` shows what it is for).
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { deep } from '../models/test-models.ts';
import { serveModels } from './child.ts';
import { median } from './http-client.ts';
import type { SenderPlan, SenderReport } from './open-loop-sender.ts';
import { measureCapacity, runSender, shownQuantiles } from './run-sender.ts';

const isSmall = process.env['SMALL'] === '1';
const rounds = Number(process.env['BENCH_ROUNDS'] ?? (isSmall ? 1 : 5));
const seconds = Number(process.env['BENCH_SECONDS'] ?? (isSmall ? 2 : 4));
const deadlineMs = Number(process.env['BENCH_DEADLINE_MS'] ?? 60);
const flags = (process.env['BENCH_FLAGS'] ?? '').split(' ').filter(Boolean);
const WANTED_SHARE = 0.9;
const WANTED_REFUSAL_MS = 5;
const OVERLOAD = 3;
/** Rates at which the peak is looked for, as shares of what a closed loop reaches. */
const SHARES = [0.8, 0.9, 1];

const waitingModel = `
  export const config = {
    maxBatchSize: 4,
    maxConcurrency: 1,
    inputs: [{ name: 'INPUT0', datatype: 'FP32', dims: [256] }],
    outputs: [{ name: 'OUTPUT0', datatype: 'FP32', dims: [256] }],
  };
  export async function execute(requests) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    return requests.map(({ inputs }) => ({ OUTPUT0: inputs.INPUT0 }));
  }
`;
const folder = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
mkdirSync(join(folder, 'deep/1'), { recursive: true });
if (process.env['BENCH_MODEL'] === 'waiting') writeFileSync(join(folder, 'deep/1/model.mjs'), waitingModel);
else writeFileSync(join(folder, 'deep/1/model.onnx'), deep(Number(process.env['BENCH_LAYERS'] ?? 1500)));
writeFileSync(join(folder, 'deep/config.pbtxt'), 'max_batch_size: 4 dynamic_batching {}');

const lines: string[] = [];
const server = await serveModels(folder, ...flags);
const plan = { port: server.grpcPort, model: 'deep', rowLength: 256, priority: 0 };
const measuredMs = seconds * 1000;
let seed = 1;

function send(schedule: SenderPlan['schedule'], perSecond: number, warmUpMs = 1000): Promise<SenderReport> {
  return runSender({ ...plan, method: 'ModelInfer', schedule, seed: seed++, perSecond, warmUpMs, measuredMs, deadlineMs });
}

/** Calls of nothing, while something else is sent. */
function sendNothing(): Promise<SenderReport> {
  return runSender({
    ...plan,
    method: 'ServerLive',
    schedule: 'poisson',
    seed: seed++,
    perSecond: 100,
    warmUpMs: 1000,
    measuredMs,
    deadlineMs: 0,
  });
}

interface Work {
  readonly executions: number;
  readonly rows: number;
  /** Of the model's one instance. */
  readonly busyMs: number;
}

/** What the model has done since it was loaded. */
async function workDone(): Promise<Work> {
  const page = (await (await fetch(`http://127.0.0.1:${server.port}/v2/models/deep/stats`)).json()) as {
    model_stats: { batch_stats: { batch_size: number; compute_infer: { count: number; ns: number } }[] }[];
  };
  let [executions, rows, busyMs] = [0, 0, 0];
  for (const { batch_size: size, compute_infer: infer } of page.model_stats[0]!.batch_stats) {
    executions += infer.count;
    rows += infer.count * size;
    busyMs += infer.ns / 1e6;
  }
  return { executions, rows, busyMs };
}

function shownWork(from: Work, to: Work, elapsedMs: number): string {
  const [executions, rows, busyMs] = [to.executions - from.executions, to.rows - from.rows, to.busyMs - from.busyMs];
  return `the model was busy for ${((100 * busyMs) / elapsedMs).toFixed(0)} % of the time, ${(busyMs / executions).toFixed(1)} ms an execution of ${(rows / executions).toFixed(1)} rows`;
}

function shown(name: string, perSecond: number, report: SenderReport): string {
  const share = (count: number): string => `${((100 * count) / report.sent).toFixed(1)} %`;
  const { latencyMs, refusalMs } = report;
  return (
    `${name.padEnd(18)} ${perSecond.toFixed(0).padStart(6)}/s: in time ${report.goodput.toFixed(0)}/s, late ${share(report.late)}, refused ${share(report.refused)}, expired ${share(report.expired)}; ` +
    `answers ${shownQuantiles(latencyMs)}; refusals ${shownQuantiles(refusalMs)}; sender late ${shownQuantiles(report.lagMs)}`
  );
}

try {
  lines.push(`${cpus().length} cores, Node ${process.version}; deadline ${deadlineMs} ms`);
  for (const schedule of ['fixed', 'poisson'] as const) {
    const ratios: number[] = [];
    const refusals: number[] = [];
    const controls: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const capacity = await measureCapacity(plan);
      let peak = 0;
      let peakRate = 0;
      for (const share of SHARES) {
        const report = await send(schedule, capacity * share);
        if (round === 0) lines.push(shown(`${schedule} ${share}x`, capacity * share, report));
        if (report.goodput <= peak) continue;
        peak = report.goodput;
        peakRate = capacity * share;
      }
      const before = await workDone();
      const sentMs = performance.now();
      const [report, control] = await Promise.all([send(schedule, OVERLOAD * peakRate), sendNothing()]);
      lines.push(shown(`${schedule} ${OVERLOAD}x, round ${round + 1}`, OVERLOAD * peakRate, report));
      ratios.push(report.goodput / peak);
      refusals.push(report.refusalMs.p99 ?? Number.NaN);
      controls.push(control.answerMs.p99 ?? Number.NaN);
      lines.push(
        `${''.padEnd(18)} ${shownWork(before, await workDone(), performance.now() - sentMs)}; ServerLive beside it: ${shownQuantiles(control.answerMs)}`,
      );
    }
    const share = median(ratios);
    const refusalMs = median(refusals);
    const controlMs = median(controls);
    lines.push(
      `${schedule}: goodput at ${OVERLOAD}x / peak ${share.toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}); wanted ${WANTED_SHARE}: ${share >= WANTED_SHARE ? 'met' : 'NOT MET'}`,
      `${schedule}: refusals, p99 ${refusalMs.toFixed(1)} ms (ServerLive ${controlMs.toFixed(1)} ms); wanted ${WANTED_REFUSAL_MS}: ${refusalMs <= WANTED_REFUSAL_MS ? 'met' : 'NOT MET'}`,
    );
  }
} finally {
  await server.stop();
  rmSync(folder, { recursive: true });
}
process.stdout.write(`${lines.join('\n')}\n`);
