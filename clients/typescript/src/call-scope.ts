import { MAX_INFERENCE_TIMEOUT_MS } from '../../../proto/headers.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { mergeHeaders } from './call-headers.ts';
import type { RetryOption } from './retry.ts';
import type { CallContext } from './transport.ts';

export interface CallOptions {
  /** Ends the call with CANCELLED; the error's `cause` is the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** For the whole call, retries included: DEADLINE_EXCEEDED when it is over. The client's by default; Infinity for none. */
  readonly timeoutMs?: number | undefined;
  /** The same as a point in time: a Date, or milliseconds as Date.now() counts them. The earlier of the two holds. */
  readonly deadline?: Date | number | undefined;
  /** HTTP headers, gRPC metadata; over WebSocket those of the connection (none in browsers). They win over the client's. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly retry?: RetryOption | undefined;
}

/** Called before every attempt, so a token may be renewed in it. */
export type HeaderSource =
  | Readonly<Record<string, string>>
  | (() => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>);

/** By the caller's signal: the scopes that hear it. One listener does for all of them, as Node warns of a leak from the eleventh on. */
const scopesOf = new WeakMap<AbortSignal, Set<CallScope>>();

function onSignalAbort(event: Event): void {
  const signal = event.target as AbortSignal;
  const scopes = scopesOf.get(signal);
  scopesOf.delete(signal);
  for (const scope of scopes ?? []) scope.cancel(signal);
}

/** What setTimeout can wait; a deadline further away is watched no closer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The caller's signal and deadline as one signal, for one call. `dispose` when the call is over, in every case: it lets go of both. */
export class CallScope {
  readonly deadlineMs: number;
  readonly #controller: AbortController | null;
  readonly #signal: AbortSignal | undefined;
  readonly #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: CallOptions, defaultTimeoutMs: number) {
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0)) {
      throw invalidArgument(`timeoutMs: expected milliseconds >= 0, got ${String(timeoutMs)}`);
    }
    const deadline = Number(options.deadline ?? Number.POSITIVE_INFINITY);
    if (Number.isNaN(deadline))
      throw invalidArgument(`deadline: expected a Date or milliseconds since 1970, got ${String(options.deadline)}`);
    this.#signal = options.signal;
    if (this.#signal?.aborted) throw cancelled(this.#signal);
    const now = Date.now();
    this.deadlineMs = Math.min(deadline, now + timeoutMs);
    const leftMs = this.deadlineMs - now;
    if (leftMs <= 0) throw deadlineExceeded();
    const hasDeadline = leftMs !== Number.POSITIVE_INFINITY;
    this.#controller = hasDeadline || this.#signal !== undefined ? new AbortController() : null;
    if (hasDeadline) this.#timer = setTimeout(() => this.#controller!.abort(deadlineExceeded()), Math.min(leftMs, MAX_TIMER_MS));
    if (this.#signal !== undefined) this.#listen(this.#signal);
  }

  #listen(signal: AbortSignal): void {
    let scopes = scopesOf.get(signal);
    if (scopes === undefined) {
      scopes = new Set();
      scopesOf.set(signal, scopes);
      signal.addEventListener('abort', onSignalAbort, { once: true });
    }
    scopes.add(this);
  }

  /** For one attempt: headers may be another time's next time. */
  async context(source: HeaderSource, own: Readonly<Record<string, string>> | undefined): Promise<CallContext> {
    const common = typeof source === 'function' ? await this.race(Promise.resolve(source())) : source;
    this.#controller?.signal.throwIfAborted();
    return { signal: this.signal, deadlineMs: this.deadlineMs, headers: mergeHeaders(common, own) };
  }

  get signal(): AbortSignal | null {
    return this.#controller?.signal ?? null;
  }

  /** Waits for `work` no longer than for the signal. */
  race<T>(work: Promise<T>): Promise<T> {
    const signal = this.signal;
    if (signal === null) return work;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(InferenceError.from(signal.reason));
      signal.addEventListener('abort', onAbort, { once: true });
      work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
    });
  }

  dispose(): void {
    clearTimeout(this.#timer);
    const signal = this.#signal;
    const scopes = signal === undefined ? undefined : scopesOf.get(signal);
    if (signal === undefined || !scopes?.delete(this) || scopes.size > 0) return;
    scopesOf.delete(signal);
    signal.removeEventListener('abort', onSignalAbort);
  }

  cancel(signal: AbortSignal): void {
    this.#controller?.abort(cancelled(signal));
  }
}

/** What is left of the call's time, whole milliseconds, for the server to know; 0: there is no end, or one further away than it takes. */
export function leftMs(call: Pick<CallContext, 'deadlineMs'>): number {
  const ms = Math.ceil(call.deadlineMs - Date.now());
  return ms > MAX_INFERENCE_TIMEOUT_MS ? 0 : Math.max(1, ms);
}

function cancelled(signal: AbortSignal): InferenceError {
  return new InferenceError('CANCELLED', 'the call was cancelled by its signal', { cause: signal.reason });
}

function deadlineExceeded(): InferenceError {
  return new InferenceError('DEADLINE_EXCEEDED', 'the deadline passed before the answer came');
}
