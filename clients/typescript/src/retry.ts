import { InferenceError } from '../../../proto/inference-error.ts';
import { CallError } from './call-error.ts';
import type { CallContext } from './transport.ts';

export interface RetryPolicy {
  /** Attempts after the first. */
  readonly retries: number;
  /** Wait before the first retry, ms, doubled for each one more; a random part of up to half of it is taken off. */
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
  /** A server that asks to wait longer (Retry-After) is not waited for: the error is the caller's at once, with `retryAfterSeconds`. */
  readonly maxRetryAfterMs: number;
}

export const DEFAULT_RETRY: RetryPolicy = { retries: 2, minDelayMs: 50, maxDelayMs: 2_000, maxRetryAfterMs: 10_000 };

/** `false`: one attempt. What an object leaves out is as in DEFAULT_RETRY. */
export type RetryOption = false | Partial<RetryPolicy>;

export function retryPolicy(option: RetryOption | undefined, otherwise: RetryPolicy): RetryPolicy {
  if (option === undefined) return otherwise;
  return option === false ? { ...DEFAULT_RETRY, retries: 0 } : { ...otherwise, ...option };
}

/**
 * What repeating a call can do:
 * `read` changes nothing: repeated also when the connection broke before an answer began.
 * `infer` costs the server work, and a model may count its calls: repeated only when the server did not take the request (nobody listened, or it answered that it can't now).
 * `write` changes the server: repeated only when nobody listened.
 * `sequence` is never repeated: its place in the order is lost.
 */
export type CallKind = 'read' | 'infer' | 'write' | 'sequence';

/**
 * Whether another attempt is safe. Never after a part of an answer, and never after a deadline: the time is over. Not after a cut connection for inference: the request may be
 * running, and a server in trouble is not helped by a second one.
 */
export function isSafeToRepeat(kind: CallKind, error: unknown): boolean {
  if (!(error instanceof CallError) || error.code === 'DEADLINE_EXCEEDED' || error.code === 'CANCELLED') return false;
  switch (kind) {
    case 'read':
      return error.phase !== 'answered';
    case 'infer':
      return error.phase === 'refused';
    case 'write':
      return error.phase === 'refused' && error.status === 0;
    case 'sequence':
      return false;
  }
}

/** Runs the attempt until it succeeds, may not be repeated, or has been repeated often enough. Waits no longer than the call's deadline allows. */
export async function withRetries<T>(
  kind: CallKind,
  policy: RetryPolicy,
  call: Pick<CallContext, 'signal' | 'deadlineMs'>,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let retry = 0; ; retry++) {
    try {
      return await attempt();
    } catch (error) {
      if (retry >= policy.retries || !isSafeToRepeat(kind, error)) throw error;
      const askedMs = (error as InferenceError).retryAfterSeconds * 1_000;
      const backoffMs = Math.min(policy.maxDelayMs, policy.minDelayMs * 2 ** retry) * (1 - Math.random() / 2);
      const delayMs = Math.max(askedMs, backoffMs);
      if (askedMs > policy.maxRetryAfterMs || Date.now() + delayMs >= call.deadlineMs) throw error;
      await wait(delayMs, call.signal);
    }
  }
}

function wait(delayMs: number, signal: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(InferenceError.from(signal.reason));
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(InferenceError.from(signal?.reason));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, delayMs);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
