/**
 * `npm run bench:smoke`: closed-loop load over the example models, every figure beside its controls, all in one rotation.
 *
 * On one machine in one minute, absolute figures mean nothing: what counts is the median over the rounds of the ratio to a control measured in the same
 * round. Processor time per request is printed beside throughput, since the load generator shares the machine's cores.
 */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import autocannon from 'autocannon';
import { chooseHttpEngine } from '../../server/transports/choose-http-engine.ts';
import { type BenchServer, cpuSeconds, residentMiB, serveModels, startServer } from './child.ts';
import { median, PingPong, postRequest, quantile } from './http-client.ts';
import { runWrk } from './wrk.ts';

/** BENCH_ROUNDS, BENCH_SECONDS and BENCH_ONLY (a pattern of names) make a run longer, or shorter. */
const rounds = Number(process.env['BENCH_ROUNDS'] ?? 5);
const seconds = Number(process.env['BENCH_SECONDS'] ?? 2);
const root = fileURLToPath(new URL('../../../', import.meta.url));
const repository = `${root}model-repository`;

interface Body {
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

const simpleJson: Body = json('simple', readFileSync(`${root}bench/models/requests/simple.json`));
const simpleBinary: Body = binary(
  'simple',
  [
    { name: 'INPUT0', datatype: 'INT32', shape: [1, 16] },
    { name: 'INPUT1', datatype: 'INT32', shape: [1, 16] },
  ],
  Buffer.from(new Int32Array(32).fill(1).buffer),
);
const digitsBinary: Body = binary(
  'digits',
  [{ name: 'image', datatype: 'FP32', shape: [1, 1, 8, 8] }],
  Buffer.from(new Float32Array(64).fill(8).buffer),
);

function json(model: string, body: Buffer): Body {
  return { path: `/v2/models/${model}/infer`, headers: { 'content-type': 'application/json' }, body };
}

function binary(model: string, inputs: readonly { name: string; datatype: string; shape: number[] }[], tensors: Buffer): Body {
  const header = Buffer.from(
    JSON.stringify({
      inputs: inputs.map((input) => ({ ...input, parameters: { binary_data_size: tensors.length / inputs.length } })),
      parameters: { binary_data_output: true },
    }),
  );
  return {
    path: `/v2/models/${model}/infer`,
    headers: { 'content-type': 'application/octet-stream', 'inference-header-content-length': String(header.length) },
    body: Buffer.concat([header, tensors]),
  };
}

/** What one slice of one contender gave. */
interface Slice {
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly cpuUsPerRequest: number;
}

/** `autocannon`, which is there, or `wrk`, which is lighter and has to be installed. */
const generator = process.env['BENCH_GENERATOR'] === 'wrk' ? 'wrk' : 'autocannon';

async function throughput(server: BenchServer, { path, headers, body }: Body, connections: number): Promise<Slice> {
  if (generator === 'wrk') {
    const url = `http://127.0.0.1:${server.port}${path}`;
    await runWrk(url, headers, body, connections, 1);
    const cpuBefore = cpuSeconds(server.pid);
    const { answered, ...slice } = await runWrk(url, headers, body, connections, Math.max(1, Math.round(seconds)));
    return { ...slice, cpuUsPerRequest: ((cpuSeconds(server.pid) - cpuBefore) * 1e6) / answered };
  }
  const load = { url: `http://127.0.0.1:${server.port}${path}`, method: 'POST', headers, body, connections } as const;
  // A short unmeasured part first: caches and compilers.
  await autocannon({ ...load, duration: 0.5 });
  const cpuBefore = cpuSeconds(server.pid);
  const result = await autocannon({ ...load, duration: seconds });
  if (result.non2xx > 0 || result.errors > 0) throw new Error(`${path}: ${result.non2xx} bad answers, ${result.errors} errors`);
  const answered = result.requests.total;
  return {
    perSecond: answered / result.duration,
    p50Us: result.latency.p50 * 1000,
    p99Us: result.latency.p99 * 1000,
    cpuUsPerRequest: ((cpuSeconds(server.pid) - cpuBefore) * 1e6) / answered,
  };
}

async function latency(server: BenchServer, { path, headers, body }: Body): Promise<Slice> {
  const client = await PingPong.connect(server.port, postRequest(path, headers, body));
  await client.run(200);
  const cpuBefore = cpuSeconds(server.pid);
  const latencies = await client.run(seconds * 1000);
  client.close();
  return {
    perSecond: latencies.length / seconds,
    p50Us: median(latencies),
    p99Us: quantile(latencies, 0.99),
    cpuUsPerRequest: ((cpuSeconds(server.pid) - cpuBefore) * 1e6) / latencies.length,
  };
}

async function rawRuns(model: string): Promise<Slice> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    `${root}dist/bench/scenarios/raw-onnxruntime.js`,
    `${repository}/${model}/1/model.onnx`,
    String(seconds),
  ]);
  const perSecond = Number(stdout);
  return { perSecond, p50Us: 1e6 / perSecond, p99Us: Number.NaN, cpuUsPerRequest: 1e6 / perSecond };
}

