/**
 * What it costs to run a model in a host, from `execute` to `complete`: shared memory, socket frames and inline, batches of 1 and 32. The median of three
 * rounds: where the system puts the two processes decides as much as the code does.
 * `node dist/bench/micro/instance-channel.bench.js`
 */

import { rmSync } from 'node:fs';
import type { ExecutionHost } from '../../server/execution/execution-host.ts';
import { InlineHost } from '../../server/execution/inline-host.ts';
import { ProcessHost } from '../../server/execution/process-host.ts';
import { addSub } from '../models/test-models.ts';
import { RoundTrips } from './round-trips.ts';

const ROUNDS = 3;
const BATCHES = [1, 32];
const COLUMNS = ['p50 us', 'p99 us', 'a batch every 2 ms, p50 us', 'two in flight, batches/s'];
const kinds: [string, () => Promise<ExecutionHost>][] = [
  ['shared memory', () => ProcessHost.start({ transport: 'shared-memory' })],
  ['shared memory, only the host spins', () => ProcessHost.start({ transport: 'shared-memory', pollUs: 0 })],
  ['shared memory, nobody spins', () => ProcessHost.start({ transport: 'shared-memory', spinUs: 0, pollUs: 0 })],
  ['socket', () => ProcessHost.start({ transport: 'socket' })],
  ['inline', () => Promise.resolve(new InlineHost({ memoryBytes: 64 * 1024 * 1024, backendSettings: {} }))],
];

const measured = new Map<string, number[][]>();
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, start] of kinds) {
    const host = await start();
    const trips = await RoundTrips.create(host, addSub('FP32'));
    for (const batch of BATCHES) {
      const { p50Us, p99Us } = await trips.oneAtATime(batch, 8000);
      const spaced = await trips.spaced(batch, 150);
      const row = [p50Us, p99Us, spaced.p50Us, await trips.twoInFlight(batch, 20_000)];
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
