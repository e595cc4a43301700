/**
 * What it costs to run a model in a host, from `execute` to `complete`: shared memory, socket frames and inline, batches of 1 and 32.
 * `node dist/bench/micro/instance-channel.bench.js`
 */

import { rmSync } from 'node:fs';
import type { ExecutionHost } from '../../server/execution/execution-host.ts';
import { InlineHost } from '../../server/execution/inline-host.ts';
import { ProcessHost } from '../../server/execution/process-host.ts';
import { addSub } from '../models/test-models.ts';
import { RoundTrips } from './round-trips.ts';

const BATCHES = [1, 32];
const kinds: [string, () => Promise<ExecutionHost>][] = [
  ['shared memory', () => ProcessHost.start({ transport: 'shared-memory' })],
  ['shared memory, no spinning', () => ProcessHost.start({ transport: 'shared-memory', spinUs: 0 })],
  ['shared memory, gateway polls 50 us', () => ProcessHost.start({ transport: 'shared-memory', pollUs: 50 })],
  ['socket', () => ProcessHost.start({ transport: 'socket' })],
  ['inline', async () => new InlineHost({ memoryBytes: 64 * 1024 * 1024, backendSettings: {} })],
];

const rows: Record<string, string>[] = [];
for (const [name, start] of kinds) {
  const host = await start();
  const trips = await RoundTrips.create(host, addSub('FP32'));
  for (const batch of BATCHES) {
    const oneAtATime = await trips.oneAtATime(batch, 20_000);
    const spaced = await trips.spaced(batch, 400);
    rows.push({
      host: name,
      batch: String(batch),
      'p50 us': oneAtATime.p50Us.toFixed(1),
      'p99 us': oneAtATime.p99Us.toFixed(1),
      'every 2 ms: p50 us': spaced.p50Us.toFixed(1),
      'two in flight, batches/s': (await trips.twoInFlight(batch, 40_000)).toFixed(0),
    });
  }
  await host.stop();
  rmSync(trips.directory, { recursive: true });
}
console.log('add_sub FP32 [batch, 16], two inputs, two outputs');
console.table(rows);
