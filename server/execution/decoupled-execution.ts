/**
 * How a request of a decoupled model runs in a host, as the serving side sees it. Both kinds of hosts meet this contract, and one suite
 * (`decoupled-execution.case.ts`) holds them to it.
 */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { BatchInput, BatchRequest, InstanceHandle } from './execution-host.ts';

/** Responses of one request that a host may have given and the serving side not yet acknowledged. */
export const RESPONSE_WINDOW = 16;
/** Acknowledged together: one frame for as many responses. */
export const ACKNOWLEDGED_TOGETHER = 8;
/** Requests that one instance works on at once; a backend may take fewer. */
export const MAX_REQUESTS_PER_INSTANCE = 64;

/**
 * What an instance executes, and who hears of it: any number of `respond`, then one of `complete` and `fail`, once. None is called inside
 * {@link DecoupledChannel.start}, and none after a cancel.
 */
export interface DecoupledExecution {
  /** What else is known of the request, for hosts that run models' own code; left out by what is no client's. */
  readonly request?: BatchRequest;
  readonly inputs: readonly BatchInput[];
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  /** No response is wanted now: those given from here on are not acknowledged, until {@link DecoupledRun.resume}. Looked at after each response. */
  readonly isPaused: boolean;
  /** Writes input `index` into `target` (its byteLength long). Called once per input, inside `start`. */
  writeInput(index: number, target: Uint8Array): void;
  /** `outputs` are checked against the model, all of them, in its order. The bytes are borrowed: valid until this returns. */
  respond(outputs: readonly Tensor[]): void;
  complete(): void;
  /** Just before `complete`, where the model told it: the tokens of a text. */
  used?(inputTokens: number, outputTokens: number): void;
  fail(error: InferenceError): void;
  /** After a cancel, once: the model has stopped, or its host has ended. */
  stopped?(): void;
}

/** A request in a host. Both may be called at any time; after its end they do nothing. */
export interface DecoupledRun {
  /** Nobody waits any more: the execution hears nothing from here on but that the model has stopped. Its place is free when the model has stopped. */
  cancel(): void;
  /** `isPaused` is false again. */
  resume(): void;
}

/** One instance of a decoupled model, seen from the serving side. */
export interface DecoupledChannel extends InstanceHandle {
  /**
   * Starts a request; its inputs are copied before this returns. Only to be called while `hasCapacity`. Null, and nothing done, when the memory for
   * requests is full at the moment: `onCapacity` tells when to try again.
   */
  start(execution: DecoupledExecution): DecoupledRun | null;
}