async function isUp(port: number, { path, headers, body }: Body): Promise<boolean> {
  return (await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST', headers, body: new Uint8Array(body) })).status === 200;
}

const serve = (host: 'process' | 'inline'): Promise<BenchServer> => serveModels(repository, `--execution-host=${host}`);

const engine = (await chooseHttpEngine('auto', null)).engine;
const empty = await startServer(
  'bench/scenarios/empty-server.js',
  (port) => [engine, String(port)],
  (port) => isUp(port, simpleJson),
);
const hosted = await serve('process');
const idleMiB = residentMiB(hosted.pid);
const inline = await serve('inline');

/** Contenders whose name fits are measured; all of them when it is not given. */
const only = new RegExp(process.env['BENCH_ONLY'] ?? '');

const all: Readonly<Record<string, () => Promise<Slice>>> = {
  'empty handler, JSON, c=32': () => throughput(empty, simpleJson, 32),
  'simple JSON, c=32': () => throughput(hosted, simpleJson, 32),
  'simple JSON, c=32, inline': () => throughput(inline, simpleJson, 32),
  'simple binary, c=64': () => throughput(hosted, simpleBinary, 64),
  'simple binary, c=64, inline': () => throughput(inline, simpleBinary, 64),
  'digits binary, c=64': () => throughput(hosted, digitsBinary, 64),
  'digits binary, c=64, inline': () => throughput(inline, digitsBinary, 64),
  'raw onnxruntime digits, batch 1': () => rawRuns('digits'),
  'raw onnxruntime simple, batch 1': () => rawRuns('simple'),
  'simple binary, c=1': () => latency(hosted, simpleBinary),
  'simple binary, c=1, inline': () => latency(inline, simpleBinary),
  'empty handler, JSON, c=1': () => latency(empty, simpleJson),
};

const contenders = Object.fromEntries(Object.entries(all).filter(([name]) => only.test(name)));
const slices = new Map<string, Slice[]>(Object.keys(contenders).map((name) => [name, []]));
try {
  for (let round = 0; round < rounds; round++) {
    // Another order each round, so that no contender always follows the same one.
    const names = Object.keys(contenders).sort((a, b) => hash(a, round) - hash(b, round));
    for (const name of names) {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round + 1}/${rounds}  ${name}`);
      slices.get(name)!.push(await contenders[name]!());
    }
  }
} finally {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  await Promise.all([empty, hosted, inline].map((server) => server.stop()));
}

function hash(text: string, seed: number): number {
  let value = seed * 2_654_435_761;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 16_777_619);
  return value >>> 0;
}

/** Median over the rounds of `of` of one contender to another. */
function ratio(a: string, b: string, of: (slice: Slice) => number): number {
  const [rowsOfA, rowsOfB] = [slices.get(a), slices.get(b)];
  if (rowsOfA === undefined || rowsOfB === undefined) return Number.NaN;
  return median(rowsOfA.map((slice, i) => of(slice) / of(rowsOfB[i]!)));
}

const perSecond = (slice: Slice): number => slice.perSecond;
const p50 = (slice: Slice): number => slice.p50Us;
const cpu = (slice: Slice): number => slice.cpuUsPerRequest;
const number = (value: number, digits = 0): string => (Number.isNaN(value) ? '-' : value.toFixed(digits)).padStart(9);

console.log(
  `\n${cpus().length} cores, Node ${process.version}, HTTP engine ${engine}, load by ${generator}; ${rounds} rounds of ${seconds} s, medians\n`,
);
console.log(`${''.padEnd(34)}    req/s    p50 us    p99 us  cpu us/req`);
for (const [name, rows] of slices) {
  const row = [perSecond, p50, (slice: Slice) => slice.p99Us, cpu].map((of) => median(rows.map(of)));
  console.log(`${name.padEnd(34)}${number(row[0]!)} ${number(row[1]!)} ${number(row[2]!)}  ${number(row[3]!, 1)}`);
}

interface Goal {
  readonly what: string;
  readonly value: number;
  readonly goal: string;
  readonly isMet: boolean;
}

const goals: Goal[] = [];
const atLeast = (what: string, value: number, bound: number): void => {
  goals.push({ what, value, goal: `>= ${bound}`, isMet: value >= bound });
};
const atMost = (what: string, value: number, bound: number): void => {
  goals.push({ what, value, goal: `<= ${bound}`, isMet: value <= bound });
};
atLeast('simple JSON c=32 / empty handler, throughput', ratio('simple JSON, c=32', 'empty handler, JSON, c=32', perSecond), 0.5);
atLeast('process / inline, simple binary c=64, throughput', ratio('simple binary, c=64', 'simple binary, c=64, inline', perSecond), 0.95);
atLeast('process / inline, digits binary c=64, throughput', ratio('digits binary, c=64', 'digits binary, c=64, inline', perSecond), 0.95);
atMost('process / inline, simple binary c=1, p50', ratio('simple binary, c=1', 'simple binary, c=1, inline', p50), 1.3);
atLeast('digits binary c=64 / raw onnxruntime batch 1', ratio('digits binary, c=64', 'raw onnxruntime digits, batch 1', perSecond), 1);
atMost('start to first answer, ms', hosted.startMs, 1000);
atMost('gateway memory before load, MiB', idleMiB, 120);
console.log(`\n${'goal'.padEnd(52)}  measured   wanted`);
for (const { what, value, goal, isMet } of goals) {
  const verdict = Number.isNaN(value) ? 'not measured' : isMet ? 'met' : 'NOT MET';
  console.log(`${what.padEnd(52)} ${number(value, 2)}   ${goal.padEnd(8)} ${verdict}`);
}
