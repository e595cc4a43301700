import { invalidArgument } from '../../proto/inference-error.ts';
import type { LoadPlan } from './load-plan.ts';
import { NativeLoop } from './native-loop.ts';
import { NodeLoop } from './node-loop.ts';
import type { SocketLoop } from './socket-loop.ts';

/** The sockets that a plan asks for. Throws an InferenceError when it asks for native ones where there are none. */
export function createLoop(plan: LoadPlan): SocketLoop {
  const { sockets, target, protocol } = plan;
  if (sockets === 'native' && target.tls !== null) {
    throw invalidArgument("native sockets have no TLS; let 'auto' choose, or ask for 'node'");
  }
  if (sockets === 'native') return new NativeLoop();
  if (sockets === 'auto' && target.tls === null) {
    try {
      return new NativeLoop();
    } catch {
      // No Linux, or no koffi: Node's sockets do the same, at a higher price.
    }
  }
  return new NodeLoop(protocol === 'grpc' || protocol === 'grpc-stream' ? 'h2' : 'http/1.1');
}

/** Runs a loop while `work`, which needs its sockets, is under way. */
export async function runUntil<T>(loop: SocketLoop, work: Promise<T>): Promise<T> {
  let isSettled = false;
  const settled = work.then(
    () => {
      isSettled = true;
    },
    () => {
      isSettled = true;
    },
  );
  await loop.run({ nextDueMs: () => Number.POSITIVE_INFINITY, due: () => {} }, () => isSettled);
  await settled;
  return work;
}
