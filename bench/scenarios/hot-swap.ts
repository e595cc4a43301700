/**
 * `npm run bench:swap`: versions replaced one after another under closed-loop load over REST and gRPC, with a ledger of every request. Exits 1 when a line of the ledger is not 0.
 * Latencies during a swap stand against those of an equally long stretch right after it, in groups of swaps; what counts is the median over the groups of the ratios.
 *
 * Memory stands against that after the first swaps, which bring the processes that later ones use again; before the very first it is shown beside.
 *
 * BENCH_SWAPS (200), BENCH_LANES (8, of each protocol), BENCH_SETTLE_SECS (30, for the memory to come back); SMALL=1 for a few swaps.
 */

import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { versionedModel } from '../models/versioned-model.ts';
import { processTree, residentMiB, serveModels, treeMiB } from './child.ts';
import { median, quantile } from './http-client.ts';
import { GrpcSwapLane, RestSwapLane, type SwapLane } from './swap-lanes.ts';
import { SwapLedger } from './swap-ledger.ts';

const isSmall = process.env['SMALL'] === '1';
const swaps = Number(process.env['BENCH_SWAPS'] ?? (isSmall ? 10 : 200));
const laneCount = Number(process.env['BENCH_LANES'] ?? 8);
/** Before anything is measured: the processes that swaps bring, and what they keep, are there from then on. */
const warmUpSwaps = isSmall ? 3 : 10;
const groupSize = Math.min(10, swaps);
const settleSecs = Number(process.env['BENCH_SETTLE_SECS'] ?? 30);
const warmUpMs = isSmall ? 3000 : 10_000;
/** Versions that stay on disk behind the one that serves. */
const KEPT_ON_DISK = 3;
/** A stretch of load long enough for the last effects of a swap. */
const AFTER_SWAP_MS = 50;
const MAX_GROWTH_MIB = 32;
const DRAIN_LIMIT_MS = 10_000;
const model = 'versioned';

type Phase = 'swap' | 'steady' | 'other';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const folder = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
const versionPath = (version: number): string => join(folder, model, String(version));

/** A version appears whole. */
function addVersion(version: number): void {
  const staged = join(folder, `.staged-${version}`);
  mkdirSync(staged, { recursive: true });
  writeFileSync(join(staged, 'model.onnx'), versionedModel(version));
  mkdirSync(join(folder, model), { recursive: true });
  renameSync(staged, versionPath(version));
}

addVersion(1);
const server = await serveModels(folder, '--model-control-mode=explicit', `--load-model=${model}`, '--rollback-keep-secs=0');

const ledger = new SwapLedger(1);
let phase: Phase = 'other';
let latenciesUs: Record<Phase, number[]> = { swap: [], steady: [], other: [] };
let isOver = false;
let busy = 0;

function keepBusy(lane: SwapLane): void {
  busy++;
  const next = (): void => {
    const id = ledger.send();
    const sentIn = phase;
    const sentMs = performance.now();
    lane.send(id, (answer) => {
      ledger.settle(id, answer);
      if (!(answer instanceof Error)) latenciesUs[sentIn].push((performance.now() - sentMs) * 1000);
      if (isOver) busy--;
      // A lane whose connection failed would come back at once, without end, on one stack.
      else if (answer instanceof Error) setTimeout(next, 10);
      else next();
    });
  };
  next();
}

interface Group {
  readonly swap: readonly number[];
  readonly steady: readonly number[];
}
const groups: Group[] = [];
const swapMs: number[] = [];
/** After each group. */
const onTheWayMiB: number[] = [];

