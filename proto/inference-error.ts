/**
 * The one error of Nereid: thrown by server and backends, put on the wire by each protocol's `status.ts`, rebuilt from the wire by clients.
 *
 * The list is closed: a protocol maps it with `satisfies Record<StatusCode, ...>`, so a code without a form on some wire does not compile.
 */
export type StatusCode =
  /** The caller's mistake: names the field, what was expected, what came. */
  | 'INVALID_ARGUMENT'
  /** No such model, version or route. */
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  /** No credential. */
  | 'UNAUTHENTICATED'
  /** The credential does not allow this. */
  | 'PERMISSION_DENIED'
  /** A size or a per-caller limit was passed. */
  | 'RESOURCE_EXHAUSTED'
  /** Known, but not able to answer now: not ready, queue full, draining, quarantined, its host died. */
  | 'UNAVAILABLE'
  /** A deadline passed; the work was dropped. */
  | 'DEADLINE_EXCEEDED'
  /** The caller went away. */
  | 'CANCELLED'
  /** A part of the protocol that this server, or this model, does not do. */
  | 'UNIMPLEMENTED'
  /** Our fault or the model's. */
  | 'INTERNAL'
  | 'UNKNOWN';

/** Why a request that reached the scheduler failed: the `reason` label of `nv_inference_request_failure` (reference section 8.2). */
export type FailureReason = 'REJECTED' | 'CANCELED' | 'BACKEND' | 'OTHER';

export interface InferenceErrorOptions {
  cause?: unknown;
  /** OTHER when left out. */
  failureReason?: FailureReason;
  /** When a retry may help: seconds for HTTP's Retry-After. */
  retryAfterSeconds?: number;
}

export class InferenceError extends Error {
  readonly code: StatusCode;
  readonly failureReason: FailureReason;
  readonly retryAfterSeconds: number;

  constructor(code: StatusCode, message: string, options?: InferenceErrorOptions) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'InferenceError';
    this.code = code;
    this.failureReason = options?.failureReason ?? 'OTHER';
    this.retryAfterSeconds = options?.retryAfterSeconds ?? 0;
  }

  /**
   * The only way to make a caught value one of ours. What is not ours becomes INTERNAL with a plain text: its own message may hold paths or
   * addresses, so it stays in `cause`, for the log.
   */
  static from(value: unknown): InferenceError {
    if (value instanceof InferenceError) return value;
    return new InferenceError('INTERNAL', 'internal error; the server log has the details', { cause: value });
  }
}

/** The most common one, short to throw. */
export function invalidArgument(message: string): InferenceError {
  return new InferenceError('INVALID_ARGUMENT', message);
}
