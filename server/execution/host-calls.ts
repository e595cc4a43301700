/**
 * Requests that a model's own code makes, as the host boundary has them. The server's side of them, which knows how to route, is given to the host pool.
 */

import type { RequestSequence } from '../../backends/api/backend.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';

/** More under way from one host at a time are refused. */
export const MAX_CALLS_PER_HOST = 1024;
/** Requests above a call, each made by the one before: more, and models call each other in a circle. */
export const MAX_CALL_DEPTH = 16;

export interface HostCall {
  readonly modelName: string;
  /** '' for the version that the policy chooses. */
  readonly modelVersion: string;
  readonly id: string;
  readonly inputs: readonly Tensor[];
  /** Empty: all of them. */
  readonly outputs: readonly string[];
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  readonly priority: number;
  readonly sequence: RequestSequence | null;
  /** 1: the request that makes it came from outside. */
  readonly depth: number;
  /** On the server's clock; Infinity: none. */
  readonly deadlineNs: number;
}

/** Any number of `respond`, then one of `complete` and `fail`; none inside {@link HostCalls.start}. `outputs` are borrowed until `respond` returns. */
export interface HostCallSink {
  respond(outputs: readonly Tensor[]): void;
  complete(): void;
  fail(error: InferenceError): void;
}

/** A call under way. After its end none of these does anything. */
export interface HostCallRun {
  /** Its end is told before this returns. */
  cancel(): void;
  pause(): void;
  resume(): void;
}

export interface HostCalls {
  start(call: HostCall, sink: HostCallSink): HostCallRun;
}

/** What is known of the request that makes a call. */
export interface CallerState {
  readonly isDone: boolean;
  readonly depth: number;
  readonly deadlineNs: number;
}
