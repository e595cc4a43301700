/** What a descriptor costs on its way to a host: `node dist/bench/micro/descriptor-ring.bench.js` */

import { Bench } from 'tinybench';
import { DescriptorRing } from '../../server/execution/descriptor-ring.ts';
import { createSharedMemory } from '../../server/execution/shared-memory.ts';

/** Operations per sample: one alone is shorter than the clock can tell. */
const COUNT = 1000;
const memory = createSharedMemory(1024 * 1024);
const producer = new DescriptorRing(memory.buffer, 0, 64, 16);
const consumer = new DescriptorRing(memory.buffer, 0, 64, 16);
const entry = new Int32Array(16).fill(7);
const into = new Int32Array(16);

function repeat(operation: () => void): () => void {
  return () => {
    for (let turn = 0; turn < COUNT; turn++) operation();
  };
}

const bench = new Bench({ name: 'descriptor ring, 16 words an entry', time: 300 });
bench.add(
  'push + pop',
  repeat(() => void (producer.push(entry) && consumer.pop(into))),
);
bench.add(
  'pop, empty',
  repeat(() => void consumer.pop(into)),
);
bench.add(
  'isEmpty',
  repeat(() => void consumer.isEmpty),
);
await bench.run();
console.log(`${bench.name}; ns per operation`);
console.table(bench.table((task) => ({ task: task.name, p50: ns(task, 'p50'), p99: ns(task, 'p99') })));
memory.close();

function ns(task: Bench['tasks'][number], quantile: 'p50' | 'p99'): string {
  const { result } = task;
  return 'latency' in result ? ((result.latency[quantile] * 1e6) / COUNT).toFixed(1) : result.state;
}
