import type { RpcCall } from '../../transports/rpc-call.ts';

/** Clients reset a call when their own clock says so, and timers of milliseconds fire a little too early. */
const EARLY_MS = 5;

/** Whether a call that is cancelled ended by its deadline, or by its caller's will. */
export function isPastDeadline(call: RpcCall): boolean {
  return call.deadlineMs - performance.now() <= EARLY_MS;
}
