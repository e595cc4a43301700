/**
 * `npm run bench:priorities`: what requests of priority 1 feel of three times more of priority 2 than the model can do. Both are sent in an open loop over gRPC, each from a process of its own; latencies count from
 * the time at which a request was meant to be sent. Loaded and unloaded stretches alternate; what counts is the median over the rounds of the ratio of the p99s.
 *
 * A request of the highest priority waits for the batch that runs when it comes, and is then in the next: where full batches take as long as small ones, that is twice the time of one.
 *
 * BENCH_ROUNDS (5), BENCH_SECONDS (8, of each stretch), BENCH_LAYERS (1500, of the model); SMALL=1 for one short round. BENCH_FLAGS go to the server.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { deep } from '../models/test-models.ts';
import { serveModels } from './child.ts';
import { median } from './http-client.ts';
import type { SenderReport } from './open-loop-sender.ts';
import { measureCapacity, runSender, shownQuantiles } from './run-sender.ts';

const isSmall = process.env['SMALL'] === '1';
const rounds = Number(process.env['BENCH_ROUNDS'] ?? (isSmall ? 1 : 5));
const measuredMs = 1000 * Number(process.env['BENCH_SECONDS'] ?? (isSmall ? 3 : 8));
const layers = Number(process.env['BENCH_LAYERS'] ?? 1500);
const flags = (process.env['BENCH_FLAGS'] ?? '').split(' ').filter(Boolean);
const WANTED_RATIO = 2;
const OVERLOAD = 3;
const RARE_PER_SECOND = 30;

const folder = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
mkdirSync(join(folder, 'deep/1'), { recursive: true });
writeFileSync(join(folder, 'deep/1/model.onnx'), deep(layers));
writeFileSync(
  join(folder, 'deep/config.pbtxt'),
  'max_batch_size: 4 dynamic_batching { priority_levels: 2 default_priority_level: 2 priority_queue_policy { key: 2 value { max_queue_size: 256 } } }',
);

const server = await serveModels(folder, ...flags);
const plan = { port: server.grpcPort, method: 'ModelInfer', model: 'deep', rowLength: 256, schedule: 'poisson', deadlineMs: 0 } as const;
let seed = 1;

const rare = (): Promise<SenderReport> =>
  runSender({ ...plan, seed: seed++, perSecond: RARE_PER_SECOND, warmUpMs: 1000, measuredMs, priority: 1 });
const flood = (perSecond: number): Promise<SenderReport> =>
  runSender({ ...plan, seed: seed++, perSecond, warmUpMs: 500, measuredMs: measuredMs + 1000, priority: 2 });

const lines: string[] = [];
const ratios: number[] = [];
try {
  const capacity = await measureCapacity({ ...plan, priority: 2 });
  lines.push(
    `${cpus().length} cores, Node ${process.version}; the model can do some ${capacity.toFixed(0)}/s; priority 1 ${RARE_PER_SECOND}/s, priority 2 ${(OVERLOAD * capacity).toFixed(0)}/s`,
  );
  for (let round = 1; round <= rounds; round++) {
    const alone = await rare();
    const [loaded, others] = await Promise.all([rare(), flood(OVERLOAD * capacity)]);
    ratios.push((loaded.latencyMs.p99 ?? Number.NaN) / (alone.latencyMs.p99 ?? Number.NaN));
    lines.push(
      `round ${round}: priority 1 alone ${shownQuantiles(alone.latencyMs)}; loaded ${shownQuantiles(loaded.latencyMs)}, ${loaded.refused} of ${loaded.sent} refused; p99 ratio ${ratios.at(-1)!.toFixed(2)}; ` +
        `priority 2 answered ${others.goodput.toFixed(0)}/s, ${shownQuantiles(others.latencyMs)}`,
    );
  }
} finally {
  await server.stop();
  rmSync(folder, { recursive: true });
}
const ratio = median(ratios);
lines.push(
  `p99 of priority 1, loaded / alone: ${ratio.toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}); wanted ${WANTED_RATIO}: ${ratio <= WANTED_RATIO ? 'met' : 'NOT MET'}`,
);
process.stdout.write(`${lines.join('\n')}\n`);
