/** The entry of a load process, which start-load-process.ts forks: messages in, windows out. It ends with its owner. */

import { InferenceError } from '../../proto/inference-error.ts';
import type { LoadMessage, OwnerMessage } from './load-messages.ts';
import { LoadWorker } from './load-worker.ts';

let worker: LoadWorker | null = null;
let turn: Promise<void> = Promise.resolve();

function tell(message: LoadMessage): void {
  // The owner may have gone while this was on its way; 'disconnect' ends the process then.
  if (process.connected) process.send!(message, undefined, undefined, () => {});
}

async function handle(message: OwnerMessage): Promise<LoadMessage> {
  switch (message.kind) {
    case 'plan':
      worker = await LoadWorker.create(message.plan);
      return { kind: 'ready', sockets: worker.loop.kind };
    case 'start':
      await ready().start(message.pace, message.windowMs, (window) => tell({ kind: 'window', window }));
      return { kind: 'started' };
    case 'stop':
      return { kind: 'stopped', window: await ready().stop() };
  }
}

function ready(): LoadWorker {
  if (worker === null) throw new InferenceError('INTERNAL', 'a load process needs its plan first');
  return worker;
}

function failed(error: unknown): LoadMessage {
  if (error instanceof InferenceError) return { kind: 'failed', code: error.code, message: error.message };
  return {
    kind: 'failed',
    code: 'INTERNAL',
    message: `the load generator failed: ${error instanceof Error ? error.stack : String(error)}`,
  };
}

process.on('message', (message: OwnerMessage) => {
  turn = turn.then(() => handle(message)).then(tell, (error: unknown) => tell(failed(error)));
});
process.on('disconnect', () => process.exit(0));
// Ctrl-C, and the SIGTERM of timeout(1), reach the whole group of processes: the owner decides what becomes of the measurement.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
