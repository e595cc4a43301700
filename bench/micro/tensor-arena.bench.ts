/** What tensor memory costs per batch, and what giving it back costs: `node dist/bench/micro/tensor-arena.bench.js` */

import { Bench } from 'tinybench';
import { createSharedMemory } from '../../server/execution/shared-memory.ts';
import { TensorArena } from '../../server/execution/tensor-arena.ts';

const MIB = 1024 * 1024;
/** Operations per sample: one alone is shorter than the clock can tell. */
const COUNT = 1024;
const arena = new TensorArena(0, 512 * MIB);
const held = new Float64Array(COUNT);
const sizes = Array.from({ length: COUNT }, (_, at) => 64 + ((at * 2654435761) % 200_000));
const memory = createSharedMemory(64 * MIB);
const bytes = new Uint8Array(memory.buffer);

const bench = new Bench({ name: 'tensor arena', time: 300 });
bench.add('allocate + free, 3 KiB', () => {
  for (let turn = 0; turn < COUNT; turn++) arena.free(arena.allocate(3136));
});
bench.add('allocate + free, 1,024 blocks of mixed sizes held at once', () => {
  for (let turn = 0; turn < COUNT; turn++) held[turn] = arena.allocate(sizes[turn]!);
  for (let turn = 0; turn < COUNT; turn++) arena.free(held[turn]!);
});
const cut = new TensorArena(0, 512 * MIB);
bench.add('the same where every block is cut and merged', () => {
  for (let turn = 0; turn < COUNT; turn++) held[turn] = cut.allocate(sizes[turn]!);
  for (let turn = 0; turn < COUNT; turn++) cut.free(held[turn]!);
  cut.free(cut.allocate(cut.byteLength));
});
bench.add('discard of 64 MiB of written pages, per 64 KiB', () => memory.discard(0, 64 * MIB), {
  beforeEach: () => void bytes.fill(1),
});
await bench.run();
console.log(`${bench.name}; ns per operation`);
console.table(bench.table((task) => ({ task: task.name, p50: ns(task, 'p50'), p99: ns(task, 'p99') })));
memory.close();

function ns(task: Bench['tasks'][number], quantile: 'p50' | 'p99'): string {
  const { result } = task;
  return 'latency' in result ? ((result.latency[quantile] * 1e6) / COUNT).toFixed(1) : result.state;
}
