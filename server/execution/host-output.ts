import type { ProcessHostOptions } from './host-options.ts';
import type { HostLog } from './host-slot.ts';

const MAX_LINE = 2000;
/** Of one model's code in a second. */
const MAX_LINES = 500;

/** What hosts print: only what goes wrong in them does. */
export function hostLog(log: HostLog): ProcessHostOptions['onLog'] {
  return (pid, text) => {
    for (const line of linesOf(text)) log.warn({ pid }, line);
  };
}

/** What the code of the model `key` prints, and says by its logger. `nowMs`: for tests. */
export function codeLog(log: HostLog, key: string, nowMs: () => number = () => performance.now()): ProcessHostOptions['onLog'] {
  let secondMs = Number.NEGATIVE_INFINITY;
  let count = 0;
  let droppedBytes = 0;
  return (pid, text, level) => {
    const now = nowMs();
    if (now - secondMs >= 1000) {
      if (droppedBytes > 0)
        log.warn({ model: key, pid }, `the model says more than ${MAX_LINES} lines a second; ${droppedBytes} bytes were left out`);
      secondMs = now;
      count = 0;
      droppedBytes = 0;
    }
    // A loop that prints must not keep the server busy with its log.
    if (count >= MAX_LINES) {
      droppedBytes += text.length;
      return;
    }
    for (const line of linesOf(text)) {
      if (++count > MAX_LINES) {
        droppedBytes += line.length;
        continue;
      }
      if (level === 'debug') log.debug?.({ model: key, pid }, line);
      else log[level]({ model: key, pid }, line);
    }
  };
}

function linesOf(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => line.slice(0, MAX_LINE));
}
