/**
 * Futexes without anybody to wake, and the way to a process that sleeps and back: `node dist/bench/micro/futex.bench.js`. The second is mostly the system's
 * own time, and depends on whether both sides have a core.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { futexWait, futexWake } from '../../server/execution/futex.ts';
import { createSharedMemory, mapSharedMemory } from '../../server/execution/shared-memory.ts';
import { CallBench } from './call-bench.ts';

const CALLS = 256;
const BYTES = 64 * 1024;
/** The two words lie on lines of their own, as a ring's do. */
const PING = 0;
const PONG = 16;
const STOP = -1;

/** Sends every number back until it is told to stop; sleeps between two. */
function echo(words: Int32Array): void {
  for (let seen = 0; ; ) {
    const now = Atomics.load(words, PING);
    if (now === seen) {
      futexWait(words, PING, seen, Number.POSITIVE_INFINITY);
      continue;
    }
    if (now === STOP) return;
    seen = now;
    Atomics.store(words, PONG, now);
    futexWake(words, PONG);
  }
}

async function measure(): Promise<void> {
  const memory = createSharedMemory(BYTES);
  const words = new Int32Array(memory.buffer);
  const alone = new Int32Array(memory.buffer, 4096, 16);
  const peer = spawn(process.execPath, [fileURLToPath(import.meta.url), 'echo'], { stdio: ['ignore', 'inherit', 'inherit', memory.fd] });
  const ended = once(peer, 'exit');
  let turn = 0;
  const bench = new CallBench('futex')
    .add('wake, nobody asleep', CALLS, () => {
      for (let i = 0; i < CALLS; i++) futexWake(alone, 0);
      return 0;
    })
    .add('wait, word changed already', CALLS, () => {
      let changed = 0;
      for (let i = 0; i < CALLS; i++) if (futexWait(alone, 0, 1, 10) === 'changed') changed++;
      return changed;
    })
    .add('to a sleeping process and back, both sleep', 8, () => {
      for (let i = 0; i < 8; i++) {
        turn = (turn + 1) & 0x7fffffff;
        Atomics.store(words, PING, turn);
        futexWake(words, PING);
        for (;;) {
          const seen = Atomics.load(words, PONG);
          if (seen === turn) break;
          if (futexWait(words, PONG, seen, 10_000) === 'timeout') throw new Error('the other process does not answer');
        }
      }
      return turn;
    });
  try {
    await bench.run();
  } finally {
    Atomics.store(words, PING, STOP);
    futexWake(words, PING);
    await ended;
    memory.close();
  }
}

if (process.argv[2] === 'echo') echo(new Int32Array(mapSharedMemory(3, BYTES).buffer));
else await measure();
