/** The child's side of loop-process.ts: a process that repeats one piece of work as fast as it goes, for as long as it is told to. */

import { quantile } from './http-client.ts';

/** One piece of work. `run` may return a promise; then each is awaited. */
export interface LoopTask {
  run(): unknown;
  /** Counted for a run. */
  readonly itemsPerRun: number;
}

/** What a stretch of it gave. */
export interface LoopResult {
  readonly items: number;
  readonly itemsPerSecond: number;
  /** Of a run, microseconds. */
  readonly p50Us: number;
  readonly p99Us: number;
}

export type LoopMessage = { readonly prepare: unknown } | { readonly runMs: number };
export type LoopReply = { readonly ready: string } | { readonly result: LoopResult } | { readonly failed: string };

/** Runs are timed one by one from this on; shorter ones in groups, or the clock would be part of what is measured. */
const TIMED_US = 20;

/**
 * Waits for what to do, by IPC. `prepare` makes the task from what the parent sent, and says in a few words what it made of it ('' for nothing). The process ends with its parent's channel.
 */
export function serveLoop<Options>(prepare: (options: Options) => Promise<readonly [task: LoopTask, note: string]>): void {
  let task: LoopTask | null = null;
  const reply = (message: LoopReply): void => void process.send!(message);
  const take = async (message: LoopMessage): Promise<void> => {
    if ('prepare' in message) {
      const [made, note] = await prepare(message.prepare as Options);
      task = made;
      reply({ ready: note });
    } else reply({ result: await runFor(task!, message.runMs) });
  };
  process.on('message', (message: LoopMessage) => {
    take(message).catch((error: unknown) => reply({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) }));
  });
  process.once('disconnect', () => process.exit(0));
}

/** Repeats `task` for so long. */
export async function runFor(task: LoopTask, ms: number): Promise<LoopResult> {
  const times: number[] = [];
  let group = 1;
  let runs = 0;
  const startedMs = performance.now();
  let nowMs = startedMs;
  while (nowMs - startedMs < ms) {
    for (let i = 0; i < group; i++) {
      const pending = task.run();
      if (pending instanceof Promise) await pending;
    }
    const endMs = performance.now();
    const us = ((endMs - nowMs) * 1000) / group;
    times.push(us);
    runs += group;
    nowMs = endMs;
    if (us * group < TIMED_US) group *= 2;
  }
  const items = runs * task.itemsPerRun;
  return {
    items,
    itemsPerSecond: (items * 1000) / (nowMs - startedMs),
    p50Us: quantile(times, 0.5),
    p99Us: quantile(times, 0.99),
  };
}
