/**
 * The way of an execution to a process host and back, as the gateway has it. Batches have two: shared memory, and frames on the control socket where
 * memory can't be shared. Requests of decoupled models always go by frames: their hosts work on many at once, in their event loop.
 */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { ExecutionBatch } from './execution-host.ts';
import type { WatchedExecutions } from './execution-watch.ts';
import type { ProcessInstanceChannel } from './instance-channel.ts';

/** What a link asks of the host it belongs to. */
export interface HostLinkOwner {
  /** The host said what cannot be; it is ended, and what is in flight failed. */
  onFault(reason: string): void;
  /** A batch was given to an idle host: the watch over its time begins. */
  onBusy(): void;
  /** Writes a frame to the control socket: its header and payload, in as many pieces as it has. */
  sendFrame(chunks: readonly Uint8Array[]): void;
}

export interface HostLink {
  readonly inflight: WatchedExecutions;
  /** `name:version` of the model that the host owes something for the longest; null: it owes nothing. */
  readonly headModel: string | null;
  /** The number of the instance that the host is executing as far as can be told; 0: none, or it can't be told. */
  readonly currentInstance: number;
  /** Whether the host is executing the oldest batch, as far as can be told, and not a load that it was asked for at `loadStartedMs`. */
  isExecuting(loadStartedMs: number): boolean;
  /** Gives memory back that nobody used for a while; to be called every few seconds. */
  trim(): void;
  /** To be called after a control frame was written: gets the host to its event loop. */
  announceControl(): void;
  /** A tensor frame of the host. Throws HostFault. */
  onFrame(kind: number, payload: Buffer): void;
  /** Settles what is answered already. */
  poll(): void;
  /** The head took longer than `seconds`. Ends it, and nothing else, where that is possible; false: the host is to be ended. */
  abandonHead(seconds: number): boolean;
  /** Fails what is in flight, the oldest with an error of its own, and releases the memory. Nothing is settled after. */
  end(headError: InferenceError, otherError: InferenceError): void;
}

export interface BatchLink extends HostLink {
  /** As {@link InstanceChannel.execute} has it, `channel.tensors.inputError` having been asked. */
  submit(channel: ProcessInstanceChannel, batch: ExecutionBatch): boolean;
  /** Nobody waits for the batch any more. It need not be run, where it has not begun; its end is told all the same. */
  abandon(batch: ExecutionBatch): void;
  /** See {@link InstanceHandle.expect}. */
  expect(): void;
}
