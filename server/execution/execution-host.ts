/**
 * Execution hosts: where model instances run. Two kinds meet this contract, `process` (a child process, the default) and `inline` (the gateway's own
 * loop), and one suite (`execution-host.case.ts`) holds both to it.
 */

import type { ModelMetadata, ModelSpec } from '../../backends/api/backend.ts';
import type { Datatype } from '../../proto/datatype.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { InstanceNumbers } from '../metrics/engine-numbers.ts';
import type { DecoupledChannel } from './decoupled-execution.ts';

export type HostKind = 'process' | 'inline';

/** One input of a batch: the merged rows of all its requests. */
export interface BatchInput {
  readonly name: string;
  readonly datatype: Datatype;
  /** Batch dimension included. */
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** One request of a batch, for hosts that keep requests apart: an InferenceRequest, as far as execution may know it. */
export interface BatchRequest {
  readonly id: string;
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  readonly priority: number;
  readonly sequence: { readonly id: bigint | string; readonly isStart: boolean; readonly isEnd: boolean } | null;
  /** In the order of the model's configuration, as the client sent them (before any reshape); null where an optional one was left out. */
  readonly boundInputs: readonly (Tensor | null)[];
  /** By name; empty: all of them. */
  readonly outputs: readonly { readonly name: string }[];
  readonly batchSize: number;
  /** On the server's clock (milliseconds of `performance.now()` times 1e6); Infinity: none. */
  readonly deadlineNs: number;
  /** Nobody waits for it any more. */
  readonly isDone: boolean;
  /** How many requests stand above it, each made by the one before on its way; 0: it came from outside. */
  readonly depth: number;
}

/** Host-side durations of one execution, nanoseconds. Their sum is at most the time between `execute` and `complete`. */
export interface ExecutionTiming {
  readonly inferNs: number;
  readonly outputNs: number;
}

/**
 * What an instance executes, and who hears of the end. Exactly one of `complete` and `fail` is called, exactly once, never inside `execute` itself
 * for a process host; an inline host may call it inside.
 */
export interface ExecutionBatch {
  readonly inputs: readonly BatchInput[];
  /** Rows; left out: the first dimension of the first input. */
  readonly batchSize?: number;
  /** Left out by what is no client's (a warm-up): it is one request then, and `inputs` are all there is to know of it. */
  readonly requests?: readonly BatchRequest[];
  /** Writes input `index` into `target` (its byteLength long). Called once per input, inside `execute`. */
  writeInput(index: number, target: Uint8Array): void;
  /**
   * `outputs` has been checked against the model: known names, right datatypes, bytes that match shapes. The bytes are borrowed: valid until this
   * returns.
   */
  complete(outputs: readonly Tensor[], timing: ExecutionTiming): void;
  /**
   * Instead of `complete`, by a host that keeps requests apart: each one's outputs (checked and borrowed as above), or why it failed, in the order of `requests`. A failed one costs the others nothing.
   */
  completeEach?(results: readonly (readonly Tensor[] | InferenceError)[], timing: ExecutionTiming): void;
  /** `mayDivide`: the host lives, and what failed is this batch's contents or size: parts of it may well succeed. */
  fail(error: InferenceError, mayDivide?: boolean): void;
}

/** One model instance, whatever it executes. */
export interface InstanceHandle {
  /** Something to execute may be given now. One batch may wait in the host while one runs, so that the host need not pause between two. */
  readonly hasCapacity: boolean;
  /**
   * What is given now would begin at once, or so soon that it makes no difference: nothing runs, or only batches that together are over within a fraction of
   * a millisecond. Until then a batch that can still grow does better to wait for more requests than in the host.
   */
  readonly isFree: boolean;
  readonly inflightCount: number;
  /** False once the host has died or the instance was released. */
  readonly isAlive: boolean;
  /** What an instance of a decoupled model says of itself. */
  readonly numbers?: InstanceNumbers;
  /** A batch is about to come, within microseconds: a host that sleeps is woken now, so that it wakes while the batch is made. */
  expect(): void;
  /** Waits for what is in flight, then releases the instance in its host. */
  release(): Promise<void>;
}

/** An instance that executes batches, seen from the serving side. */
export interface InstanceChannel extends InstanceHandle {
  /**
   * Starts a batch. The batch's inputs are copied into the host's tensor memory before this returns.
   * Only to be called while `hasCapacity`. Returns false, having done nothing, when there is no tensor memory for it at the moment: try again after
   * the next completion (when nothing is in flight it fails the batch with RESOURCE_EXHAUSTED instead, since waiting would not help).
   */
  execute(batch: ExecutionBatch): boolean;
  /**
   * Request `index` of a batch that was given to `execute` has ended: nobody waits for it any more, while others of the batch may. A host that can spare itself the work does; the batch still hears of
   * its end, exactly once.
   */
  abandon?(batch: ExecutionBatch, index: number): void;
}

export interface LoadedModel {
  readonly metadata: ModelMetadata;
  /** By how much the host's private memory grew with the model and the instances made so far; 0: not known. */
  readonly memoryBytes: number;
  /** `onCapacity` is called, with nothing on the stack above it but the loop, whenever `hasCapacity` may have become true. */
  createInstance(onCapacity: () => void): Promise<InstanceChannel>;
  /** Rejects with INVALID_ARGUMENT when the backend has no decoupled models. A process host does it only when it was started for such models. */
  createDecoupledInstance(onCapacity: () => void): Promise<DecoupledChannel>;
  unload(): Promise<void>;
}

export interface ExecutionHost {
  readonly kind: HostKind;
  readonly isAlive: boolean;
  /** The operating system's process id; this process's own for an inline host. */
  readonly pid: number;
  /** Loads a model version (one at a time). Rejects with the backend's InferenceError, or UNAVAILABLE when the host died over it. */
  load(spec: ModelSpec): Promise<LoadedModel>;
  /** Ends the host: waits for nothing in flight; resolves when the process is gone and its memory is released. */
  stop(): Promise<void>;
}

/** Why a host is gone. */
export interface HostEnd {
  /** For logs and errors: 'ended by SIGSEGV', 'did not answer within 30 s', 'used 2.1 GiB of the 2 GiB it may'. */
  readonly reason: string;
  /** `name:version` of the model that was being loaded or run, or null when none was. */
  readonly blamed: string | null;
  /** True when the server itself asked for it. */
  readonly expected: boolean;
}
