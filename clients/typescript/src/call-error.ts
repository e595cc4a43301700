import { InferenceError, type StatusCode } from '../../../proto/inference-error.ts';

/**
 * How far a call had come when it failed. It decides what may be repeated:
 * `refused`: the server did no work for it (nobody listened, or it answered UNAVAILABLE). Safe to repeat.
 * `sent`: the request may have arrived and no byte of an answer came. Safe to repeat only where repeating changes nothing.
 * `answered`: the server answered, if only in part. Never repeated.
 */
export type CallPhase = 'refused' | 'sent' | 'answered';

export interface CallErrorOptions {
  readonly phase: CallPhase;
  /** HTTP status, or gRPC status, as the server sent it; 0 (the default) when it sent none. */
  readonly status?: number;
  readonly retryAfterSeconds?: number | undefined;
  readonly cause?: unknown;
}

/** An InferenceError that came from a server, or from the way to it. */
export class CallError extends InferenceError {
  /** HTTP status, or gRPC status, as the server sent it; 0 when it sent none. */
  readonly status: number;
  readonly phase: CallPhase;

  constructor(code: StatusCode, message: string, options: CallErrorOptions) {
    super(code, message, { cause: options.cause, retryAfterSeconds: options.retryAfterSeconds ?? 0 });
    this.status = options.status ?? 0;
    this.phase = options.phase;
  }
}
