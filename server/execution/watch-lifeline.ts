/**
 * Entry of a host's only other thread, where the kernel can't be asked to end a child with its parent: waits for the end of the pipe that the gateway
 * holds open, and ends the process, whatever its main thread is stuck in.
 */

import { readSync } from 'node:fs';
import { workerData } from 'node:worker_threads';

try {
  // Blocks; nothing is ever written.
  while (readSync(workerData as number, new Uint8Array(1)) > 0);
} catch {
  // A pipe that can't be read is as good as closed.
}
process.kill(process.pid, 'SIGKILL');