async function load(version: number): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${server.port}/v2/repository/models/${model}/load`, { method: 'POST', body: '{}' });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`version ${version} was not loaded: ${answer.status} ${text}`);
}

async function swapTo(version: number): Promise<void> {
  ledger.offer(version);
  const startedMs = performance.now();
  phase = 'swap';
  addVersion(version);
  await load(version);
  ledger.announce(version);
  swapMs.push(performance.now() - startedMs);
  if (version > KEPT_ON_DISK) rmSync(versionPath(version - KEPT_ON_DISK), { recursive: true });
  await sleep(AFTER_SWAP_MS);
  phase = 'other';
  const lengthMs = performance.now() - startedMs;
  await sleep(AFTER_SWAP_MS);
  phase = 'steady';
  await sleep(lengthMs);
  phase = 'other';
}

const unasked = (what: string): void => ledger.unasked(what);
const lanes: SwapLane[] = [
  ...Array.from({ length: laneCount }, () => new RestSwapLane(server.port, model, unasked)),
  ...(await GrpcSwapLane.open(server.grpcPort, model, Math.ceil(laneCount / 2))),
  ...(await GrpcSwapLane.open(server.grpcPort, model, Math.floor(laneCount / 2))),
];

let unswappedMiB = 0;
let beforeMiB = 0;
let afterMiB = 0;
let settledSecs = 0;
let residents: { readonly before: string; readonly after: string } = { before: '', after: '' };
/** Resident memory of the server and of each of its hosts. */
const residentOf = (): string =>
  processTree(server.pid)
    .map((pid) => residentMiB(pid).toFixed(0))
    .join(' + ');

try {
  for (const lane of lanes) keepBusy(lane);
  await sleep(warmUpMs);
  unswappedMiB = treeMiB(server.pid);
  let version = 1;
  while (version <= warmUpSwaps) await swapTo(++version);
  await sleep(warmUpMs / 2);
  beforeMiB = treeMiB(server.pid);
  swapMs.length = 0;
  const before = residentOf();
  for (let done = 0; done < swaps; done += groupSize) {
    latenciesUs = { swap: [], steady: [], other: [] };
    for (let i = done; i < Math.min(done + groupSize, swaps); i++) await swapTo(++version);
    groups.push({ swap: latenciesUs.swap, steady: latenciesUs.steady });
    onTheWayMiB.push(treeMiB(server.pid));
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${done + groupSize}/${swaps} swaps`);
  }
  // Measured as before the swaps: under the same load. What is kept a while for the next swap may go first.
  const swappedMs = performance.now();
  do {
    await sleep(1000);
    afterMiB = treeMiB(server.pid);
    settledSecs = (performance.now() - swappedMs) / 1000;
  } while (afterMiB - beforeMiB > MAX_GROWTH_MIB && settledSecs < settleSecs);
  residents = { before, after: residentOf() };
  isOver = true;
  const untilMs = performance.now() + DRAIN_LIMIT_MS;
  while (busy > 0 && performance.now() < untilMs) await sleep(10);
  // What comes twice comes now.
  await sleep(200);
  ledger.close();
} finally {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  for (const lane of lanes) lane.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}

const shown = (value: number, digits = 0): string => value.toFixed(digits).padStart(10);
console.log(
  `\n${cpus().length} cores, Node ${process.version}; ${swaps} swaps under ${laneCount} REST binary + ${laneCount} gRPC requests in flight\n`,
);
const { faults } = ledger;
const rows: readonly (readonly [string, number])[] = [
  ['sent', ledger.sent],
  ['answered', ledger.answered],
  ['versions that answered', ledger.versions.size],
];
for (const [name, value] of rows) console.log(`${name.padEnd(44)}${shown(value)}`);
const lines: readonly (readonly [string, number])[] = [
  ['failed', faults.failed],
  ['lost', faults.lost],
  ['answered twice', faults.answeredTwice],
  ['wrong value', faults.wrongValue],
  ['computed by another version than named', faults.wrongVersion],
  ['older than the version announced before', faults.olderThanAnnounced],
  ['older than an answer before', faults.wentBack],
];
for (const [name, value] of lines) console.log(`${name.padEnd(44)}${shown(value)}   ${value === 0 ? '' : 'MUST BE 0'}`);
for (const sample of ledger.samples) console.log(`  ${sample}`);

const overGroups = (of: (group: Group) => number): number => median(groups.map(of));
console.log(`\n${'latency of requests, us'.padEnd(36)}       p50       p99      answers`);
for (const name of ['steady', 'swap'] as const) {
  const [p50, p99] = [0.5, 0.99].map((q) => overGroups((group) => quantile(group[name], q)));
  const count = groups.reduce((sum, group) => sum + group[name].length, 0);
  console.log(`${(name === 'swap' ? 'during swaps' : 'between them').padEnd(36)}${shown(p50!)}${shown(p99!)}   ${shown(count)}`);
}
console.log(
  `one swap, ms: p50 ${median(swapMs).toFixed(0)}, p99 ${quantile(swapMs, 0.99).toFixed(0)}, max ${Math.max(...swapMs).toFixed(0)}`,
);
console.log(
  `memory, MiB (server and hosts, PSS): ${beforeMiB.toFixed(0)} before, ${unswappedMiB.toFixed(0)} before the very first swap, ${afterMiB.toFixed(0)} after ${settledSecs.toFixed(0)} s`,
);
console.log(`  after every ${groupSize} swaps: ${onTheWayMiB.map((value) => value.toFixed(0)).join(' ')}`);
console.log(`resident, MiB, of each process: ${residents.before} before, ${residents.after} after`);

const goals: readonly (readonly [string, number, number])[] = [
  ['p99 during swaps / between them', overGroups((group) => quantile(group.swap, 0.99) / quantile(group.steady, 0.99)), 1.5],
  ['memory after - before, MiB', afterMiB - beforeMiB, MAX_GROWTH_MIB],
];
console.log(`\n${'goal'.padEnd(44)}  measured   wanted`);
for (const [what, value, bound] of goals) {
  console.log(`${what.padEnd(44)}${shown(value, 2)}   <= ${String(bound).padEnd(6)} ${value <= bound ? 'met' : 'NOT MET'}`);
}
const isWhole = lines.every(([, value]) => value === 0) && ledger.versions.size === warmUpSwaps + swaps + 1;
console.log(isWhole ? '\nthe ledger is whole' : '\nTHE LEDGER IS NOT WHOLE');
process.exitCode = isWhole ? 0 : 1;
