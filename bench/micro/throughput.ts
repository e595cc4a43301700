import type { Bench } from 'tinybench';

/** Prints each task's median time and, where `bytes` has its name, how many bytes a second that is. */
export function printThroughput(bench: Bench, bytes: ReadonlyMap<string, number>): void {
  console.log(`node ${process.version}, ${process.arch}`);
  for (const task of bench.tasks) {
    const result = task.result as { latency?: { p50?: number; samplesCount?: number } } | undefined;
    const ms = result?.latency?.p50;
    if (ms === undefined) {
      console.log(`${task.name.padEnd(62)} failed`);
      continue;
    }
    const size = bytes.get(task.name);
    const rate = size === undefined ? '' : `${(size / 1e3 / ms).toFixed(0).padStart(7)} MB/s`;
    const time = ms < 0.1 ? `${(ms * 1e3).toFixed(2)} us` : `${ms.toFixed(2)} ms`;
    console.log(`${task.name.padEnd(62)} ${time.padStart(11)} ${rate}`);
  }
}
