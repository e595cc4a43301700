/**
 * Runs inside a server under measurement, before it (`node --import`), and tells its parent by IPC how late the event loop was: a timer of a millisecond, and how much later than that it came. It costs a
 * thousand timers a second while it looks, and nothing else.
 */

import { monitorEventLoopDelay } from 'node:perf_hooks';

export type ProbeQuestion = 'start' | 'read';

/** Microseconds. */
export interface LoopDelay {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
}

const RESOLUTION_MS = 1;
const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
/** Node counts the timer's own interval in. */
const lateness = (ns: number): number => Math.max(0, ns / 1000 - RESOLUTION_MS * 1000);

process.on('message', (question: ProbeQuestion) => {
  if (question === 'start') {
    histogram.reset();
    histogram.enable();
    return;
  }
  histogram.disable();
  const delay: LoopDelay = {
    p50Us: lateness(histogram.percentile(50)),
    p99Us: lateness(histogram.percentile(99)),
    maxUs: lateness(histogram.max),
  };
  process.send!(delay);
});
// It must not keep the server alive.
process.channel?.unref();
