/**
 * What it costs to run a model that is JavaScript in its host, from `execute` to `complete`, beside the same model in ONNX Runtime: batches of 1 and 32. The median of three rounds.
 * `node dist/bench/micro/request-channel.bench.js`
 */

import { rmSync } from 'node:fs';
import type { ProcessHostOptions } from '../../server/execution/host-options.ts';
import { ProcessHost } from '../../server/execution/process-host.ts';
import { addSub } from '../models/test-models.ts';
import { RoundTrips } from './round-trips.ts';

const ROUNDS = 3;
const BATCHES = [1, 32];
const COLUMNS = ['p50 us', 'p99 us', 'a batch every 2 ms, p50 us', 'in flight, batches/s'];

const tensors = (names: readonly string[]): string => JSON.stringify(names.map((name) => ({ name, datatype: 'FP32', dims: [16] })));
const script = (isAsync: string): Buffer =>
  Buffer.from(`
export const config = { maxBatchSize: 64, inputs: ${tensors(['INPUT0', 'INPUT1'])}, outputs: ${tensors(['OUTPUT0', 'OUTPUT1'])} };
export ${isAsync} function execute(requests) {
  return requests.map(({ inputs: { INPUT0: { data: a, shape }, INPUT1: { data: b } } }) => {
    const sum = new Float32Array(a.length);
    const difference = new Float32Array(a.length);
    for (let i = 0; i < a.length; i++) {
      sum[i] = a[i] + b[i];
      difference[i] = a[i] - b[i];
    }
    return { OUTPUT0: { data: sum, shape }, OUTPUT1: { data: difference, shape } };
  });
}`);

type Kind = readonly [name: string, options: Partial<ProcessHostOptions>, model: () => Uint8Array, backend: string, file: string];
const kinds: readonly Kind[] = [
  ['ONNX Runtime, shared memory', { transport: 'shared-memory' }, () => addSub('FP32'), 'onnxruntime', 'model.onnx'],
  ['ONNX Runtime, socket', { transport: 'socket' }, () => addSub('FP32'), 'onnxruntime', 'model.onnx'],
  ['JavaScript', { runsCode: true }, () => script(''), 'javascript', 'model.mjs'],
  ['JavaScript, async', { runsCode: true }, () => script('async'), 'javascript', 'model.mjs'],
];

const measured = new Map<string, number[][]>();
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, options, model, backend, file] of kinds) {
    const host = await ProcessHost.start(options);
    const trips = await RoundTrips.create(host, model(), backend, file);
    for (const batch of BATCHES) {
      const { p50Us, p99Us } = await trips.oneAtATime(batch, 4000);
      const spaced = await trips.spaced(batch, 100);
      const row = [p50Us, p99Us, spaced.p50Us, await trips.twoInFlight(batch, 10_000)];
      const key = `${name}, batch ${batch}`;
      measured.set(key, [...(measured.get(key) ?? []), row]);
    }
    await host.stop();
    rmSync(trips.directory, { recursive: true });
  }
}
console.log('add_sub FP32 [batch, 16], two inputs, two outputs');
console.table(
  Object.fromEntries([...measured].map(([key, rows]) => [key, Object.fromEntries(COLUMNS.map((column, i) => [column, median(rows, i)]))])),
);

function median(rows: readonly number[][], column: number): number {
  const sorted = rows.map((row) => row[column]!).sort((a, b) => a - b);
  return Number(sorted[sorted.length >> 1]!.toPrecision(3));
}
